#!/usr/bin/env bash
# From a fresh machine to a fine-tuned BERT: builds, fetches the backbone, trains it for three epochs on the shipped
# SST-2 sample, measures it on the dev set and classifies ten dev sentences.
#   tools/demo.sh [--seeds "1 2 3"] [--report FILE]
#     --seeds LIST     one run for each seed (default: 1)
#     --report FILE    the closing tables into FILE as well
set -euo pipefail
start=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seeds=(1)
report=
while (($#)); do
  case $1 in
    --seeds)
      read -r -a seeds <<<"${2:-}"
      [[ ${seeds[*]} =~ ^[0-9]+(\ [0-9]+)*$ ]] || { echo 'demo.sh: --seeds needs numbers, as in --seeds "1 2 3"' >&2 && exit 2; }
      shift
      ;;
    --report)
      [[ -n ${2:-} ]] || { echo "demo.sh: --report needs a file" >&2 && exit 2; }
      report=$2
      [[ $report == /* ]] || report=$start/$report
      shift
      ;;
    -h | --help)
      sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *)
      echo "demo.sh: unknown argument '$1' (--seeds LIST, --report FILE)" >&2
      exit 2
      ;;
  esac
  shift
done

tools/packages.sh test fetch
tools/build.sh release tools/costeff
tools/fetch_backbone.sh

costeff=build/release/tools/costeff
backbone=${XDG_CACHE_HOME:-$HOME/.cache}/costeff/minilm-l6
sample=data/samples/SST-2
mkdir -p build/demo
runs=$(mktemp -d "build/demo/$(date +%Y%m%d-%H%M%S)-XXX")

for seed in "${seeds[@]}"; do
  run=$runs/seed-$seed
  echo
  echo "Fine-tuning with seed $seed into $run"
  began=$EPOCHREALTIME
  "$costeff" finetune --model "$backbone" --task SST-2 --data "$sample" --out "$run" --epochs 3 --seed "$seed" </dev/null
  ended=$EPOCHREALTIME
  awk -v a="$began" -v b="$ended" 'BEGIN {printf "%.1f\n", b - a}' >"$run.seconds"
  for model in last best; do
    "$costeff" eval --model "$run/$model" --task SST-2 --data "$sample/dev.tsv.gz" --json </dev/null >"$run.$model.json"
  done
done

# Ten sentences spread over the dev set, without and with their labels.
gzip -dc "$sample/dev.tsv.gz" | awk -F '\t' 'NR > 1 && (NR - 40) % 87 == 0' >"$runs/sentences.tsv"
cut -f 1 "$runs/sentences.tsv" | "$costeff" predict --model "$runs/seed-${seeds[0]}/best" >"$runs/predictions.jsonl"

tee_report() { if [[ -n $report ]]; then tee "$report"; else cat; fi; }
python3 - "$runs" "${seeds[@]}" <<'PYTHON' | tee_report
import json, sys
from pathlib import Path

runs, seeds = Path(sys.argv[1]), sys.argv[2:]
rows = []
for seed in seeds:
    last, best = (json.loads((runs / f"seed-{seed}.{model}.json").read_text()) for model in ("last", "best"))
    seconds = float((runs / f"seed-{seed}.seconds").read_text())
    rows.append((seconds, last["accuracy"] * 100, best["accuracy"] * 100, last["loss"]))

line = "{:>5}  {:>10}  {:>20}  {:>20}  {:>8}"
print(f"\nSST-2 sample, accuracy on the {last['examples']} dev sentences")
print(line.format("seed", "training", "after the last step", "best during training", "dev loss"))
def show(name, row):
    print(line.format(name, f"{row[0]:.1f} s", f"{row[1]:.2f} %", f"{row[2]:.2f} %", f"{row[3]:.4f}"))
for seed, row in zip(seeds, rows):
    show(seed, row)
if len(rows) > 1:
    show("mean", [sum(column) / len(rows) for column in zip(*rows)])

sentences = [text.split("\t") for text in (runs / "sentences.tsv").read_text(encoding="utf-8").split("\n") if text]
predictions = [json.loads(text) for text in (runs / "predictions.jsonl").read_text(encoding="utf-8").split("\n") if text]
if len(predictions) != len(sentences):
    sys.exit(f"demo.sh: {len(sentences)} sentences went into predict, {len(predictions)} came out")
print(f"\nTen dev sentences, classified by the best model of seed {seeds[0]} (1: positive, 0: negative)")
print("label  predicted  probabilities   sentence")
for (sentence, label), prediction in zip(sentences, predictions):
    p = prediction["probabilities"]
    shown = " ".join(f"{x:.3f}" for x in (p.values() if isinstance(p, dict) else p))
    sentence = sentence.strip()
    sentence = sentence if len(sentence) <= 72 else sentence[:69] + "..."
    print(f"{label:>5}  {prediction['label']:>9}  {shown:<14}  {sentence}")
print(f"\nModels and logs: {runs}")
PYTHON
