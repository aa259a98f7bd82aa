#!/usr/bin/env bash
# Checks how the sources are written.
#   tools/lint.sh             clang-format on C++, shellcheck on scripts, the shape of the house
#   tools/lint.sh --fix       formats the C++ in place
#   tools/lint.sh --tidy [S]  clang-tidy on C++ instead, starting no file after S seconds (default: no limit);
#                             needs build/release/compile_commands.json, as tools/build.sh leaves it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rooms=(tensor autograd nn data costeff tools tests bench examples)

cpp_files() { find "${rooms[@]}" -name '*.h' -o -name '*.cpp' -o -name '*.cu' 2>/dev/null | sort; }

check_style() {
  local cpp scripts complaints status=0
  mapfile -t cpp < <(cpp_files)
  mapfile -t scripts < <(find .ci tools tests bench -name '*.sh' -o -path .ci/run 2>/dev/null | sort)
  echo "clang-format: ${#cpp[@]} files"
  if ! complaints=$(clang-format --dry-run -Werror "${cpp[@]}" 2>&1); then
    echo "not formatted (tools/lint.sh --fix formats them): places, file"
    awk -F: '/ error: code should be/ {places[$1]++; next} !/^ / && !seen {first = $0; seen = 1}
      END {for (file in places) printf "%7d %s\n", places[file], file; if (!length(places)) print first}' \
      <<<"$complaints" | sort -k 2
    status=1
  fi
  echo "shellcheck: ${#scripts[@]} files"
  shellcheck "${scripts[@]}" || status=1
  echo "house rules:"
  python3 tests/architecture/house_rules.py || status=1
  return $status
}

# Writes build/tidy/compile_commands.json: one command a file (kernels are compiled several times), without the flags
# that clang does not know; and makes gcc's omp.h readable for clang. Prints the files, changed ones first.
prepare_tidy() {
  mkdir -p build/tidy/include
  sed -E 's/__malloc__ \(omp_free\),? ?//' "$(g++ -print-file-name=include/omp.h)" >build/tidy/include/omp.h
  python3 - "${rooms[@]}" <<'PYTHON'
import json, os, shutil, subprocess, sys

rooms = tuple(room + "/" for room in sys.argv[1:])
entries = {}
for entry in json.load(open("build/release/compile_commands.json")):
    name = os.path.relpath(os.path.join(entry["directory"], entry["file"]))
    if os.path.basename(entry["command"].split(" ")[0]) == "nvcc":
        continue  # the kernels are read as the emulated device compiles them
    words = entry["command"].split(" ")
    # gcc's precompiled headers are not clang's: the plain header, where no .gch lies beside it.
    for i, word in enumerate(words):
        if word.endswith("/cmake_pch.hxx"):
            words[i] = os.path.abspath("build/tidy/include/" + os.path.basename(os.path.dirname(word)) + ".hxx")
            shutil.copyfile(word, words[i])
    entry["command"] = " ".join(w for w in words if not w.startswith(("-fno-gnu-unique", "-Wno-", "-Werror")))
    if name.startswith(rooms):
        entries[name] = entry
json.dump(list(entries.values()), open("build/tidy/compile_commands.json", "w"), indent=1)
git = ["git", "-c", "safe.directory=" + os.getcwd(), "diff", "--name-only", "HEAD~1"]
try:
    changed = subprocess.run(git, capture_output=True, text=True).stdout.split()
except OSError:
    changed = []
last = ("tests/", "bench/", "examples/")
for name in sorted(entries, key=lambda name: (name not in changed, name.startswith(last), name)):
    print(name)
PYTHON
}

# Two builtins of gcc that clang 14 lacks get stand-ins that only parse.
tidy_one() {
  if ((tidy_limit && $(date +%s) >= tidy_limit)); then
    echo "$1" >>build/tidy/left_out
  else
    clang-tidy -p build/tidy --quiet --extra-arg=-isystem"$PWD/build/tidy/include" \
      --extra-arg=-Wno-unknown-warning-option '--extra-arg=-D__builtin_shuffle(a,...)=(a)' \
      '--extra-arg=-D__builtin_cpu_supports(x)=1' "$1" >"build/tidy/logs/${1//\//+}" 2>&1
  fi
}

check_tidy() {
  [[ -f build/release/compile_commands.json ]] || { echo "lint.sh: run tools/build.sh first" >&2 && return 2; }
  local files status=0
  mapfile -t files < <(prepare_tidy)
  rm -rf build/tidy/left_out build/tidy/logs
  mkdir build/tidy/logs
  export tidy_limit=0
  if [[ -n ${1:-} ]]; then tidy_limit=$(($(date +%s) + $1)); fi
  export -f tidy_one
  # shellcheck disable=SC2016  # the inner shell expands it
  printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -n 1 bash -c 'tidy_one "$1"' bash || status=1
  # A fault in a header is reported once.
  find build/tidy/logs -type f -print0 | sort -z | xargs -0 -r cat |
    awk '/^[^ ]+:[0-9]+:[0-9]+: /{show = !seen[$0]++} /^(Error while|[0-9]+ warning)/{show = 0} show'
  local left_out=0
  if [[ -f build/tidy/left_out ]]; then
    left_out=$(wc -l <build/tidy/left_out)
    echo "clang-tidy: no time left for:" && sort build/tidy/left_out
  fi
  echo "clang-tidy: $((${#files[@]} - left_out)) of ${#files[@]} files$( ((status)) && echo ', with faults; in full: build/tidy/logs')"
  return $status
}

case ${1:-} in
  "")
    tools/packages.sh lint
    check_style
    ;;
  --fix)
    tools/packages.sh lint
    cpp_files | xargs -d '\n' clang-format -i
    ;;
  --tidy)
    tools/packages.sh build lint
    check_tidy "${2:-}"
    ;;
  *)
    echo "lint.sh: unknown argument '$1' (--fix, --tidy [SECONDS])" >&2
    exit 2
    ;;
esac
