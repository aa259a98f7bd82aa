#!/usr/bin/env python3
"""Holds the house in its shape; fails with one line for each thing that is out of place: an include against the direction
of rooms and floors, a weight's name outside nn/, a file or a function that is too long, a header without a guard, a path of
one machine.

    house_rules.py [ROOT]        checks the tree at ROOT (default: the repository of this file)
    house_rules.py --self-test   shows on a small temporary tree that every rule can fail
"""

import os
import posixpath
import re
import sys
import tempfile
from pathlib import Path

# Which rooms a room may include from, besides itself.
ROOMS = {
    "tensor": set(),
    "autograd": {"tensor"},
    "nn": {"tensor", "autograd"},
    "data": {"tensor"},
    "costeff": {"tensor", "autograd", "nn", "data"},
    "tools": {"tensor", "autograd", "nn", "data", "costeff"},
}
# Floors within a room, lowest first: each may include only from itself and those before it. Files beside the
# floors, in the folder itself, are common to all.
FLOORS = {
    "costeff": ["exits", "train", "methods", "audit"],
    "tools/cli": ["pages", "report", "audit"],
}
# Files that are too long, or hold a function that is. To be emptied.
LENGTH_EXCEPTIONS = {
    "tensor/cuda/attention.cu",
    "tensor/cuda/attention_backward.cu",
    "tensor/cuda/attention_bf16.cu",
    "tests/costeff/audit_path_test.cpp",
    "tests/cuda/kernel_test.cpp",
    "tests/reference/make_baselines.py",
    "tests/reference/make_tokenizer.py",
}
# Folders that stand outside: they may include from every room, and no room from them.
OUTSIDE = {"tests", "bench", "examples"}

# A CPU kernel is compiled once per instruction set, so what it includes must hold nothing that a linker could
# take from the AVX-512 copy and give to an older machine: only these headers of ours, and the standard's.
KERNEL_FOLDER = "tensor/cpu"
KERNEL_HEADERS = {
    "tensor/" + name for name in ("elementwise.h", "families.h", "inline.h", "kernels.h", "math.h", "matrix.h", "philox.h", "rowwise.h")
}
KERNEL_STANDARD_HEADERS = set(
    """algorithm array bit cassert cfloat climits cmath concepts cstddef cstdint cstdlib cstring functional
    initializer_list iterator limits new numbers numeric optional span string string_view tuple type_traits utility
    vector assert.h float.h limits.h math.h stddef.h stdint.h stdlib.h string.h
    immintrin.h omp.h""".split()
)

# What a checkpoint calls weights, the model family's table in nn/ alone knows; elsewhere a weight is found by its role.
WEIGHTS_NAMED_IN = {"nn"} | OUTSIDE
WEIGHT_NAME = re.compile(
    r"\bbert\.(embeddings|encoder|pooler|cls)|encoder\.(layer|highway)|highway\.|[\"']classifier\.|\.attention\."
    r"|LayerNorm\.(weight|bias|gamma|beta)|\w_embeddings\d?\.|\.dense[\"\'.]|\.pooler\.|\.(query|key|value)\.(weight|bias)"
)

MAX_LINES = 450
MAX_FUNCTION_LINES = 60
SOURCES = {".h", ".hpp", ".cuh", ".cpp", ".cu", ".py", ".sh", ".cmake"}
HEADERS = {".h", ".hpp", ".cuh"}
CPP = HEADERS | {".cpp", ".cu"}
FUNCTIONS_MAY_BE_LONG_IN = {"tests"}
TEXTS = SOURCES | {".md", ".txt", ".json", ".yml", ".yaml", ".toml"}
TEXT_NAMES = {".clang-format", ".clang-tidy", ".gitignore", "run"}
SKIPPED_FOLDERS = {"build", ".git", ".cache", "__pycache__"}

INCLUDE = re.compile(r"^\s*#\s*include\b\s*(.*)")
INCLUDED_FILE = re.compile(r'(["<])([^">]+)[">]')
MACHINE_PATH = re.compile(r"(?<![\w.)}>-])/(?:home|root|work|Users)/[\w.]")


def files_below(root):
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS)
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix in TEXTS or name in TEXT_NAMES:
                yield path.relative_to(root).as_posix(), path


def resolve(root, file, included):
    """The path from the root of an included file, whether it was named from the root or from beside the includer."""
    beside = posixpath.normpath(posixpath.join(posixpath.dirname(file), included))
    if (root / beside).is_file() or included.startswith("."):
        return beside
    return posixpath.normpath(included)


def floor_of(file):
    """Room and number of the floor that a file lies on, or None."""
    for room, floors in FLOORS.items():
        for number, floor in enumerate(floors):
            if file.startswith(f"{room}/{floor}/"):
                return room, number
    return None


def check_floors(file, target):
    """What is wrong with including target from file within one room, or None."""
    own, other = floor_of(file), floor_of(target)
    if own is None or other is None or own[0] != other[0] or other[1] <= own[1]:
        return None
    room, floors = own[0], FLOORS[own[0]]
    return f"{room}/{floors[own[1]]} may not include {target}: {room}/{floors[other[1]]} lies above it"


def long_functions(lines):
    """Number of the last line and length of each block that is too long, in code as clang-format lays it out: a block ends
    with a line that is a brace alone, and begins with the last line before it that is indented alike."""
    begins = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        indent = len(line) - len(line.lstrip())
        if line.strip() == "}" and number - begins.get(indent, number) >= MAX_FUNCTION_LINES:
            yield number, number - begins[indent] + 1
        begins[indent] = number


def check_include(root, file, argument):
    """What is wrong with `#include argument` in file, or None."""
    named = INCLUDED_FILE.match(argument)
    if not named:
        return f"include {argument}: name the file itself, so that its direction can be checked"
    quote, included = named.groups()
    target = resolve(root, file, included)
    room, target_room = file.split("/")[0], target.split("/")[0]
    in_house = target_room in ROOMS or target_room in OUTSIDE
    if quote == "<" and not (root / target).is_file():
        in_house = False

    if posixpath.dirname(file) == KERNEL_FOLDER:
        if in_house:
            allowed = target in KERNEL_HEADERS or (posixpath.dirname(target) == KERNEL_FOLDER and target.endswith(".h"))
        else:
            allowed = quote == "<" and included in KERNEL_STANDARD_HEADERS
        if not allowed:
            return f"a CPU kernel may not include {included} (allowed: the lists in {Path(__file__).name})"
    if room in ROOMS and in_house and target_room != room and target_room not in ROOMS[room]:
        knows = ", ".join(sorted(ROOMS[room])) or "no other room"
        return f"{room} may not include {target}: it knows {knows}"
    return check_floors(file, target)


def check(root):
    """Every fault of the tree as 'file:line: what is wrong'."""
    faults = []
    for file, path in files_below(root):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        if path.suffix in HEADERS and "#pragma once" not in (line.strip() for line in lines):
            faults.append(f"{file}:1: a header without #pragma once")
        if path.suffix in SOURCES and len(lines) > MAX_LINES and file not in LENGTH_EXCEPTIONS:
            faults.append(f"{file}:{len(lines)}: {len(lines)} lines; a source file has at most {MAX_LINES}")
        room = file.split("/")[0]
        if path.suffix in CPP and room not in FUNCTIONS_MAY_BE_LONG_IN and file not in LENGTH_EXCEPTIONS:
            for number, length in long_functions(lines):
                faults.append(f"{file}:{number}: a function of {length} lines; it may have {MAX_FUNCTION_LINES}")
        for number, line in enumerate(lines, 1):
            if path.suffix in CPP and room not in WEIGHTS_NAMED_IN and WEIGHT_NAME.search(line):
                faults.append(f"{file}:{number}: a weight's name outside nn/: {line.strip()[:80]}")
            include = INCLUDE.match(line) if path.suffix in CPP else None
            fault = check_include(root, file, include.group(1)) if include else None
            if fault:
                faults.append(f"{file}:{number}: {fault}")
            if MACHINE_PATH.search(line):
                faults.append(f"{file}:{number}: a path of one machine: {line.strip()[:80]}")
    return faults


def self_test():
    good = {
        "tensor/tensor.h": "#pragma once\n#include <vector>\n",
        "tensor/math.h": "#pragma once\n",
        "tensor/cpu/simd.h": "#pragma once\n#include <immintrin.h>\n",
        "tensor/cpu/add.cpp": '#include <cmath>\n\n#include "simd.h"\n#include "tensor/cpu/simd.h"\n#include "tensor/math.h"\n',
        "autograd/tape.h": '#pragma once\n#include "tensor/tensor.h"\n',
        "nn/bert.h": '#pragma once\n#include "autograd/tape.h"\n#include <fmt/format.h>\n',
        "data/batch.h": '#pragma once\n#include "tensor/tensor.h"\n',
        "costeff/exit.cpp": '#include "data/batch.h"\n#include "nn/bert.h"\n#include "../tensor/tensor.h"\n',
        "tools/main.cpp": '#include "costeff/exit.h"\n#include "data/batch.h"\n',
        "tests/nn/bert_test.cpp": '#include "nn/bert.h"\n',
        "docs/notes.md": "See https://example.org/home/page and ~/.cache and <dir>/" + "root/x.\n",
        "build/generated.h": '#include "tools/x.h"\n',
        "costeff/audit/view.cpp": '#include "costeff/json.h"\n#include "costeff/train/stage.h"\n',
        "costeff/train/stage.h": '#pragma once\n#include "costeff/exits/exit.h"\n',
        "tools/cli/report/page.cpp": '#include "tools/cli/options.h"\n#include "tools/cli/pages/svg.h"\n',
        "nn/long.cpp": "//\n" * MAX_LINES,
        "nn/names.cpp": 'f("bert.encoder.layer.0.attention.self.query.weight");\n',
        "nn/functions.cpp": "".join(f"void f{i}() {{\n" + "  g();\n" * (MAX_FUNCTION_LINES - 2) + "}\n\n" for i in range(3)),
        "tests/nn/long_test.cpp": "TEST(A, B) {\n" + "  g();\n" * MAX_FUNCTION_LINES + "}\n",
    }
    # Each is one file put into the good tree, and what the only fault it causes says.
    machine = "/" + "home/somebody/data"
    body = "  g();\n" * (MAX_FUNCTION_LINES - 1)
    bad = [
        ("tensor/up.h", '#pragma once\n#include "autograd/tape.h"\n', "tensor may not include autograd/tape.h"),
        ("tensor/up.cpp", '#include "../nn/bert.h"\n', "tensor may not include nn/bert.h"),
        ("tensor/up.cpp", "#  include <data/batch.h>\n", "tensor may not include data/batch.h"),
        ("autograd/up.cpp", '#include "nn/bert.h"\n', "autograd may not include nn/bert.h"),
        ("autograd/side.cpp", '#include "data/batch.h"\n', "autograd may not include data/batch.h"),
        ("nn/up.cpp", '#include "costeff/missing.h"\n', "nn may not include costeff/missing.h"),
        ("nn/side.cpp", '#include "data/batch.h"\n', "nn may not include data/batch.h"),
        ("data/side.cpp", '#include "nn/bert.h"\n', "data may not include nn/bert.h"),
        ("data/side.cpp", '#include "autograd/tape.h"\n', "data may not include autograd/tape.h"),
        ("costeff/up.cpp", '#include "tools/progress.h"\n', "costeff may not include tools/progress.h"),
        ("nn/test.cpp", '#include "tests/helper.h"\n', "nn may not include tests/helper.h"),
        ("tools/bench.cpp", '#include "bench/timer.h"\n', "tools may not include bench/timer.h"),
        ("costeff/train/up.cpp", '#include "costeff/methods/x.h"\n', "costeff/train may not include costeff/methods/x.h"),
        ("costeff/train/up.h", '#pragma once\n#include "costeff/audit/x.h"\n', "costeff/train may not include costeff/audit/x.h"),
        ("costeff/exits/up.cpp", '#include "costeff/train/stage.h"\n', "costeff/exits may not include costeff/train/stage.h"),
        ("costeff/methods/up.h", '#pragma once\n#include "costeff/audit/x.h"\n', "costeff/methods may not include"),
        ("tools/cli/pages/up.cpp", '#include "../report/data.h"\n', "tools/cli/pages may not include tools/cli/report/data.h"),
        ("tools/cli/report/up.cpp", '#include "tools/cli/audit/x.h"\n', "tools/cli/report may not include tools/cli/audit/x.h"),
        ("costeff/train/name.cpp", 'find("bert.embeddings.x");\n', "a weight's name outside nn/"),
        ("costeff/audit/name.cpp", 'find(prefix + ".attention.output");\n', "a weight's name outside nn/"),
        ("costeff/name.h", '#pragma once\nauto x = "classifier.";\n', "a weight's name outside nn/"),
        ("tools/cli/name.cpp", 'name.ends_with("LayerNorm.weight");\n', "a weight's name outside nn/"),
        ("tools/cli/name.cpp", 'name.find("word_embeddings1.");\n', "a weight's name outside nn/"),
        ("nn/function.cpp", "void f() {\n" + body + "}\n", f"a function of {MAX_FUNCTION_LINES + 1} lines"),
        ("nn/method.h", "#pragma once\nclass A {\n  void f() {\n" + body.replace("  ", "    ") + "  }\n};\n", "a function of"),
        ("nn/kernel.cu", "template <class T>\nvoid f(\n    int x) {\n#if X\n" + body + "}\n", "a function of"),
        ("nn/macro.cpp", "#include HEADER\n", "name the file itself"),
        ("tensor/cpu/far.cpp", '#include "tensor/tensor.h"\n', "a CPU kernel may not include tensor/tensor.h"),
        ("tensor/cpu/far.h", "#pragma once\n#include <fmt/format.h>\n", "a CPU kernel may not include fmt/format.h"),
        ("tensor/cpu/far.cpp", "#include <iostream>\n", "a CPU kernel may not include iostream"),
        ("nn/bare.h", "// no guard; #pragma once only in words\n", "a header without #pragma once"),
        ("nn/longer.cpp", "//\n" * (MAX_LINES + 1), f"{MAX_LINES + 1} lines"),
        ("tools/job.sh", "cp x\n" * (MAX_LINES + 1), f"{MAX_LINES + 1} lines"),
        ("docs/place.md", f"Look in {machine}.\n", "a path of one machine"),
        ("tools/place.sh", f'cd "{machine}"\n', "a path of one machine"),
        (".ci/run", f"cd {machine}\n", "a path of one machine"),
    ]
    failures = 0

    def expect(name, faults, text):
        nonlocal failures
        right = len(faults) == 1 and text in faults[0] if text else not faults
        if not right:
            failures += 1
            print(f"self-test: {name}: expected {text or 'no fault'!r}, got {faults}")

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)

        def put(name, text):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")

        for name, text in good.items():
            put(name, text)
        expect("the good tree", check(root), None)
        for name, text, fault in bad:
            put(name, text)
            expect(name, check(root), fault)
            (root / name).unlink()
        expect("the good tree again", check(root), None)
    print(f"self-test: {len(bad)} faults planted, {failures} checks went wrong")
    return 1 if failures else 0


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if len(arguments) > 1 or (arguments and arguments[0].startswith("-")):
        print(__doc__, file=sys.stderr)
        return 2
    root = Path(arguments[0] if arguments else Path(__file__).parents[2]).resolve()
    if not any((root / room).is_dir() for room in ROOMS):
        print(f"{root} holds none of the rooms {', '.join(ROOMS)}", file=sys.stderr)
        return 2
    faults = check(root)
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults" if faults else "the house is in shape")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
