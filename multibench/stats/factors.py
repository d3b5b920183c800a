"""From scores of runs on examples to the parts of the variance of a mean, one for each random factor that there is.

Scores are ``(n_runs, n_units)``, units being examples or clusters of them. Two designs of fine-tuning seeds are told
apart by their labels. *Nested*: no label stands with two pretraining seeds, so that runs are averaged within
pretraining seeds, whose means carry their noise. *Shared*: labels recur; a fine-tuning seed then moves all
pretraining seeds alike, which no number of these averages out, and is a factor of its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from multibench.metrics.base import Array
from multibench.stats.anova import two_way
from multibench.stats.layout import Group, codes_of
from multibench.stats.surrogate import Moments, Term

__all__ = [
    "FINETUNING",
    "PRETRAINING",
    "Grid",
    "Parts",
    "difference_parts",
    "grid_of",
    "group_parts",
    "is_shared",
    "matched_runs",
    "seed_means",
]

PRETRAINING, FINETUNING = "pretraining seeds", "fine-tuning seeds"
FILLS = 60


@dataclass(frozen=True)
class Parts:
    """The moments of a mean, what it varies over (``over``), and what its interval leaves out (``caveats``).

    ``columns`` ``(n_units,)`` are the scores of units averaged over runs (their difference between sides).
    """

    moments: Moments
    columns: Array
    caveats: tuple[str, ...]

    @property
    def over(self) -> tuple[str, ...]:
        """Names of the random factors besides examples."""
        return tuple(dict.fromkeys(name.partition(":")[0] for name in self.moments.terms))


@dataclass(frozen=True)
class Grid:
    """Runs as a table of pretraining by shared fine-tuning seeds: ``values`` ``(n_seeds, n_labels, n_units)``.

    ``missing`` cells had no run; they hold what the rest of their row and column lets expect. ``means``
    ``(n_seeds, n_units)`` are those of the runs that there were.
    """

    values: Array
    labels: tuple[Hashable, ...]
    missing: int
    means: Array

    @property
    def interaction_df(self) -> int:
        """Degrees of freedom of the interaction of both seeds."""
        n_seeds, n_labels, _ = self.values.shape
        return int((n_seeds - 1) * (n_labels - 1) - self.missing)


def is_shared(group: Group) -> bool:
    """Whether a fine-tuning seed of the group stands with two or more pretraining seeds."""
    if group.finetune is None or group.n_seeds < 2:
        return False
    cells = set(zip(group.seed_codes.tolist(), group.finetune, strict=True))
    return len({label for _, label in cells}) < len(cells)


def seed_means(values: Array, group: Group) -> Array:
    """``(n_seeds, n_units)``: runs averaged within pretraining seeds."""
    return np.asarray(group.mixing() @ values[group.rows])


def grid_of(values: Array, group: Group) -> Grid:
    """The runs of a group with shared fine-tuning seeds as a grid; runs of one cell are averaged."""
    assert group.finetune is not None
    labels, codes = codes_of(group.finetune)
    shape = group.n_seeds, len(labels)
    total = np.zeros((*shape, values.shape[1]))
    count = np.zeros(shape)
    for row, seed, label in zip(group.rows, group.seed_codes, codes, strict=True):
        total[seed, label] += values[row]
        count[seed, label] += 1
    empty = count == 0
    filled = total / np.maximum(count, 1)[:, :, None]
    means = seed_means(values, group)
    return Grid(_completed(filled, empty) if empty.any() else filled, labels, int(empty.sum()), means)


def _completed(table: Array, empty: Array) -> Array:
    """``table`` with its empty cells at the sum of their row's and column's effects (least squares, by iteration)."""
    where = np.nonzero(empty)
    table[where] = table[~empty].mean(axis=0)
    for _ in range(FILLS):
        additive = table.mean(axis=1)[where[0]] + table.mean(axis=0)[where[1]] - table.mean(axis=(0, 1))
        table[where] = additive
    return table


def _rows_term(rows: Array) -> Term:
    """The part of a factor whose levels are ``rows`` ``(n_levels, n_units)``."""
    table = two_way(rows)
    scale = table.n_seeds * table.n_units
    return Term(
        float(table.ms_seed) / scale,
        table.n_seeds - 1,
        float(table.ms_error) / scale,
        table.n_seeds,
        effects=rows.mean(axis=1) - table.mean,
    )


def _grid_terms(grid: Grid) -> dict[str, Term]:
    """The parts of both seeds where fine-tuning seeds are shared; their interaction stands with pretraining."""
    y = grid.values
    n_seeds, n_labels, n_units = y.shape
    # Where hardly any label recurs the empty cells of a row hold too little of what its seed does.
    sparse = grid.missing and grid.interaction_df < 1
    terms = {PRETRAINING: _rows_term(grid.means if sparse else y.mean(axis=1))}
    if n_labels < 2:
        return terms
    cells = n_seeds * n_labels
    shared = _rows_term(y.mean(axis=0))
    scores = two_way(y.mean(axis=2))
    interaction = float(scores.ms_error) / cells
    if grid.interaction_df < 1:
        return {**terms, FINETUNING: shared}
    whole = _residual(y) / (cells * n_units)
    terms[FINETUNING] = replace(
        shared,
        interaction=interaction * (n_seeds - 1) * (n_labels - 1) / grid.interaction_df,
        interaction_df=grid.interaction_df,
        residual=whole,
    )
    return terms


def _residual(y: Array) -> float:
    """Mean square of what no two factors explain, of ``(n_seeds, n_labels, n_units)``."""
    p, f, x = y.shape
    if min(p, f, x) < 2:
        return 0.0
    mean = y.mean()
    sums = float(np.einsum("ijk,ijk->", y, y)) - y.size * mean**2
    for axes, weight, signs in (
        ((0,), p, 1), ((1,), f, 1), ((2,), x, 1),
        ((1, 2), f * x, -1), ((0, 2), p * x, -1), ((0, 1), p * f, -1),
    ):  # fmt: skip
        sums -= signs * weight * float(((y.mean(axis=axes) - mean) ** 2).sum())
    return float(max(0.0, sums) / ((p - 1) * (f - 1) * (x - 1)))


def _terms(values: Array, group: Group) -> dict[str, Term]:
    """The parts of one group's seeds; single runs stand in their place where there is one pretraining seed."""
    if group.n_seeds == 1:
        own = values[group.rows]
        return {FINETUNING: _rows_term(own)} if len(own) > 1 else {}
    if is_shared(group):
        return _grid_terms(grid_of(values, group))
    return {PRETRAINING: _rows_term(seed_means(values, group))}


def _caveats(group: Group, name: str = "") -> tuple[str, ...]:
    """What an interval of the group's mean does not cover, in sentences' ends."""
    of = f" of the {name}" if name else ""
    if group.n_runs == 1:
        return (f"one run{of}: neither other pretraining seeds nor other fine-tuning seeds are covered",)
    if group.n_seeds == 1:
        return (f"one pretraining seed{of}: other pretraining seeds are not covered",)
    if is_shared(group) and group.finetune is not None and len(set(group.finetune)) == 1:
        return (f"one fine-tuning seed for all checkpoints{of}: other fine-tuning seeds are not covered",)
    return ()


def group_parts(values: Array, group: Group, df: float) -> Parts:
    """The parts of the mean of one group: over pretraining seeds, runs averaged within them.

    ``df`` are the degrees of freedom of the variance over units.
    """
    columns = seed_means(values, group).mean(axis=0)
    moments = Moments(float(columns.mean()), _of_units(columns), df, _terms(values, group))
    return Parts(moments, columns, _caveats(group))


def _of_units(columns: Array) -> float:
    return float(columns.var(ddof=1)) / len(columns) if len(columns) > 1 else float("nan")


def difference_parts(values: Array, base: Group, experiment: Group, paired: bool, df: float) -> Parts:
    """The parts of the difference of two groups' means (experiment minus base) on the same units.

    ``paired`` says that equal pretraining seeds of both sides belong together; both must have the same. With one
    pretraining seed a side it says that equal fine-tuning seeds do.
    """
    columns = seed_means(values, experiment).mean(axis=0) - seed_means(values, base).mean(axis=0)
    terms = _paired_terms(values, base, experiment) if paired else None
    if terms is None:
        terms = _unpaired_terms(values, base, experiment)
    caveats = dict.fromkeys((*_caveats(base, "base"), *_caveats(experiment, "experiment")))
    return Parts(Moments(float(columns.mean()), _of_units(columns), df, terms), columns, tuple(caveats))


def _paired_terms(values: Array, base: Group, experiment: Group) -> dict[str, Term] | None:
    """The parts of a paired difference; None where there is nothing to pair but a single seed's unlike runs."""
    if base.n_seeds == 1:
        rows = matched_runs(base, experiment)
        if rows is None:
            return None
        return {FINETUNING: _rows_term(values[rows[1]] - values[rows[0]])} if len(rows[0]) > 1 else {}
    shared = is_shared(base), is_shared(experiment)
    if all(shared):
        first, second = grid_of(values, base), grid_of(values, experiment)
        if first.labels == second.labels:
            missing = max(first.missing, second.missing)
            means = second.means - first.means
            return _grid_terms(Grid(second.values - first.values, first.labels, missing, means))
    terms = {PRETRAINING: _rows_term(seed_means(values, experiment) - seed_means(values, base))}
    for name, group, is_grid in zip(("base", "experiment"), (base, experiment), shared, strict=True):
        own = _grid_terms(grid_of(values, group)) if is_grid else {}
        if FINETUNING in own:
            terms[f"{FINETUNING}: {name}"] = own[FINETUNING]
    return terms


def matched_runs(base: Group, experiment: Group) -> tuple[Array, Array] | None:
    """Rows of both sides' runs by fine-tuning seed, where both have the same ones, each once; else None."""
    if base.finetune is None or experiment.finetune is None:
        return None
    first, second = (dict(zip(g.finetune or (), g.rows.tolist(), strict=True)) for g in (base, experiment))
    if first.keys() != second.keys() or len(first) < base.n_runs or len(second) < experiment.n_runs:
        return None
    order = list(first)
    return np.array([first[k] for k in order]), np.array([second[k] for k in order])


def _unpaired_terms(values: Array, base: Group, experiment: Group) -> dict[str, Term]:
    sides: Sequence[tuple[str, Group]] = (("base", base), ("experiment", experiment))
    terms = {f"{factor}: {name}": term for name, g in sides for factor, term in _terms(values, g).items()}
    for name, term in terms.items():
        if name.endswith(": base") and term.effects is not None:
            terms[name] = replace(term, effects=-term.effects)
    if not (is_shared(base) and is_shared(experiment)):
        return terms
    first, second = grid_of(values, base), grid_of(values, experiment)
    if first.labels != second.labels or len(first.labels) < 2:
        return terms
    # Fine-tuning seeds that both sides share count by what they do to the difference.
    own = [terms.pop(f"{FINETUNING}: {name}") for name, _ in sides]
    joint = _rows_term(second.values.mean(axis=0) - first.values.mean(axis=0))
    parts = [term.interaction for term in own]
    spread = sum(p**2 / t.interaction_df for p, t in zip(parts, own, strict=True))
    terms[FINETUNING] = replace(
        joint,
        interaction=sum(parts),
        interaction_df=sum(parts) ** 2 / spread if spread > 0 else float("inf"),
        residual=sum(term.residual for term in own),
    )
    return terms
