"""From a table of runs to groups, seeds and a canonical order that no shuffling of the input changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from multibench.errors import StatisticsError
from multibench.metrics.base import Array

__all__ = [
    "Group",
    "RunInfo",
    "RunTable",
    "codes_of",
    "column",
    "content_key",
    "pair",
    "run_table",
    "sides",
    "sorted_labels",
]

# A pandas data frame, or any mapping from column names to sequences of one length.
RunInfo: TypeAlias = Any

FINETUNE_COLUMNS = ("finetune_seed", "ft_seed")


@dataclass(frozen=True)
class Group:
    """The runs of one side: which rows, of which pretraining seed, of which fine-tuning seed.

    ``rows`` are places in canonical order; ``seed_codes`` index ``seeds``;
    ``finetune`` holds labels or is ``None`` where the table has no such column.
    """

    name: str
    rows: Array
    seeds: tuple[Hashable, ...]
    seed_codes: Array
    finetune: tuple[Hashable, ...] | None

    @property
    def n_seeds(self) -> int:
        """Number of pretraining seeds."""
        return len(self.seeds)

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return len(self.rows)

    def mixing(self) -> Array:
        """``(n_seeds, n_runs)``: averages the runs of each seed, every run of a seed alike."""
        matrix = (np.arange(self.n_seeds)[:, None] == self.seed_codes[None]).astype(np.float64)
        return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))

    def only(self, seeds: Sequence[Hashable]) -> Group:
        """The same group without other seeds."""
        kept = set(seeds)
        mask = np.array([self.seeds[code] in kept for code in self.seed_codes], dtype=bool)
        remaining = tuple(seed for seed in self.seeds if seed in kept)
        place = {seed: index for index, seed in enumerate(remaining)}
        codes = np.array([place[self.seeds[code]] for code in self.seed_codes[mask]], dtype=np.int64)
        names = None if self.finetune is None else tuple(np.array(self.finetune, dtype=object)[mask])
        return Group(self.name, self.rows[mask], remaining, codes, names)


def column(run_info: RunInfo, name: str) -> list[Any]:
    """One column of the run table as a list of plain values."""
    if name not in run_info:
        known = ", ".join(str(key) for key in run_info)
        raise StatisticsError(f"The run table has no column '{name}'; it has: {known or 'none'}.")
    return list(np.asarray(run_info[name]).tolist())


def sorted_labels(labels: Sequence[Hashable]) -> list[Hashable]:
    """Distinct labels in an order that depends on nothing but the labels (no set or hash order)."""
    if any(isinstance(label, float) and math.isnan(label) for label in labels):
        raise StatisticsError(
            "A label of a run (or of an example) is NaN; every one needs a name or a number."
        )
    distinct = list(dict.fromkeys(labels))
    numbers = [label for label in distinct if isinstance(label, (int, float))]
    others = [label for label in distinct if not isinstance(label, (int, float))]
    return [*sorted(numbers), *sorted(others, key=lambda label: (type(label).__name__, str(label)))]


def codes_of(labels: Sequence[Hashable]) -> tuple[tuple[Hashable, ...], Array]:
    """Sorted distinct labels, and for each label its place among them."""
    distinct = sorted_labels(labels)
    place = {label: index for index, label in enumerate(distinct)}
    return tuple(distinct), np.array([place[label] for label in labels], dtype=np.int64)


@dataclass(frozen=True)
class RunTable:
    """The run table in canonical order; ``order`` says which given row comes where."""

    order: Array
    seeds: tuple[Hashable, ...]
    finetune: tuple[Hashable, ...] | None
    columns: RunInfo

    def column(self, name: str) -> list[Any]:
        """Another column, in canonical order."""
        values = column(self.columns, name)
        return [values[row] for row in self.order]

    def group(self, name: str, rows: Sequence[int]) -> Group:
        """The group of these rows (positions in canonical order)."""
        labels, codes = codes_of([self.seeds[row] for row in rows])
        finetune = None if self.finetune is None else tuple(self.finetune[row] for row in rows)
        return Group(name, np.array(rows, dtype=np.int64), labels, codes, finetune)


def run_table(run_info: RunInfo, n_runs: int, content: Callable[[], Array]) -> RunTable:
    """Rows sorted by seed, then fine-tuning seed, then content, so that no shuffling changes a result.

    ``content`` gives a number for each run that does not depend on the order of examples; it is asked for
    only where labels leave a tie.
    """
    seeds = column(run_info, "seed")
    if len(seeds) != n_runs:
        raise StatisticsError(
            f"The run table has {len(seeds)} rows and the predictions have {n_runs} runs; "
            "expected one row a run, in the same order."
        )
    present = [name for name in FINETUNE_COLUMNS if name in run_info]
    finetune = column(run_info, present[0]) if present else None
    seed_codes = codes_of(seeds)[1]
    minor = np.zeros(n_runs, dtype=np.int64) if finetune is None else codes_of(finetune)[1]
    pairs = set(zip(seed_codes.tolist(), minor.tolist(), strict=True))
    tie = content() if len(pairs) < n_runs else np.zeros(n_runs, dtype=np.uint64)
    order = np.lexsort((tie, minor, seed_codes))
    return RunTable(
        order,
        tuple(seeds[row] for row in order),
        None if finetune is None else tuple(finetune[row] for row in order),
        run_info,
    )


def sides(table: RunTable) -> tuple[Group, Group]:
    """Base and experiment, by the boolean column ``intervention``."""
    flags = table.column("intervention")
    strange = [flag for flag in flags if flag not in (True, False)]
    if strange:
        raise StatisticsError(f"Column 'intervention' must hold booleans; it holds {strange[0]!r}.")
    groups = []
    for name, wanted in (("base", False), ("experiment", True)):
        rows = [row for row, flag in enumerate(flags) if bool(flag) == wanted]
        if not rows:
            raise StatisticsError(
                f"No run has intervention = {wanted}: there is no {name} side to compare. "
                "For one group alone use multibootstrap_group."
            )
        groups.append(table.group(name, rows))
    return groups[0], groups[1]


def pair(base: Group, experiment: Group, warnings: list[str]) -> tuple[Group, Group]:
    """Both sides with their common seeds only; says which seeds were dropped."""
    common = [seed for seed in base.seeds if seed in set(experiment.seeds)]
    if not common:
        raise StatisticsError(
            f"Paired seeds were asked for, but the sides share none: base has {list(base.seeds)[:5]}, "
            f"experiment {list(experiment.seeds)[:5]}. Compare them unpaired."
        )
    for group in (base, experiment):
        dropped = [str(seed) for seed in sorted_labels(group.seeds) if seed not in set(common)]
        if dropped:
            warnings.append(
                f"Seeds of the {group.name} side without a partner were dropped: {', '.join(dropped)}."
            )
    return base.only(common), experiment.only(common)


def content_key(labels: Array, outputs: Array) -> Array:
    """A 64-bit digest of each run, ``(n_runs,)``, blind to the order of examples."""
    mixed = np.zeros(outputs.shape[:2], dtype=np.uint64)
    parts = outputs.reshape(*outputs.shape[:2], -1).astype(np.float64)
    gold = np.ascontiguousarray(labels, dtype=np.float64)
    for values in (np.broadcast_to(gold, outputs.shape[:2]), *np.moveaxis(parts, 2, 0)):
        # Adding 0.0 makes -0.0 and 0.0 one value. The rest is the mixing step of splitmix64.
        mixed ^= (np.ascontiguousarray(values) + 0.0).view(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return np.asarray(mixed.sum(axis=1, dtype=np.uint64))
