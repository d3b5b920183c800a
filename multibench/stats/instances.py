"""Example by example: what each run made of it, how hard it is, and whether runs agree on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics import METRICS
from multibench.metrics.base import Array, Metric, class_labels, class_outputs, value_labels, value_outputs
from multibench.metrics.means import PreparedMean
from multibench.metrics.squad import ANSWER_OUTPUTS
from multibench.stats.agreement import PairAgreement, pair_agreement, pair_distance
from multibench.stats.anova import two_way
from multibench.stats.estimate import Estimate, plain
from multibench.stats.layout import Group, RunInfo, RunTable, content_key, run_table

__all__ = [
    "Agreement",
    "Difficulty",
    "Instances",
    "answers_of",
    "difficulty",
    "instances_of",
    "seed_agreement",
]


@dataclass(frozen=True, eq=False)
class Instances:
    """What runs did on each example; arrays are ``(n_runs, n_examples)``, examples in the order given.

    ``credit``: 1 for right and 0 for wrong; for answers to questions the score of each; for numbers the absolute error,
    with a minus, so that more is better everywhere. ``correct``: where something is right or wrong. ``answers``: what
    is compared between runs: class numbers, or being right for answers to questions. ``values``: predicted numbers.
    What there is not is None. Runs are in the canonical order of ``table``.
    """

    credit: Array
    correct: Array | None
    answers: Array | None
    values: Array | None
    table: RunTable
    unit: str

    @property
    def right_or_wrong(self) -> bool:
        """Whether the credit is 1 for right and 0 for wrong, and nothing between."""
        return self.correct is not None and bool((self.credit == self.correct).all())

    def group(self) -> Group:
        """All runs as one group."""
        return self.table.group("group", range(len(self.credit)))


@dataclass(frozen=True)
class Agreement:
    """Agreement of the runs of one group, by kind of pair (``agreement.KINDS``).

    ``pairs`` for classes, and for answers to questions, which are compared by whether they are right; ``distances``,
    mean absolute differences in the unit of the task, for predicted numbers, which hardly ever agree.
    """

    pairs: tuple[PairAgreement, ...]
    distances: dict[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        return "; ".join(map(str, self.pairs)) or "; ".join(f"{k}: {v}" for k, v in self.distances.items())


@dataclass(frozen=True, eq=False)
class Difficulty:
    """How well the runs of one group do on each example.

    ``mean`` ``(n_examples,)``: mean credit, every pretraining seed weighing the same (share of runs that are right).
    ``shrunk``: the same, drawn towards the mean of all examples by ``reliability``, the best linear guess of what
    endless seeds would give (Buhlmann's credibility). ``reliability``: share of the variance between examples' means
    that other seeds would show again. ``error``: root mean squared error of ``shrunk``. ``always`` and ``never``
    count examples that all runs, or no run, has right; None where nothing is right or wrong.
    """

    mean: Array
    shrunk: Array
    reliability: float
    error: float
    always: int | None
    never: int | None
    unit: str
    n_seeds: int
    n_runs: int
    caveat: str = ""

    def hardest(self, top: int) -> Array:
        """Places of the ``top`` examples with least credit, hardest first; the earlier of equals first."""
        return np.argsort(self.mean, kind="stable")[:top]

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        return f"{len(self.mean):,} examples, mean {self.mean.mean():.4f}, reliability {self.reliability:.2f}"


def answers_of(metric: Metric, labels: Array, outputs: Array) -> Array | None:
    """What is compared between runs, ``(n_runs, n_examples)``: classes, or whether a question is answered exactly.

    ``None`` where outputs are numbers, or scores that were computed elsewhere.
    """
    if metric.takes == "classes":
        return class_outputs(labels, outputs, metric.name)
    if metric.takes == "answers" and outputs.ndim == 3:
        return np.asarray(outputs[:, :, ANSWER_OUTPUTS.index("exact")] > 0)
    return None


def instances_of(run_info: RunInfo, preds: ArrayLike, labels: ArrayLike, metric: str | Metric) -> Instances:
    """What each run did on each example, as ``metric`` sees it; arguments as in ``multibootstrap``.

    Metrics that are means of scores (accuracy, exact match, F1 of answers) have those; MCC and F1 are seen as right or
    wrong, correlations as absolute errors of the values predicted. Raises ``StatisticsError`` for a metric that
    is tuned on the examples themselves, and for callables.
    """
    known = METRICS.get(metric) if isinstance(metric, str) else metric
    if not isinstance(known, Metric):
        raise StatisticsError(
            "Single examples need a registered metric: a callable scores whole sets of them."
        )
    if known.tuned_on_reported_split:
        raise StatisticsError(
            f"{known.name} is tuned on all examples together, so that none has a score of its own; "
            "ask for exact_match or answer_f1."
        )
    outputs, gold = np.asarray(preds), np.asarray(labels)
    prepared = known.prepare(gold, outputs)
    table = run_table(run_info, len(outputs), lambda: content_key(gold, outputs))
    answers = answers_of(known, gold, outputs)
    correct = values = None
    unit = "score"
    if known.takes == "classes":
        correct = np.asarray(answers == class_labels(gold, known.name))
        credit, unit = correct.astype(np.float64), "share of runs that are right"
    elif isinstance(prepared, PreparedMean):
        credit = prepared.values.astype(np.float64)
        if answers is None and bool(np.isin(credit, (0, 1)).all()):
            answers = credit > 0
        correct = answers
    else:
        values = value_outputs(gold, outputs, known.name)
        credit, unit = -np.abs(values - value_labels(gold, known.name)), "absolute error, with a minus"
    order = table.order

    def ordered(array: Array | None) -> Array | None:
        return None if array is None else array[order]

    return Instances(credit[order], ordered(correct), ordered(answers), ordered(values), table, unit)


def seed_agreement(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: str | Metric = "accuracy",
    confidence: float = 0.95,
) -> Agreement:
    """How alike runs answer, by which seeds they share: agreement, kappa, flips and churn, or distances of numbers.

    Arguments and errors as in ``instances_of``; see ``agreement.pair_agreement`` for the estimates. Raises
    ``StatisticsError`` for a single run.
    """
    found = instances_of(run_info, preds, labels, metric)
    group = found.group()
    if found.answers is not None:
        return Agreement(pair_agreement(found.answers, group, found.correct, confidence), {})
    compared = found.credit if found.values is None else found.values
    return Agreement((), pair_distance(compared, group, confidence))


def difficulty(
    run_info: RunInfo, preds: ArrayLike, labels: ArrayLike, metric: str | Metric = "accuracy"
) -> Difficulty:
    """How hard each example is for the runs of one group; arguments and errors as in ``instances_of``.

    With seeds as rows (runs, where there is one seed) and examples as columns, the mean square of examples is
    ``s_I + S s_X`` and that of the rest ``s_I``; the reliability of a mean over S seeds is
    ``1 - MS_rest / MS_examples``, 0 at least, and the squared error of the shrunken mean ``(1 - reliability) s_X``.
    """
    found = instances_of(run_info, preds, labels, metric)
    return difficulty_of(found)


def difficulty_of(found: Instances) -> Difficulty:
    """``difficulty`` from what was seen of each example already."""
    group = found.group()
    caveat = ""
    rows = group.mixing() @ found.credit
    if group.n_seeds == 1:
        rows, caveat = found.credit, "one pretraining seed: reliable for its own fine-tuning runs only"
    mean = rows.mean(axis=0)
    reliability = error = math.nan
    shrunk = np.full(mean.shape, math.nan)
    if len(rows) > 1 and len(mean) > 1:
        table = two_way(rows)
        between, rest = float(table.ms_unit), float(table.ms_error)
        reliability = max(0.0, 1 - rest / between) if between > 0 else 0.0
        shrunk = mean.mean() + reliability * (mean - mean.mean())
        error = math.sqrt((1 - reliability) * max(0.0, between - rest) / len(rows))
    else:
        caveat = "one run: nothing is known of what others would do"
    always = never = None
    if found.correct is not None:
        always, never = int(found.correct.all(axis=0).sum()), int((~found.correct).all(axis=0).sum())
    return Difficulty(
        mean, shrunk, reliability, error, always, never, found.unit, group.n_seeds, group.n_runs, caveat
    )
