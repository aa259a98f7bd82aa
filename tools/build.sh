#!/usr/bin/env bash
# Configures and builds into build/PRESET.
#   tools/build.sh [PRESET]     release (default), debug or sanitize
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=${1:-release}

tools/packages.sh test
cmake --preset "$preset"
cmake --build --preset "$preset" --parallel "$(nproc)"
