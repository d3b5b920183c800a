"""Where a task's examples are and how they are written down: the parts of a task's facts that say so."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = [
    "BuiltinLayout",
    "Column",
    "Columns",
    "Facts",
    "FileLayout",
    "Format",
    "HubLayout",
    "LabelCodes",
    "OriginalFile",
    "Parts",
    "SplitFile",
    "spellings",
]

Format = Literal["tsv", "csv", "jsonl", "parquet", "squad"]
Column = str | int
LabelCodes = tuple[str | tuple[str, ...], ...]
"""How files write class 0, 1, ...: each in one way, or in several."""

_LONGEST_PATTERN = 1000
_FORMATS: dict[str, Format] = {
    ".tsv": "tsv",
    ".txt": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".parquet": "parquet",
    ".json": "squad",
}


class Facts(BaseModel):
    """Facts from a TOML file: an unknown key is an error, and nothing changes them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OriginalFile(Facts):
    """The file of an older release that a split can be cut out of, where the split's own is not there."""

    file: str
    ids: tuple[str, ...] = ()
    """Columns that together name a row."""
    ids_file: str | None = None
    """A tab-separated file beside it, without header, whose lines are the ids of some rows; none: all rows."""
    listed: bool = True
    """Whether the split is the rows that are listed there, or the others."""

    @model_validator(mode="after")
    def _ids_go_with_their_file(self) -> OriginalFile:
        if bool(self.ids) != (self.ids_file is not None):
            raise ValueError("'ids' and 'ids_file' are given together or not at all")
        return self


class Columns(NamedTuple):
    """Which columns of a table are what: ``label`` None without labels, ``ids`` None for row numbers.

    ``no_label`` are values of ``label`` of rows that have none: these are left out.
    """

    inputs: tuple[Column, ...]
    label: Column | None = None
    label_codes: LabelCodes | None = None
    ids: str | None = None
    no_label: tuple[str, ...] = ()


class SplitFile(Facts):
    """The file of one split; what it leaves out is as its layout says."""

    file: str
    inputs: tuple[Column, ...] | None = None
    label: Column | None = None
    header: bool = True
    """Whether the first row of a tsv or csv file names the columns; else they have numbers, from 0."""
    label_codes: LabelCodes | None = None
    """How this file writes the classes, if otherwise than the others."""
    skip_short: bool = False
    """Leave out lines with too few columns, which line feeds inside a text have made, and say how many."""
    instead: OriginalFile | None = None


class Parts(Facts):
    """Columns that are parts of another column."""

    column: str
    pattern: str
    """A regular expression for the whole value; each named group is a column."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        if len(pattern) > _LONGEST_PATTERN:
            raise ValueError(
                f"the pattern has {len(pattern):,} characters; up to {_LONGEST_PATTERN:,} are read"
            )
        try:
            groups = re.compile(pattern).groupindex
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"'{pattern}' is not a regular expression: {error}") from error
        if not groups:
            raise ValueError(f"'{pattern}' has no named group, so it makes no column")
        return pattern


class FileLayout(Facts):
    """A folder of files, one a split: the original release of a data set, or files of one's own.

    Formats: ``tsv`` (no quoting, as in GLUE), ``csv`` (quoted as spreadsheets do), ``jsonl`` (an object a
    line), ``parquet``, and ``squad`` (the JSON of SQuAD). All but parquet may be compressed as ``.gz``.
    """

    format: Format | None = None
    """By the ending of each file if not given: ``.tsv .txt .csv .jsonl .parquet``, and ``.json`` for ``squad``."""
    folder: str
    """Below the folder that ``--data`` names; the last of ``glue/RTE`` may also be that folder itself."""
    inputs: tuple[Column, ...] | None = None
    """Columns of the task's inputs, if they are called otherwise."""
    label: Column | None = None
    """The column of the label: class, score, or for spans the answers."""
    label_codes: LabelCodes | None = None
    """How the files write class 0, 1, ..., a list for a class that they write in several ways; the label names (or in
    typed files the numbers) if not given."""
    no_label: tuple[str, ...] = ()
    """What stands for the label of a row that has none, such as ``-``: these rows are left out, and counted."""
    parts: Parts | None = None
    splits: dict[str, SplitFile]
    """Split -> its file, or a table with more about it."""

    @field_validator("splits", mode="before")
    @classmethod
    def _file_names_will_do(cls, splits: Any) -> Any:
        if not isinstance(splits, dict):
            return splits
        return {name: {"file": file} if isinstance(file, str) else file for name, file in splits.items()}

    def format_of(self, file: str) -> Format | None:
        """The format of ``file``, None if neither the layout nor its ending says."""
        return self.format or _FORMATS.get(PurePosixPath(file).suffix)


class HubLayout(Facts):
    """The same examples on the Hugging Face Hub."""

    id: str
    config: str
    label: str
    splits: dict[str, str]
    """Our split name -> theirs."""
    inputs: tuple[str, ...] | None = None
    """Column names there, if they differ from the task's."""
    no_label: tuple[str, ...] = ()
    """What stands for the label of a row that has none, such as ``-1``: these rows are left out, and counted."""
    revision: str | None = Field(default=None, pattern="^[0-9a-f]{40}$")
    """A pinned commit. None where no source that could be read gives one."""


class BuiltinLayout(Facts):
    """Examples that a module makes: it has ``split(task, split) -> list of row dictionaries``.

    For tasks of packages alone: a task file that somebody hands over must not run code.
    """

    module: str
    label: str


def spellings(codes: LabelCodes) -> dict[str, int]:
    """The class of each code."""
    return {
        code: number
        for number, each in enumerate(codes)
        for code in ((each,) if isinstance(each, str) else each)
    }
