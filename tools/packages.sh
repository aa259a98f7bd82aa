#!/usr/bin/env bash
# Installs the Debian packages that are missing for a purpose, and no others.
#   tools/packages.sh PURPOSE...     purposes: build, test, fetch, lint, reference
set -euo pipefail

build=(g++ cmake ninja-build pkg-config libopenblas-openmp-dev libfmt-dev libboost-program-options-dev
  nlohmann-json3-dev libicu-dev zlib1g-dev)

needed=()
for purpose in "$@"; do
  case $purpose in
    build) needed+=("${build[@]}") ;;
    test) needed+=("${build[@]}" libgtest-dev libgmock-dev mold python3 gnuplot-nox graphviz chromium) ;;
    fetch) needed+=(python3 python3-pip unzip ca-certificates) ;;
    reference) needed+=(python3 python3-venv) ;;
    lint) needed+=(clang-format clang-tidy shellcheck python3) ;;
    *)
      echo "packages.sh: unknown purpose '$purpose' (build, test, fetch, lint, reference)" >&2
      exit 2
      ;;
  esac
done
((${#needed[@]})) || { echo "usage: tools/packages.sh build|test|fetch|lint|reference ..." >&2 && exit 2; }

if ! command -v dpkg-query >/dev/null; then
  echo "packages.sh: this is not Debian; going on with what is installed. Needed, by Debian's names:" >&2
  printf '  %s\n' "${needed[*]}" >&2
  exit 0
fi

is_installed() { [[ $(dpkg-query -W -f '${Status}' "$1" 2>/dev/null) == "install ok installed" ]]; }

missing=()
for package in "${needed[@]}"; do
  if ! is_installed "$package" && [[ " ${missing[*]} " != *" $package "* ]]; then missing+=("$package"); fi
done

if ((${#missing[@]})); then
  as_root=()
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      echo "packages.sh: missing packages, and neither root nor sudo to install them. Run as root:" >&2
      echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
      exit 1
    fi
    as_root=(sudo)
  fi
  echo "Installing missing Debian packages (to $*): ${missing[*]}"
  run_apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" </dev/null; }
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  if ! { run_apt update && run_apt install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "packages.sh: apt-get could not install them; its last lines are above" >&2
    exit 1
  fi
fi

# Debian keeps several OpenBLAS builds side by side. The OpenMP one shares its threads with the engine's loops.
if [[ " ${needed[*]} " == *" libopenblas-openmp-dev "* ]]; then
  folder=/usr/lib/$(gcc -print-multiarch)
  for file in libopenblas.so.0 libopenblas.so pkgconfig/openblas.pc; do
    selected=$(readlink -f "$folder/$file")
    if [[ $selected != */openblas-openmp/* ]]; then
      echo "Note: $folder/$file is another OpenBLAS build ($selected)." >&2
      echo "      Its threads compete with the engine's. To choose the OpenMP build:" >&2
      echo "      update-alternatives --config ${file##*/}-${folder##*/}" >&2
    fi
  done
fi
