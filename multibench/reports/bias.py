"""Gender bias on Winogender with its interval, a row for each group of checkpoints: occupations are what is drawn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from multibench.errors import ResultsError
from multibench.metrics import METRICS
from multibench.reports.cells import Cell, level_text, points
from multibench.reports.scores import chosen_title, describe_setting
from multibench.reports.tables import Table
from multibench.results import Chosen, Results, select_settings
from multibench.scoring.winogender import bias_of_runs
from multibench.stats import Estimate, estimate_group
from multibench.tasks import DataSources, Examples, find_task, load_split

__all__ = ["BIAS", "bias_scores"]

BIAS = "bias_correlation"
"""The name under which ``scores`` and published tables know it."""
EVALUATION = "winogender.test"


def bias_scores(
    results: Results,
    data: Path | None = None,
    rule: str | None = None,
    confidence: float = 0.95,
    accept_different_data: bool = False,
) -> Table:
    """The correlation of bias with the share of women in an occupation, for each group that has Winogender.

    The bias of an occupation is the share of sentences with a female pronoun that a run resolves to it, less that of
    sentences with a male one. Intervals are by surrogate mean squares over seeds and occupations. ``data`` is where the
    sentences and the shares are looked for. Raises ``ResultsError`` if there are no such runs, or if they were stored
    for other sentences, and the errors of ``load_split``.
    """
    found = [c for c in select_settings(results, rule) if EVALUATION in Results(c.runs).evaluations()]
    if not found:
        raise ResultsError(
            f"{BIAS} is a score on Winogender, and no stored run has predictions for {EVALUATION}. "
            "'multibench import google-predictions' brings such runs."
        )
    accepted = frozenset({"winogender"} if accept_different_data else ())
    examples = load_split(find_task("winogender"), "test", DataSources(data, accepted))
    rows = [_row(chosen, examples, confidence) for chosen in found]
    notes = [
        "Bias of an occupation: the share of sentences with a female pronoun that a run resolves to it, less that of "
        "sentences with a male one. bias_correlation: Pearson's with the share of women in the occupation "
        "(U.S. Bureau of Labor Statistics); 0 is no stereotype.",
        f"Intervals: {level_text(confidence)}, by surrogate mean squares over the random factors in 'over'.",
        *results.partition.notes,
        *(f"{title}: {why}." for title, why in _caveats(rows)),
        *((examples.remark,) if examples.remark else ()),
        *results.damaged,
    ]
    kept = [name for name in rows[0] if any(row[name] not in ("", None) for row in rows)]
    return Table(
        "Gender bias on Winogender",
        tuple(kept),
        tuple(rows),
        tuple(dict.fromkeys(notes)),
        units="Correlations are in percent, their spread in points.",
    )


def _row(chosen: Chosen, examples: Examples, confidence: float) -> dict[str, Cell]:
    title = chosen_title(chosen)
    stored = [run for run in chosen.runs if EVALUATION in run.manifest["evaluations"]]
    if any(run.manifest["evaluations"][EVALUATION]["data"] != examples.fingerprint for run in stored):
        raise ResultsError(
            f"The predictions of {title} were stored for other sentences than those of {examples.origin}, or without "
            "knowing them, so that the gender of each pronoun is not known. Import them again with --data."
        )
    tensor = Results(tuple(stored)).predictions(EVALUATION)
    biases, shares = bias_of_runs(tensor.outputs.argmax(axis=2), examples)
    estimate = estimate_group(
        tensor.run_info(),
        biases,
        shares,
        "pearson",
        confidence=confidence,
        clusters=range(len(shares)),
        cluster_unit="occupations",
        estimand=chosen.estimand,
    )
    scores = [METRICS.get("pearson").score(shares, bias) for bias in biases]
    spread = float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan
    return {
        "checkpoints": title,
        "setting": describe_setting(chosen),
        f"{BIAS} [{level_text(confidence)}]": estimate,
        "sd of runs": points(spread, 1, "standard deviation of runs"),
        "pretraining seeds": estimate.n_seeds,
        "runs": estimate.n_runs,
        "occupations": len(shares),
        "over": estimate.over,
        "method": estimate.method,
    }


def _caveats(rows: list[dict[str, Cell]]) -> list[tuple[Cell, str]]:
    """What the intervals do not cover, or why there is none."""
    said = []
    for row in rows:
        estimate = next(cell for name, cell in row.items() if name.startswith(BIAS))
        assert isinstance(estimate, Estimate)
        said += [(row["checkpoints"], text) for text in (estimate.caveat, estimate.reason) if text]
    return said
