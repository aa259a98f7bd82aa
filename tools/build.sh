#!/usr/bin/env bash
# Configures and builds into build/PRESET.
#   tools/build.sh [PRESET [TARGET...]]     PRESET: release (default), debug or sanitize; everything by default
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=${1:-release}
targets=("${@:2}")

tools/packages.sh test
cmake --preset "$preset"
cmake --build --preset "$preset" --parallel "$(nproc)" ${targets:+--target "${targets[@]}"}
