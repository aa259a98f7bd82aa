#!/usr/bin/env bash
# Builds everything and runs every test.
#   tools/test.sh [--sanitize] [--filter REGEX]
#     --sanitize       under AddressSanitizer and UndefinedBehaviorSanitizer, in build/sanitize
#     --filter REGEX   only the tests whose names match
# The reference values are read from COSTEFF_REFERENCE, or from ../shared/reference where that exists.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=release
timeout=300
filter=()
while (($#)); do
  case $1 in
    --sanitize) preset=sanitize timeout=900 ;;
    --filter)
      [[ -n ${2:-} ]] || { echo "test.sh: --filter needs a regular expression" >&2 && exit 2; }
      filter=(--tests-regex "$2")
      shift
      ;;
    -h | --help)
      sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *)
      echo "test.sh: unknown argument '$1' (--sanitize, --filter REGEX)" >&2
      exit 2
      ;;
  esac
  shift
done

tools/packages.sh test
tools/fetch_backbone.sh || echo "No backbone: the tests that need it will say so and skip."
if [[ -z ${COSTEFF_REFERENCE:-} && -d ../shared/reference ]]; then
  COSTEFF_REFERENCE=$(cd ../shared/reference && pwd)
  export COSTEFF_REFERENCE
fi
echo "Reference values: ${COSTEFF_REFERENCE:-none; the tests that need them will say so and skip}"

cmake --preset "$preset" -DCOSTEFF_TESTS=ON -DCOSTEFF_WERROR=ON
cmake --build --preset "$preset" --parallel "$(nproc)"

export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} # two tests at a time share the cores
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
ctest --test-dir "build/$preset" --output-on-failure --no-tests=error --parallel 2 --timeout "$timeout" "${filter[@]}" \
  </dev/null
