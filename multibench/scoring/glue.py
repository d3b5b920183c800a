"""GLUE as a whole: its published averages, each under its own name, and the files of a submission."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from multibench.errors import StatisticsError
from multibench.registry import Registry

__all__ = ["GLUE_SCORES", "SUBMISSION", "GlueScore", "Submission", "glue_score"]


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GlueScore(_Facts):
    """One definition: the mean over ``terms`` of the mean of their columns ``task.metric``."""

    title: str
    source: str
    terms: tuple[tuple[str, ...], ...]


class Submission(_Facts):
    """What the GLUE server takes: ``files`` maps a file's name to ``task.split``."""

    source: str
    header: str
    files: dict[str, str]


class _Glue(_Facts):
    submission: Submission
    scores: dict[str, GlueScore]


_GLUE = _Glue.model_validate(tomllib.loads((Path(__file__).parent / "glue.toml").read_text(encoding="utf-8")))
SUBMISSION = _GLUE.submission
GLUE_SCORES: Registry[GlueScore] = Registry("GLUE score")
for _name, _score in _GLUE.scores.items():
    GLUE_SCORES.register(_name, _score)


def glue_score(scores: Mapping[str, float], definition: str) -> float:
    """The average that ``definition`` (a name in ``GLUE_SCORES``) makes of ``scores``, in their unit.

    ``scores`` maps ``task.metric``, with tasks ``mnli_matched`` and ``mnli_mismatched``, to values that are all
    fractions or all in percent; more than the definition needs may be there. Raises ``UnknownNameError`` for
    an unknown definition, and ``StatisticsError`` for columns that are missing or not finite: an average
    over fewer tasks is another quantity.

    >>> columns = [column for term in GLUE_SCORES.get("bert_average").terms for column in term]
    >>> glue_score({**dict.fromkeys(columns, 0.75), "rte.accuracy": 0.66}, "bert_average")
    0.74
    """
    found = GLUE_SCORES.get(definition)
    columns = [column for term in found.terms for column in term]
    missing = [column for column in columns if not math.isfinite(scores.get(column, math.nan))]
    if missing:
        raise StatisticsError(
            f"The score '{definition}' needs {len(columns)} columns; {', '.join(missing)} are missing or undefined."
        )
    return fmean(fmean(scores[column] for column in term) for term in found.terms)
