"""Single examples on which two groups of runs differ by more than their seeds explain."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics.base import Array, Metric
from multibench.stats.estimate import plain
from multibench.stats.instances import Instances, instances_of
from multibench.stats.layout import Group, RunInfo, pair, sides
from multibench.stats.multiplicity import Method, adjust
from multibench.stats.streams import Rng, Streams

__all__ = ["ExampleDifferences", "Flips", "example_differences"]

ARRANGEMENTS = 6
RATES: tuple[Method, ...] = ("benjamini-hochberg", "benjamini-yekutieli")
CELLS = 2**22
# Sums that differ by less are equal: credits are means of small counts, or scores.
TIE = 1e-9


@dataclass(frozen=True)
class Flips:
    """Shares of examples that change between two runs, where answers are right or wrong; NaN for a lone seed.

    ``gained``: wrong in a run of base, right in one of the experiment (of the same seed, where paired); ``lost``: the
    other way round. ``base`` and ``experiment``: changes either way between two seeds of that side, the noise to hold
    the first two against.
    """

    gained: float
    lost: float
    base: float
    experiment: float

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}


@dataclass(frozen=True, eq=False)
class ExampleDifferences:
    """Which examples two groups of runs differ on; arrays are ``(n_examples,)`` in the order given.

    ``base`` and ``experiment`` are mean credits (see ``Instances``), ``difference`` the second minus the first.
    ``p_values`` are exact, two-sided; ``testable`` says which examples could have a p-value of ``alpha`` or less at
    all, whatever side their scores had been on; ``adjusted`` is NaN for others. ``differs`` where it is at most
    ``alpha``. ``smallest_p`` is the smallest possible p-value and ``needed`` how many examples must have the smallest
    that is possible for them before any can be named, ``None`` if that cannot be. ``few`` counts p-values up to
    ``alpha``, ``by_chance`` how many exchanged seeds give on average, and ``p_any`` is the p-value of that count:
    whether there is any difference at all, under any dependence between examples; NaN if none is testable. ``flips``
    is None where nothing is right or wrong.
    """

    base: Array
    experiment: Array
    p_values: Array
    testable: Array
    adjusted: Array
    alpha: float
    method: str
    units: str
    n_units: tuple[int, int]
    paired: bool
    n_arrangements: int
    exact: bool
    smallest_p: float
    needed: int | None
    few: int
    by_chance: float
    p_any: float
    flips: Flips | None
    unit: str
    warnings: tuple[str, ...]

    @property
    def difference(self) -> Array:
        """Experiment minus base."""
        return np.asarray(self.experiment - self.base)

    @property
    def differs(self) -> Array:
        """Examples that are named; the false discovery rate among them is at most ``alpha``."""
        return np.asarray(self.adjusted <= self.alpha)

    @property
    def can_name(self) -> bool:
        """Whether any example could be named with this many seeds."""
        return self.needed is not None

    def order(self, top: int | None = None) -> Array:
        """Places of the ``top`` examples with the smallest p-values, of equals those that differ most."""
        return np.lexsort((-np.abs(self.difference), self.p_values))[:top]

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        derived = {"difference": self.difference, "differs": self.differs, "can_name": self.can_name}
        return {key: plain(value) for key, value in {**vars(self), **derived}.items()}

    def __str__(self) -> str:
        return (
            f"{int(self.differs.sum())} of {len(self.base):,} examples differ ({self.method}, rate {self.alpha:g}); "
            f"{self.few} with p up to {self.alpha:g}, {self.by_chance:.1f} by chance, p = {self.p_any:.3g}"
        )


def example_differences(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: str | Metric = "accuracy",
    paired_seeds: bool = False,
    alpha: float = 0.05,
    method: Method = "benjamini-hochberg",
    n_arrangements: int = 10_000,
    rng: Rng = None,
) -> ExampleDifferences:
    """Test every example for a difference between base and experiment, and control the false discovery rate.

    Pretraining seeds are what can be exchanged: runs of a seed share its noise, and examples share all seeds. Each
    seed counts once, by its mean credit. Unpaired, the seeds of both sides are dealt out anew; paired, a seed's two
    means change places (its difference its sign). Both tests are exact if seeds are exchangeable on that example
    when nothing differs there, however runs, seeds and examples depend on each other. For that every seed must have
    as many runs as any other: surplus runs are left out, and a warning says how many. With one seed on both sides their
    fine-tuning runs are exchanged instead: the statement is then about the two checkpoints.

    Args:
        run_info: as in ``multibootstrap``, with ``intervention``.
        preds: ``(n_runs, n_examples[, n_outputs])``.
        labels: ``(n_examples,)``.
        metric: how an example is scored (``instances_of``).
        paired_seeds: whether equal seeds of both sides belong together.
        alpha: false discovery rate, and level of single tests.
        method: ``benjamini-hochberg`` (independent or positively dependent p-values; docs/statistics.md says what
            was found with crossed seeds) or ``benjamini-yekutieli`` (any dependence).
        n_arrangements: exchanges that are tried where all of them are more than that.
        rng: for these.

    Examples that cannot reach ``alpha`` for any exchange of their seeds (all right, all wrong, or nearly) are left out
    of the family beforehand. That does not look at which side did what, so it costs nothing (Tarone 1990).

    Raises ``StatisticsError`` for inputs that do not fit, and where neither side has two seeds or runs.

    """
    if method not in RATES:
        raise StatisticsError(
            f"`method` is {method!r}; the false discovery rate is controlled by {' or '.join(RATES)}."
        )
    found = instances_of(run_info, preds, labels, metric)
    warnings: list[str] = []
    base, experiment = sides(found.table)
    if paired_seeds:
        base, experiment = pair(base, experiment, warnings)
    lone = base.n_seeds == experiment.n_seeds == 1
    if lone and max(base.n_runs, experiment.n_runs) == 1:
        raise StatisticsError(
            "One run a side: there is no seed noise to compare with. See `mcnemar` for two runs."
        )
    paired = paired_seeds and not lone
    first, second = _units(found, base, experiment, paired, lone, warnings)
    weights, exact = _arrangements(len(first), len(second), paired, n_arrangements, rng)
    tested = _tested(second - first if paired else np.vstack([first, second]), weights, paired, alpha)
    testable = tested.least <= alpha + TIE
    adjusted = np.full(len(testable), math.nan)
    needed = None
    if testable.any():
        places = np.flatnonzero(testable)
        family = adjust({str(place): float(tested.p[place]) for place in places}, method, alpha)
        adjusted[places] = family.adjusted
        needed = _needed(tested.least[places], method, alpha)
    return ExampleDifferences(
        first.mean(axis=0),
        second.mean(axis=0),
        tested.p,
        testable,
        adjusted,
        alpha,
        method,
        "fine-tuning runs" if lone else "pretraining seeds",
        (len(first), len(second)),
        paired,
        len(weights),
        exact,
        float(tested.least.min()),
        needed,
        int(tested.counts[0]),
        float(tested.counts.mean()),
        float((tested.counts >= tested.counts[0]).mean()) if testable.any() else math.nan,
        _flips(first, second, paired) if found.right_or_wrong else None,
        found.unit,
        tuple(warnings),
    )


@dataclass(frozen=True, eq=False)
class _Tested:
    p: Array
    least: Array
    """The smallest p-value that any arrangement of the same scores has, ``(n_examples,)``."""
    counts: Array
    """For each arrangement, itself taken as what was seen, the number of p-values up to alpha; the first is ours."""


def _units(
    found: Instances, base: Group, experiment: Group, paired: bool, lone: bool, warnings: list[str]
) -> tuple[Array, Array]:
    """Mean credits ``(n_units, n_examples)`` of both sides, over as many runs of every seed."""
    if lone:
        return found.credit[base.rows], found.credit[experiment.rows]
    counts = [np.bincount(group.seed_codes) for group in (base, experiment)]
    # Paired, each seed is only compared with itself.
    most = np.minimum(*counts) if paired else np.array([min(c.min() for c in counts)])
    surplus = 0
    means = []
    for group, own in zip((base, experiment), counts, strict=True):
        kept = np.broadcast_to(most, own.shape)
        rows = [group.rows[group.seed_codes == code][:n] for code, n in enumerate(kept)]
        surplus += int((own - kept).sum())
        means.append(np.stack([found.credit[row].mean(axis=0) for row in rows]))
    if surplus:
        warnings.append(
            f"{surplus} runs were left out, so that seeds that are exchanged have the same number of runs each."
        )
    return means[0], means[1]


def _needed(least: Array, method: Method, alpha: float) -> int | None:
    """How many of the smallest possible p-values ``least`` a step-up procedure would have to see to reject any."""
    n = len(least)
    ranks = np.arange(1, n + 1)
    slope = alpha / n if method == "benjamini-hochberg" else alpha / (n * float((1 / ranks).sum()))
    enough = np.flatnonzero(np.sort(least) <= slope * ranks + TIE)
    return int(enough[0]) + 1 if len(enough) else None


def _flips(first: Array, second: Array, paired: bool) -> Flips:
    """From the chances ``(n_units, n_examples)`` that a run of each unit is right."""
    if not paired:
        # Every run of base with every run of the experiment: means over units may be multiplied.
        base, experiment = first.mean(axis=0), second.mean(axis=0)
    else:
        base, experiment = first, second

    def within(units: Array) -> float:
        n, total = len(units), units.sum(axis=0)
        pairs = total * (n - total) - (units * (1 - units)).sum(axis=0)
        return float(2 * pairs.mean() / (n * (n - 1))) if n > 1 else math.nan

    gained, lost = ((1 - base) * experiment).mean(), (base * (1 - experiment)).mean()
    return Flips(float(gained), float(lost), within(first), within(second))


def _arrangements(n_base: int, n_experiment: int, paired: bool, most: int, rng: Rng) -> tuple[Array, bool]:
    """Weights of units ``(n_arrangements, n_units)``, the one that was seen first, and whether these are all.

    Weighted sums of the units (of their differences, where paired) are differences of the sides' means.
    """
    if paired:
        exact = 2**n_base <= most
        signs = (
            np.array(list(itertools.product((1, -1), repeat=n_base)))
            if exact
            else np.vstack([np.ones(n_base), 1 - 2 * _generator(rng).integers(0, 2, (most, n_base))])
        )
        return signs / n_base, exact
    n = n_base + n_experiment
    exact = math.comb(n, n_experiment) <= most
    if exact:
        # From the last units backwards, so that the first choice is the one that was seen.
        places = np.array(list(itertools.combinations(reversed(range(n)), n_experiment)))
        chosen = np.zeros((len(places), n), dtype=bool)
        np.put_along_axis(chosen, places, True, axis=1)
    else:
        seen = np.arange(n) >= n_base
        drawn = _generator(rng).permuted(np.broadcast_to(seen, (most, n)), axis=1)
        chosen = np.vstack([seen, drawn])
    return np.where(chosen, 1 / n_experiment, -1 / n_base), exact


def _generator(rng: Rng) -> np.random.Generator:
    if isinstance(rng, np.random.RandomState):
        raise StatisticsError("`rng` is a RandomState; pass an integer or a numpy Generator.")
    return Streams(rng).generator(ARRANGEMENTS, 0)


def _tested(units: Array, weights: Array, paired: bool, alpha: float) -> _Tested:
    """p-values of every column of ``units`` (of differences, where paired) under the arrangements ``weights``."""
    n_arrangements, n_examples = len(weights), units.shape[1]
    p, least = np.ones(n_examples), np.ones(n_examples)
    counts = np.zeros(n_arrangements, dtype=np.int64)
    # As many arrangements as may lie at or beyond a value whose p-value is alpha.
    beyond = math.floor(alpha * n_arrangements + TIE)
    # Where all units are alike (paired: all differences 0) every arrangement is, too.
    live = np.flatnonzero((units != (0 if paired else units[0])).any(axis=0))
    step = max(1, CELLS // n_arrangements)
    for start in range(0, len(live), step):
        part = live[start : start + step]
        sizes = np.abs(units[:, part].T @ weights.T)
        p[part] = (sizes >= sizes[:, :1] - TIE).mean(axis=1)
        least[part] = (sizes >= sizes.max(axis=1, keepdims=True) - TIE).mean(axis=1)
        bound = np.partition(sizes, n_arrangements - 1 - beyond, axis=1)[:, n_arrangements - 1 - beyond]
        counts += (sizes > bound[:, None] + TIE).sum(axis=0)
    return _Tested(p, least, counts)
