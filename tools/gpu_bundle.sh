#!/usr/bin/env bash
# One archive with what proves the CUDA backend on a machine with a GPU: binary, tests and benchmark with their shared
# libraries, a small model (the default backbone's first two layers, in f16), the sample data, the reference files
# where there are any (COSTEFF_REFERENCE) and tools/gpu_check.sh. Not in it: the driver, glibc, and cuBLAS, which
# alone is ten times the limit and comes with CUDA 13 and with PyTorch for it.
#   tools/gpu_bundle.sh [BUILD [ARCHIVE]]     default: build/release gpu_bundle.tar.xz
set -euo pipefail

(($# <= 2)) || { echo "usage: tools/gpu_bundle.sh [BUILD [ARCHIVE]]" >&2 && exit 2; }
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${1:-$source/build/release} archive=${2:-gpu_bundle.tar.xz}
limit=$((60 * 1000 * 1000))
binaries=("$build/tools/costeff" "$build"/tests/test_{cuda,autograd,nn,costeff} "$build/bench/bench_bert")
reference=${COSTEFF_REFERENCE:-$source/../shared/reference}
backbone=${XDG_CACHE_HOME:-$HOME/.cache}/costeff/minilm-l6
[[ -f $backbone/model.safetensors ]] || { echo "gpu_bundle.sh: no backbone; tools/fetch_backbone.sh fetches it" >&2 && exit 1; }
for binary in "${binaries[@]}"; do
  [[ -x $binary ]] || { echo "gpu_bundle.sh: $binary is not there; tools/build.sh makes it" >&2 && exit 1; }
done
! "${binaries[0]}" devices | grep -q "this build of costeff has no CUDA" ||
  { echo "gpu_bundle.sh: $build was built without CUDA (no nvcc was found, or COSTEFF_CUDA is OFF)" >&2 && exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
bundle=$folder/gpu_bundle
mkdir -p "$bundle/bin" "$bundle/lib" "$bundle/data" "$bundle/model" "$bundle/bench"
cp "${binaries[@]}" "$bundle/bin"
strip "$bundle"/bin/*
cp -r "$source/data/samples" "$bundle/data"
cp "$source/tools/gpu_check.sh" "$bundle"
cp "$source"/bench/{compare,torch_bert,kernel_times,early_exit,torch_early_exit,random_exits}.py "$bundle/bench"
cp "$backbone"/{vocab.txt,tokenizer_config.json} "$bundle/model"
python3 - "$backbone" "$bundle/model" 2 <<'PYTHON'
import json, re, struct, sys

source, target, layers = sys.argv[1], sys.argv[2], int(sys.argv[3])
config = json.load(open(source + "/config.json"))
json.dump({**config, "num_hidden_layers": layers}, open(target + "/config.json", "w"), indent=1)
with open(source + "/model.safetensors", "rb") as file:
    header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    weights = file.read()
kept, data = {}, b""
for name, tensor in header.items():
    layer = re.search(r"layer\.(\d+)\.", name)
    if name == "__metadata__" or tensor["dtype"] != "F32" or (layer and int(layer[1]) >= layers):
        continue
    begin, end = tensor["data_offsets"]
    count = (end - begin) // 4
    halves = struct.pack(f"<{count}e", *struct.unpack(f"<{count}f", weights[begin:end]))
    kept[name] = {"dtype": "F16", "shape": tensor["shape"], "data_offsets": [len(data), len(data) + len(halves)]}
    data += halves
text = json.dumps(kept).encode()
with open(target + "/model.safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + data)
PYTHON
if [[ -d $reference ]]; then
  mkdir "$bundle/reference"
  cp "$reference"/{ops,forward,adamw,exit_gradients,slenderise,pipeline}.safetensors "$bundle/reference"
fi
# libraries that must be the machine's own
own='^(libcuda|libcublas|libcublasLt|libc|libm|libdl|librt|libpthread|libresolv|ld-linux-x86-64)\.so'
ldd "${binaries[@]}" | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | sort -u |
  while read -r name path; do
    [[ $name =~ $own ]] || cp -L "$path" "$bundle/lib/$name"
  done
git -C "$source" rev-parse HEAD >"$bundle/commit" 2>/dev/null || echo unknown >"$bundle/commit"
tar -C "$folder" -cf - gpu_bundle | xz -9 -T0 >"$archive"
bytes=$(stat -c %s "$archive")
((bytes <= limit)) || { echo "gpu_bundle.sh: $archive has $bytes bytes, more than $limit" >&2 && exit 1; }
echo "$archive: $((bytes / 1000000)) MB; on the machine with the GPU: tar xf $(basename "$archive") && gpu_bundle/gpu_check.sh"
