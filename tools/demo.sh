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
cut -f 1 "$runs/sentences.tsv" | "$costeff" predict --model "$runs/seed-${seeds[0]}" >"$runs/predictions.jsonl"

tee_report() { if [[ -n $report ]]; then tee "$report"; else cat; fi; }
{
  echo
  awk -v seeds="${seeds[*]}" '{sum += $1} END {printf "SST-2 sample, seeds %s; %.0f s a run\n", seeds, sum / NR}' \
    "$runs"/seed-*.seconds
  "$costeff" results "${seeds[@]/#/$runs/seed-}"
  echo
  echo "Ten dev sentences with their labels (1: positive, 0: negative), each answered at the first exit that is certain"
  cut -f 2 "$runs/sentences.tsv" | paste - "$runs/predictions.jsonl"
  echo
  echo "Report: $runs/seed-${seeds[0]}/report.html"
} | tee_report
