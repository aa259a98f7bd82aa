"""This engine beside PyTorch on the same work, in turns, and the ratio of medians.

    python3 bench/compare.py --model BACKBONE --glue SST2_FOLDER [--python ENV/bin/python] [--rounds 3] [--only NAME ...] [--busy]
    python3 bench/compare.py --device cuda --model BACKBONE --glue SST2_FOLDER [--json FILE]

BACKBONE is a Hugging Face folder (tools/fetch_backbone.sh), SST2_FOLDER holds train.tsv and dev.tsv. --python is an interpreter with
torch, transformers and safetensors. Prints a Markdown table; a ratio above 1 means that this engine is faster. With --busy it prints how
many times as long a step takes while one other process keeps a core busy. With --device cuda the work is a GPU's: BERT-base in bf16 and f32,
beside PyTorch as it is and compiled.
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
parser.add_argument("--device", default="cpu")
parser.add_argument("--json", help="file for the table as JSON")
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
BASE = ["--model", "base", "--device", args.device]
SENTENCES = ["--vocab", args.model, "--tsv", TRAIN, "--batch", "64", "--reps", "60"]
GPU_WORK = {f"{name}-{precision}": (BASE + flags + ["--precision", precision], layouts)
            for precision in ("bf16", "f32")
            for name, flags, layouts in (
                ("train-base-32x128", ["--batch", "32", "--reps", "20"], [None]),
                ("train-base-sst2-64", SENTENCES, ["bucket"]),
                ("infer-base-sst2-64", SENTENCES + ["--mode", "infer"], ["bucket"]))}


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



def beside_torch(name, flags, layouts, variants):
    """A row for each layout and variant of PyTorch, in turns with this engine: a machine's speed drifts."""
    for layout in layouts:
        for variant in variants:
            ours, theirs = [], []
            for _ in range(args.rounds):
                ours.append(measure([args.binary] + flags))
                theirs.append(measure(torch_command(flags, layout) + variant))
            label = " ".join([name] + ([f"--pad {layout}"] if layout else []) + variant)
            yield {"work": label, "ratio": middle(ours, "seq_per_s") / middle(theirs, "seq_per_s"),
                   **{f"{who} {key}": middle(runs, key) for who, runs in (("ours", ours), ("PyTorch", theirs))
                      for key in ("seq_per_s", "real_tokens_per_s", "useful_gflops_per_s", "peak_mb")}}


on_gpu = args.device != "cpu"
print("| work | this engine, seq/s | PyTorch, seq/s | ratio | useful TFLOP/s | peak MB, this engine | PyTorch |")
print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
rows = []
for name, (flags, layouts) in (GPU_WORK if on_gpu else WORK).items():
    if args.only and name not in args.only:
        continue
    for row in beside_torch(name, flags, layouts, [[], ["--compile"]] if on_gpu and "bf16" in flags else [[]]):
        rows.append(row)
        print(f"| {row['work']} | {row['ours seq_per_s']:.1f} | {row['PyTorch seq_per_s']:.1f} | {row['ratio']:.2f} | "
              f"{row['ours useful_gflops_per_s'] / 1e3:.2f} | {row['ours peak_mb']:.0f} | {row['PyTorch peak_mb']:.0f} |", flush=True)
if args.json:
    Path(args.json).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
