"""Base against experiment: multi-bootstrap and crossed random effects side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from multibench.reports.cells import Cell, Name, Quantity, p_value, say
from multibench.reports.scores import score_notes
from multibench.reports.sides import Sides, joined_sides
from multibench.reports.tables import Table
from multibench.results import Results
from multibench.results.filters import RunFilter
from multibench.stats import adjust, compare_groups

__all__ = ["compare", "comparison_table"]


def compare(
    results: Results,
    base: str | RunFilter,
    experiment: str | RunFilter | Sequence[str | RunFilter],
    task: str | None = None,
    metric: str | None = None,
    paired: bool | None = None,
    rule: str | None = None,
    nboot: int = 2000,
    confidence: float = 0.95,
    match: Sequence[str] = (),
) -> Table:
    """Compare the runs that the filters ``base`` and ``experiment`` accept, a row for each evaluation.

    ``experiment`` may be several filters: each is compared with the base. Other arguments and errors as in
    ``sides.joined_sides``; ``nboot`` draws of the multi-bootstrap. The table shows both intervals of the difference
    and says which to report. Of several comparisons, p-values of those to report are adjusted by Holm's method, too.
    """
    experiments = [experiment] if isinstance(experiment, (str, RunFilter)) else list(experiment)
    sides = (
        one
        for filter_ in experiments
        for one in joined_sides(results, base, filter_, task, metric, paired, rule, match)
    )
    return comparison_table(sides, nboot, confidence)


def comparison_table(sides: Iterable[Sides], nboot: int = 2000, confidence: float = 0.95) -> Table:
    """The comparisons of ``sides``, a row each. See ``compare``."""
    rows: list[dict[str, Cell]] = []
    advice: dict[str, list[str]] = {}
    notes: list[str] = []
    details = []
    p_values: list[float] = []
    filters: list[tuple[str, str]] = []
    for side in sides:
        found = compare_groups(
            side.run_info,
            side.outputs,
            side.labels,
            side.metric,
            paired_seeds=side.paired,
            nboot=nboot,
            rng=side.rng,
            confidence=confidence,
        )
        filters.append((side.base, side.experiment))
        p_values.append(found.p_value)
        details.append(
            {
                "base_filter": side.base,
                "experiment_filter": side.experiment,
                "evaluation": side.evaluation,
                "metric": side.metric,
                **({"at": side.at} if side.at else {}),
                **found.to_dict(),
            }
        )
        boot = found.bootstrap
        rows.append(
            {
                "from": side.base,
                "to": side.experiment,
                "evaluation": side.evaluation,
                "at": side.at,
                "metric": side.metric,
                "base": boot.base,
                "experiment": boot.experiment,
                "difference (bootstrap)": boot.delta,
                "p (bootstrap)": p_value(boot.p_value),
                "difference (crossed)": None if found.crossed is None else found.crossed.estimate,
                "p (crossed)": None if found.crossed is None else p_value(found.crossed.p_value),
                "report": found.recommended,
                "pairing": "paired" if side.paired else "unpaired",
                "seeds": f"{boot.base.n_seeds} / {boot.experiment.n_seeds}",
                "runs": f"{boot.base.n_runs} / {boot.experiment.n_runs}",
                "examples": boot.delta.n_examples,
                "selection": side.selection,
                "difference": found.delta,
                "p": p_value(found.p_value),
                "why": found.why,
                "base seeds": boot.base.n_seeds,
                "experiment seeds": boot.experiment.n_seeds,
                "base runs": boot.base.n_runs,
                "experiment runs": boot.experiment.n_runs,
            }
        )
        advice.setdefault(f"report {found.recommended}: {found.why}.", []).append(side.title)
        notes += [*found.warnings, *side.remarks]
        notes += score_notes(side.evaluation, side.metric, side.as_released)
    head = _head(list(dict.fromkeys(filters)), confidence)
    hidden = {"difference", "p", "why"} | {
        f"{side} {what}" for side in ("base", "experiment") for what in ("seeds", "runs")
    }
    if len(set(filters)) < 2:
        hidden |= {"from", "to"}
    if not any(row["at"] for row in rows):
        hidden.add("at")
    if _adjust(rows, p_values, 1 - confidence):
        head.append("p (Holm): adjusted for all comparisons of this table, of the p-values to report.")
    for sentence, titles in advice.items():
        head.append(f"{'All' if len(advice) == 1 < len(titles) else ', '.join(titles)}: {sentence}")
    title = f"Comparison: multi-bootstrap ({nboot:,} draws) and crossed random effects"
    columns = tuple(name for name in rows[0] if name not in hidden)
    return Table(title, columns, tuple(rows), tuple(dict.fromkeys([*head, *notes])), {"comparisons": details})


def _head(filters: list[tuple[str, str]], confidence: float) -> list[str]:
    level = Quantity(confidence, f"{confidence:.0%}", "confidence level")
    said: list[str] = []
    if len(filters) == 1:
        said.append(say("Base: ", Name(filters[0][0]), ". Experiment: ", Name(filters[0][1]), "."))
    return [*said, say("Intervals ", level, ", p two-sided.")]


def _adjust(rows: list[dict[str, Cell]], p_values: list[float], alpha: float) -> bool:
    """Add ``p (Holm)`` over all rows, if two or more have a p-value."""
    known = {str(i): p for i, p in enumerate(p_values) if not math.isnan(p)}
    if len(known) < 2:
        return False
    family = adjust(known, "holm", alpha)
    adjusted = dict(zip(family.names, family.adjusted, strict=True))
    for i, row in enumerate(rows):
        row["p (Holm)"] = p_value(adjusted.get(str(i), math.nan))
    return True
