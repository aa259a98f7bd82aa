#!/usr/bin/env bash
# Every audit of a finished run, as pages and pictures: what docs/audit.md shows, of any run.
#   tools/audit.sh RUN DATA [TASK]     RUN: a folder that `costeff run` made; DATA: the task's files; TASK: SST-2
set -euo pipefail

(($# == 2 || $# == 3)) || { echo "usage: tools/audit.sh RUN DATA [TASK]" >&2 && exit 2; }
run=$1 data=$2 task=${3:-SST-2}
costeff=${COSTEFF:-$(dirname "${BASH_SOURCE[0]}")/../build/release/tools/costeff}
[[ -x $costeff ]] || { echo "audit.sh: $costeff is not there; tools/build.sh makes it" >&2 && exit 1; }
[[ -d $run/assist/last ]] || { echo "audit.sh: $run holds no run with a teaching assistant" >&2 && exit 1; }
out=$run/audit
mkdir -p "$out"

# The models that the run itself went on with: under --fidelity release those that did best on dev.
teacher_of() { sed -n 's/^ *"teacher": "\(.*\)",\{0,1\}$/\1/p' "$run/$1/config.json"; }
subject=(--model "$(teacher_of recover)" --teacher "$(teacher_of assist)" --task "$task" --data "$data")
slender=(--model "$run/recover/last" --teacher "$(teacher_of recover)" --task "$task" --data "$data")
status=0
audit() { # NAME ARGUMENTS...; a fault that is found does not keep the others from being looked at
  echo "== $1"
  "$costeff" audit "${@:2}" | tee "$out/$1.txt" || status=$?
}
audit assistant gradients "${subject[@]}" --html "$out/assistant.html" --json "$out/assistant.json"
audit recovery gradients "${slender[@]}" --stage recover --html "$out/recovery.html" --json "$out/recovery.json"
audit importance importance "${subject[@]}" --cumulative --heads 2 --ffn 128 --html "$out/importance.html" \
  --json "$out/importance.json"
audit path path "${subject[@]}" --from exit.3 --to encoder.layer.0.intermediate.weight --entry 5,7 --svg "$out/path.svg"
# The pictures of the page as files of their own, in its light colours.
python3 - "$out" <<'PICTURES'
import re, sys
page = open(sys.argv[1] + "/importance.html", encoding="utf-8").read()
colours = dict(re.findall(r"--(\w+):(#\w+);", page[: page.index("@media")]))
for picture in re.findall(r"<svg.*?</svg>", page, re.S):
    name = re.search(r'id="([\w-]+)-title"', picture).group(1)
    with open(f"{sys.argv[1]}/{name}.svg", "w", encoding="utf-8") as file:
        file.write(re.sub(r"var\(--(\w+)\)", lambda match: colours[match.group(1)], picture) + "\n")
PICTURES
audit run run "$run/assist" --html "$out/run.html"
echo "Pages: $out"
exit "$status"
