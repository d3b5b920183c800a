"""Where the noise comes from: what each random factor adds to the standard error of each group's mean."""

from __future__ import annotations

import math

from multibench.errors import ResultsError, StatisticsError
from multibench.reports.cells import Cell, level_text, points, shown
from multibench.reports.evaluated import Evaluated, evaluated
from multibench.reports.scores import chosen_title, describe_setting, metrics_of, score_notes
from multibench.reports.tables import Table
from multibench.results import Results, select_settings
from multibench.stats import Components, Source, variance_components

__all__ = ["variance"]


def variance(
    results: Results, metric: str | None = None, rule: str | None = None, confidence: float = 0.95
) -> Table:
    """A row for each group, evaluation and random factor, with what it adds to the standard error of the mean score.

    The standard error is that of ``scores``. Raises ``ResultsError`` if no group has more than one run with
    predictions.
    """
    rows: list[dict[str, Cell]] = []
    notes: list[str] = [
        "A contribution is the standard error that the factor alone would give; their squares add up to "
        "that of the mean, which 'scores' prints the interval of.",
        f"Shares have {level_text(confidence)} intervals; 'sd at most' is a one-sided {level_text(confidence)} bound.",
        *results.partition.notes,
        *results.partition.vocabularies,
    ]
    details = []
    for chosen in select_settings(results, rule):
        for evaluation in Results(chosen.runs).evaluations():
            for name in metrics_of(chosen, evaluation, metric):
                one = evaluated(chosen, evaluation, name)
                if one is None or len(one.tensor.runs) < 2:
                    continue
                where = f"{chosen_title(chosen)}, {evaluation}"
                try:
                    found = variance_components(
                        one.run_info,
                        one.tensor.outputs,
                        one.labels,
                        name,
                        confidence=confidence,
                        **one.options(),
                    )
                except StatisticsError as error:
                    notes.append(f"{where}: {error}")
                    continue
                details.append(_details(one, found))
                rows += [_row(one, found, source) for source in found.sources]
                notes += _notes(where, one, found)
    if not rows:
        raise ResultsError(
            "Variance components need two or more runs of one group with predictions and labels."
        )
    kept = tuple(n for n in rows[0] if any(shown(row[n]) for row in rows))
    return Table(
        "Where the noise comes from",
        kept,
        tuple(rows),
        tuple(dict.fromkeys(notes)),
        {"components": details},
        "In points; shares in percent.",
    )


def _row(one: Evaluated, found: Components, source: Source) -> dict[str, Cell]:
    return {
        "checkpoints": chosen_title(one.chosen),
        "setting": describe_setting(one.chosen),
        "evaluation": one.evaluation,
        "metric": one.metric,
        "factor": source.factor,
        "units": source.n_units,
        "contribution": points(source.contribution, unit="standard error from this factor alone"),
        "share of variance": source.share,
        "sd": points(source.sd.value, unit="standard deviation between units", unknown="not estimable"),
        "sd at most": points(source.sd.high, unit="one-sided upper bound of the standard deviation"),
        "told from 0": "" if math.isnan(source.p_value) else "yes" if source.told_from_zero else "no",
        "standard error": points(found.standard_error, unit="standard error of the mean"),
        "with one more": points(source.one_more, unit="standard error with one more unit of this factor"),
    }


def _details(one: Evaluated, found: Components) -> dict[str, object]:
    return {
        "checkpoints": chosen_title(one.chosen),
        "evaluation": one.evaluation,
        "metric": one.metric,
        "selection": one.chosen.selection,
        **found.to_dict(),
    }


def _notes(where: str, one: Evaluated, found: Components) -> list[str]:
    notes = [f"{where}: {found.design}; selection: {one.chosen.selection}."]
    for source in found.sources:
        if source.sd.reason:
            notes.append(f"{where}: the spread of {source.factor} is {source.sd.reason}.")
        elif not source.told_from_zero:
            notes.append(f"{where}: the spread of {source.factor} cannot be told from 0.")
    notes += [f"{where}: {warning}." for warning in found.warnings]
    return [*notes, *one.tensor.remarks, *score_notes(one.evaluation, one.metric, one.tensor.as_released)]
