"""How often statements over steps and about single examples are false: bands, settled steps, agreement, differences.

    nice -n 19 python benchmarks/steps_and_examples.py                 all tables of docs/statistics.md
    python benchmarks/steps_and_examples.py --only bands --repetitions 100

The world is that of ``coverage.py``: difficulty b_j ~ N(0, 3^2) of an example, shared by all; the answer is right
if ``m + b_j + c_j + u_i + e_ij > 0``, with u_i scaled so that a seed's true accuracy has the sd of the cell, and
e_ij ~ N(0, 1); m sets the accuracy. Along steps u, e and a part c_j ~ N(0, 1) of each step are autoregressive, with
correlation 0.8 from one step to the next. Bands and settled steps: accuracy 0.82 up to the middle step and 0.84 after
it, with a margin of 0.02, so that the middle step is exactly at the margin, where false claims are most frequent.
Single examples: in the first tenth (or none) m moves far down for base and up for the experiment, and nothing else
differs; u and e of the families are independent.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs
from __future__ import annotations

import argparse
import itertools
from typing import Any

import numpy as np
from scipy.special import ndtri

from multibench.stats import dynamics, example_differences, seed_agreement

EASE = np.sqrt(3.0**2 + 1)  # b and c, where c is shared
EARLY, LATE, MARGIN = 0.82, 0.84, 0.02
SPREAD = np.sqrt(3.0**2 + 1 + 1)
SLOPE = np.exp(-(ndtri(LATE) ** 2) / 2) / np.sqrt(2 * np.pi) / SPREAD


def level_for(accuracy, u):
    """The m that gives this accuracy over all examples and seeds."""
    return ndtri(accuracy) * np.sqrt(SPREAD**2 + u**2)


def along(rng, n_steps, shape, correlation=0.8):
    """Standard normals ``(n_steps, *shape)``, autoregressive over steps."""
    z = rng.standard_normal((n_steps, *shape))
    for t in range(1, n_steps):
        z[t] = correlation * z[t - 1] + np.sqrt(1 - correlation**2) * z[t]
    return z


def bands(rng, repetitions):
    print("| steps | seeds | examples | seed sd | band | one by one | Bonferroni | too early | right step |")
    print("|---|---|---|---|---|---|---|---|---|")
    for n_steps, n_seeds, n_examples, sd in itertools.product((5, 15), (5, 10), (277, 1043), (0.005, 0.015)):
        u = sd / SLOPE
        middle = n_steps // 2
        truth = np.where(np.arange(n_steps) <= middle, EARLY, LATE)
        m = level_for(truth, u)
        found = []
        for _ in range(repetitions):
            latent = m[:, None, None] + 3 * rng.standard_normal(n_examples)
            latent = latent + along(rng, n_steps, (1, n_examples)) + u * along(rng, n_steps, (n_seeds, 1))
            table = (latent + along(rng, n_steps, (n_seeds, n_examples)) > 0).astype(float)
            info = {
                "seed": np.tile(np.arange(n_seeds), n_steps),
                "step": np.repeat(np.arange(n_steps), n_seeds),
            }
            answers = table.reshape(-1, n_examples)
            row = []
            for level in (0.95, 1 - 0.05 / n_steps):
                one = dynamics(info, answers, np.zeros(n_examples), "mean", MARGIN, confidence=level)
                scores = [step.score for step in one.steps]
                row.append(all(s.low <= t <= s.high for s, t in zip(scores, truth, strict=True)))
                if level == 0.95:
                    bands_of = [step.band for step in one.steps]
                    row.insert(0, all(b.low <= t <= b.high for b, t in zip(bands_of, truth, strict=True)))
                    claimed = one.settled.step if one.settled else None
            first = n_steps - 1 if claimed is None else claimed
            found.append([*row, first <= middle, first == middle + 1])
        shares = " | ".join(f"{share:.3f}" for share in np.mean(found, axis=0))
        print(f"| {n_steps} | {n_seeds} | {n_examples:,} | {sd} | {shares} |", flush=True)


def right(rng, n_seeds, n_runs, n_examples, u, difficulty, shift=0.0):
    """Right or wrong ``(n_seeds * n_runs, n_examples)``; half of the noise of an example is its seed's."""
    latent = level_for(LATE, u) + difficulty + shift
    latent = latent + u * rng.standard_normal((n_seeds, 1, 1))
    latent = latent + np.sqrt(0.5) * rng.standard_normal((n_seeds, 1, n_examples))
    latent = latent + np.sqrt(0.5) * rng.standard_normal((n_seeds, n_runs, n_examples))
    return (latent > 0).reshape(-1, n_examples).astype(np.int64)


def agreement(rng, repetitions):
    print("| seeds | runs | examples | seed sd | pairs | agreement | kappa | flips | churn |")
    print("|---|---|---|---|---|---|---|---|---|")
    for n_seeds, n_runs, n_examples, sd in ((5, 1, 277, 0.005), (5, 3, 277, 0.015), (10, 3, 1043, 0.015)):
        u = sd / SLOPE

        def one(seeds, examples, runs=n_runs, u=u):
            info = {
                "seed": np.repeat(np.arange(seeds), runs),
                "finetune_seed": np.tile(np.arange(runs), seeds),
            }
            answers = right(rng, seeds, runs, examples, u, EASE * rng.standard_normal(examples))
            pairs = seed_agreement(info, answers, np.ones(examples, dtype=int)).pairs
            return [[p.agreement, p.kappa, p.flips, p.churn] for p in pairs[:2]], [p.kind for p in pairs[:2]]

        # Churn depends on the number of examples, by the gaps that chance makes; so does kappa, a little.
        truth = np.mean(
            [
                [[e.value for e in kind] for kind in one(n_seeds, n_examples)[0]]
                for _ in range(4 * repetitions)
            ],
            axis=0,
        )
        held = []
        for _ in range(repetitions):
            found, kinds = one(n_seeds, n_examples)
            held.append(
                [
                    [e.low <= t <= e.high for e, t in zip(*both, strict=True)]
                    for both in zip(found, truth, strict=True)
                ]
            )
        for kind, shares in zip(kinds, np.mean(held, axis=0), strict=True):
            shown = " | ".join(f"{share:.3f}" for share in shares)
            print(f"| {n_seeds} | {n_runs} | {n_examples:,} | {sd} | {kind} | {shown} |", flush=True)


def differences(rng, repetitions):
    print(
        "| seeds | runs | seed sd | moved | method | false discoveries | found | any named | any, by count |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    n_examples = 277
    labels = np.ones(n_examples, dtype=int)
    for (n_seeds, n_runs), sd, moved, paired in itertools.product(
        ((7, 1), (10, 3)), (0.005, 0.05), (0, 27), (False, True)
    ):
        if (n_seeds, paired) == (7, True):
            continue
        u = sd / SLOPE
        seeds = np.tile(np.repeat(np.arange(n_seeds), n_runs), 2)
        info = {"seed": seeds, "intervention": np.repeat([False, True], n_seeds * n_runs)}
        found: dict[Any, list[Any]] = {"benjamini-hochberg": [], "benjamini-yekutieli": []}
        for repetition in range(repetitions):
            difficulty = EASE * rng.standard_normal(n_examples)
            difficulty[:moved] = 0
            shift = np.where(np.arange(n_examples) < moved, 6.0, 0.0)
            answers = np.concatenate(
                [right(rng, n_seeds, n_runs, n_examples, u, difficulty, sign * shift) for sign in (-1, 1)]
            )
            for method, rows in found.items():
                made = example_differences(
                    info,
                    answers,
                    labels,
                    "accuracy",
                    paired,
                    method=method,
                    n_arrangements=4_000,
                    rng=repetition,
                )
                named = np.flatnonzero(made.differs)
                false = (named >= moved).sum() / max(1, len(named))
                rows.append(
                    [false, (named < moved).sum() / max(1, moved), len(named) > 0, made.p_any <= 0.05]
                )
        for method, rows in found.items():
            shares = " | ".join(f"{share:.3f}" for share in np.mean(rows, axis=0))
            sides = f"{n_seeds} {'paired' if paired else 'against ' + str(n_seeds)}"
            print(f"| {sides} | {n_runs} | {sd} | {moved} | {method} | {shares} |", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("bands", "agreement", "differences"))
    parser.add_argument("--repetitions", type=int, default=400)
    arguments = parser.parse_args()
    for study in (bands, agreement, differences):
        if arguments.only in (None, study.__name__):
            print(f"\n{study.__name__}, {arguments.repetitions:,} repetitions\n")
            study(np.random.default_rng(20), arguments.repetitions)


if __name__ == "__main__":
    main()
