"""Base against experiment: multi-bootstrap and crossed random effects side by side."""

from __future__ import annotations

from multibench.reports.scores import tuning_notes
from multibench.reports.sides import joined_sides
from multibench.reports.tables import Cell, Table
from multibench.results import Results
from multibench.stats import compare_groups

__all__ = ["compare"]


def compare(
    results: Results,
    base: str,
    experiment: str,
    task: str | None = None,
    metric: str | None = None,
    paired: bool | None = None,
    rule: str | None = None,
    nboot: int = 2000,
    confidence: float = 0.95,
) -> Table:
    """Compare the runs that the filters ``base`` and ``experiment`` accept, a row for each evaluation.

    Arguments and errors as in ``sides.joined_sides``; ``nboot`` draws of the multi-bootstrap. The table
    shows both intervals of the difference and says which to report.
    """
    rows: list[dict[str, Cell]] = []
    notes = [f"Base: {base}. Experiment: {experiment}. Intervals {confidence:.0%}, p two-sided."]
    details = []
    for sides in joined_sides(results, base, experiment, task, metric, paired, rule):
        found = compare_groups(
            sides.run_info,
            sides.outputs,
            sides.labels,
            sides.metric,
            paired_seeds=sides.paired,
            nboot=nboot,
            rng=sides.rng,
            confidence=confidence,
        )
        details.append({"evaluation": sides.evaluation, "metric": sides.metric, **found.to_dict()})
        boot = found.bootstrap
        rows.append(
            {
                "evaluation": sides.evaluation,
                "metric": sides.metric,
                "base": boot.base,
                "experiment": boot.experiment,
                "difference (bootstrap)": boot.delta,
                "p (bootstrap)": boot.p_value,
                "difference (crossed)": None if found.crossed is None else found.crossed.estimate,
                "p (crossed)": None if found.crossed is None else found.crossed.p_value,
                "report": found.recommended,
                "pairing": "paired" if sides.paired else "unpaired",
                "seeds": f"{boot.base.n_seeds} / {boot.experiment.n_seeds}",
                "runs": f"{boot.base.n_runs} / {boot.experiment.n_runs}",
                "examples": boot.delta.n_examples,
                "selection": sides.selection,
            }
        )
        notes += [f"{sides.evaluation}: report {found.recommended}: {found.why}.", *found.warnings]
        notes += tuning_notes(sides.evaluation, sides.metric)
        if not sides.as_released:
            notes.append(f"{sides.evaluation}: NOT the released data (accepted by the suite).")
    title = f"Comparison: multi-bootstrap ({nboot:,} draws) and crossed random effects"
    return Table(title, tuple(rows[0]), tuple(rows), tuple(dict.fromkeys(notes)), {"comparisons": details})
