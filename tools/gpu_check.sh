#!/usr/bin/env bash
# Proves the CUDA backend on this machine, in the bundle that tools/gpu_bundle.sh made: every kernel against the
# CPU in f64 and twice for the same bits, and under compute-sanitizer (memcheck, racecheck); the engine against
# PyTorch's numbers in the reference files; `costeff run` on the CPU, on the GPU, and there again for the same bits;
# where python3 has torch and transformers, speed beside PyTorch, of training and of early exit; where ncu is installed, which kernels a training
# step spends its time in. Prints a table and writes FOLDER/gpu_check.json; logs lie beside it. Exit code 0 when all
# that ran held. About 8 minutes.
#   gpu_check.sh [FOLDER]     FOLDER: where results go; default: gpu_check
set -uo pipefail

(($# <= 1)) || { echo "usage: gpu_check.sh [FOLDER]" >&2 && exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-gpu_check}
mkdir -p "$out" || exit 1

# cuBLAS of CUDA 13: where the loader looks, of a toolkit, or of PyTorch's packages.
cublas_folder() {
  ldconfig -p 2>/dev/null | awk '/libcublas\.so\.13/ { print $NF; exit }' | xargs -r dirname && return
}
find_cublas() {
  local folder
  folder=$(cublas_folder)
  [[ -n $folder ]] && echo "$folder" && return
  for folder in /usr/local/cuda/lib64 /usr/local/cuda-13*/lib64; do
    [[ -e $folder/libcublas.so.13 ]] && echo "$folder" && return
  done
  python3 - 2>/dev/null <<'PY'
import pathlib, sys
for root in map(pathlib.Path, sys.path):
    for found in (root / "nvidia").glob("*/lib/libcublas.so.13"):
        print(found.parent)
        sys.exit()
PY
}
cublas=$(find_cublas)
if [[ -z $cublas ]]; then
  echo "gpu_check.sh: no libcublas.so.13 on this machine: install CUDA 13 or PyTorch built for it" >&2
  exit 1
fi
export LD_LIBRARY_PATH=$here/lib:$cublas${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

rows=() held=true
record() { # NAME RESULT SECONDS
  rows+=("{\"check\": \"$1\", \"result\": \"$2\", \"seconds\": $3}")
  printf '%-32s %-12s %6s s\n' "$1" "$2" "$3"
  [[ $2 == failed ]] && held=false
  return 0
}
check() { # NAME COMMAND...
  local begin=$SECONDS name=$1 log result=passed
  log="$out/$(tr -c 'a-zA-Z0-9.\n' _ <<<"$name").log"
  "${@:2}" >"$log" 2>&1 || result=failed
  record "$name" "$result" $((SECONDS - begin))
  [[ $result == passed ]] || { grep -E 'is -?[0-9n]|=====|Failure|error|CUDA' "$log" | head -40; }
}
tests() { # COMMAND...: a test program; holds if it passes, and if at least one test ran and was not skipped
  local said code
  said=$("$@" 2>&1)
  code=$?
  printf '%s\n' "$said"
  ((code == 0)) && grep -q '\[       OK \]' <<<"$said"
}
finish() { # STATE
  local IFS=,
  printf '{"commit": "%s", "device": "%s", "state": "%s", "checks": [%s]}\n' "$(cat "$here/commit")" \
    "$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -1)" "$1" "${rows[*]}" \
    >"$out/gpu_check.json"
}

test_cuda=$here/bin/test_cuda
reason=$("$test_cuda" --gtest_filter=CudaRuntime.ShowsTheDevice 2>&1)
if grep -q 'SKIPPED' <<<"$reason"; then
  echo "no CUDA device: nothing was checked"
  grep -i 'no CUDA' <<<"$reason" | head -1
  finish "no CUDA device"
  exit 1
fi
check "runtime" tests "$test_cuda" --gtest_filter='CudaRuntime.*'
check "kernels f64" tests "$test_cuda" --gtest_filter='Cuda*/GpuF64.*'
check "kernels f32" tests "$test_cuda" --gtest_filter='Cuda*/GpuF32.*'
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
for tool in memcheck racecheck; do
  if [[ -z $sanitizer ]]; then
    record "$tool" "not run" 0 # no compute-sanitizer here
  else
    check "$tool" tests timeout 120 "$sanitizer" --tool "$tool" --error-exitcode 1 "$test_cuda" --gtest_filter='Cuda*/GpuF32.*'
  fi
done

if [[ -d $here/reference ]]; then
  on_gpu=(env COSTEFF_REFERENCE="$here/reference" COSTEFF_TEST_DEVICE=cuda)
  check "reference, operations" tests "${on_gpu[@]}" "$here/bin/test_autograd" --gtest_filter='*Reference*'
  check "reference, encoder" tests "${on_gpu[@]}" "$here/bin/test_nn" --gtest_filter='AdamWReference*:*ForwardReference*'
  check "reference, method" tests "${on_gpu[@]}" "$here/bin/test_costeff" \
    --gtest_filter='*LossesReference.GradientsOfExits*:*SlenderiseReference*:*PipelineReference*'
else
  record "reference" "not run" 0 # the bundle was made without
fi

# The whole pipeline on two layers, an epoch a stage.
pipeline() { # DEVICE OUT MORE...
  rm -rf "$2"
  timeout 150 "$here/bin/costeff" run --model "$here/model" --task sst2 --data "$here/data/samples/SST-2" --device "$1" --out "$2" \
    --heads 2 --ffn 128 --rank 48 --set finetune.epochs=1,assist.epochs=1,slenderise.epochs=1,recover.epochs=1 "${@:3}"
}
scores() { # RUN...: accuracies at full depth of every model, a line each run
  python3 - "$@" <<'PY'
import json, sys
for run in sys.argv[1:]:
    models = json.load(open(run + "/results.json"))["models"]
    print(run.rsplit("/", 1)[-1], " ".join(f"{m['name']} {m['score']:.4f}" for m in models))
PY
}
same_scores() { # RUN RUN SHARE: the slender model's scores differ by no more
  scores "$1" "$2" && python3 - "$@" <<'PY'
import json, sys
def slender(run):
    return next(m["score"] for m in json.load(open(run + "/results.json"))["models"] if m["name"] == "COST-EFF, full depth")
sys.exit(abs(slender(sys.argv[1]) - slender(sys.argv[2])) > float(sys.argv[3]))
PY
}
check "run, CPU" pipeline cpu "$out/run_cpu"
check "run, GPU" pipeline cuda "$out/run_gpu"
check "run, GPU again" pipeline cuda "$out/run_again"
check "the same bits" cmp "$out/run_gpu/recover/last/model.safetensors" "$out/run_again/recover/last/model.safetensors"
check "run, GPU, bf16" pipeline cuda "$out/run_bf16" --precision bf16
check "within 0.5 points of the CPU" same_scores "$out/run_cpu" "$out/run_gpu" 0.005
check "bf16 within 3 points of f32" same_scores "$out/run_gpu" "$out/run_bf16" 0.03
cat "$out/within_0.5_points_of_the_CPU.log"
rm -rf "$out"/run_*/*/checkpoints

mkdir -p "$out/SST-2"
for part in train dev; do gunzip -c "$here/data/samples/SST-2/$part.tsv.gz" >"$out/SST-2/$part.tsv"; done
if python3 -c 'import torch, transformers' 2>/dev/null; then
  check "speed beside PyTorch" timeout 300 python3 "$here/bench/compare.py" --device cuda --model "$here/model" --glue "$out/SST-2" \
    --binary "$here/bin/bench_bert" --rounds 1 --json "$out/speed.json"
  cat "$out/speed_beside_PyTorch.log"
  early_exit() { # BERT-base with twelve exits and random weights
    python3 "$here/bench/random_exits.py" "$out/base_exits" --vocab "$here/model" &&
      timeout 120 python3 "$here/bench/early_exit.py" --costeff "$here/bin/costeff" --model "$out/base_exits" --data "$out/SST-2/train.tsv" \
        --tsv "$out/SST-2/train.tsv" --python python3 --device cuda --precision "$1" --rounds 1 --batches 64 --json "$out/early_exit_$1.json"
  }
  for precision in f32 bf16; do
    check "early exit, $precision" early_exit "$precision"
    cat "$out/early_exit__$precision.log"
  done
  rm -rf "$out/base_exits"
else
  record "speed beside PyTorch" "not run" 0 # no torch and transformers here
  record "early exit" "not run" 0
fi
profiler=$(command -v ncu || ls /usr/local/cuda/bin/ncu 2>/dev/null)
if [[ -n $profiler ]]; then
  profile() {
    timeout 90 "$profiler" --clock-control none --csv --metrics gpu__time_duration.sum --launch-skip 2500 --launch-count 600 \
      "$here/bin/bench_bert" --model base --vocab "$here/model" --tsv "$out/SST-2/train.tsv" --batch 64 --reps 5 --device cuda --precision bf16 |
      python3 "$here/bench/kernel_times.py"
  }
  check "profile" profile
  cat "$out/profile.log"
else
  record "profile" "not run" 0 # no ncu here
fi
finish "$($held && echo passed || echo failed)"
$held
