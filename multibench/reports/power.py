"""How many seeds would settle it: designs that find an effect, from the noise of stored runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from multibench.errors import ResultsError, StatisticsError
from multibench.reports.cells import Cell, Quantity, points, say, share
from multibench.reports.scores import score_notes
from multibench.reports.sides import Sides, joined_sides
from multibench.reports.tables import Table
from multibench.results import Results
from multibench.stats import Plan, comparison_noise, plan_comparison, power_of
from multibench.stats.sizes import possible_size

__all__ = ["more_seeds", "power"]

SEEDS = (5, 10, 25, 50)


def power(
    results: Results,
    effect: float,
    base: str,
    experiment: str,
    task: str | None = None,
    metric: str | None = None,
    paired: bool | None = None,
    rule: str | None = None,
    target: float = 0.8,
    half_width: float | None = None,
    budget_hours: float = math.inf,
    confidence: float = 0.95,
) -> Table:
    """For each evaluation the cheapest design that finds ``effect`` with power ``target``.

    The noise is that of the stored comparison of ``base`` and ``experiment`` (filters as in ``compare``); hours
    are those that its runs took. Where no run says how long it took, as imported ones, designs are ordered by their
    number of runs, and a budget of hours raises ``ResultsError``. ``effect`` and ``half_width`` are fractions: 0.005 is
    half a point. Raises ``StatisticsError`` for one that is not above 0, or that no two scores can differ by.
    """
    possible_size(effect, "effect")
    if half_width is not None:
        possible_size(half_width, "half-width")
    rows: list[dict[str, Cell]] = []
    notes = [
        f"Effect {100 * effect:g} points, power {target:.0%}, two-sided at {1 - confidence:.3g}; base {base}, "
        f"experiment {experiment}. Seeds and runs are for each side; the interval planned for is the one that compare "
        "prints.",
        "The noise of the stored runs is an estimate itself: the range of seeds spans what they allow for (80 %).",
        "Fine-tuning seeds are taken to be nested in pretraining seeds, as new runs have them: for the same budget the "
        "error is smaller than with seeds that all checkpoints share, whose noise no number of checkpoints averages "
        "out.",
    ]
    details = []
    for sides in joined_sides(results, base, experiment, task, metric, paired, rule):
        hours = _hours_per_run(results, sides.evaluation.rpartition(".")[0])
        if hours is None and math.isfinite(budget_hours):
            raise ResultsError(
                f"No stored run says how long it took, so a budget of {budget_hours:g} hours means nothing here; "
                "leave it out."
            )
        noise = comparison_noise(
            sides.run_info, sides.outputs, sides.labels, sides.metric, sides.paired, **_noise_options(sides)
        )
        plan = plan_comparison(
            noise,
            effect,
            n_examples=_units_in(sides),
            power=target,
            half_width=half_width,
            confidence=confidence,
            hours_per_run=1.0 if hours is None else hours,
            budget_hours=budget_hours,
        )
        best = plan.best
        details.append(
            {
                "evaluation": sides.evaluation,
                "noise": noise.to_dict(),
                "best": best and {**best.to_dict(), **({"hours": None} if hours is None else {})},
                "low": plan.low and plan.low.to_dict(),
                "high": plan.high and plan.high.to_dict(),
            }
        )
        rows.append(
            {
                "evaluation": sides.evaluation,
                "metric": sides.metric,
                "pairing": sides.pairing,
                "enough": plan.enough,
                "seeds": None if best is None else best.n_seeds,
                "seeds, if the pilot is right within 80 %": _range(plan),
                "runs a seed": None if best is None else best.n_runs,
                "examples": len(sides.labels),
                "power": None if best is None else share(best.power, "power"),
                "half-width [points]": None if best is None else points(best.half_width, unit="half-width"),
                "hours": None
                if best is None or hours is None
                else Quantity(best.hours, f"{best.hours:.2g}", "hours"),
                "selection": sides.selection,
            }
        )
        notes += score_notes(sides.evaluation, sides.metric, sides.as_released)
        if hours is None:
            notes.append(
                "No stored run says how long it took: the cheapest design is that with the fewest runs."
            )
        if not plan.enough:
            notes.append(f"{sides.evaluation}: {plan.reason}.")
    return Table("Designs", tuple(rows[0]), tuple(rows), tuple(dict.fromkeys(notes)), {"designs": details})


def more_seeds(sides: Iterable[Sides], effect: float, confidence: float = 0.95) -> Table | None:
    """What more pretraining seeds would buy each comparison, with the runs a seed and the examples that it has.

    Half-widths that are to be expected of the interval, and the power to find ``effect`` (a fraction). Sides
    with a single seed have no noise to plan with and are left out; None if that leaves nothing.
    """
    rows: list[dict[str, Cell]] = []
    curves = []
    for side in sides:
        try:
            noise = comparison_noise(
                side.run_info, side.outputs, side.labels, side.metric, side.paired, **_noise_options(side)
            )
        except StatisticsError:
            continue
        groups = {flag: side.seeds_and_runs(flag) for flag in (False, True)}
        n_seeds, n_runs = min(s for s, _ in groups.values()), min(r for _, r in groups.values())
        designs = {
            s: power_of(noise, effect, s, n_runs, _units_in(side), confidence) for s in (n_seeds, *SEEDS)
        }
        curves.append({"runs": n_runs, "examples": len(side.labels), "noise": noise.to_dict()})
        rows.append(
            {
                "from": side.base,
                "to": side.experiment,
                "evaluation": side.evaluation,
                "metric": side.metric,
                "pairing": side.pairing,
                "seeds": n_seeds,
                "runs a seed": n_runs,
                "half-width": points(designs[n_seeds].half_width, unit="expected half-width"),
                **{
                    f"with {s} seeds": points(designs[s].half_width, unit="expected half-width")
                    for s in SEEDS
                },
                **{f"power, {s} seeds": share(designs[s].power, "power") for s in (5, 25)},
            }
        )
    if not rows:
        return None
    note = say(
        "Power is for a difference of ",
        Quantity(effect, f"{100 * effect:g} points", "difference to find"),
        " at level ",
        Quantity(1 - confidence, f"{1 - confidence:.3g}", "level"),
        ". Seeds are for each side, runs a seed and examples as they are. The noise itself is an estimate.",
    )
    return Table(
        "What more pretraining seeds would buy",
        tuple(rows[0]),
        tuple(rows),
        (note,),
        {"noise": curves},
        "Half-widths are in points.",
    )


def _noise_options(side: Sides) -> dict[str, Any]:
    return {name: value for name, value in side.options().items() if name != "cluster_unit"}


def _units_in(side: Sides) -> int:
    """Examples of the test set, or clusters of them."""
    clusters = side.units.clusters
    return len(side.labels) if clusters is None else int(clusters.max()) + 1


def _range(plan: Plan) -> str:
    """``6 to 14``: the seeds needed at either end of what the pilot allows."""
    if plan.best is None or not plan.enough:
        return ""
    low = "?" if plan.low is None else str(plan.low.n_seeds)
    return f"{low} to {'more' if plan.high is None else plan.high.n_seeds}"


def _hours_per_run(results: Results, task: str) -> float | None:
    """Mean hours that stored runs of the task (or, failing that, all) took; None if none says."""
    seconds = [
        (run.fields["task"], float(run.manifest["provenance"]["seconds"]))
        for run in results.stored
        if "seconds" in run.manifest["provenance"]
    ]
    own = [s for t, s in seconds if t == task] or [s for _, s in seconds]
    return sum(own) / len(own) / 3600 if own else None
