#!/usr/bin/env bash
# Builds everything and runs every test.
#   tools/test.sh [--sanitize] [--filter REGEX] [--reference [FOLDER]]
#     --sanitize             under AddressSanitizer and UndefinedBehaviorSanitizer, in build/sanitize
#     --filter REGEX         only the tests whose names match
#     --reference [FOLDER]   makes PyTorch's reference numbers first, into FOLDER (build/reference), and runs only the
#                            tests that compare with them (tests/reference/README.md); GLUE names a folder of GLUE
# The reference numbers are read from COSTEFF_REFERENCE, from build/reference, or from ../shared/reference.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=release
timeout=300
filter=()
targets=()
reference=''
while (($#)); do
  case $1 in
    --sanitize) preset=sanitize timeout=900 ;;
    --filter)
      [[ -n ${2:-} ]] || { echo "test.sh: --filter needs a regular expression" >&2 && exit 2; }
      filter=(--tests-regex "$2")
      shift
      ;;
    --reference)
      reference=build/reference
      if [[ -n ${2:-} && $2 != --* ]]; then reference=$2 && shift; fi
      filter=(--tests-regex Reference)
      targets=(--target test_data test_autograd test_nn test_costeff)
      ;;
    -h | --help)
      sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *)
      echo "test.sh: unknown argument '$1' (--sanitize, --filter REGEX, --reference [FOLDER])" >&2
      exit 2
      ;;
  esac
  shift
done

tools/packages.sh test
tools/fetch_backbone.sh || echo "No backbone: the tests that need it will say so and skip."

make_reference() {
  tools/packages.sh reference
  local environment=build/reference-env glue=()
  if [[ -n ${GLUE:-} ]]; then glue=(--glue "$GLUE"); fi
  [[ -x $environment/bin/python ]] || python3 -m venv "$environment"
  "$environment/bin/pip" install --quiet --disable-pip-version-check --requirement tests/reference/requirements.txt
  "$environment/bin/python" tests/reference/make_all.py --out "$reference" "${glue[@]}"
  COSTEFF_REFERENCE=$(cd "$reference" && pwd)
}

if [[ -n $reference ]]; then
  make_reference
elif [[ -z ${COSTEFF_REFERENCE:-} ]]; then
  for folder in build/reference ../shared/reference; do
    if [[ -d $folder ]]; then COSTEFF_REFERENCE=$(cd "$folder" && pwd) && break; fi
  done
fi
export COSTEFF_REFERENCE=${COSTEFF_REFERENCE:-}
[[ -n $COSTEFF_REFERENCE ]] || unset COSTEFF_REFERENCE
echo "Reference numbers: ${COSTEFF_REFERENCE:-none; the tests that need them will say so and skip (--reference makes them)}"

cmake --preset "$preset" -DCOSTEFF_TESTS=ON -DCOSTEFF_WERROR=ON
cmake --build --preset "$preset" --parallel "$(nproc)" "${targets[@]}"

export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} # two tests at a time share the cores
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
ctest --test-dir "build/$preset" --output-on-failure --no-tests=error --parallel 2 --timeout "$timeout" "${filter[@]}" \
  </dev/null
