"""What a published table is: rows of figures with all that their sources say about them, read from TOML.

A fact that is not given is not known: no source states it, and no verdict is built on a guess in its place.
"""

from __future__ import annotations

import re
import statistics
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from multibench.errors import ResultsError

__all__ = ["Figure", "PublishedCell", "Reference", "Row", "read_reference"]

Statistic = Literal["mean", "median", "maximum", "difference", "ensemble"]
Selection = Literal["none", "best_mean_dev", "best_dev"]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _expanded(names: Any) -> Any:
    """``seed_{0..4}`` as five names."""
    if not isinstance(names, list):
        return names
    found: list[str] = []
    for name in names:
        range_ = re.search(r"\{(\d+)\.\.(\d+)\}", name)
        if range_ is None:
            found.append(name)
        else:
            numbers = range(int(range_[1]), int(range_[2]) + 1)
            found += [name.replace(range_[0], str(number)) for number in numbers]
    return found


Checkpoints = Annotated[tuple[str, ...], BeforeValidator(_expanded)]


class Figure(_Facts):
    """One published score, in the unit of its row and with the digits that were printed."""

    value: Decimal | None = None
    sd: Decimal | None = None
    """Standard deviation over the runs (n - 1), or over what the row says."""
    runs: tuple[Decimal, ...] = ()
    """The score of each run, where the source prints them."""
    maximum: Decimal | None = None
    """The best of the runs."""
    interval: tuple[Decimal, Decimal] | None = None
    """The published 95 % interval."""
    range: tuple[Decimal, Decimal] | None = None
    """Between which scores repeated runs are said to fall."""
    p_value: Decimal | None = None
    doubt: str = ""
    """What contradicts this figure, which is then a target for nobody."""
    remark: str = ""

    @model_validator(mode="before")
    @classmethod
    def _bare_number(cls, data: Any) -> Any:
        return data if isinstance(data, dict) else {"value": data}

    @model_validator(mode="after")
    def _says_something(self) -> Figure:
        if not self.model_fields_set - {"doubt", "remark"}:
            raise ValueError("a figure without a number")
        return self

    @property
    def centre(self) -> Decimal | None:
        """What is compared: the printed value, or the mean of the printed runs."""
        if self.value is None and self.runs:
            return statistics.mean(self.runs)
        return self.value

    @property
    def spread(self) -> float | None:
        """Standard deviation (n - 1) over the runs, printed or of those printed."""
        if self.sd is not None:
            return float(self.sd)
        return float(statistics.stdev(self.runs)) if len(self.runs) > 1 else None

    @property
    def half_digit(self) -> Decimal:
        """By how much rounding can have moved a printed number: half a unit of its last digit."""
        numbers = self.runs if self.value is None else (self.value,)
        exponents = [int(number.as_tuple().exponent) for number in numbers]
        return Decimal(5).scaleb(min(exponents) - 1) if exponents else Decimal(0)


class Row(_Facts):
    """Figures that share a model and a protocol."""

    model: str = Field(min_length=1)
    """As the source names it, more or less."""
    name: str = ""
    """By which ``of`` of another row means this one."""
    checkpoints: Checkpoints = ()
    """Ids in the catalogue of the pretrained weights behind the row; none if they are not there or not known."""
    of: tuple[str, str] | None = None
    """Names of the rows whose difference this is: the first less the second."""
    trained: bool = True
    """False: the score of released weights as they are, with nothing random about it."""
    split: str
    statistic: Statistic = "mean"
    """What the figures are over the runs."""
    runs: int | None = Field(default=None, ge=1)
    """How many fine-tuning runs stand behind each figure, over all checkpoints."""
    selection: Selection | None = None
    """How one setting, or one run, was chosen before anything was averaged."""
    chosen: str = ""
    """The same for a person, with what else is known."""
    chosen_over: Checkpoints = ()
    """The checkpoints whose runs the choice was made on, if others than ``checkpoints``."""
    tuned: str = ""
    """What was tuned on the very examples of the score."""
    settings: dict[str, float] = Field(default_factory=dict)
    """Hyperparameters of the row where ``recipe`` has a grid."""
    recipe: str = ""
    """The recipe with what the source says of hyperparameters."""
    suite: str = ""
    """The suite that would make such runs."""
    unit: Literal["percent", "fraction"] = "percent"
    doubt: str = ""
    """What contradicts all figures of the row."""
    source: str = Field(min_length=1)
    remark: str = ""
    scores: dict[str, dict[str, Figure]] = Field(min_length=1)
    """Task -> metric -> figure. MNLI is ``mnli_matched`` or ``mnli_mismatched``, ``mnli`` where nobody says which."""

    @model_validator(mode="after")
    def _runs_are_even(self) -> Row:
        if self.trained and self.runs is not None and self.checkpoints and self.runs % len(self.checkpoints):
            raise ValueError(f"{self.runs} runs do not divide among {len(self.checkpoints)} checkpoints")
        return self

    @property
    def runs_per_checkpoint(self) -> int:
        """Fine-tuning runs of each checkpoint; 1 where their number is not known."""
        return (self.runs or 1) // max(len(self.checkpoints), 1)

    @property
    def scale(self) -> Decimal:
        """What makes the row's numbers fractions."""
        return Decimal("0.01") if self.unit == "percent" else Decimal(1)

    @property
    def selection_text(self) -> str:
        """How the setting was chosen, in words."""
        words = {
            None: "not stated",
            "none": "none",
            "best_mean_dev": "best mean on dev",
            "best_dev": "best on dev",
        }
        return self.chosen or words[self.selection]


@dataclass(frozen=True)
class PublishedCell:
    """One figure with the row and table that it stands in."""

    row: Row
    published_task: str
    metric: str
    figure: Figure

    @property
    def task(self) -> str:
        """The task as multibench names it."""
        return "mnli" if self.published_task.startswith("mnli_") else self.published_task

    @property
    def evaluation(self) -> str:
        """``task.split`` as multibench names it, whether it has it or not."""
        part = self.published_task.removeprefix("mnli") if self.task == "mnli" else ""
        return f"{self.task}.{self.row.split}{part}"

    @property
    def value(self) -> float | None:
        """What is compared, as a fraction."""
        return None if self.figure.centre is None else float(self.figure.centre * self.row.scale)

    @property
    def sd(self) -> float | None:
        """Standard deviation over runs as a fraction, where it is known."""
        spread = self.figure.spread
        return None if spread is None else spread * float(self.row.scale)

    @property
    def rounding(self) -> float:
        """By how much rounding can have moved the value, a fraction."""
        return float(self.figure.half_digit * self.row.scale)

    @property
    def doubt(self) -> str:
        """What contradicts the figure."""
        return self.figure.doubt or self.row.doubt

    def remarks(self) -> list[str]:
        """What is to be known about the figure."""
        doubt = f"Doubtful: {self.doubt}." if self.doubt else ""
        return [text for text in (self.row.remark, self.figure.remark, doubt) if text]


class Reference(_Facts):
    """A published table."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    title: str = Field(min_length=1)
    paper: str = Field(min_length=1)
    remarks: tuple[str, ...] = ()
    """Misprints, contradictions and conventions that hold for the whole table."""
    rows: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_there(self) -> Reference:
        names = [row.name for row in self.rows if row.name]
        if len(set(names)) < len(names):
            raise ValueError("two rows have one name")
        missing = {name for row in self.rows for name in row.of or ()} - set(names)
        if missing:
            raise ValueError(f"'of' speaks of {', '.join(sorted(missing))}, and no row has that name")
        return self

    def cells(self) -> Iterator[PublishedCell]:
        """All figures, in the order of the table."""
        for row in self.rows:
            for task, metrics in row.scores.items():
                for metric, figure in metrics.items():
                    yield PublishedCell(row, task, metric, figure)

    def row(self, name: str) -> Row:
        """The row called ``name``, which there must be."""
        return next(row for row in self.rows if row.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Everything that is known, ready for JSON."""
        facts: dict[str, Any] = _plain(self.model_dump())
        return facts


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items() if entry not in (None, "", (), {})}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def read_reference(path: Path) -> Reference:
    """The table that a TOML file describes; ``[defaults]`` are facts of every row that has no other.

    Raises ``ResultsError`` if the file cannot be used.
    """
    try:
        # Decimal keeps the digits that were printed: 91.0 is known to a tenth, 91.00 to a hundredth.
        data = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        defaults = data.pop("defaults", {})
        data["rows"] = [{**defaults, **row} for row in data.get("rows", [])]
        return Reference.model_validate(data)
    except OSError as error:
        raise ResultsError(f"The reference file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ResultsError(f"The reference file {path} is not valid TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ResultsError(f"The reference file {path} cannot be used: {where}: {first['msg']}.") from error
