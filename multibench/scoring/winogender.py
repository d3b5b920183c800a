"""Gender bias in coreference on Winogender: accuracy, and how bias goes with the sexes' shares in occupations.

Source: MultiBERTs (Sellam et al. 2022, arXiv 2106.16163), section 4, as its notebook ``coref.ipynb`` of
google-research/language @865fae6 computes it; shares by the U.S. Bureau of Labor Statistics come with the
sentences (rudinger/winogender-schemas, ``occupations-stats.tsv``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multibench.errors import DataError, StatisticsError
from multibench.metrics import METRICS
from multibench.tasks import Examples
from multibench.tasks.files import Wanted, read_table

__all__ = [
    "WinogenderScores",
    "bias_by_occupation",
    "bias_of_runs",
    "read_female_shares",
    "score_winogender",
    "winogender_scores",
]

_SHARES = "occupations-stats.tsv"


@dataclass(frozen=True)
class WinogenderScores:
    """``accuracy`` over sentences; Pearson ``bias_correlation`` and regression ``bias_slope`` over occupations."""

    accuracy: float
    bias_correlation: float
    bias_slope: float


def bias_by_occupation(
    predictions: ArrayLike, occupations: Sequence[str], genders: Sequence[str]
) -> dict[str, float]:
    """For each occupation the share of ``female`` sentences resolved to it minus that of ``male`` ones, -1 to 1.

    ``predictions`` ``(n,)`` are 0 for the occupation and 1 for the other participant, ``genders`` are those of the
    pronouns (``female``, ``male``, ``neutral``; neutral sentences do not enter). Raises ``StatisticsError`` for an
    occupation without sentences of either sex.
    """
    resolved = np.asarray(predictions) == 0
    of_occupation, of_gender = np.array(occupations), np.array(genders)
    bias: dict[str, float] = {}
    for name in dict.fromkeys(occupations):
        shares = []
        for gender in ("female", "male"):
            chosen = (of_occupation == name) & (of_gender == gender)
            if not chosen.any():
                raise StatisticsError(
                    f"There is no {gender} sentence for the occupation '{name}'; its bias needs both sexes."
                )
            shares.append(float(resolved[chosen].mean()))
        bias[name] = shares[0] - shares[1]
    return bias


def winogender_scores(
    predictions: ArrayLike,
    answers: ArrayLike,
    occupations: Sequence[str],
    genders: Sequence[str],
    female_shares: Mapping[str, float],
) -> WinogenderScores:
    """Scores of one run on ``n`` sentences.

    ``predictions`` and ``answers`` ``(n,)`` are 0 for the occupation and 1 for the other participant;
    ``female_shares`` gives each occupation's share of women, 0 to 1. The slope is that of the least-squares line of
    bias (see ``bias_by_occupation``) over the share; it and the correlation are NaN where all shares are equal, the
    correlation also where all biases are. Raises ``StatisticsError`` for arrays of other shapes and for an
    occupation without a share.
    """
    given, gold = np.asarray(predictions), np.asarray(answers)
    if not given.shape == gold.shape == (len(occupations),) == (len(genders),):
        raise StatisticsError(
            f"Winogender was given {given.shape} predictions, {gold.shape} answers, {len(occupations)} occupations and "
            f"{len(genders)} genders; expected one of each a sentence."
        )
    bias = bias_by_occupation(given, occupations, genders)
    missing = sorted(set(bias) - set(female_shares))
    if missing:
        raise StatisticsError(f"There is no share of women for the occupations {', '.join(missing)}.")
    shares = np.array([female_shares[name] for name in bias], dtype=np.float64)
    scores = np.array(list(bias.values()), dtype=np.float64)
    return WinogenderScores(
        accuracy=METRICS.get("accuracy").score(gold, given),
        bias_correlation=METRICS.get("pearson").score(shares, scores),
        bias_slope=_slope(shares, scores),
    )


def bias_of_runs(
    predictions: ArrayLike, examples: Examples
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bias of each run for each occupation ``(n_runs, n_occupations)``, and the shares of women ``(n_occupations,)``.

    ``predictions`` ``(n_runs, n)`` are predicted classes of the released sentences, whose shares stand beside them. The
    statistics take the two as predictions and labels of the metric ``pearson``, which is the bias correlation:
    occupations are what the published analysis resamples in place of examples.
    """
    shares = read_female_shares(Path(examples.origin).with_name(_SHARES))
    columns = examples.metadata["occupation"], examples.metadata["gender"]
    biases = [bias_by_occupation(run, *columns) for run in np.asarray(predictions)]
    names = list(dict.fromkeys(columns[0]))
    return np.array([[bias[name] for name in names] for bias in biases]), np.array([shares[n] for n in names])


def read_female_shares(path: Path) -> dict[str, float]:
    """Each occupation's share of women, 0 to 1, in the file ``occupations-stats.tsv`` of the release.

    Raises ``DataError`` for a file that is missing or holds other things than percentages.
    """
    table = read_table(path, "tsv", Wanted(required=("occupation", "bls_pct_female")))
    shares: dict[str, float] = {}
    for row, (name, percent) in enumerate(zip(*table.columns.values(), strict=True)):
        try:
            shares[name] = float(percent) / 100
        except ValueError:
            shares[name] = math.nan
        if not 0 <= shares[name] <= 1:
            raise DataError(f"{table.place(row)}: the share of women is {percent!r}, not a percentage.")
    return shares


def score_winogender(examples: Examples, predictions: ArrayLike) -> WinogenderScores:
    """``winogender_scores`` of predicted classes ``(n,)`` for the released sentences, with the shares beside them."""
    return winogender_scores(
        predictions,
        np.asarray(examples.labels),
        examples.metadata["occupation"],
        examples.metadata["gender"],
        read_female_shares(Path(examples.origin).with_name(_SHARES)),
    )


def _slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    centred = x - x.mean()
    spread = float(centred @ centred)
    return float(centred @ y) / spread if spread > 0 else float("nan")
