#!/usr/bin/env bash
# One archive with what proves the CUDA backend on a machine with a GPU: the binary, the kernels' tests, their
# shared libraries and tools/gpu_check.sh. Not in it: the driver, glibc, and cuBLAS, which alone is ten times the
# limit and comes with CUDA 13 and with PyTorch for it.
#   tools/gpu_bundle.sh [BUILD [ARCHIVE]]     default: build/release gpu_bundle.tar.gz
set -euo pipefail

(($# <= 2)) || { echo "usage: tools/gpu_bundle.sh [BUILD [ARCHIVE]]" >&2 && exit 2; }
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${1:-$source/build/release} archive=${2:-gpu_bundle.tar.gz}
limit=$((60 * 1000 * 1000))
binaries=("$build/tools/costeff" "$build/tests/test_cuda")
for binary in "${binaries[@]}"; do
  [[ -x $binary ]] || { echo "gpu_bundle.sh: $binary is not there; tools/build.sh makes it" >&2 && exit 1; }
done
! "${binaries[0]}" devices | grep -q "this build of costeff has no CUDA" ||
  { echo "gpu_bundle.sh: $build was built without CUDA (no nvcc was found, or COSTEFF_CUDA is OFF)" >&2 && exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
bundle=$folder/gpu_bundle
mkdir -p "$bundle/bin" "$bundle/lib" "$bundle/data"
cp "${binaries[@]}" "$bundle/bin"
strip "$bundle"/bin/*
cp -r "$source/data/samples" "$bundle/data"
cp "$source/tools/gpu_check.sh" "$bundle"
# libraries that must be the machine's own
own='^(libcuda|libcublas|libcublasLt|libc|libm|libdl|librt|libpthread|libresolv|ld-linux-x86-64)\.so'
ldd "${binaries[@]}" | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | sort -u |
  while read -r name path; do
    [[ $name =~ $own ]] || cp -L "$path" "$bundle/lib/$name"
  done
git -C "$source" rev-parse HEAD >"$bundle/commit" 2>/dev/null || echo unknown >"$bundle/commit"
tar -C "$folder" -cf - gpu_bundle | gzip -9 >"$archive"
bytes=$(stat -c %s "$archive")
((bytes <= limit)) || { echo "gpu_bundle.sh: $archive has $bytes bytes, more than $limit" >&2 && exit 1; }
echo "$archive: $((bytes / 1000000)) MB; on the machine with the GPU: tar xf $(basename "$archive") && gpu_bundle/gpu_check.sh"
