#!/usr/bin/env python3
"""Seconds of an optimiser step in each stage of `costeff run`, beside those of the published code.

    python3 bench/stage_steps.py --run RUN --data data/samples/SST-2 [--python ENV/bin/python] [--threads 2] [--rounds 3]

The published code (sbwww/COST-EFF) was timed on another machine, with the same backbone (MiniLM L6 H384), sentences, batch (32) and
target sizes (2 heads, 128 neurons, rank 48). So PyTorch trains MiniLM on 32 x 128 tokens here, right before each stage's steps and right
after: the published seconds times (PyTorch's speed there / its speed here) are what the published code would take on this machine at
that time. It pads every sentence to 64 tokens.

RUN is a finished `costeff run --recipe quick`; each stage begins with its models and settings, on the first sentences of the data.
Evaluation, scoring and what the teacher says beforehand are left out on both sides.
"""
import argparse
import gzip
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TORCH_THERE = 18.0  # sequences/s, f32, two cores of an Intel Sapphire Rapids, PyTorch 2.13
# Stage and seconds of a step of the published code there.
PUBLISHED = {"finetune": 0.85, "assist": 1.02, "slenderise, first round": 1.03, "slenderise, last round": 0.43, "recover": 0.44}
STEPS, SENTENCES = 40, 1280

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--run", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--python", default="python3")
parser.add_argument("--costeff", default=str(HERE.parent / "build/release/tools/costeff"))
parser.add_argument("--threads", default="2")
parser.add_argument("--rounds", type=int, default=3)
args = parser.parse_args()


def output_of(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr}")
    return done.stdout


def torch_speed():
    text = output_of([args.python, str(HERE / "torch_bert.py"), "--model", "minilm", "--batch", "32", "--reps", "5", "--threads", args.threads])
    return json.loads(text.strip().splitlines()[-1])["seq_per_s"]


def part_of_the_data(folder):
    for name in ("train.tsv", "dev.tsv"):
        with gzip.open(Path(args.data) / f"{name}.gz", "rt", encoding="utf-8") as whole:
            lines = [line for line, _ in zip(whole, range(1 + (SENTENCES if name == "train.tsv" else 32)))]
        (folder / name).write_text("".join(lines), encoding="utf-8")


def steps_of(stage, scratch):
    """Seconds of each step, by phase."""
    settings = json.loads((Path(args.run) / stage / "config.json").read_text(encoding="utf-8"))["settings"]
    settings |= {"data": str(scratch), "out": str(scratch / stage), "holdout": 0, "max_steps": STEPS, "threads": int(args.threads)}
    config = scratch / "config.json"
    config.write_text(json.dumps(settings), encoding="utf-8")
    output_of([args.costeff, stage, "--config", str(config), "--out", settings["out"]])
    phases = {}
    for line in (scratch / stage / "log.jsonl").read_text(encoding="utf-8").splitlines():
        step = json.loads(line)
        if "tokens_per_second" in step:
            phases.setdefault(step["phase"], []).append(step["tokens"] / step["tokens_per_second"])
    return list(phases.values())


ours = {stage: [] for stage in PUBLISHED}
speeds = {stage: [] for stage in PUBLISHED}
speed = torch_speed()
for _ in range(args.rounds):
    for stage in ("finetune", "assist", "slenderise", "recover"):
        with tempfile.TemporaryDirectory() as folder:
            part_of_the_data(Path(folder))
            phases = steps_of(stage, Path(folder))
        after = torch_speed()
        parts = {f"{stage}, first round": phases[0], f"{stage}, last round": phases[-1]} if stage == "slenderise" else {stage: sum(phases, [])}
        for part, seconds in parts.items():
            ours[part] += seconds
            speeds[part].append(statistics.mean([speed, after]))
        speed = after

print("| stage | a step, s | published, s | PyTorch here, seq/s (there " + f"{TORCH_THERE}) | published, scaled to this machine, s | ratio |")
print("| --- | ---: | ---: | ---: | ---: | ---: |")
for stage, published in PUBLISHED.items():
    mine, here = statistics.median(ours[stage]), statistics.median(speeds[stage])
    scaled = published * TORCH_THERE / here
    print(f"| {stage} | {mine:.3f} | {published:.2f} | {here:.1f} | {scaled:.2f} | {scaled / mine:.1f} |")
