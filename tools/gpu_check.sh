#!/usr/bin/env bash
# Proves the CUDA backend on this machine, in the bundle that tools/gpu_bundle.sh made: every kernel against the
# CPU in f64 and twice for the same bits, and under compute-sanitizer (memcheck, racecheck) where it is installed.
# Prints a table and writes FOLDER/gpu_check.json; logs lie beside it. Exit code 0 when all that ran held.
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
  log="$out/${name// /_}.log"
  "${@:2}" >"$log" 2>&1 || result=failed
  record "$name" "$result" $((SECONDS - begin))
  [[ $result == passed ]] || { grep -E 'is -?[0-9n]|=====|Failure|error|CUDA' "$log" | head -40; }
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
check "runtime" "$test_cuda" --gtest_filter='CudaRuntime.*'
check "kernels f64" "$test_cuda" --gtest_filter='CudaKernel/GpuF64.*'
check "kernels f32" "$test_cuda" --gtest_filter='CudaKernel/GpuF32.*'
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
for tool in memcheck racecheck; do
  if [[ -z $sanitizer ]]; then
    record "$tool" "not run" 0  # no compute-sanitizer here
  else
    check "$tool" timeout 150 "$sanitizer" --tool "$tool" --error-exitcode 1 "$test_cuda" --gtest_filter='CudaKernel/GpuF32.*'
  fi
done
finish "$($held && echo passed || echo failed)"
$held
