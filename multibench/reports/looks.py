"""Runs that were added later: a p-value holds for a number of seeds that was fixed before anybody looked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from multibench.results.frame import StoredRun

__all__ = ["added_later"]

# A pause is longer than an hour, and than ten times the longest run: queues and slow runs are not looks.
LEAST_SECONDS, TIMES = 3600.0, 10.0


def added_later(runs: Iterable[StoredRun]) -> str | None:
    """A sentence if some seeds were made long after all others were done; None if not, or where times are unknown.

    Seeds are pretraining seeds, or fine-tuning seeds of a single one.
    """
    finished: dict[object, list[float]] = {}
    longest = 0.0
    known = [run for run in runs if _time(run) is not None]
    one = len({run.fields["pretraining_seed"] for run in known}) < 2
    for run in known:
        seed = run.fields["finetuning_seed"] if one else run.fields["pretraining_seed"]
        finished.setdefault(seed, []).append(_time(run) or 0.0)
        longest = max(longest, float(run.manifest["provenance"].get("seconds") or 0.0))
    order = sorted(finished.values(), key=min)
    pause = max(LEAST_SECONDS, TIMES * longest)
    last = float("-inf")
    for place, times in enumerate(order):
        if place and min(times) - last > pause:
            later, total = len(order) - place, len(order)
            kind = "fine-tuning" if one else "pretraining"
            return (
                f"{later} of {total} {kind} seeds were made {_span(min(times) - last)} after the others were done. If "
                "somebody looked in between, p-values and intervals do not hold as they stand; --always-valid has "
                "those that do."
            )
        last = max(last, *times)
    return None


def _time(run: StoredRun) -> float | None:
    """When the run was finished, in seconds."""
    said = run.manifest["provenance"].get("finished")
    try:
        return None if said is None else datetime.fromisoformat(str(said)).timestamp()
    except ValueError:
        return None


def _span(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"
