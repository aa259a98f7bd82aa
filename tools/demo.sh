#!/usr/bin/env bash
# From a fresh machine to a slender multi-exit BERT: builds, fetches the backbone, and runs the paper on the shipped
# SST-2 sample: fine-tuning, teaching assistant, slenderising to 1/8 of the parameters, recovery, a page of results.
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
sample=data/samples/SST-2
runs=build/demo/$(date +%Y%m%d-%H%M%S)-$$
mkdir -p "$runs"

for seed in "${seeds[@]}"; do
  echo
  echo "The whole method with seed $seed into $runs/seed-$seed"
  began=$EPOCHREALTIME
  "$costeff" run --task SST-2 --data "$sample" --out "$runs/seed-$seed" --heads 2 --ffn 128 --rank 48 --recipe quick \
    --seed "$seed" </dev/null
  ended=$EPOCHREALTIME
  awk -v a="$began" -v b="$ended" 'BEGIN {printf "%.1f\n", b - a}' >"$runs/seed-$seed.seconds"
done

# Ten sentences spread over the dev set, with their labels: each leaves at the first exit that is certain.
gzip -dc "$sample/dev.tsv.gz" | awk -F '\t' 'NR > 1 && (NR - 40) % 87 == 0' >"$runs/sentences.tsv"
threshold=$(python3 -c 'import json, sys
models = json.load(open(sys.argv[1]))["models"]
print(models[-1]["threshold"] or 0.3)' "$runs/seed-${seeds[0]}/results.json")
cut -f 1 "$runs/sentences.tsv" |
  "$costeff" predict --model "$runs/seed-${seeds[0]}" --entropy "$threshold" >"$runs/predictions.jsonl"

tee_report() { if [[ -n $report ]]; then tee "$report"; else cat; fi; }
python3 - "$runs" "${seeds[@]}" <<'PYTHON' | tee_report
import json, sys
from pathlib import Path

runs, seeds = Path(sys.argv[1]), sys.argv[2:]
tables = [json.loads((runs / f"seed-{seed}/results.json").read_text())["models"] for seed in seeds]
seconds = [float((runs / f"seed-{seed}.seconds").read_text()) for seed in seeds]

print(f"\nSST-2 sample, 872 dev sentences, {'seed' if len(seeds) == 1 else 'mean of seeds'} {', '.join(seeds)}; "
      f"{sum(seconds) / len(seconds):.0f} s a run")
print(f"{'model':<22} {'parameters':>12} {'MFLOPs':>8} {'accuracy':>9} {'kept':>8} {'exit':>6} {'sentences/s':>12}")
for rows in zip(*tables):
    mean = lambda key: sum(row[key] for row in rows) / len(rows)
    print(f"{rows[0]['name']:<22} {rows[0]['parameters']:>12,} {mean('flops') / 1e6:>8.1f} {mean('score') * 100:>7.2f} % "
          f"{mean('share') * 100:>6.1f} % {mean('average_exit'):>6.2f} {mean('sequences_per_second'):>12.0f}")
if len(seeds) > 1:
    for row in zip(*tables):
        print(f"{row[0]['name']:<22} by seed: " + ", ".join(f"{model['score'] * 100:.2f} %" for model in row))

sentences = [text.split("\t") for text in (runs / "sentences.tsv").read_text(encoding="utf-8").split("\n") if text]
predictions = [json.loads(text) for text in (runs / "predictions.jsonl").read_text(encoding="utf-8").split("\n") if text]
if len(predictions) != len(sentences):
    sys.exit(f"demo.sh: {len(sentences)} sentences went into predict, {len(predictions)} came out")
print(f"\nTen dev sentences, each answered at the first exit that is certain (1: positive, 0: negative)")
print("label  predicted  exit  probabilities   sentence")
for (sentence, label), prediction in zip(sentences, predictions):
    shown = " ".join(f"{x:.3f}" for x in prediction["probabilities"].values())
    sentence = sentence.strip()
    sentence = sentence if len(sentence) <= 66 else sentence[:63] + "..."
    print(f"{label:>5}  {prediction['label']:>9}  {prediction['exit']:>4}  {shown:<14}  {sentence}")
print(f"\nReport: {runs}/seed-{seeds[0]}/report.html")
PYTHON
