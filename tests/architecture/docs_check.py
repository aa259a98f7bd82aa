#!/usr/bin/env python3
"""Whether what the pages in docs/, README and CONTRIBUTING name is there: linked and quoted files, and tests.

    docs_check.py [ROOT]
    docs_check.py --self-test
"""
import re
import sys
import tempfile
from pathlib import Path

QUOTED = re.compile(r"`([\w./-]+/[\w.-]+\.(?:cpp|h|cu|cuh|py|sh|md|txt|json))`")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
TEST = re.compile(r"`([A-Z]\w+)\.([A-Z]\w+|\*)`")
DEFINED = re.compile(r"\b(?:TYPED_TEST|TEST(?:_[FP])?)\(\s*(\w+)\s*,\s*(\w+)\s*\)")
# Files that a run, a model or a build has.
ELSEWHERE = re.compile(r"^(RUN|OUT|MODEL|build|DIR|results|checkpoints|best|last)/")


def defined_tests(root):
    suites = {}
    for path in (root / "tests").rglob("*.cpp"):
        for suite, test in DEFINED.findall(path.read_text(encoding="utf-8")):
            suites.setdefault(suite, set()).add(test)
    return suites


def faults(root):
    suites = defined_tests(root)
    for page in sorted([*root.glob("*.md"), *(root / "docs").glob("*.md"), *(root / "tests").rglob("*.md")]):
        text, name = page.read_text(encoding="utf-8"), page.relative_to(root)
        for path in LINK.findall(text):
            if not (page.parent / path).exists():
                yield f"{name}: links to {path}, which is not there"
        for path in QUOTED.findall(text):
            if not ELSEWHERE.match(path) and not (root / path).exists() and not (page.parent / path).exists():
                yield f"{name}: names {path}, which is not there"
        for suite, test in TEST.findall(text):
            if test != "*" and suite in suites and test not in suites[suite]:
                yield f"{name}: names the test {suite}.{test}, which is not there"
            elif test == "*" and not any(known.startswith(suite) for known in suites):
                yield f"{name}: names the tests {suite}.*, which are not there"


def self_test():
    page = "[a](gone.md) `tensor/gone.h` `Suite.Gone` `Lost.*` [b](there.md) `tensor/there.h` `Suite.Test` `Suite.*`"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path, text in {"docs/page.md": page, "docs/there.md": "", "tensor/there.h": "",
                           "tests/a.cpp": "TEST_F(Suite, Test) {"}.items():
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_text(text)
        found = list(faults(root))
    expected = ["gone.md", "tensor/gone.h", "Suite.Gone", "Lost.*"]
    if len(found) != len(expected) or not all(e in f for e, f in zip(expected, found)):
        sys.exit(f"expected {expected}, found {found}")
    print("every rule can fail")


def main():
    if "--self-test" in sys.argv:
        self_test()
        return
    found = list(faults(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]))
    print("\n".join(found) or "what the pages name is there")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
