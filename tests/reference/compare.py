"""Compares two folders of reference numbers: inputs and weights must be equal, expected values up to rounding.

    python compare.py MADE EXPECTED

A gradient's error is measured against the largest entry of that loss's whole gradient, as the tests do: key biases have
a gradient of zero in exact arithmetic, and rounding noise in any other. Other values: against the largest entry of the
tensor, and at least 1.
"""
import pathlib
import sys

import fixture

TOLERANCE = 1e-13
WHOLE_RUNS = {"pipeline.safetensors": 1e-11, "slenderise.safetensors": 1e-12, "minilm.safetensors": 1e-11}


def compare_file(made, expected, tolerance):
    """(largest error, what is wrong)."""
    (a, _), (b, _) = fixture.load(made), fixture.load(expected)
    if a.keys() != b.keys():
        return 0.0, ["other tensors: " + ", ".join(sorted(a.keys() ^ b.keys())[:3])]
    scales = {}
    for name, tensor in b.items():
        group = name.rpartition("/")[0]
        if tensor.numel():
            scales[group] = max(scales.get(group, 0.0), tensor.abs().max().item())
    worst, faults = 0.0, []
    for name, tensor in b.items():
        if a[name].shape != tensor.shape or a[name].dtype != tensor.dtype:
            faults.append(f"{name}: {a[name].dtype} {list(a[name].shape)}, expected {tensor.dtype} {list(tensor.shape)}")
        elif not a[name].equal(tensor):
            error = (a[name] - tensor).abs().max().item() / max(scales[name.rpartition("/")[0]], 1e-3)
            worst = max(worst, error)
            if not error <= tolerance or not name.startswith("out/"):
                faults.append(f"{name}: differs by {error:.1e} of the largest entry")
    return worst, faults


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    made, expected = map(pathlib.Path, sys.argv[1:])
    failed = False
    for path in sorted(p for p in made.rglob("*") if p.suffix in (".safetensors", ".json")):
        name = str(path.relative_to(made))
        other = expected / name
        if not other.exists():
            print(f"{name}: only in {made}")
        elif path.read_bytes() == other.read_bytes():
            print(f"{name}: the same bytes")
        elif path.suffix == ".json":
            failed = True
            print(f"{name}: DIFFERS")
        else:
            worst, faults = compare_file(path, other, WHOLE_RUNS.get(path.name, TOLERANCE))
            failed |= bool(faults)
            print(f"{name}: {'DIFFERS' if faults else 'equal to rounding'}, largest error {worst:.1e}")
            print("".join(f"    {fault}\n" for fault in faults[:5]), end="")
    sys.exit(failed)


if __name__ == "__main__":
    main()
