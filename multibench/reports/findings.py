"""All that a report says of results: each analysis is made once, when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from multibench.errors import ResultsError, StatisticsError
from multibench.reports.comparison import comparison_table
from multibench.reports.dynamics import dynamics
from multibench.reports.groups import CheckpointGroup, checkpoint_groups, comparison_pairs, reference_group
from multibench.reports.instances import agreement_table, differences_table, difficulty_table
from multibench.reports.power import more_seeds
from multibench.reports.runs import run_table, sensitivity_table, spread_table, trouble_table
from multibench.reports.scores import scores
from multibench.reports.selection import best_of_grid_table, best_of_n_table, grid_table
from multibench.reports.sides import Sides, joined_sides
from multibench.reports.size import size_table
from multibench.reports.tables import Table
from multibench.reports.variance import variance
from multibench.results import Chosen, Results, select_settings
from multibench.results.memory import remembering
from multibench.stats.sizes import possible_size

__all__ = ["Findings", "Options", "findings_of"]

TOP = 10
"""Single examples that a table shows."""
FEW = 3
"""Pairs of groups that are compared example by example."""


@dataclass(frozen=True)
class Options:
    """What a report can be asked for.

    ``metric``: one metric instead of the headline metrics. ``rule``: a selection rule instead of the suites' own.
    ``base``: filter of the group that the others are compared with. ``effect``: the difference that matters, a
    fraction. ``nboot``: bootstrap draws.
    """

    metric: str | None = None
    rule: str | None = None
    base: str | None = None
    effect: float = 0.005
    nboot: int = 2000
    confidence: float = 0.95


class Findings:
    """The analyses of one set of results. What cannot be said is None, with the reason in ``silent``."""

    def __init__(self, results: Results, options: Options | None = None) -> None:
        if not len(results):
            raise ResultsError("There is nothing to report: no stored run was selected.")
        self.results = remembering(results)
        self.options = options or Options()
        if self.options.metric == "all":
            raise ResultsError("A report is about one metric of each evaluation; name it, or leave it out.")
        possible_size(self.options.effect, "effect")
        self.silent: dict[str, str] = {}
        """Why an analysis was left out, by its name."""

    @cached_property
    def chosen(self) -> list[Chosen]:
        """The runs that the tables are about: one setting of each grid, or all where the rule keeps all."""
        return select_settings(self.results, self.options.rule)

    @cached_property
    def groups(self) -> list[CheckpointGroup]:
        """Groups of checkpoints, by family, size and step."""
        return checkpoint_groups(self.chosen)

    @cached_property
    def scores(self) -> Table:
        """Scores with intervals."""
        o = self.options
        return scores(self.results, o.metric, o.rule, o.nboot, o.confidence)

    @cached_property
    def runs(self) -> Table:
        """Every run's score."""
        return run_table(self.chosen, self.options.metric)

    @cached_property
    def spread(self) -> Table:
        """How scores of single runs spread."""
        return spread_table(self.runs)

    @cached_property
    def variance(self) -> Table | None:
        """Variance components."""
        o = self.options
        try:
            return variance(self.results, o.metric, o.rule, o.confidence)
        except ResultsError as error:
            self.silent["variance"] = str(error)
            return None

    @cached_property
    def rule(self) -> str | None:
        """The selection rule of sides, which have one setting: the best by mean dev score where all were kept."""
        several = len({(c.group, c.task) for c in self.chosen}) < len(self.chosen)
        return "best_mean_dev" if several else self.options.rule

    @cached_property
    def reference(self) -> CheckpointGroup:
        """The group that the others are compared with."""
        return reference_group(self.groups, self.results, self.options.base)

    @cached_property
    def pairs(self) -> list[tuple[CheckpointGroup, CheckpointGroup]]:
        """The comparisons of the report, as (base, experiment)."""
        return comparison_pairs(self.groups, self.reference)

    def sides(self) -> Iterator[Sides]:
        """Both sides of every comparison on every evaluation."""
        for base, experiment in self.pairs:
            filters, metric = (base.filter, experiment.filter), self.options.metric
            try:
                yield from joined_sides(self.results, *filters, metric=metric, rule=self.rule)
            except (ResultsError, StatisticsError) as error:
                self.silent[f"{base.title} and {experiment.title}"] = str(error)

    @cached_property
    def comparisons(self) -> Table | None:
        """Differences between groups, adjusted for their number."""
        if not self.pairs:
            self.silent["comparisons"] = "There is one group of checkpoints, so there is nothing to compare."
            return None
        sides = list(self.sides())
        if not sides:
            return None
        return comparison_table(sides, self.options.nboot, self.options.confidence)

    @cached_property
    def more_seeds(self) -> Table | None:
        """What more pretraining seeds would buy the comparisons."""
        found = more_seeds(self.sides(), self.options.effect, self.options.confidence)
        if found is None:
            self.silent["power"] = "No comparison has two or more pretraining seeds on both sides."
        return found

    @cached_property
    def dynamics(self) -> Table | None:
        """Scores along pretraining steps; steps are held equivalent within the effect that matters."""
        o = self.options
        try:
            return dynamics(
                self.results, metric=o.metric, margin=o.effect, rule=o.rule, confidence=o.confidence
            )
        except ResultsError as error:
            self.silent["dynamics"] = str(error)
            return None

    @cached_property
    def agreement(self) -> Table | None:
        """How alike runs answer."""
        o = self.options
        try:
            return agreement_table(self.results, metric=o.metric, rule=o.rule, confidence=o.confidence)
        except ResultsError as error:
            self.silent["agreement"] = str(error)
            return None

    @cached_property
    def hardest(self) -> Table | None:
        """The hardest examples of the reference group."""
        own = self.results.where(self.reference.filter)
        try:
            return difficulty_table(own, metric=self.options.metric, rule=self.rule, top=TOP)
        except ResultsError:
            return None

    @cached_property
    def example_differences(self) -> list[tuple[CheckpointGroup, CheckpointGroup, Table]]:
        """The examples that groups differ on, for the last of the earlier steps and the first other families."""
        pairs = [pair for pair in self.pairs if min(group.n_seeds for group in pair) > 1]
        earlier = [pair for pair in pairs if pair[1] is self.reference]
        found = []
        for base, experiment in [*earlier[-1:], *(pair for pair in pairs if pair not in earlier)][:FEW]:
            try:
                table = differences_table(
                    self.results,
                    base.filter,
                    experiment.filter,
                    metric=self.options.metric,
                    rule=self.rule,
                    top=TOP,
                )
            except (ResultsError, StatisticsError):
                continue  # the section on comparisons says why these two cannot be compared
            found.append((base, experiment, table))
        return found

    @cached_property
    def grids(self) -> Table | None:
        """Every setting of every grid."""
        return grid_table(self.results, self.chosen)

    @cached_property
    def best_of_n(self) -> Table | None:
        """Expected best of n runs."""
        return best_of_n_table(self.chosen, self.options.confidence)

    @cached_property
    def best_of_grid(self) -> Table | None:
        """Expected best of a search over the grid."""
        return best_of_grid_table(self.results)

    @cached_property
    def trouble(self) -> Table:
        """Collapsed, diverged and failed runs."""
        return trouble_table(self.results, self.options.confidence)

    @cached_property
    def sensitivity(self) -> Table | None:
        """Scores with and without collapsed runs."""
        return sensitivity_table(self.chosen, self.options.metric, self.options.confidence)

    @cached_property
    def size(self) -> Table | None:
        """Score against size."""
        return size_table(self.scores, self.groups)


def findings_of(results: Results | Findings) -> Findings:
    """``results`` as findings, with the usual options if they are none yet."""
    return results if isinstance(results, Findings) else Findings(results)
