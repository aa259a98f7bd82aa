"""That the comparison sees every kind of difference: each is planted into a copy of a run, and must be named."""
import json
import pathlib
import shutil
import sys
import tempfile

import compare
import tiny

LOG = [{"step": 1, "loss": 0.6931471805599453, "clip": 1.0, "tokens_per_second": 4e3},
       {"step": 1, "dev": {"acc": 0.5, "exits": [{"acc": 0.5}, {"acc": 0.25}]}}]


def write_log(run, lines):
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def changed(value, *path):
    """A copy of the log with `value` at this path of keys; a key that was not there is added."""
    log = json.loads(json.dumps(LOG))
    entry = log
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    return log


def flip_last_bit(run):
    path = run / "best/model.safetensors"
    data = bytearray(path.read_bytes())
    data[-4] ^= 1
    path.write_bytes(data)


def without(key):
    return [{name: value for name, value in line.items() if name != key} for line in LOG]


# What is done to the second run, and what must be named.
PLANTED = {
    "the last bit of a weight": (flip_last_bit, "pooler.dense.bias"),
    "a loss's last digit": (lambda run: write_log(run, changed(0.6931471805599454, 0, "loss")), "loss"),
    "a value within a list": (lambda run: write_log(run, changed(0.5, 1, "dev", "exits", 1, "acc")), "exits[1].acc"),
    "a key that is gone": (lambda run: write_log(run, without("clip")), "clip: gone"),
    "a key that is new": (lambda run: write_log(run, changed(1, 0, "more")), "more: new"),
    "a line that is gone": (lambda run: write_log(run, LOG[:1]), "2 entries, now 1"),
    "a file that is gone": (lambda run: (run / "log.jsonl").unlink(), "log.jsonl: gone"),
}


def differences_of(old, new):
    differences = compare.Differences()
    compare.compare_runs(old, new, differences)
    return differences.found


def main():
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        old, new = pathlib.Path(folder) / "old", pathlib.Path(folder) / "new"
        tiny.write_all(old / "tiny")
        (old / "tiny/model").rename(old / "best")
        write_log(old, LOG)
        shutil.copytree(old, new)
        write_log(new, changed(5e3, 0, "tokens_per_second"))
        if differences_of(old, new):
            failed.append("equal runs differ")
        for name, (plant, expected) in PLANTED.items():
            shutil.rmtree(new)
            shutil.copytree(old, new)
            plant(new)
            found = differences_of(old, new)
            if len(found) != 1 or expected not in found[0]:
                failed.append(f"{name}: found {found}")
    print("\n".join(failed) or f"all {len(PLANTED)} planted differences are seen")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
