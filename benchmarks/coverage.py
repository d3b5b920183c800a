"""Coverage study: how often each interval holds the truth, and how wide it is.

Each cell simulates data sets of known truth, and asks each method for its 95 % interval. Finished cells are
appended to a CSV file; run the script again and it goes on where it stopped:

    nice -n 19 python benchmarks/coverage.py                    the whole grid, 2,000 repetitions
    python benchmarks/coverage.py --table                       the table of docs/statistics.md
    python benchmarks/coverage.py --repetitions 20000 --only "paired|5|277|0.015"    a closer look at a cell
    python benchmarks/coverage.py --repetitions 50 --out /tmp/c.csv --only "paired|5|277"

The world: example j has difficulty b_j ~ N(0, 3^2), shared by both sides, and on each side an own part c_j ~ N(0, 1);
seed i has quality u_i, scaled so that the sd of a seed's true accuracy is the cell's. The answer is right if
``m + b_j + c_j + u_i + e_ij > 0`` with e_ij ~ N(0, 1); m makes the accuracy 0.84. That gives one binary
score a seed and example, and most examples are answered alike by all seeds, as by fine-tuned BERTs. Paired:
half of the variance of u_i, and of e_ij, is shared by the two sides. One against many: base is a single seed. Both
sides have the same procedure, so the difference is 0 and the type-I error is one minus the coverage; "this
checkpoint" is held against that checkpoint's own true accuracy.

MCC cells: binary labels (half positive), an answer as above. Pearson cells: the latent value itself, as a
prediction of b_j.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs
from __future__ import annotations

import argparse
import csv
import itertools
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from multibench.metrics import METRICS
from multibench.stats.anova import TwoWay, two_way
from multibench.stats.crossed import crossed_interval

OUT = Path(__file__).with_name("coverage_results.csv")
FIELDS = [
    "metric",
    "design",
    "seeds",
    "examples",
    "seed_sd",
    "method",
    "repetitions",
    "coverage",
    "width",
    "oracle",
]
DIFFICULTY, OWN = 3.0, 1.0
SPREAD = np.sqrt(DIFFICULTY**2 + OWN**2 + 1)
SHIFT = ndtri(0.84) * SPREAD
SLOPE = np.exp(-(ndtri(0.84) ** 2) / 2) / np.sqrt(2 * np.pi) / SPREAD
# Normal quantiles for 16 random bits: four normals from one 64-bit number.
NORMAL = ndtri((np.arange(65536) + 0.5) / 65536).astype(np.float32)
DRAWS, LEVEL, CELLS = 599, 0.95, 3_000_000


def normals(rng, shape):
    size = int(np.prod(shape))
    bits = rng.integers(0, 2**64, size=-(-size // 4), dtype=np.uint64).view(np.uint16)
    return NORMAL[bits[:size]].reshape(shape)


def latents(rng, design, reps, seeds, examples, sd):
    """Latent values of base and experiment (reps, seeds, examples), difficulty, and base's seed effects."""
    half = np.float32(np.sqrt(0.5))
    n_base = 1 if design == "one" else seeds
    scale = np.float32(sd / SLOPE)
    difficulty = np.float32(DIFFICULTY) * normals(rng, (reps, 1, examples))
    effects = [normals(rng, (reps, n, 1)) for n in (n_base, seeds)]
    shared = None
    if design == "paired":
        common = normals(rng, (reps, seeds, 1))
        effects = [half * (common + own) for own in effects]
        shared = normals(rng, (reps, seeds, examples))
    sides = []
    for effect in effects:
        noise = normals(rng, (reps, effect.shape[1], examples))
        if shared is not None:
            noise += shared
            noise *= half
        own = difficulty + np.float32(OWN) * normals(rng, (reps, 1, examples)) + np.float32(SHIFT)
        noise += own
        noise += scale * effect
        sides.append(noise)
    return sides[0], sides[1], difficulty[:, 0], scale * effects[0][:, :, 0]


def moments(y):
    """``two_way`` for small integers, by exact sums."""
    reps, s, x = y.shape
    rows, columns = y.sum(axis=2, dtype=np.int32) / x, y.sum(axis=1, dtype=np.int32) / s
    mean = rows.mean(axis=1)
    total = np.count_nonzero(y, axis=(1, 2)) - s * x * mean**2
    of_rows = x * ((rows - mean[:, None]) ** 2).sum(axis=1)
    of_columns = s * ((columns - mean[:, None]) ** 2).sum(axis=1)
    nan = np.full(reps, np.nan)
    error = (total - of_rows - of_columns) / max(1, (s - 1) * (x - 1))
    table = TwoWay(
        s, x, mean, of_rows / (s - 1) if s > 1 else nan, of_columns / (x - 1), error if s > 1 else nan
    )
    return table, columns


def counts(rng, n):
    return rng.multinomial(n, np.full(n, 1 / n), size=DRAWS) / n


def example_counts(rng, n):
    flat = rng.integers(0, n, size=(DRAWS, n)) + (np.arange(DRAWS) * n)[:, None]
    return np.bincount(flat.ravel(), minlength=DRAWS * n).reshape(DRAWS, n)


def intervals(tables, columns, scores_of, seed_weights, value):
    """Low and high of each method; ``scores_of`` are bootstrap scores of each table's seeds (draws, reps, s)."""
    n = columns.shape[1]
    variance = columns.var(axis=1, ddof=1)
    examples = variance / n
    found = {}
    half = crossed_interval(tables, variance, n, LEVEL)[2]
    found["crossed"] = value - half, value + half
    for name, keep in (("crossed, textbook", False), ("crossed, truncated", True)):
        total, spread = examples.copy(), examples**2 / (n - 1)
        for table in tables:
            if table.n_seeds == 1:
                continue
            sx = table.n_seeds * table.n_units
            above = table.ms_seed > table.ms_error
            part = (table.ms_seed - table.ms_error) / sx
            term = (table.ms_seed / sx) ** 2 / (table.n_seeds - 1)
            total += np.where(above, part, 0) if keep else part
            spread += np.where(above, term, 0) if keep else term
        total = np.maximum(total, 0)
        half = stdtrit(np.maximum(total**2 / spread, 1e-3), 0.975) * np.sqrt(total)
        found[name] = value - half, value + half
    half = 1.96 * np.sqrt(examples)
    found["examples only"] = value - half, value + half

    signs = (1,) if len(tables) == 1 else (-1, 1)
    draws = sum(
        sign * np.einsum("bs,brs->br", weights, scores)
        for sign, weights, scores in zip(signs, seed_weights, scores_of, strict=True)
    )
    ordered = np.sort(draws, axis=0)
    rank = round(0.025 * (DRAWS + 1))
    low, high = ordered[rank - 1], ordered[DRAWS - rank]
    found["multi-bootstrap, percentile"] = low, high
    found["multi-bootstrap, basic"] = 2 * value - high, 2 * value - low
    drawn, unbiased = examples * (n - 1) / n, examples.copy()
    for table in tables:
        s = table.n_seeds
        if s > 1:
            drawn = (
                drawn
                + table.ms_seed * (s - 1) / (s**2 * n)
                + table.ms_error * (s - 1) * (n - 1) / (s * n) ** 2
            )
            unbiased = unbiased + np.maximum(table.ms_seed - table.ms_error, 0) / (s * n)
    factor = np.sqrt(unbiased / drawn)
    found["multi-bootstrap, rescaled"] = value + factor * (low - value), value + factor * (high - value)
    return found


def accuracy_block(rng, design, reps, seeds, examples, sd):
    """One block: the difference, each method's bounds, and base's own truth less the procedure's."""
    first, second, _, effect = latents(rng, design, reps, seeds, examples, sd)
    first, second = (first > 0).view(np.int8), (second > 0).view(np.int8)
    weights = example_counts(rng, examples).astype(np.float32)

    def resampled(y):
        flat = y.reshape(-1, examples).astype(np.float32)
        return (weights @ flat.T).reshape(DRAWS, reps, -1) / examples

    if design == "paired":
        difference = second - first
        table, columns = moments(difference)
        found = intervals([table], columns, [resampled(difference)], [counts(rng, seeds)], table.mean)
        return table.mean, found, None
    (base, of_base), (experiment, of_experiment) = moments(first), moments(second)
    value = experiment.mean - base.mean
    tables, columns = [base, experiment], of_experiment - of_base
    drawn = [resampled(first), resampled(second)]
    found = intervals(tables, columns, drawn, [counts(rng, first.shape[1]), counts(rng, seeds)], value)
    if design != "one":
        return value, found, None
    half = crossed_interval(tables, columns.var(axis=1, ddof=1), examples, LEVEL, [1.0, 1.0 + seeds])[2]
    found["crossed, procedure"] = value - half, value + half
    return value, found, ndtr((SHIFT + effect[:, 0]) / SPREAD) - 0.84


def other_block(rng, name, design, reps, seeds, examples, sd):
    """MCC or Pearson, through the package's own weighted metrics and influence values."""
    first, second, difficulty, _ = latents(rng, design, reps, seeds, examples, sd)
    metric = METRICS.get(name)
    labels = difficulty
    if name == "mcc":
        labels = rng.integers(0, 2, size=(reps, examples))
        first, second = (np.where(side > 0, labels[:, None], 1 - labels[:, None]) for side in (first, second))
    weights = example_counts(rng, examples)
    pseudo, drawn = [], []
    for r in range(reps):
        prepared = metric.prepare(labels[r], np.concatenate([first[r], second[r]]))
        pseudo.append(prepared.scores()[:, None] + prepared.influence())
        drawn.append(prepared.draws(weights))
    values, drawn_scores = np.array(pseudo), np.array(drawn).transpose(1, 0, 2)
    one, two = values[:, :seeds], values[:, seeds:]
    columns = two.mean(axis=1) - one.mean(axis=1)
    if design == "paired":
        tables = [two_way(two - one)]
        scores = [drawn_scores[:, :, seeds:] - drawn_scores[:, :, :seeds]]
    else:
        tables = [two_way(one), two_way(two)]
        scores = [drawn_scores[:, :, :seeds], drawn_scores[:, :, seeds:]]
    value = columns.mean(axis=1)
    of_seeds = [counts(rng, seeds) for _ in tables]
    return value, intervals(tables, columns, scores, of_seeds, value), None


def grid():
    designs = ("paired", "unpaired", "one")
    # The cells that decide come first.
    sizes = itertools.product((277, 1043, 9815), (5, 10, 3, 25), (0.003, 0.005, 0.015), designs)
    for examples, seeds, sd, design in sizes:
        yield "accuracy", design, seeds, examples, sd
    for name, design, seeds, sd in itertools.product(
        ("mcc", "pearson"), designs[:2], (5, 10), (0.005, 0.015)
    ):
        yield name, design, seeds, 1043, sd


def run_cell(cell, repetitions):
    metric, design, seeds, examples, sd = cell
    rng = np.random.Generator(np.random.SFC64(zlib.crc32(repr(cell).encode())))
    values: list[Any] = []
    truths: list[Any] = []
    lows: dict[str, list[Any]] = {}
    highs: dict[str, list[Any]] = {}
    done = 0
    while done < repetitions:
        reps = min(max(1, CELLS // (seeds * examples)), repetitions - done, 100)
        block = (
            accuracy_block(rng, design, reps, seeds, examples, sd)
            if metric == "accuracy"
            else other_block(rng, metric, design, reps, seeds, examples, sd)
        )
        value, found, truth = block
        values.append(value)
        truths.append(truth)
        for name, (low, high) in found.items():
            lows.setdefault(name, []).append(low)
            highs.setdefault(name, []).append(high)
        done += reps
    value = np.concatenate(values)
    rows = []
    targets = {"": (np.zeros(len(value)), 1.96 * value.std())}
    if design == "one":
        # The experiment's procedure less this checkpoint's own truth; the oracle knows its variance too.
        own = -np.concatenate(truths)
        targets = {" | checkpoint": (own, 1.96 * (value - own).std()), " | procedure": targets[""]}
    for name in lows:
        low, high = np.concatenate(lows[name]), np.concatenate(highs[name])
        for suffix, (truth, oracle) in targets.items():
            if name == "crossed, procedure" and suffix != " | procedure":
                continue
            held = (low <= truth + 1e-12) & (truth - 1e-12 <= high)
            width = (high - low).mean()
            rows.append(
                [*cell, name + suffix, len(value), f"{held.mean():.4f}", f"{width:.5f}", f"{2 * oracle:.5f}"]
            )
    return rows


def finished(path):
    if not path.exists():
        return {}
    table: dict[Any, dict[str, Any]] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            key = (
                row["metric"],
                row["design"],
                int(row["seeds"]),
                int(row["examples"]),
                float(row["seed_sd"]),
            )
            table.setdefault(key, {})[row["method"]] = row
    return table


def repetitions(path, cell):
    """How often ``cell`` was simulated; a longer simulation, further down in the file, replaces a shorter."""
    rows = finished(path).get(cell, {})
    return min((int(row["repetitions"]) for row in rows.values()), default=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--only", default="", help="part of 'design|seeds|examples|sd'")
    parser.add_argument("--table", action="store_true", help="print the Markdown table and the verdicts")
    chosen = parser.parse_args()
    if chosen.table:
        report(finished(chosen.out))
        return
    for cell in grid():
        label = "|".join(str(part) for part in cell)
        # Looked up anew each time, so that two processes may share the work.
        if chosen.only not in label or repetitions(chosen.out, cell) >= chosen.repetitions:
            continue
        started = time.perf_counter()
        rows = run_cell(cell, chosen.repetitions)
        fresh = not chosen.out.exists()
        with chosen.out.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(FIELDS)
            writer.writerows(rows)
        print(f"{label}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


SHORT = {
    "crossed": "crossed",
    "crossed, truncated": "truncated",
    "crossed, textbook": "textbook",
    "multi-bootstrap, percentile": "percentile",
    "multi-bootstrap, basic": "basic",
    "multi-bootstrap, rescaled": "rescaled",
    "examples only": "examples only",
}


def report(table):
    """The Markdown tables (coverage, and mean width over the oracle's), and what of the bounds holds."""
    inside, near, near_all, cells = [], [], [], 0
    for title, chosen in (
        ("Paired and unpaired", lambda key: key[1] != "one"),
        ("One checkpoint against a family: this checkpoint", lambda key: key[1] == "one"),
    ):
        print(f"\n**{title}** (coverage, and in brackets mean width over the oracle's)\n")
        print("| metric | design | seeds | examples | seed sd | " + " | ".join(SHORT.values()) + " |")
        print("|---" * (5 + len(SHORT)) + "|")
        for key in sorted(filter(chosen, table), key=lambda k: (k[0], k[1], k[3], k[2], k[4])):
            rows = table[key]
            suffix = " | checkpoint" if key[1] == "one" else ""
            shown = []
            for name in SHORT:
                row = rows[name + suffix]
                shown.append(
                    f"{float(row['coverage']):.3f} ({float(row['width']) / float(row['oracle']):.2f})"
                )
            print(f"| {' | '.join(str(part) for part in key)} | {' | '.join(shown)} |")
            if suffix or key[2] < 5:
                continue
            cells += 1
            coverage = {name: float(rows[name]["coverage"]) for name in SHORT}
            width = {name: float(rows[name]["width"]) for name in SHORT}
            inside.append((coverage["crossed"], key))
            valid = [name for name in SHORT if coverage[name] >= 0.93]
            narrowest = min((width[name] for name in valid), default=np.nan)
            near_all.append((width["crossed"] / narrowest, key))
            both = min((width[name] for name in valid if name != "examples only"), default=np.nan)
            near.append((width["crossed"] / both, key))
    if not cells:
        return
    print(f"\n{cells} paired and unpaired cells with five or more seeds.")
    print(f"Coverage of the recommended interval: {min(inside)} to {max(inside)}")
    print("Outside 0.93-0.98:", [entry for entry in inside if not 0.93 <= entry[0] <= 0.98])
    print(
        "Widest against the narrowest valid method:", max(near_all), "and without 'examples only':", max(near)
    )
    print("Beyond 1.10 of the narrowest valid:", [entry for entry in near_all if entry[0] > 1.1])
    print("Beyond 1.10 without 'examples only':", [entry for entry in near if entry[0] > 1.1])


if __name__ == "__main__":
    main()
