#!/usr/bin/env python3
"""Below tools/ no text names a flag: who calls the library has none. Settings' flags are made from their names.

    flags.py [ROOT]        checks the tree at ROOT (default: the repository of this file)
    flags.py --self-test   shows that the rule can fail
"""

import re
import sys
from pathlib import Path

ROOMS = ("tensor", "autograd", "nn", "data", "costeff")
TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def flags_in(line):
    code = line.split("//")[0]
    return [flag for text in TEXT.findall(code) for flag in FLAG.findall(text)]


def check(root):
    faults = []
    for room in ROOMS:
        for path in sorted(Path(root, room).rglob("*")):
            if path.suffix not in {".h", ".cpp", ".cu", ".cuh"}:
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                faults += [f"{path.relative_to(root)}:{number}: names the flag {flag}" for flag in flags_in(line)]
    return faults


def self_test():
    assert flags_in('fail("a smaller --batch may help");') == ["--batch"]
    assert flags_in('fail_usage("--{}: {}", name, what);  // "--batch 0"') == []
    assert flags_in("--count;") == [] and flags_in('"a--b", "-- "') == []


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments == ["--self-test"]:
        self_test()
    else:
        found = check(Path(arguments[0]) if arguments else Path(__file__).resolve().parents[2])
        print("\n".join(found))
        sys.exit(1 if found else 0)
