"""How much faster the multi-bootstrap is than calling a library once per run and draw.

Side by side in one process, ratios in a table. Baselines gather the resampled examples inside the loop, as the
released function does, on 20 draws; their time is scaled to the draws of ours. Ours is one whole call of
``multibootstrap`` (checks, digestion and quantiles included). Data: right or wrong answers of correlated runs (shares
of unanimous examples are printed, since identical columns are drawn together), or continuous outputs.

    OMP_NUM_THREADS=2 python benchmarks/multibootstrap.py [--quick]
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs
from __future__ import annotations

import argparse
import resource
import time
import warnings
from typing import Any

import numpy as np
import scipy.stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from multibench.stats import multibootstrap

BASELINE_DRAWS = 20


def data(rng, kind, seeds, runs, n):
    """A base and an experiment side of ``seeds / 2`` seeds each, ``runs`` runs a seed."""
    difficulty = rng.normal(0, 3, n)
    labels = rng.normal(0, 1, n) if kind == "values" else rng.integers(0, 2, n)
    outputs: list[Any] = []
    info: dict[str, list[Any]] = {"seed": [], "intervention": []}
    for s in range(seeds):
        seed_noise = rng.normal(0, 0.7, n)
        for _ in range(runs):
            info["seed"].append(s % (seeds // 2))
            info["intervention"].append(s >= seeds // 2)
            noise = seed_noise + rng.normal(0, 0.7, n)
            if kind == "values":
                outputs.append(labels + 0.3 * (difficulty + noise))
            else:
                right = difficulty + noise + 3.3 > 0
                outputs.append(np.where(right, labels, 1 - labels))
    return info, np.array(outputs), labels


def best_of(times, function, *args, **kwargs):
    found = []
    for _ in range(times):
        started = time.perf_counter()
        function(*args, **kwargs)
        found.append(time.perf_counter() - started)
    return min(found)


def baseline(function, preds, labels):
    """Seconds a draw: gather the resample and score each run."""
    rng = np.random.default_rng(0)
    n = len(labels)

    def loop():
        for _ in range(BASELINE_DRAWS):
            index = rng.integers(0, n, n)
            gold = labels[index]
            for run in preds:
                function(gold, run[index])

    return best_of(1 if len(preds) > 100 else 2, loop) / BASELINE_DRAWS


def random_numbers(n_draws, n):
    """Seconds for the example indices of all draws, and nothing else."""
    rng = np.random.Generator(np.random.SFC64(0))
    step = max(1, 2**20 // n)
    blocks = -(-min(n_draws, 1000) // step)
    return (
        best_of(2, lambda: [rng.integers(0, n, size=(step, n)) for _ in range(blocks)])
        / (blocks * step)
        * n_draws
    )


CASES = [
    ("accuracy, scikit-learn", "accuracy", "classes", 10, 5, 9815, 10_000, accuracy_score, 500),
    (
        "accuracy, bare numpy mean",
        "accuracy",
        "classes",
        10,
        5,
        9815,
        10_000,
        lambda x, y: (x == y).mean(),
        20,
    ),
    ("MCC, scikit-learn", "mcc", "classes", 50, 5, 1043, 10_000, matthews_corrcoef, 100),
    ("F1, scikit-learn", "f1", "classes", 50, 5, 40_430, 1_000, f1_score, 100),
    ("Pearson, scipy", "pearson", "values", 50, 5, 1500, 2_000, scipy.stats.pearsonr, 100),
    ("Spearman, scipy", "spearman", "values", 50, 5, 1500, 1_000, scipy.stats.spearmanr, 40),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the draws")
    parser.add_argument("--only", default="")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    print(
        "| case | runs x examples | draws | unanimous | ratio | asked for | ours / drawing the numbers alone |"
    )
    print("|---|---|---|---|---|---|---|")
    for title, metric, kind, seeds, runs, n, draws, function, wanted in CASES:
        if chosen.only not in title:
            continue
        draws = draws // 10 if chosen.quick else draws
        info, preds, labels = data(np.random.default_rng(1), kind, seeds, runs, n)
        multibootstrap(info, preds, labels, metric, nboot=100, rng=0)
        ours = best_of(3, multibootstrap, info, preds, labels, metric, nboot=draws, rng=0)
        theirs = baseline(function, preds, labels) * draws
        alone = random_numbers(draws, n)
        same = (preds == preds[0]).all(axis=0).mean()
        print(
            f"| {title} | {len(preds)} x {n:,} | {draws:,} | {same:.0%} | {theirs / ours:,.0f} | {wanted} | "
            f"{ours / alone:.2f} |",
            flush=True,
        )
    if not chosen.only:
        info, preds, labels = data(np.random.default_rng(1), "classes", 10, 5, 9815)
        multibootstrap(info, preds, labels, "accuracy", nboot=1000 if chosen.quick else 100_000, rng=0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"\nPeak memory of all of the above, 100,000 draws of accuracy included: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
