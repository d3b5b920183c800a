"""Scores without the predictions behind them: ``all_results.json`` of Hugging Face's scripts, or a table."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multibench.errors import DataError
from multibench.registry import nearest_or_all
from multibench.tasks.files import Wanted, read_table, read_text
from multibench.tasks.table import short

__all__ = ["ScoresAlone", "read_scores_alone"]

_FILES = ("all_results.json", "eval_results.json", "test_results.json", "predict_results.json")
_TABLES = {".tsv": "tsv", ".csv": "csv"}
_SIDE = re.compile(r"(?:eval|test|predict|validation)_(.+)")
# What such files hold beside scores.
_NO_SCORE = re.compile(
    r"(train_.*|.*(loss|runtime|samples|per_second|epoch|steps?|flos|perplexity|seed|time).*)"
)
_GROUP = ("group", "family", "model")


@dataclass(frozen=True)
class ScoresAlone:
    """``groups``: name -> scores of its runs, fractions, by ``metric``; ``examples`` behind each, None if not known.

    ``remarks`` are what a reader of the numbers should know, in sentences.
    """

    metric: str
    groups: dict[str, tuple[float, ...]]
    examples: int | None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Run:
    place: str
    numbers: Mapping[str, Any]
    content: str


def read_scores_alone(sources: Sequence[str], metric: str | None = None) -> ScoresAlone:
    """The scores of runs in each of ``sources``, folders or tables; ``NAME=FOLDER`` gives a group another name.

    A folder is a group: every ``all_results.json`` below it (else ``eval_results.json`` and so on) is a run. A table,
    ``.tsv`` or ``.csv``, has a column ``group`` and a row a run. ``metric`` may leave out ``eval_``; it is needed where
    there are several scores. Raises ``DataError`` if there are no runs, a run lacks the score, scores are in different
    units or of different numbers of examples, and if a group is there twice.
    """
    groups: dict[str, list[_Run]] = {}
    for source in sources:
        for name, runs in _group(source).items():
            if name in groups:
                raise DataError(
                    f"The group {name} is there twice; name one of them otherwise: NAME={source}."
                )
            groups[name] = runs
    every = [run for runs in groups.values() for run in runs]
    name = _metric(every, metric)
    scores = {group: [_score(run, name) for run in runs] for group, runs in groups.items()}
    divisor = _divisor(scores, name)
    remarks = [f"{name}: given in percent, and taken as such."] if divisor > 1 else []
    values = {group: tuple(score / divisor for score in given) for group, given in scores.items()}
    return ScoresAlone(name, values, _examples(every, name), (*remarks, *_twins(every)))


def _group(source: str) -> dict[str, list[_Run]]:
    given, equals, rest = source.partition("=")
    path = Path(rest if equals and not Path(source).exists() else source)
    if path.is_file():
        return _of_table(path)
    if not path.is_dir():
        raise DataError(f"There is no folder or table {path} with scores.")
    name = given if path != Path(source) else path.resolve().name
    found: list[Path] = []
    for file in _FILES:
        taken = {each.parent for each in found}
        found += [each for each in sorted(path.rglob(file)) if each.parent not in taken]
    if not found:
        raise DataError(f"{path} holds no {', '.join(_FILES)}, in no folder below it.")
    return {name: [_of_file(each) for each in found]}


def _of_file(path: Path) -> _Run:
    text = read_text(path)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}. Is it cut off?") from error
    if not isinstance(document, dict):
        raise DataError(f"{path} holds {short(document)}; expected one object with scores by name.")
    return _Run(str(path), document, text)


def _of_table(path: Path) -> dict[str, list[_Run]]:
    format_ = _TABLES.get(path.suffix)
    if format_ is None:
        raise DataError(
            f"{path} ends in none of {', '.join(_TABLES)}; expected a table of scores, or a folder."
        )
    header = read_text(path).split("\n", 1)[0].removesuffix("\r")
    names = [name.strip('"') for name in header.split("\t" if format_ == "tsv" else ",")]
    group = next((name for name in _GROUP if name in names), None)
    if group is None:
        raise DataError(f"{path} has no column '{_GROUP[0]}'; it has {', '.join(names)}.")
    table = read_table(path, format_, Wanted(tuple(names)))  # type: ignore[arg-type]
    groups: dict[str, list[_Run]] = {}
    for row in range(len(table)):
        cells = {str(name): values[row] for name, values in table.columns.items()}
        numbers = {name: _number(cell) for name, cell in cells.items() if name != group}
        run = _Run(table.place(row), numbers, f"row {row}")
        groups.setdefault(str(cells[group]), []).append(run)
    return groups


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _metric(runs: Sequence[_Run], asked: str | None) -> str:
    """The name of the score in the files: the one that is asked for, or the only one that there is."""
    names = dict.fromkeys(name for run in runs for name, value in run.numbers.items() if _is_number(value))
    if asked is not None:
        fitting = [name for name in names if asked in (name, *_SIDE.findall(name))]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise DataError(
                f"Several scores are called {asked}: {', '.join(fitting)}. Give one of these names."
            )
        raise DataError(f"No run has a score {asked!r}; {nearest_or_all(asked, names)}")
    scores = [name for name in names if not _NO_SCORE.fullmatch(name)]
    if len(scores) != 1:
        found = (
            f"several scores, {', '.join(scores)}"
            if scores
            else f"no score, only {', '.join(names) or 'nothing'}"
        )
        raise DataError(f"The runs have {found}. Say which is meant: --metric NAME.")
    return scores[0]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _score(run: _Run, name: str) -> float:
    value = run.numbers.get(name)
    if not _is_number(value) or not math.isfinite(float(value or 0)):
        raise DataError(
            f"{run.place}: '{name}' is {short(value)}, not a number; leave the run out, or mend it."
        )
    return float(value or 0)


def _divisor(scores: Mapping[str, Sequence[float]], name: str) -> float:
    """100 if scores are percent, 1 if they are fractions (or correlations)."""
    every = [score for given in scores.values() for score in given]
    small = [score for score in every if abs(score) <= 1]
    if len(small) == len(every):
        return 1.0
    if small or max(map(abs, every)) > 100:
        odd = small[0] if small else max(every, key=abs)
        raise DataError(
            f"'{name}' is {odd:g} in one run and {max(set(every) - {odd} or {odd}, key=abs):g} in another: expected "
            "all scores as fractions, or all in percent."
        )
    return 100.0


def _examples(runs: Sequence[_Run], name: str) -> int | None:
    """How many examples the runs were scored on, where their files say so. Raises ``DataError`` if these differ."""
    side = name.split("_", 1)[0]
    counts: dict[int, str] = {}
    for run in runs:
        value = run.numbers.get(f"{side}_samples")
        if _is_number(value):
            counts.setdefault(int(value or 0), run.place)
    if len(counts) > 1:
        (first, place), (second, other), *_ = counts.items()
        raise DataError(
            f"{place} was scored on {first} examples and {other} on {second}: scores on different splits are not "
            f"compared."
        )
    return next(iter(counts), None)


def _twins(runs: Sequence[_Run]) -> list[str]:
    """Whether a run seems to be a copy of another: no two trainings take the same time to the last digit."""
    seen: dict[str, str] = {}
    found = []
    for run in runs:
        timed = any("runtime" in name for name in run.numbers)
        if timed and seen.setdefault(run.content, run.place) != run.place:
            found.append(f"{run.place} is the same as {seen[run.content]}, with its times: is it a copy?")
    return found
