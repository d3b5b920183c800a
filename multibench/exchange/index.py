"""Index files: what each prediction file, or each row of a matrix, is of, in the user's own table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from multibench.errors import DataError
from multibench.exchange.items import known_settings
from multibench.recipes import Hyperparameters
from multibench.registry import nearest_or_all
from multibench.tasks.files import Wanted, read_table, read_text

__all__ = ["IndexRow", "Listed", "read_index"]

_FORMATS = {".tsv": "tsv", ".txt": "tsv", ".csv": "csv", ".jsonl": "jsonl"}


class IndexRow(BaseModel):
    """What an index says of one run's predictions on one split, besides its hyperparameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str = Field(min_length=1)
    task: str = Field(min_length=1)
    """The task that the predictions are for."""
    split: str | None = None
    """Its split; the first that runs are scored on if not given."""
    trained_on: str | None = None
    """The task that the model was fine-tuned on, if another one."""
    file: str | None = None
    """Below the folder of predictions; not given if these are one file."""
    array: str | None = None
    """The name of the array in an .npz file; not needed if it holds one."""
    row: int | None = Field(default=None, ge=0)
    """Which entry of the array's first axis, from 0; of a single matrix the row of the index if not given."""
    class_order: str | None = None
    """What the outputs of this file mean, in their order, separated by commas; found by accuracy if not given."""
    null_odds: str | None = None
    """For questions that may have no answer: the file with the odds of none, ``{id: number}``, below the folder."""
    checkpoint: str | None = None
    """The pretrained checkpoint; by default that of the catalogue, or a name made of family, seed and step."""
    pretraining_seed: int | None = Field(default=None, ge=0)
    step: int | None = Field(default=None, ge=0)
    parameters: int | None = Field(default=None, ge=1)
    finetuning_seed: int | None = Field(default=None, ge=0)


class Listed(NamedTuple):
    """A row of an index: where it is, what it says, and every hyperparameter, None where it does not say."""

    place: str
    row: IndexRow
    settings: dict[str, Any]


def read_index(path: Path) -> list[Listed]:
    """The rows of a tab-separated file, CSV or JSON lines, with the fields of ``IndexRow`` and hyperparameters.

    An empty cell is one that is not given. Raises ``DataError`` for other columns and for values that are not legal.
    """
    format_ = _FORMATS.get(path.suffix)
    if format_ is None:
        raise DataError(f"The index {path} ends in none of {', '.join(_FORMATS)}.")
    names = _names(path, format_)
    legal = (*IndexRow.model_fields, *Hyperparameters.model_fields)
    for name in names:
        if name not in legal:
            hint = nearest_or_all(name, legal)
            raise DataError(f"The index {path} has the column {name!r}, which means nothing here; {hint}")
    table = read_table(path, format_, Wanted(("family", "task"), optional=tuple(names)))  # type: ignore[arg-type]  # read above
    listed = []
    for number in range(len(table)):
        place = table.place(number)
        cells = {str(name): values[number] for name, values in table.columns.items()}
        given = {name: value for name, value in cells.items() if value not in ("", None)}
        try:
            row = IndexRow.model_validate({k: v for k, v in given.items() if k in IndexRow.model_fields})
        except ValidationError as error:
            first = error.errors()[0]
            raise DataError(f"{place}: {first['loc'][0]}: {first['msg']}.") from error
        rest = {name: value for name, value in given.items() if name not in IndexRow.model_fields}
        listed.append(Listed(place, row, known_settings(rest, place)))
    return listed


def _names(path: Path, format_: str) -> list[str]:
    """The columns of the file."""
    first, *_ = read_text(path).split("\n", 1)
    if format_ != "jsonl":
        return [name.strip('"') for name in first.removesuffix("\r").split("\t" if format_ == "tsv" else ",")]
    names: dict[str, None] = {}
    for line in filter(None, read_text(path).split("\n")):
        try:
            row = json.loads(line)
        except ValueError:
            break  # the reader of tables says where
        names.update(dict.fromkeys(row if isinstance(row, dict) else ()))
    return list(names)
