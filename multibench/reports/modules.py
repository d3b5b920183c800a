"""What modules of ``evaluate`` said of stored runs: means over runs, in the modules' own units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from multibench.results.frame import StoredRun

__all__ = ["module_note", "module_summaries"]


def module_summaries(runs: Sequence[StoredRun], evaluation: str) -> list[dict[str, Any]]:
    """For each module and number that it gave: ``mean``, ``sd`` (n - 1) and ``runs``; None for what is undefined.

    Under ``reasons`` stands why it gave some runs none. Modules are called once a run, so there are no intervals.
    """
    values: dict[tuple[str, str], list[float]] = {}
    reasons: dict[str, list[str]] = {}
    for run in runs:
        summary = run.manifest["evaluations"].get(evaluation, {})
        for source, found in summary.get("evaluate", {}).items():
            for name, value in found["scores"].items():
                values.setdefault((source, name), []).append(math.nan if value is None else value)
            if "reason" in found:
                reasons.setdefault(source, []).append(found["reason"])
    for source in reasons.keys() - {source for source, _ in values}:
        values[source, ""] = []
    return [
        {
            "evaluation": evaluation,
            "module": source,
            "number": name,
            "mean": _finite(np.mean(given)) if given else None,
            "sd": _finite(np.std(given, ddof=1)) if len(given) > 1 else None,
            "runs": len(given),
            "reasons": sorted(set(reasons.get(source, []))),
        }
        for (source, name), given in sorted(values.items())
    ]


def module_note(title: str, summary: dict[str, Any]) -> str:
    """One of ``module_summaries`` in a sentence, of the runs that are called ``title``."""
    where = f"{title}, {summary['evaluation']}: the evaluate module {summary['module']}"
    why = f" It gave some runs none: {summary['reasons'][0]}" if summary["reasons"] else ""
    if not summary["runs"]:
        return f"{where} gave no run a score: {summary['reasons'][0]}"
    mean = "undefined" if summary["mean"] is None else f"{summary['mean']:.4g}"
    spread = "" if summary["sd"] is None else f", sd {summary['sd']:.4g}"
    return (
        f"{where} gave {summary['number']} {mean} (mean of {summary['runs']} runs{spread}; in its "
        f"own units, without an interval).{why}"
    )


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
