#!/usr/bin/env python3
"""Writes metrics.json: predictions, labels and the GLUE metrics of both, computed by scikit-learn and scipy through
transformers.glue_compute_metrics (accuracy; F1 of label 1 and its mean with accuracy; Matthews correlation; Pearson,
Spearman and their mean).

Made with transformers 4.30.2, scikit-learn 1.9.1, scipy 1.17.1. The same seed gives the same file.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import scipy
import sklearn
import transformers
from transformers import glue_compute_metrics

CLASSES = {"sst-2": 2, "qnli": 2, "rte": 2, "mrpc": 2, "qqp": 2, "cola": 2, "mnli": 3, "mnli-mm": 3}


def classification(rng):
    """Name, task, predictions, labels."""
    def noisy(labels, classes, share):
        return np.where(rng.random(len(labels)) < share, rng.integers(0, classes, len(labels)), labels)

    for task, classes in CLASSES.items():
        for n in (2, 3, 10, 100, 277, 5000):
            labels = rng.integers(0, classes, n)
            yield f"random, n {n}", task, rng.integers(0, classes, n), labels
            yield f"mostly right, n {n}", task, noisy(labels, classes, 0.2), labels
        skewed = (rng.random(500) < 0.05).astype(int)
        yield "one label rare", task, noisy(skewed, 2, 0.1), skewed
        yield "one label rare, the other way round", task, noisy(1 - skewed, 2, 0.1), 1 - skewed
        labels = rng.permutation(np.arange(60) % classes)
        yield "perfect", task, labels, labels
        yield "all wrong", task, (labels + 1) % classes, labels
        for c in range(classes):
            yield f"all predictions {c}", task, np.full(60, c), labels
            yield f"all labels {c}", task, labels, np.full(60, c)
            for d in range(classes):
                yield f"all predictions {c}, all labels {d}", task, np.full(7, c), np.full(7, d)
                yield f"single sample, prediction {c}, label {d}", task, np.array([c]), np.array([d])


def regression(rng):
    """As above; scores like STS-B's."""
    for n in (2, 3, 4, 10, 100, 1000, 5000):
        labels = rng.uniform(0, 5, n)
        yield f"random, n {n}", rng.uniform(0, 5, n), labels
        yield f"correlated, n {n}", labels + rng.normal(0, 0.8, n), labels
        if n > 2:
            coarse = np.round(labels * 2) / 2
            yield f"ties in labels, n {n}", labels + rng.normal(0, 0.8, n), coarse
            yield f"ties in both, n {n}", np.clip(np.round(coarse + rng.normal(0, 1, n)), 0, 5), coarse
    x = rng.uniform(0, 5, 50)
    yield "equal", x, x
    yield "inverted", 5 - x, x
    yield "linear", 3 * x - 7, x
    yield "monotonic, not linear", np.exp(2 * x), x
    yield "symmetric: no correlation", np.array([4.0, 1, 0, 1, 4]), np.array([-2.0, -1, 0, 1, 2])
    yield "two values", np.array([1.0, 1, 1, 0, 0, 1]), np.array([0.0, 1, 1, 0, 0, 1])
    yield "one value stands out", np.array([0.0] * 19 + [1.0]), np.arange(20.0)
    yield "one outlier", np.append(x, 1e6), np.append(x[::-1], 5.0)
    yield "large offset", 1e6 + x, x + rng.normal(0, 1, 50)
    yield "large offset in both", 1e8 + x, -1e8 + x + rng.normal(0, 1, 50)
    yield "tiny values", 1e-160 * x, x + rng.normal(0, 1, 50)
    yield "huge values", 1e160 * x, x + rng.normal(0, 1, 50)
    yield "negative zero ties with zero", np.array([0.0, -0.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0, 4.0])
    yield "constant predictions", np.full(50, 2.5), x
    yield "constant labels", x, np.full(50, 2.5)
    yield "both constant", np.full(50, 2.5), np.full(50, 1.0)
    yield "constant, n 2", np.array([1.0, 1.0]), np.array([1.0, 2.0])
    yield "single sample", np.array([1.0]), np.array([2.0])


def measure(task, predictions, labels):
    """Metrics by name; nan becomes the string "nan", a refusal {"error": its message}."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = glue_compute_metrics(task, predictions, labels)
    except ValueError as error:
        return {"error": str(error)}
    return {k: "nan" if np.isnan(v) else float(v) for k, v in result.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    cases = list(classification(rng)) + [(name, "sts-b", p, y) for name, p, y in regression(rng)]
    lines = []
    for name, task, predictions, labels in cases:
        lines.append(json.dumps({"name": name, "task": task, "expected": measure(task, predictions, labels),
                                 "predictions": predictions.tolist(), "labels": labels.tolist()}, separators=(",", ":")))
    head = {"seed": args.seed, "made_with": {"transformers": transformers.__version__, "scikit-learn": sklearn.__version__,
                                             "scipy": scipy.__version__, "numpy": np.__version__}}
    with open(args.out / "metrics.json", "w", encoding="ascii", newline="\n") as out:
        out.write("{\n" + "".join(f"{json.dumps(k)}:{json.dumps(v)},\n" for k, v in head.items()))
        out.write('"cases":[\n' + ",\n".join(lines) + "\n]\n}\n")
    print(f"{len(cases)} cases", file=sys.stderr)


if __name__ == "__main__":
    main()
