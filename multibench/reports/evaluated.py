"""Chosen runs on one evaluation, as the statistics take them: made here and nowhere else.

Every verb that speaks of a mean gets it from here, so that one mean has one interval: over the same units, with
fine-tuning seeds by the same labels, and less what a choice among settings made it too good by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.reports.cells import Name, Quantity, Sentence, count, say
from multibench.results import Chosen, PredictionTensor, Results
from multibench.stats import Choice, choice_of_runs, choice_of_settings, estimate_group, group_inference
from multibench.stats.compare import Method
from multibench.stats.estimate import Estimate
from multibench.stats.inference import Few
from multibench.stats.problem import Problem, prepare

__all__ = ["Evaluated", "Units", "choice_notes", "evaluated", "few_notes", "units_of"]


@dataclass(frozen=True, eq=False)
class Units:
    """What is drawn of a test set: clusters of examples and fixed strata, None where there are none."""

    clusters: NDArray[np.int64] | None
    strata: NDArray[np.int64] | None
    cluster_unit: str

    def options(self) -> dict[str, Any]:
        """Keyword arguments of the functions of ``multibench.stats``."""
        return {"clusters": self.clusters, "strata": self.strata, "cluster_unit": self.cluster_unit}


def units_of(tensor: PredictionTensor) -> Units:
    """The units of the examples in ``tensor``."""
    return Units(tensor.clusters, tensor.strata, tensor.cluster_unit)


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Runs that a rule left over, on one evaluation.

    ``corrections`` ``(n_runs,)`` are what ``choice`` took off each run's score for the luck of the choice; None where
    nothing was chosen on the examples that are scored.
    """

    chosen: Chosen
    evaluation: str
    tensor: PredictionTensor
    labels: NDArray[Any]
    metric: str
    choice: Choice | None

    @property
    def run_info(self) -> dict[str, list[Any]]:
        """Columns ``seed`` and ``finetune_seed``."""
        return self.tensor.run_info()

    @property
    def corrections(self) -> NDArray[np.float64] | None:
        """What is added to each run's score."""
        if self.choice is None:
            return None
        return np.full(len(self.tensor.runs), -self.choice.optimism)

    def options(self) -> dict[str, Any]:
        """Keyword arguments of the functions of ``multibench.stats`` that take one group."""
        return {**units_of(self.tensor).options(), "corrections": self.corrections}

    def few(self, confidence: float = 0.95) -> tuple[Few, ...]:
        """Factors of which there are few units; none where the score is not a mean."""
        problem = self._problem()
        if problem.slow or self.chosen.estimand != "mean":
            return ()
        group = problem.table.group("group", range(len(problem.scores)))
        return group_inference(problem, group, confidence, problem.corrected(self.corrections)).few

    def _problem(self) -> Problem:
        units = units_of(self.tensor)
        return prepare(
            self.run_info,
            self.tensor.outputs,
            self.labels,
            self.metric,
            units.clusters,
            strata=units.strata,
            cluster_unit=units.cluster_unit,
        )

    def estimate(
        self, confidence: float = 0.95, method: Method = "surrogate", nboot: int = 2000, rng: int = 0
    ) -> Estimate:
        """The mean (or what the rule reports) with its interval."""
        return estimate_group(
            self.run_info,
            self.tensor.outputs,
            self.labels,
            self.metric,
            nboot,
            rng,
            confidence,
            method=method,
            estimand=self.chosen.estimand,
            **self.options(),
        )


def evaluated(chosen: Chosen, evaluation: str, metric: str) -> Evaluated | None:
    """The chosen runs on ``evaluation``; None where its examples have no labels."""
    tensor = Results(chosen.runs).predictions(evaluation)
    if tensor.labels is None:
        return None
    choice = _choice(chosen, evaluation, metric) if chosen.decided_on == evaluation else None
    return Evaluated(chosen, evaluation, tensor, tensor.labels, metric, choice)


def _choice(chosen: Chosen, evaluation: str, metric: str) -> Choice | None:
    """What the choice did to the score, where it looked at the very examples that are scored."""
    runs = [run for rivals in chosen.rivals for run in rivals if evaluation in run.manifest["evaluations"]]
    if not runs:
        return None
    together = Results(runs).predictions(evaluation)
    assert together.labels is not None
    deciding = runs[0].manifest["evaluations"][evaluation]["headline"]
    by_id = {run.run_id: k for k, rivals in enumerate(chosen.rivals) for run in rivals}
    info = {"seed": list(range(len(together.runs)))}
    units = units_of(together)
    problems = {
        name: prepare(
            info,
            together.outputs,
            together.labels,
            name,
            units.clusters,
            # Two metrics would each sort examples its own way: a half to choose on must not be scored.
            keep_examples=metric != deciding,
            strata=None,
            cluster_unit=units.cluster_unit,
        )
        for name in {metric, deciding}
    }
    if problems[metric].slow or problems[deciding].slow:
        return None
    order = problems[metric].table.order
    reported, decided = (problems[name].pseudo_scores for name in (metric, deciding))
    fields = [together.runs[row] for row in order]
    rivals = [by_id[run["run_id"]] for run in fields]
    if chosen.by_run:
        return choice_of_runs(reported, decided, rivals)
    rows = [(run["checkpoint"], run["finetuning_seed"]) for run in fields]
    return choice_of_settings(reported, decided, rivals, rows)


def few_notes(found: Sequence[tuple[str, str, Few]]) -> list[Sentence]:
    """What few units of a factor mean for intervals, a sentence a factor: of (title, evaluation, what was found)."""
    sentences = []
    by_factor: dict[tuple[str, str, int], list[tuple[str, Few]]] = {}
    for title, evaluation, few in found:
        by_factor.setdefault((title, few.factor, few.n_units), []).append((evaluation, few))
    for (title, name, n_units), members in by_factor.items():
        factor, _, side = name.partition(": ")
        parts: list[str | Quantity] = [
            Name(f"{title}: " if title else ""),
            count(n_units, factor.removesuffix("s")),
            Name(f" of the {side}" if side else ""),
            " are few. One more would bring half-widths from ",
        ]
        for place, (evaluation, few) in enumerate(members):
            parts += [
                ", from " if place else "",
                Quantity(few.now, f"{100 * few.now:.1f}", "half-width"),
                " to about ",
                Quantity(few.then, f"{100 * few.then:.1f}", "expected half-width"),
                Name(f" ({evaluation})"),
            ]
        sentences.append(say(*parts, "."))
    return sentences


def choice_notes(title: str, one: Evaluated, estimate: Estimate) -> Iterator[Sentence]:
    """What the table says of a score whose setting was chosen on the examples that it is reported for."""
    choice = one.choice
    if choice is None:
        return
    plain = estimate.value + choice.optimism
    what = "runs a checkpoint" if one.chosen.by_run else "settings"
    yield say(
        Name(f"{title}, {one.evaluation}: "),
        "the best of ",
        Quantity(choice.n_candidates, f"{choice.n_candidates} {what}", "candidates"),
        " was chosen on this very split. The score is the true one of what was chosen, estimated on examples",
        "" if one.chosen.by_run else " and seeds",
        " that the choice did not see; the plain mean is ",
        Quantity(plain, f"{100 * plain:.1f}", "plain mean"),
        ", ",
        Quantity(choice.optimism, f"{100 * choice.optimism:.1f} points", "optimism"),
        " of it owed to the choice.",
    )
