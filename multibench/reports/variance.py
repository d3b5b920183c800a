"""Where the noise comes from: variance components of each group's scores."""

from __future__ import annotations

import math

from multibench.errors import ResultsError, StatisticsError
from multibench.reports.cells import Quantity, points, share, shown
from multibench.reports.scores import chosen_title, describe_setting, metrics_of, score_notes
from multibench.reports.tables import Cell, Table
from multibench.results import Results, select_settings
from multibench.stats import variance_components
from multibench.stats.components import finetuning_design

__all__ = ["variance"]

_NAMES = {
    "pretraining": "pretraining seed",
    "finetuning": "fine-tuning seed (nested)",
    "finetuning_shared": "fine-tuning seed",
    "pretraining_finetuning": "pretraining x fine-tuning seed",
    "example": "example",
    "pretraining_example": "pretraining seed x example",
    "finetuning_example": "fine-tuning seed x example",
    "residual": "residual",
}


def variance(
    results: Results, metric: str | None = None, rule: str | None = None, confidence: float = 0.95
) -> Table:
    """A row for each group, evaluation and component, with its share in the variance of the mean score.

    Fine-tuning seeds are crossed with pretraining seeds where every cell of that grid has its run, and
    nested otherwise. Raises ``ResultsError`` if no group has more than one run with predictions.
    """
    rows: list[dict[str, Cell]] = []
    notes: list[str] = []
    details = []
    for chosen in select_settings(results, rule):
        subset = Results(chosen.runs)
        for evaluation in subset.evaluations():
            tensor = subset.predictions(evaluation)
            if tensor.labels is None or len(tensor.runs) < 2:
                continue
            info = tensor.run_info()
            design = finetuning_design(info["seed"], info["finetune_seed"])
            for name in metrics_of(chosen, evaluation, metric):
                where = f"{chosen_title(chosen)}, {evaluation}"
                try:
                    found = variance_components(
                        info,
                        tensor.outputs,
                        tensor.labels,
                        name,
                        design,
                        confidence,
                    )
                except StatisticsError as error:
                    notes.append(f"{where}: {error}")
                    continue
                details.append(
                    {
                        "checkpoints": chosen_title(chosen),
                        "evaluation": evaluation,
                        "selection": chosen.selection,
                        **found.to_dict(),
                    }
                )
                shares = found.shares
                for part, estimate in found.parts.items():
                    known = not math.isnan(estimate.value)
                    rows.append(
                        {
                            "checkpoints": chosen_title(chosen),
                            "setting": describe_setting(chosen),
                            "evaluation": evaluation,
                            "metric": name,
                            "component": _NAMES[part],
                            "sd [points]": _points(estimate.value, "unknown"),
                            "low": _points(estimate.low),
                            "high": _points(estimate.high),
                            "share of the mean's variance": share(shares[part]) if part in shares else "",
                        }
                    )
                    if not known and estimate.reason:
                        notes.append(f"{where}, {_NAMES[part]}: {estimate.reason}.")
                notes += score_notes(evaluation, name, tensor.as_released)
                notes.append(
                    f"{where}: {found.design}, {found.method}; {found.n_seeds} pretraining seeds; "
                    f"selection: {chosen.selection}."
                )
                notes += [f"{where}: {warning}" for warning in found.warnings]
    if not rows:
        raise ResultsError(
            "Variance components need two or more runs of one group with predictions and labels."
        )
    kept = tuple(n for n in rows[0] if any(shown(row[n]) for row in rows))
    notes.insert(0, f"Standard deviations of single scores in points, {confidence:.0%} intervals.")
    return Table(
        "Variance components", kept, tuple(rows), tuple(dict.fromkeys(notes)), {"components": details}
    )


def _points(variance: float, unknown: str = "") -> Quantity:
    value = math.nan if math.isnan(variance) else math.sqrt(max(0.0, variance))
    return points(value, unit="standard deviation", unknown=unknown)
