"""Answers to questions in SQuAD's JSON, and the odds of no answer beside them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multibench.errors import DataError
from multibench.scoring.prediction import PredictionFile
from multibench.tasks.files import read_text
from multibench.tasks.table import short

__all__ = ["answers_in", "read_null_odds"]


def answers_in(path: Path, text: str) -> PredictionFile:
    """SQuAD's JSON: one object, question ids to answers."""
    answers = _object(path, text, "{id: text}")
    for name, answer in answers.items():
        if not name.isprintable():
            raise DataError(f"{path}: {short(name)} is no id of a question.")
        if not isinstance(answer, str):
            raise DataError(
                f'{path}: the answer to {name!r} is {short(answer)}, not a text; expected {{id: text}}, with "" for '
                "no answer."
            )
    return PredictionFile(
        path, "answers", tuple(answers), None, texts=tuple(answers.values()), ignores_unknown=True
    )


def _object(path: Path, text: str, expected: str) -> dict[str, Any]:
    """A JSON object whose names are ids of questions, each once."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        (name, times), *_ = Counter(name for name, _ in pairs).most_common(1) or [("", 0)]
        if times > 1:
            raise DataError(f"{path} answers the question {name!r} twice.")
        return dict(pairs)

    try:
        answers = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}. Is it cut off?") from error
    if not isinstance(answers, dict):
        raise DataError(f"{path} holds no JSON object; expected question ids with their answers, {expected}.")
    return answers


def read_null_odds(path: Path) -> Mapping[str, float]:
    """The odds of no answer by question id, ``{id: number}``: the null score minus that of the best answer.

    What ``run_qa.py`` calls ``null_odds.json``, and ``run_squad.py`` too. Raises ``DataError`` for anything else.
    """
    odds = _object(path, read_text(path), "{id: odds of no answer}")
    for name, value in odds.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise DataError(f"{path}: the odds of no answer to {name!r} are {short(value)}, not a number.")
    return odds
