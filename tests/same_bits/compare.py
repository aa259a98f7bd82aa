"""What two runs of tiny pipelines left behind, compared: weights, log, results, configs, answers."""
import hashlib
import json
import re
import struct

# Keys of JSON that this tree calls otherwise than the old one: old -> new. Everything else must keep its name.
RENAMED_KEYS = {}
# Keys that this tree no longer writes, and keys that the old one did not write.
DROPPED_KEYS = set()
ADDED_KEYS = {"format", "method", "role", "exit_threshold"}
# Values that differ by the clock, by the place of a folder or by the version.
UNCOMPARED_KEYS = {"tokens_per_second", "seconds", "sequences_per_second", "version", "environment", "threads"}
# Options of the command line: old -> new.
RENAMED_OPTIONS = {}


class Differences:
    def __init__(self, limit=12):
        self.found, self.limit, self.values, self.weights = [], limit, 0, 0

    def add(self, place, text):
        self.found.append(f"{place}: {text}")

    def first(self):
        return self.found[:self.limit] + ([f"... and {len(self.found) - self.limit} more"]
                                          if len(self.found) > self.limit else [])


def compare_values(old, new, place, differences):
    """Two pieces of JSON, number by number."""
    if isinstance(old, dict) and isinstance(new, dict):
        expected = {RENAMED_KEYS.get(key, key): value for key, value in old.items() if key not in DROPPED_KEYS}
        for key in sorted(expected.keys() | new.keys()):
            if key in UNCOMPARED_KEYS or (key in ADDED_KEYS and key not in expected):
                continue
            if key not in new or key not in expected:
                differences.add(f"{place}.{key}", "gone" if key not in new else "new")
            else:
                compare_values(expected[key], new[key], f"{place}.{key}", differences)
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            differences.add(place, f"{len(old)} entries, now {len(new)}")
        for i, (a, b) in enumerate(zip(old, new)):
            compare_values(a, b, f"{place}[{i}]", differences)
    else:
        differences.values += 1
        if type(old) is bool or type(new) is bool or isinstance(old, str):
            same = type(old) is type(new) and old == new
        else:
            same = old == new
        if not same:
            differences.add(place, f"{old!r}, now {new!r}")


def tensors(path):
    """{name: (dtype, shape, 16 digits of the bytes' SHA-256)} of a safetensors file."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    out = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        digest = hashlib.sha256(data[8 + length + begin:8 + length + end]).hexdigest()[:16]
        out[name] = (entry["dtype"], entry["shape"], digest)
    return out


def compare_weights(old, new, place, differences):
    before, now = tensors(old), tensors(new)
    for name in sorted(before.keys() | now.keys()):
        differences.weights += 1
        if before.get(name) != now.get(name):
            differences.add(f"{place} {name}", f"{before.get(name, 'absent')}, now {now.get(name, 'absent')}")


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def compare_file(old, new, name, differences):
    if not new.is_file():
        differences.add(name, "gone")
    elif name.endswith(".safetensors"):
        compare_weights(old, new, name, differences)
    elif name.endswith(".jsonl"):
        compare_values(json_lines(old.read_text()), json_lines(new.read_text()), name, differences)
    else:
        compare_values(json.loads(old.read_text()), json.loads(new.read_text()), name, differences)


STAGES = ["finetune", "assist", "slenderise", "recover"]
# Weights and config of each stage's models, each stage's log and result, the run's results, the settings of all.
COMPARED = re.compile(r"(.*/)?((best|last)/(model\.safetensors|config\.json)|log\.jsonl|results?\.json|config\.json)")


def came_about(name):
    """Sorts stages as they follow each other, a stage's log first: the first difference is where bits part."""
    stage = name.partition("/")[0]
    return STAGES.index(stage) if stage in STAGES else len(STAGES), not name.endswith("log.jsonl"), name


def compare_runs(old, new, differences):
    """Two folders of runs. Files that only the new one has are no difference."""
    names = sorted(str(path.relative_to(old)) for path in old.rglob("*") if path.is_file())
    compared = sorted((name for name in names if COMPARED.fullmatch(name)), key=came_about)
    for name in compared:
        compare_file(old / name, new / name, name, differences)
    if not compared:
        differences.add(str(old), "no run")
