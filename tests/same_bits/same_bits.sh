#!/usr/bin/env bash
# Whether this tree computes the same bits as an older commit: both are built, and run on this machine over tiny
# pipelines. Weights, log lines, results and answers are compared; the first differences are named, and exit code 1.
#   tests/same_bits/same_bits.sh [COMMIT] [--old-binary FILE] [--new-binary FILE] [--only REGEX] [--keep FOLDER]
#     COMMIT              the older one (default: 577580f, the first method's last version before methods were data)
#     --old-binary FILE   its `costeff`, built already
#     --new-binary FILE   this tree's `costeff`, built already
#     --only REGEX        only the pipelines whose names match
#     --keep FOLDER       leave the runs there
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

commit=577580f
old=''
new=''
others=()
while (($#)); do
  case $1 in
    --old-binary) old=$2 && shift ;;
    --new-binary) new=$2 && shift ;;
    --only | --keep) others+=("$1" "$2") && shift ;;
    -h | --help)
      sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    -*)
      echo "same_bits.sh: unknown argument '$1' (--help lists all)" >&2
      exit 2
      ;;
    *) commit=$1 ;;
  esac
  shift
done

build() { # SOURCES BUILD_FOLDER
  cmake -S "$1" -B "$2" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCOSTEFF_TESTS=OFF -DCOSTEFF_CUDA=OFF >"$2.log"
  cmake --build "$2" --parallel "$(nproc)" --target costeff >>"$2.log"
}

folder=build/same_bits
mkdir -p "$folder"
if [[ -z $old ]]; then
  commit=$(git rev-parse --short "$commit^{commit}")
  if [[ ! -d $folder/$commit ]]; then
    mkdir "$folder/$commit"
    git archive "$commit" | tar -x -C "$folder/$commit"
  fi
  echo "building $commit"
  build "$folder/$commit" "$folder/$commit-build"
  old=$folder/$commit-build/tools/costeff
fi
if [[ -z $new ]]; then
  echo "building this tree"
  build . "$folder/today-build"
  new=$folder/today-build/tools/costeff
fi
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
exec python3 tests/same_bits/same_bits.py "$old" "$new" "${others[@]}"
