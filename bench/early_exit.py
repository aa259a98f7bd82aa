#!/usr/bin/env python3
"""What a slender model and early exit save in time, beside what they save in FLOPs.

    python3 bench/early_exit.py --model runs/recover --data data/samples/SST-2 [--reference runs/finetune]
                                [--task sst2] [--rounds 5] [--threads 1] [--python ENV/bin/python --tsv dev.tsv] [--json FILE]

With --reference, the two models at full depth. Then three thresholds from `costeff eval --sweep`: full depth and each
of them, at batch 32 and batch 1, in turn. A round compares neighbours in time, so that other work on the machine
disturbs both sides. A speed-up is the median over rounds of the one's seconds over the other's.

FLOPs are the cost model's, which counts every row of every layer that a sequence reaches. The time is of what is
really computed: a model whose last exit reads [CLS] leaves the other rows of its last layer out, and with [CLS] exits
those of the layer at which a sequence leaves. The seconds are of the forward passes, not of loading the model.

With --python, an interpreter that has torch, transformers and safetensors, the first batch size's evaluation stands beside that of PyTorch on padded
batches (bench/torch_early_exit.py), which must give the same accuracy and average exit; --tsv is the uncompressed file of --data.
"""
import argparse
import json
import statistics
import subprocess
from pathlib import Path

REDUCTIONS = (1.25, 1.7, 2.5)  # the thresholds whose FLOP reductions come nearest


def evaluate(arguments, model, *more):
    command = [arguments.costeff, "eval", "--model", model, "--task", arguments.task, "--data", arguments.data,
               "--threads", str(arguments.threads), "--device", arguments.device, "--precision", arguments.precision, "--json", *map(str, more)]
    return run(command)


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip())
    return json.loads(done.stdout.strip().splitlines()[-1])


def chosen_thresholds(arguments):
    sweep = evaluate(arguments, arguments.model, "--sweep")["sweep"]
    nearest = [min(sweep, key=lambda row: abs(row["flops_reduction"] - wanted)) for wanted in REDUCTIONS]
    return sorted({row["entropy"]: row["flops_reduction"] for row in nearest}.items())


def report(name, slow, fast, reduction):
    speedup = statistics.median(s / f for s, f in zip(slow, fast))
    print(f"  {name:<18} FLOPs / {reduction:.2f}   time / {speedup:.2f} (of the best times {min(slow) / min(fast):.2f})   "
          f"{speedup / reduction:.2f} of the reduction")


def measure(arguments, thresholds, batch):
    models = [arguments.reference] if arguments.reference else []
    models.append(arguments.model)
    seconds = {run: [] for run in models + [threshold for threshold, _ in thresholds]}
    flops = {}
    for _ in range(arguments.rounds):
        for run, taken in seconds.items():
            found = (evaluate(arguments, run, "--batch", batch) if run in models
                     else evaluate(arguments, arguments.model, "--batch", batch, "--entropy", run))
            taken.append(found["seconds"])
            flops[run] = found["flops"]
    full = seconds[arguments.model]
    print(f"batch {batch}: full depth {min(full):.2f} s at best, {statistics.median(full):.2f} s in the median")
    if arguments.reference:
        reduction = flops[arguments.reference] / flops[arguments.model]
        report("than the reference", seconds[arguments.reference], full, reduction)
    for threshold, reduction in thresholds:
        report(f"entropy {threshold:g}", full, seconds[threshold], reduction)


def beside_torch(arguments, thresholds, batch):
    rows = []
    for threshold in [None] + [threshold for threshold, _ in thresholds]:
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            ours.append(evaluate(arguments, arguments.model, "--batch", batch, *(["--entropy", threshold] if threshold else [])))
            theirs.append(run([arguments.python, str(Path(__file__).with_name("torch_early_exit.py")), "--model", arguments.model,
                               "--data", arguments.tsv, "--entropy", str(threshold or 0), "--batch", str(batch),
                               "--threads", str(arguments.threads), "--device", arguments.device, "--precision", arguments.precision]))
        times = [statistics.median(found["seconds"] for found in side) for side in (ours, theirs)]
        allowed = 0.005 if arguments.precision == "f32" else 0.1  # rounding to bf16 moves sentences that are near the threshold
        same = all(abs(ours[0][key] - theirs[0][key]) < allowed for key in ("acc", "average_exit"))
        rows.append({"entropy": threshold, "seconds": times[0], "torch_seconds": times[1], "ratio": times[1] / times[0], "agree": same})
        print(f"  {f'entropy {threshold:g}' if threshold else 'full depth':<18} {times[0]:.3f} s, PyTorch {times[1]:.3f} s: "
              f"{times[1] / times[0]:.2f} times as fast" + ("" if same else "; scores or exits DIFFER"), flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--costeff", default="build/release/tools/costeff")
    parser.add_argument("--model", required=True)
    parser.add_argument("--reference", help="a larger model to compare with, at full depth")
    parser.add_argument("--data", required=True)
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", default="32,1")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--python", help="an interpreter with torch, transformers and safetensors")
    parser.add_argument("--tsv", help="with --python: the sentences as an uncompressed file")
    parser.add_argument("--json", help="with --python: file for that comparison")
    arguments = parser.parse_args()
    if bool(arguments.python) != bool(arguments.tsv):
        parser.error("--python and --tsv go together")
    thresholds = chosen_thresholds(arguments)
    batches = [int(batch) for batch in arguments.batches.split(",")]
    for batch in batches:
        measure(arguments, thresholds, batch)
    if arguments.python:
        print(f"batch {batches[0]}, beside PyTorch on padded batches:")
        rows = beside_torch(arguments, thresholds, batches[0])
        if arguments.json:
            Path(arguments.json).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        if not all(row["agree"] for row in rows):
            raise SystemExit("early_exit.py: the two give other scores or exits")


if __name__ == "__main__":
    main()
