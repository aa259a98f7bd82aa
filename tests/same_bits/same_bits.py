"""Two builds of costeff over the same tiny pipelines, and whether they compute the same bits.

  same_bits.py OLD_BINARY NEW_BINARY [--only REGEX] [--keep FOLDER]
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import compare
import tiny

RATES = "finetune.lr=2e-3,assist.lr=2e-3,slenderise.lr=2e-3,recover.lr=2e-3,slenderise.epochs=4"
COMMON = ("run --model ../model --batch 4 --threads 1 --heads 2 --ffn 16 --rank 8 --holdout 6 --calibration 12 "
          "--checkpoint-every 5 --device cpu").split()
TASKS = {"sst2": ["--task", "SST-2", "--data", "../sst2"], "mrpc": ["--task", "MRPC", "--data", "../mrpc"],
         "stsb": ["--task", "STS-B", "--data", "../stsb"],
         "topics": ["--columns", "title,topic", "--data", "../topics"]}

# name: (task, options of `costeff run`).
PIPELINES = {
    "tuned": ("sst2", ""),
    "paper": ("sst2", "--fidelity paper"),
    "release": ("sst2", "--fidelity release --pooling cls --set finetune.adam_variant=transformers,"
                        "assist.adam_variant=transformers,slenderise.adam_variant=transformers,"
                        "recover.adam_variant=transformers"),
    "release, evaluated often": ("sst2", "--fidelity release --set finetune.eval_every=2,assist.eval_every=2,"
                                         "recover.eval_every=2"),
    "tuned bf16": ("sst2", "--precision bf16"),
    "paper bf16": ("mrpc", "--fidelity paper --precision bf16"),
    "release bf16": ("sst2", "--fidelity release --precision bf16"),
    "MRPC": ("mrpc", ""),
    "MRPC release": ("mrpc", "--fidelity release"),
    "regression": ("stsb", ""),
    "regression paper": ("stsb", "--fidelity paper"),
    "three classes": ("topics", "--seed 3"),
    "no equalisation, no features": ("sst2", "--no-equalise --no-features"),
    "hard labels, random importance": ("sst2", "--prediction hard --importance random"),
    "last exit's importance, one round": ("sst2", "--importance last-exit --rounds 1"),
    "no assistant": ("sst2", "--no-assistant"),
    "two stages": ("sst2", "--two-stage"),
    "two stages release": ("mrpc", "--two-stage --fidelity release"),
    "no prediction loss": ("sst2", "--prediction none"),
    "last exit's loss": ("sst2", "--set assist.exit_losses=last,slenderise.exit_losses=last"),
    "global budget, plain embedding": ("sst2", "--budget global --embedding plain --temperature 2"),
    "paper on [CLS]": ("sst2", "--fidelity paper --pooling cls"),
    "exits from 2, of two states": ("sst2", "--exit-start 2 --hidden-mode average --last-n-hidden 2"),
    "dense poolers": ("mrpc", "--pooler-dense --last-n-hidden 2"),
    "accumulated, audited": ("sst2", "--audit-every 2 --set finetune.accumulate=2,assist.accumulate=3,"
                                     "slenderise.accumulate=2,recover.accumulate=2"),
    "padded, in buckets": ("mrpc", "--pad-to 40 --bucket --max-length 32"),
    "feature epochs, both losses": ("sst2", "--feature-epochs 1 --feature-lr 1e-3 --prediction both"),
    "two threads": ("sst2", "--threads 2"),
    "little teacher memory": ("sst2", "--teacher-memory 0"),
}

# Commands on the last stage's run (a whole run stands for another of its models now), as {name: (words, read TEXTS on standard input)}. A regression has no entropy.
FULL_DEPTH = "--entropy 0"
ANSWERS = {
    "eval": ("eval --model RUN TASK --threads 1 --json " + FULL_DEPTH, False),
    "eval, all exits": ("eval --model RUN TASK --threads 1 --json --all-exits --short-half " + FULL_DEPTH, False),
    "eval, sweep": ("eval --model RUN TASK --threads 1 --json --sweep", False),
    "eval, early": ("eval --model RUN TASK --threads 1 --json --entropy 0.6", False),
    "predict": ("predict --model RUN --threads 1 " + FULL_DEPTH, True),
    "predict, early": ("predict --model RUN --threads 1 --entropy 0.6", True),
}


def with_options(words, options):
    """The words, with these options in place of the same ones."""
    words, i = list(words), 0
    while i < len(options):
        value = options[i + 1:i + 2] if i + 1 < len(options) and not options[i + 1].startswith("--") else []
        if options[i] in words:
            words[words.index(options[i]) + 1:words.index(options[i]) + 1 + len(value)] = value
        else:
            words += [options[i]] + value
        i += 1 + len(value)
    return words


class Build:
    """One of the two programs, with a folder of its own beside the model and the data."""

    def __init__(self, binary, folder, renamed):
        self.binary, self.folder, self.renamed = pathlib.Path(binary).resolve(), folder, renamed
        folder.mkdir()

    def start(self, words, stdin=None):
        words = [self.renamed.get(word, word) for word in words]
        with open(stdin or "/dev/null", encoding="utf-8") as file:
            return subprocess.Popen([self.binary, *words], cwd=self.folder, stdin=file, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True)


def outputs(builds, words, stdin=None):
    """Standard output of both programs, which run at the same time; an error of either ends the comparison."""
    processes = [build.start(words, stdin) for build in builds]
    texts = []
    for build, process in zip(builds, processes):
        out, err = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{build.binary} {' '.join(words)}\nexit code {process.returncode}: {err.strip()}")
        texts.append(out)
    return texts


def compare_answers(builds, root, name, differences):
    task, options = PIPELINES[name]
    for what, (text, reads) in ANSWERS.items():
        if task == "stsb":
            if "early" in what or "sweep" in what:
                continue
            text = text.replace(FULL_DEPTH, "")
        words = ["--precision", "bf16"] if "bf16" in options else []
        for word in reversed(text.split()):
            words = {"RUN": [f"{name}/recover"], "TASK": TASKS[task]}.get(word, [word]) + words
        texts = root / ("pairs.txt" if task in ("mrpc", "stsb") else "lines.txt") if reads else None
        old, new = outputs(builds, words, texts)
        compare.compare_values(compare.json_lines(old), compare.json_lines(new), what, differences)


def compare_pipeline(builds, root, name, differences):
    task, options = PIPELINES[name]
    words = [*COMMON, "--out", name, "--set", RATES, *TASKS[task]]
    outputs(builds, with_options(words, options.replace("--set ", "--set " + RATES + ",").split()))
    compare.compare_runs(*(build.folder / name for build in builds), differences)
    compare_answers(builds, root, name, differences)


def print_renamed():
    for title, table in [("renamed keys", compare.RENAMED_KEYS), ("renamed options", compare.RENAMED_OPTIONS)]:
        print(f"{title}: " + (", ".join(f"{old} -> {new}" for old, new in table.items()) or "none"))
    for title, keys in [("keys no longer written", compare.DROPPED_KEYS), ("keys written now", compare.ADDED_KEYS),
                        ("not compared", compare.UNCOMPARED_KEYS)]:
        print(f"{title}: " + (", ".join(sorted(keys)) or "none"))


def compare_all(arguments, root):
    tiny.write_all(root)
    builds = [Build(arguments.old, root / "old", {}), Build(arguments.new, root / "new", compare.RENAMED_OPTIONS)]
    print_renamed()
    different = values = weights = 0
    for name in PIPELINES:
        if not re.search(arguments.only, name):
            continue
        begin, differences = time.monotonic(), compare.Differences()
        try:
            compare_pipeline(builds, root, name, differences)
        except RuntimeError as error:
            differences.add("run", str(error))
        values, weights = values + differences.values, weights + differences.weights
        print(f"{'DIFFERS' if differences.found else 'same':8}{name} ({time.monotonic() - begin:.1f} s)", flush=True)
        for line in differences.first():
            print("          " + line)
        different += bool(differences.found)
    print(f"{weights} weights and {values} values compared")
    if not weights:
        sys.exit(f"same_bits.py: no pipeline is named {arguments.only}")
    return different


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--only", default="", metavar="REGEX", help="pipelines whose names match")
    parser.add_argument("--keep", metavar="FOLDER", help="work here and leave the runs; must not exist")
    arguments = parser.parse_args()
    if arguments.keep:
        root = pathlib.Path(arguments.keep).resolve()
        root.mkdir(parents=True)
        different = compare_all(arguments, root)
    else:
        with tempfile.TemporaryDirectory() as folder:
            different = compare_all(arguments, pathlib.Path(folder))
    print(f"{different} pipelines differ" if different else "the same bits")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
