"""Whom the fine-tuning seeds of a checkpoint are shared with: its origin, and its pretraining seed there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from multibench.checkpoints import FAMILIES, Checkpoint
from multibench.checkpoints.download.locate import local_checkpoint
from multibench.errors import SuiteError
from multibench.results.design import origin_name
from multibench.seeds import Seeds, derive_nested_seeds, derive_seeds
from multibench.suite import CheckpointSelection, Suite

__all__ = ["FinetuningSeed", "Selected", "finetuning_seeds_of", "origins_of", "select_checkpoints"]

FinetuningSeed = tuple[int | None, Seeds | None]
"""A fine-tuning seed and what derives from it; None where nothing is trained, or it cannot be known yet."""

_SHOWN_SIZES = 5


class Selected(NamedTuple):
    """A checkpoint that a suite names, as it does: what it is paired with, and whether it is a folder of one's own."""

    checkpoint: Checkpoint
    paired_with: str | None
    by_path: bool


def select_checkpoints(suite: Suite, root: Path | None) -> list[Selected]:
    """The checkpoints of ``suite`` in its order, each once.

    Raises ``SuiteError`` for an empty selection or contradicting pairs, ``UnknownNameError`` for unknown names.
    """
    chosen: dict[str, Selected] = {}
    for selection in suite.checkpoints:
        for one in _resolve(selection, root):
            first = chosen.setdefault(one.checkpoint.id, one)
            if first.paired_with != one.paired_with:
                pairs = " and ".join(each.paired_with or "nothing" for each in (first, one))
                raise SuiteError(
                    f"The suite {suite.name} selects {one.checkpoint.id} twice, as paired with {pairs}; "
                    "expected the same 'paired_with' both times."
                )
    if not chosen:
        raise SuiteError(f"The suite {suite.name} selects no checkpoint.")
    return list(chosen.values())


def _resolve(selection: CheckpointSelection, root: Path | None) -> Iterator[Selected]:
    if selection.path is None:
        for checkpoint in selection.from_catalogue():
            yield Selected(checkpoint, selection.paired_with, False)
        return
    own = local_checkpoint(selection.path, root, selection.family, selection.pretraining_seed, selection.step)
    yield Selected(own, selection.paired_with, True)


def origins_of(selected: Sequence[Selected]) -> list[str]:
    """The origin of each: of the family that it is paired with, else its own family and size.

    Raises ``SuiteError`` if that family has several sizes and none is the checkpoint's own.
    """
    families = {one.paired_with for one in selected} - {None}
    sizes = _sizes((one.checkpoint for one in selected), families) if families else {}
    return [_origin(one, sizes) for one in selected]


def _sizes(own: Iterable[Checkpoint], paired: Iterable[str | None]) -> dict[str, list[str]]:
    """The sizes of each family of the suite, and of those in ``paired`` that the catalogue has."""
    named = {part for name in paired if name is not None for part in (name, name.rpartition("/")[0])}
    catalogue = [c for name in named if name in FAMILIES for c in FAMILIES.get(name).checkpoints]
    sizes: dict[str, list[str]] = {}
    for checkpoint in (*own, *catalogue):
        of_family = sizes.setdefault(checkpoint.family, [])
        if _size(checkpoint) not in of_family:
            of_family.append(_size(checkpoint))
    return sizes


def _origin(one: Selected, sizes: dict[str, list[str]]) -> str:
    own, pair = _size(one.checkpoint), one.paired_with
    if pair is None:
        return origin_name(one.checkpoint.family, own)
    family, _, size = (pair, "", "") if pair in sizes else pair.rpartition("/")
    known = sizes.get(family, [])
    if size in known:
        return origin_name(family, size)
    if not size and (own in known or len(known) == 1):
        return origin_name(family, own if own in known else known[0])
    shown = ", ".join(known[:_SHOWN_SIZES]) + (", ..." if len(known) > _SHOWN_SIZES else "")
    raise SuiteError(
        f"{one.checkpoint.id} is paired with {pair}, and {family} has the sizes {shown}: which of them is meant? "
        f"Give family and size, such as 'paired_with: {origin_name(family, known[0] if known else own)}'."
    )


def _size(checkpoint: Checkpoint) -> str:
    """Parameters of the encoder; layers and hidden units where a size is unknown."""
    parameters, shape = checkpoint.parameters, checkpoint.architecture
    return f"{shape.layers}x{shape.hidden}" if parameters is None else str(parameters)


def finetuning_seeds_of(
    suite: Suite, one: Selected, origin: str, content: str | None
) -> tuple[FinetuningSeed, ...]:
    """What the fine-tuning seeds of ``suite`` are for one checkpoint, of that ``origin`` and ``content`` (a digest).

    A checkpoint without pretraining seed takes its own name; a folder of one's own, which may be moved, its content.
    """
    if suite.evaluate_only:
        return ((None, None),)
    if suite.finetuning_seed_design == "shared":
        return tuple((k, derive_seeds(k)) for k in suite.finetuning_seeds)
    seed = one.checkpoint.pretraining_seed
    unit = seed if seed is not None else content if one.by_path else one.checkpoint.id
    if unit is None:
        return tuple((k, None) for k in suite.finetuning_seeds)
    return tuple((k, derive_nested_seeds(origin, unit, k)) for k in suite.finetuning_seeds)
