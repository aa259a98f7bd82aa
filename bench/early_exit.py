#!/usr/bin/env python3
"""What early exit saves in time, beside what it saves in FLOPs.

    python3 bench/early_exit.py --model runs/recover --data data/samples/SST-2 [--task sst2] [--rounds 5]

Takes three thresholds from `costeff eval --sweep`, and then evaluates at full depth and at each of them, at batch 32
and batch 1, in turn: a round compares neighbours in time, so that other work on the machine disturbs both sides. The
speed-up is the median over rounds of full depth's seconds over the threshold's.
"""
import argparse
import json
import statistics
import subprocess

REDUCTIONS = (1.25, 1.7, 2.5)  # the thresholds whose FLOP reductions come nearest


def evaluate(arguments, *more):
    command = [arguments.costeff, "eval", "--model", arguments.model, "--task", arguments.task, "--data", arguments.data,
               "--threads", str(arguments.threads), "--json", *map(str, more)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip())
    return json.loads(done.stdout)


def chosen_thresholds(arguments):
    sweep = evaluate(arguments, "--sweep")["sweep"]
    nearest = [min(sweep, key=lambda row: abs(row["flops_reduction"] - wanted)) for wanted in REDUCTIONS]
    return sorted({row["entropy"]: row["flops_reduction"] for row in nearest}.items())


def measure(arguments, thresholds, batch):
    full, early = [], {threshold: [] for threshold, _ in thresholds}
    for _ in range(arguments.rounds):
        full.append(evaluate(arguments, "--batch", batch)["seconds"])
        for threshold in early:
            early[threshold].append(evaluate(arguments, "--batch", batch, "--entropy", threshold)["seconds"])
    print(f"batch {batch}: full depth {min(full):.2f} s at best, {statistics.median(full):.2f} s in the median")
    for threshold, reduction in thresholds:
        speedup = statistics.median(f / e for f, e in zip(full, early[threshold]))
        best = min(full) / min(early[threshold])
        print(f"  entropy {threshold:<9g} FLOPs / {reduction:.2f}   time / {speedup:.2f} (of the best times {best:.2f})   "
              f"{speedup / reduction:.2f} of the reduction")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--costeff", default="build/release/tools/costeff")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", default="32,1")
    arguments = parser.parse_args()
    thresholds = chosen_thresholds(arguments)
    for batch in arguments.batches.split(","):
        measure(arguments, thresholds, int(batch))


if __name__ == "__main__":
    main()
