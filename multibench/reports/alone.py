"""``scores-alone``: means, spreads and tests of scores whose predictions are not there, marked so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from multibench.reports.cells import Cell, p_value, points
from multibench.reports.tables import Table
from multibench.scoring.alone import read_scores_alone
from multibench.stats.alone import AloneDifference, AloneGroup, difference_alone, group_alone
from multibench.stats.estimate import plain

__all__ = ["scores_alone"]

_COLUMNS = ("what", "marked", "runs", "mean", "sd", "low", "high", "welch_p")
_PERMUTATION = ("permutation_low", "permutation_high", "permutation_p")
_MARK = "scores alone"


def scores_alone(sources: Sequence[str], metric: str | None = None, confidence: float = 0.95) -> Table:
    """A row for each group of runs in ``sources``, and one for each pair of groups; see ``read_scores_alone``.

    ``Table.extra`` holds the same as ``groups`` and ``differences``, fractions under names of their own. Raises
    ``DataError`` for sources that cannot be read.
    """
    read = read_scores_alone(sources, metric)
    groups = {name: group_alone(scores, confidence) for name, scores in read.groups.items()}
    pairs = {
        (base, expt): difference_alone(read.groups[base], read.groups[expt], confidence)
        for base, expt in combinations(groups, 2)
    }
    rows = [_group_row(name, group) for name, group in groups.items()]
    rows += [_pair_row(f"{expt} less {base}", pair) for (base, expt), pair in pairs.items()]
    behind = "an unknown number of" if read.examples is None else f"{read.examples:,}"
    notes = [
        f"Scores alone: no predictions stand behind these numbers ({behind} examples). Intervals cover other runs, "
        f"and not other examples; level {confidence:g}.",
        *_few(groups, pairs),
        *read.remarks,
    ]
    extra: dict[str, Any] = {
        "marked": _MARK,
        "metric": read.metric,
        "level": confidence,
        "examples": read.examples,
        "groups": [
            {
                "group": name,
                "scores": list(read.groups[name]),
                **{k: plain(v) for k, v in vars(group).items()},
            }
            for name, group in groups.items()
        ],
        "differences": [
            {"base": base, "expt": expt, **pair.to_dict()} for (base, expt), pair in pairs.items()
        ],
    }
    return Table(
        f"Scores alone: {read.metric}",
        (*_COLUMNS, *_PERMUTATION),
        tuple(rows),
        tuple(notes),
        extra,
        "Scores in percent, differences in points.",
    )


def _group_row(name: str, group: AloneGroup) -> dict[str, Cell]:
    return {
        "what": name,
        "marked": _MARK,
        "runs": group.runs,
        "mean": points(group.mean),
        "sd": points(group.sd),
        "low": points(group.low),
        "high": points(group.high),
    }


def _pair_row(name: str, pair: AloneDifference) -> dict[str, Cell]:
    return {
        "what": name,
        "marked": _MARK,
        "mean": points(pair.difference),
        "low": points(pair.welch_low),
        "high": points(pair.welch_high),
        "welch_p": p_value(pair.welch_p),
        "permutation_low": points(pair.permutation_low),
        "permutation_high": points(pair.permutation_high),
        "permutation_p": p_value(pair.permutation_p),
    }


def _few(groups: dict[str, AloneGroup], pairs: dict[tuple[str, str], AloneDifference]) -> list[str]:
    """Why some numbers are not there."""
    notes = [
        f"{name}: one run has no spread, so there is no interval."
        for name, group in groups.items()
        if group.runs < 2
    ]
    for (base, expt), pair in pairs.items():
        if math.isnan(pair.permutation_low):
            notes.append(f"{expt} less {base}: too few runs for a permutation interval at this level.")
        if not pair.exact:
            notes.append(
                f"{expt} less {base}: {pair.permutations:,} random exchanges of runs, of more than can be tried."
            )
    return notes
