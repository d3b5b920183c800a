"""The examples on which two groups of runs differ, and whether by more than their seeds explain."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from multibench.metrics import METRICS
from multibench.reports.cells import Cell, Name, Quantity, count, points, say
from multibench.reports.examples import credit, credit_name, examples_table
from multibench.reports.scores import score_notes
from multibench.reports.sides import Sides, joined_sides
from multibench.reports.tables import Table
from multibench.results import Results
from multibench.results.filters import RunFilter
from multibench.stats import ExampleDifferences, example_differences
from multibench.stats.differences import Flips

__all__ = ["Method", "differences_table"]

Method = Literal["benjamini-hochberg", "benjamini-yekutieli"]


def differences_table(
    results: Results,
    base: str | RunFilter,
    experiment: str | RunFilter,
    task: str | None = None,
    metric: str | None = None,
    paired: bool | None = None,
    rule: str | None = None,
    top: int = 20,
    alpha: float = 0.05,
    method: Method = "benjamini-hochberg",
) -> Table:
    """The ``top`` examples with the smallest p-values in each evaluation; sides as in ``compare``."""
    rows: list[dict[str, Cell]] = []
    notes: list[str] = [f"Base: {base}. Experiment: {experiment}."]
    details = []
    for sides in joined_sides(results, base, experiment, task, metric, paired, rule):
        found = example_differences(
            sides.run_info,
            sides.outputs,
            sides.labels,
            sides.metric,
            sides.paired,
            alpha,
            method,
            rng=sides.rng,
        )
        rows += _difference_rows(sides, found, top)
        notes += _difference_notes(sides, found)
        details.append(
            {
                "evaluation": sides.evaluation,
                "metric": sides.metric,
                "examples": list(sides.ids),
                **found.to_dict(),
            }
        )
    return examples_table("Examples on which two groups differ", rows, notes, {"differences": details})


def _difference_rows(sides: Sides, found: ExampleDifferences, top: int) -> Iterator[dict[str, Cell]]:
    for place in found.order(top):
        name = credit_name(found.unit)
        difference = float(found.difference[place])
        yield {
            "evaluation": sides.evaluation,
            "metric": sides.metric,
            "example": sides.ids[place],
            f"base, {name}": credit(float(found.base[place]), found.unit),
            f"experiment, {name}": credit(float(found.experiment[place]), found.unit),
            "better": "neither" if difference == 0 else "experiment" if difference > 0 else "base",
            "p": float(found.p_values[place]),
            "p (adjusted)": float(found.adjusted[place]) if found.testable[place] else None,
            "differs": bool(found.differs[place]),
            "pairing": "paired" if found.paired else "unpaired",
            found.units: Quantity(
                min(found.n_units), f"{found.n_units[0]} / {found.n_units[1]}", found.units
            ),
            "selection": sides.selection,
        }


def _difference_notes(sides: Sides, found: ExampleDifferences) -> list[str]:
    where = Name(f"{sides.title}: ")
    total, named = len(found.base), int(found.differs.sum())
    tried = f"all {found.n_arrangements:,}" if found.exact else f"{found.n_arrangements:,} drawn"
    parts: list[str | Quantity] = [
        where,
        Quantity(named, f"{named:,} of ", "examples that differ"),
        count(total, "example"),
        " differ beyond seed noise (false discovery rate ",
        Quantity(found.alpha, f"{found.alpha:.0%}", "false discovery rate"),
        ", ",
        Name(found.method),
        "; exact tests over ",
        Quantity(found.n_arrangements, tried, "exchanges"),
        f" exchanges of {found.units}).",
    ]
    if not math.isnan(found.p_any):
        parts += [
            " ",
            Quantity(found.few, f"{found.few:,}", "small p-values"),
            " examples have a p-value up to that rate, ",
            Quantity(found.by_chance, f"{found.by_chance:.1f}", "small p-values by chance"),
            " would by chance; that any differ at all: p = ",
            Quantity(found.p_any, f"{found.p_any:.3g}", "p-value"),
            ".",
        ]
    notes: list[str] = [say(*parts)]
    if found.flips is not None:
        notes.append(_flips_note(where, found.flips, found))
    if not found.can_name:
        notes.append(_limit_note(where, found))
    notes += [f"{where}{warning}" for warning in found.warnings]
    if found.units != "pretraining seeds":
        notes.append(
            f"{where}one checkpoint a side; this is about these two, beyond their fine-tuning noise."
        )
    if METRICS.get(sides.metric).takes == "classes":
        notes.append(f"{where}examples are right or wrong, whatever the metric.")
    return [*notes, *score_notes(sides.evaluation, sides.metric, sides.as_released)]


def _limit_note(where: Name, found: ExampleDifferences) -> str:
    """Why no example can be named with these seeds, whatever they predict."""
    testable = int(found.testable.sum())
    parts: list[str | Quantity] = [
        where,
        "no single example can be named with these seeds, whatever the predictions: the smallest possible p-value is ",
        Quantity(found.smallest_p, f"{found.smallest_p:.2g}", "smallest possible p-value"),
    ]
    if testable:
        able = count(testable, "example")
        parts += [", and all ", able, " that could reach the level would not do together"]
    else:
        parts += [", so that no example reaches the level"]
    return say(*parts, ". More seeds are needed.")


def _flips_note(where: Name, flips: Flips, found: ExampleDifferences) -> str:
    runs = "runs of one seed" if found.paired else "runs"
    parts: list[str | Quantity] = [
        where,
        "from base to experiment ",
        points(flips.gained, 1, "examples gained"),
    ]
    parts += [
        " % of examples turn right and ",
        points(flips.lost, 1, "examples lost"),
        f" % wrong between two {runs}",
    ]
    for side, share_ in (("base", flips.base), ("experiment", flips.experiment)):
        if not math.isnan(share_):
            change = points(share_, 1, f"examples that change within {side}")
            parts += ["; ", change, f" % change between two {found.units} of {side}"]
    return say(*parts, ".")
