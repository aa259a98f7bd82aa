"""Which kernels the time goes to: a table from `ncu --csv --metrics gpu__time_duration.sum PROGRAM` on stdin."""
import csv
import re
import sys

NANOSECONDS = {"ns": 1, "nsecond": 1, "us": 1e3, "usecond": 1e3, "ms": 1e6, "msecond": 1e6}
lines = sys.stdin.read().splitlines()
head = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
if head is None:
    raise SystemExit("no table of kernels; ncu said:\n" + "\n".join(lines[-10:]))
times = {}
for row in csv.DictReader(lines[head:]):
    name = re.split(r"[<(]", row["Kernel Name"])[0].split("::")[-1].split(" ")[-1]
    times.setdefault(name, []).append(float(row["Metric Value"].replace(",", "")) * NANOSECONDS[row["Metric Unit"]])
whole = sum(map(sum, times.values()))
print("| kernel | launches | us | share |\n| --- | ---: | ---: | ---: |")
for name, each in sorted(times.items(), key=lambda item: -sum(item[1])):
    print(f"| {name} | {len(each)} | {sum(each) / 1e3:.1f} | {sum(each) / whole:.1%} |")
