"""Questions that a span of their context answers: SQuAD's JSON files, and rows with the same columns.

Both layouts, v1.1 and v2.0, are read by the same code. Of v2.0's extra keys ``is_impossible`` is only
checked against the answers, and ``plausible_answers`` is not looked at: no metric uses it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from multibench.errors import DataError
from multibench.tasks.data import Answer, Examples
from multibench.tasks.files import read_text
from multibench.tasks.table import short
from multibench.tasks.task import Task

__all__ = ["is_text", "read_squad", "span_examples"]

# Some released offsets are said to be off by a character or two; further off is another text.
_NEAR = 2
# So many misplaced answers are listed in a message.
_SHOWN = 200


def read_squad(task: Task, split: str, path: Path) -> Examples:
    """The examples of ``task``'s ``split`` in the official JSON file ``path``, in its order, with its ids.

    Raises ``DataError``, with the place in the file, for anything that is not SQuAD's layout.
    """
    text = read_text(path)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:  # JSONDecodeError is a ValueError
        raise DataError(f"{path} is not valid JSON in UTF-8: {error}. Is it cut off?") from error
    ids: list[str] = []
    questions: list[str] = []
    contexts: list[str] = []
    answers: list[Any] = []
    titles: list[Any] = []
    for article, article_place in _items(document, "data", str(path)):
        for paragraph, where in _items(article, "paragraphs", article_place):
            context = _text(paragraph, "context", where)
            for question, place in _items(paragraph, "qas", where):
                ids.append(_id(question, place))
                questions.append(_text(question, "question", place))
                contexts.append(context)
                answers.append(_given_answers(question, place) if task.splits[split].labelled else None)
                titles.append(article.get("title"))
    metadata = {"title": tuple(titles)} if "title" in task.metadata and all(map(is_text, titles)) else {}
    return span_examples(task, split, ids, questions, contexts, answers, str(path), metadata)


def _items(value: Any, key: str, where: str) -> list[tuple[Any, str]]:
    """The objects in the list ``value[key]``, each with its place in the file."""
    items = value.get(key) if isinstance(value, dict) else None
    if not isinstance(items, list):
        raise DataError(f"{where} has no list '{key}': it is not in the layout of the SQuAD files.")
    places = [f"{where}{',' if ' ' not in where else ''} {key}[{i}]" for i in range(len(items))]
    for item, place in zip(items, places, strict=True):
        if not isinstance(item, dict):
            raise DataError(f"{place} is {short(item)}, not an object.")
    return list(zip(items, places, strict=True))


def _text(value: dict[str, Any], key: str, where: str) -> str:
    text = value.get(key)
    if not isinstance(text, str):
        raise DataError(f"{where}: '{key}' is {short(text)}, not a text.")
    return text


def _id(question: dict[str, Any], where: str) -> str:
    """The question's id, whether it is written as a text or as a whole number."""
    name = question.get("id")
    return _text(question, "id", where) if not isinstance(name, int) or isinstance(name, bool) else str(name)


def _given_answers(question: dict[str, Any], where: str) -> dict[str, list[Any]]:
    """The answers of a question of the file, in columns as rows have them."""
    answers = [answer for answer, _ in _items(question, "answers", where)]
    impossible = question.get("is_impossible", not answers)
    if impossible is not (not answers):
        raise DataError(
            f"{where}: 'is_impossible' is {short(impossible)}, and it has {len(answers)} answers."
        )
    return {key: [answer.get(key) for answer in answers] for key in ("text", "answer_start")}


def span_examples(
    task: Task,
    split: str,
    ids: Sequence[Any],
    questions: Sequence[Any],
    contexts: Sequence[Any],
    answers: Sequence[Any],
    origin: str,
    metadata: Mapping[str, tuple[str, ...]] | None = None,
) -> Examples:
    """Examples of a span task from columns.

    ``answers[i]`` is ``{"text": [...], "answer_start": [...]}`` with characters from 0, empty lists where
    there is no answer; it is not looked at where the split has no labels. Raises ``DataError`` for
    values of other types, ids that occur twice, answers that are not in their context (all of them), and questions
    without an answer in a task whose questions all have one. Ids may be whole numbers.
    """
    if not ids:
        raise DataError(f"{origin} holds no questions.")
    ids = [str(name) if isinstance(name, int) and not isinstance(name, bool) else name for name in ids]
    seen: set[str] = set()
    for name in ids:
        if not is_text(name):
            raise DataError(f"{origin}: the id {short(name)} is not a text.")
        if name in seen:
            raise DataError(f"{origin}: the id {name!r} occurs twice.")
        seen.add(name)
    for column, values in zip(task.inputs, (questions, contexts), strict=True):
        for i, value in enumerate(values):
            if not is_text(value):
                raise DataError(f"{origin}, id {ids[i]!r}: the {column} is {short(value)}, not a text.")
    gold = None
    if task.splits[split].labelled:
        faults: list[_Misplaced] = []
        gold = tuple(
            _gold(answers[i], contexts[i], f"{origin}, id {ids[i]!r}", task, faults) for i in range(len(ids))
        )
        _refuse_misplaced(faults, sum(map(len, gold)), origin)
    return Examples(
        task=task.name,
        split=split,
        ids=tuple(ids),
        texts=(tuple(questions), tuple(contexts)),
        labels=None if gold is None else np.array([len(each) > 0 for each in gold], dtype=np.int64),
        origin=origin,
        answers=gold,
        metadata=metadata or {},
    )


class _Misplaced(NamedTuple):
    """An answer that is not where it is said to be."""

    where: str
    name: str
    text: str
    start: int
    found: str


def _refuse_misplaced(faults: Sequence[_Misplaced], answers: int, origin: str) -> None:
    """Raise ``DataError`` with every answer that is not where it is said to be, if there are any."""
    if len(faults) == 1:
        (fault,) = faults
        raise DataError(
            f"{fault.where}: the answer {short(fault.text)} is said to start at character {fault.start} of the "
            f"context, where {short(fault.found)} stands."
        )
    if faults:
        shown = ", ".join(
            f"{fault.name!r} ({short(fault.text)} at {fault.start})" for fault in faults[:_SHOWN]
        )
        more = f", and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise DataError(
            f"{origin}: {len(faults)} of {answers} answers do not stand in their context where they are said to, by "
            f"id: {shown}{more}."
        )


def _gold(given: Any, context: str, where: str, task: Task, faults: list[_Misplaced]) -> tuple[Answer, ...]:
    columns = [given.get(key) if isinstance(given, Mapping) else None for key in ("text", "answer_start")]
    texts, starts = (list(c) if isinstance(c, Sequence) and not isinstance(c, str) else None for c in columns)
    if texts is None or starts is None or len(texts) != len(starts):
        raise DataError(
            f"{where}: the answers are {short(given)}, not lists 'text' and 'answer_start' alike."
        )
    if not texts and not task.unanswerable:
        raise DataError(
            f"{where}: the question has no answer, and the facts of {task.name} say that each has one "
            "('unanswerable = true' in its facts allows it)."
        )
    return tuple(
        _answer(text, start, context, where, faults) for text, start in zip(texts, starts, strict=True)
    )


def _answer(text: Any, start: Any, context: str, where: str, faults: list[_Misplaced]) -> Answer:
    """The answer where it is; one that is not near ``start`` is added to ``faults``."""
    if not isinstance(text, str) or not text or isinstance(start, bool) or not isinstance(start, int):
        raise DataError(f"{where}: {short(text)} at {short(start)} is no answer with a start.")
    for shift in sorted(range(-_NEAR, _NEAR + 1), key=abs):
        if start + shift >= 0 and context.startswith(text, start + shift):
            return Answer(text, start + shift)
    found = context[max(0, start) : max(0, start) + len(text)]
    name = where.rpartition(", id ")[2].strip("'\"")
    faults.append(_Misplaced(where, name, text, start, found))
    return Answer(text, start)


def is_text(value: Any) -> bool:
    """Whether ``value`` is a text, and one of whole characters: JSON can spell half of a surrogate pair."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
