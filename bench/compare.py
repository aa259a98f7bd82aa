"""This engine beside PyTorch on the same work, in turns, and the ratio of medians.

    python3 bench/compare.py --model BACKBONE --glue SST2_FOLDER [--python ENV/bin/python] [--rounds 3] [--only NAME ...] [--busy]

BACKBONE is a Hugging Face folder (tools/fetch_backbone.sh), SST2_FOLDER holds train.tsv and dev.tsv. --python is an interpreter with
torch, transformers and safetensors. Prints a Markdown table; a ratio above 1 means that this engine is faster. With --busy it prints how
many times as long a step takes while one other process keeps a core busy.
"""
import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True)
parser.add_argument("--glue", required=True)
parser.add_argument("--python", default="python3")
parser.add_argument("--binary", default=str(HERE.parent / "build/release/bench/bench_bert"))
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", default="2")
parser.add_argument("--only", nargs="*", default=[])
parser.add_argument("--busy", action="store_true")
args = parser.parse_args()

TRAIN, DEV = (str(Path(args.glue) / name) for name in ("train.tsv", "dev.tsv"))
# name: flags of both engines, layouts of PyTorch
WORK = {
    "train-base-8x128": (["--model", "base", "--batch", "8", "--reps", "5"], [None]),
    "train-minilm-32x128": (["--model", "minilm", "--batch", "32", "--reps", "5"], [None]),
    "train-sst2": (["--model", args.model, "--tsv", TRAIN, "--reps", "40"], ["bucket", "batch"]),
    "train-sst2-max": (["--model", args.model, "--tsv", TRAIN, "--reps", "6"], ["max"]),
    "infer-sst2": (["--model", args.model, "--tsv", DEV, "--mode", "infer", "--reps", "24"], ["bucket"]),
    "infer-sst2-1": (["--model", args.model, "--tsv", DEV, "--mode", "infer", "--batch", "1", "--reps", "300"], ["bucket"]),
}


def measure(command):
    done = subprocess.run(command + ["--threads", args.threads], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def middle(runs, key):
    return statistics.median(run[key] for run in runs)


def beside_a_busy_process(command):
    """How many times as long a median step takes."""
    alone, busy = [], []
    for _ in range(args.rounds):
        alone.append(measure(command))
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            busy.append(measure(command))
        finally:
            other.kill()
            other.wait()
    return middle(busy, "median_s") / middle(alone, "median_s")


def torch_command(flags, layout):
    return [args.python, str(HERE / "torch_bert.py")] + flags + (["--pad", layout] if layout else [])


if args.busy:
    print("| work | this engine, times as long | PyTorch |\n| --- | ---: | ---: |", flush=True)
    for name, (flags, layouts) in WORK.items():
        if args.only and name not in args.only:
            continue
        ours = beside_a_busy_process([args.binary] + flags)
        print(f"| {name} | {ours:.2f} | {beside_a_busy_process(torch_command(flags, layouts[0])):.2f} |", flush=True)
    raise SystemExit

print("| work | this engine, seq/s | PyTorch, seq/s | ratio | peak MB, this engine | PyTorch |")
print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
for name, (flags, layouts) in WORK.items():
    if args.only and name not in args.only:
        continue
    for layout in layouts:
        ours, theirs = [], []
        for _ in range(args.rounds):  # in turns: a machine's speed drifts
            ours.append(measure([args.binary] + flags))
            theirs.append(measure(torch_command(flags, layout)))
        a, b = middle(ours, "seq_per_s"), middle(theirs, "seq_per_s")
        label = name + (f" (--pad {layout})" if layout else "")
        print(f"| {label} | {a:.1f} | {b:.1f} | {a / b:.2f} | {middle(ours, 'peak_mb'):.0f} | {middle(theirs, 'peak_mb'):.0f} |",
              flush=True)
