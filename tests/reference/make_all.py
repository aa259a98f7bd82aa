"""Makes every file of reference numbers.

    python make_all.py --out DIR [--seed N] [--model DIR] [--glue DIR]
"""
import argparse
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
SAMPLES = HERE.parent.parent / "data/samples"


def first_file(folder, name):
    return next((path for path in (folder / name, folder / (name + ".gz")) if path.exists()), None)


def jobs(arguments):
    """Words of each script, or why it cannot run."""
    seed, vocabulary = ["--seed", str(arguments.seed)], arguments.model / "vocab.txt"
    no_model = None if vocabulary.exists() else f"no model in {arguments.model} (tools/fetch_backbone.sh fetches it)"
    sst2 = first_file(arguments.glue / "SST-2", "train.tsv") or first_file(SAMPLES / "SST-2", "train.tsv")
    yield "make_model.py", seed, None, "."
    yield "make_baselines.py", seed, None, "baselines"
    yield "make_metrics.py", seed, None, "."
    yield "make_tokenizer.py", [*seed, "--vocab", vocabulary, "--glue", arguments.glue], no_model, "."
    yield "make_minilm.py", [arguments.model, "--sst2", sst2], no_model, "."


def main():
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=1, help="another one makes another set of the same form")
    parser.add_argument("--model", type=pathlib.Path, default=cache / "costeff/minilm-l6", help="MiniLM L6")
    parser.add_argument("--glue", type=pathlib.Path, default=SAMPLES, help="folder with SST-2/train.tsv, MRPC/... as GLUE has them")
    arguments = parser.parse_args()
    for script, words, obstacle, folder in jobs(arguments):
        if obstacle:
            print(f"{script}: left out, {obstacle}; the tests that need its file will say so and skip")
            continue
        out, begin = arguments.out / folder, time.monotonic()
        out.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([sys.executable, HERE / script, *words, "--out", out], check=False)
        if done.returncode:
            sys.exit(f"{script} failed")
        print(f"{script}: {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
