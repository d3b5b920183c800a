"""The catalogue of checkpoints: list them, find one by any of its names, select some of a family."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from multibench.checkpoints.catalogue.architecture import Architecture
from multibench.checkpoints.catalogue.checkpoint import Checkpoint, Evidence, Family, Source
from multibench.checkpoints.catalogue.families import built_in_files, read_family
from multibench.errors import NameTakenError, SuiteError, UnknownNameError
from multibench.registry import Registry, did_you_mean

__all__ = [
    "FAMILIES",
    "Architecture",
    "Checkpoint",
    "Evidence",
    "Family",
    "Source",
    "all_checkpoints",
    "find",
    "read_family",
    "select",
]


def _built_in() -> Iterator[tuple[str, Family]]:
    for path in built_in_files():
        family = read_family(path)
        yield family.name, family


FAMILIES: Registry[Family] = Registry("family", group="multibench.families", built_in=_built_in)


def all_checkpoints() -> tuple[Checkpoint, ...]:
    """Every checkpoint of every family, aliases and fine-tuned ones included; families by name."""
    return tuple(checkpoint for family in FAMILIES for checkpoint in family.checkpoints)


def find(name: str) -> Checkpoint:
    """The checkpoint that ``name`` is the id, another name or a Hub id (mirrors included) of.

    Raises ``UnknownNameError`` with near matches and the families that there are.
    """
    index = _index(tuple(FAMILIES.names()))
    if name in index:
        return index[name]
    families = ", ".join(f"{family.name} ({len(family.checkpoints)})" for family in FAMILIES)
    raise UnknownNameError(
        f"There is no checkpoint '{name}'.{did_you_mean(name, index)} Known are {len(all_checkpoints())} checkpoints "
        f"of these families: {families}. A folder with weights of your own is given by its path."
    )


def select(
    family: str | Sequence[str] | None = None,
    pretraining_seeds: Iterable[int] | None = None,
    steps: Iterable[int] | str = "last",
    aliases: bool = False,
    finetuned: bool | str = False,
    languages: bool = False,
) -> tuple[Checkpoint, ...]:
    """Checkpoints of one or several families (``None``: of all), by seed, then step, then size.

    ``pretraining_seeds=None`` takes all seeds, and checkpoints whose seed is unknown. ``steps`` counts
    optimisation steps (2_000_000, not 2000); the default takes the last step of each pretraining run, so
    that ``select("multiberts")`` is its 25 final checkpoints, and ``"all"`` takes every step. ``aliases``
    adds second names of checkpoints already listed. ``finetuned`` adds checkpoints fine-tuned on a task;
    the name of a task selects only those fine-tuned on it. ``languages`` adds checkpoints of other languages than
    English, which are no further seeds of the others.

    A pair of seed and step that does not exist is left out, but a seed or a step that no checkpoint has is
    an error. Raises ``UnknownNameError`` for an unknown family and ``SuiteError``, saying what exists, if a
    seed or step is unknown or nothing is left.
    """
    names = FAMILIES.names() if family is None else [family] if isinstance(family, str) else list(family)
    pool = [checkpoint for name in dict.fromkeys(names) for checkpoint in FAMILIES.get(name).checkpoints]
    kept = [checkpoint for checkpoint in pool if _wanted(checkpoint, aliases, finetuned, languages)]
    if not kept:
        raise SuiteError(_nothing_left(names, pool, finetuned))
    if pretraining_seeds is not None:
        seeds = set(pretraining_seeds)
        _refuse_absent(seeds, {c.pretraining_seed for c in kept}, "pretraining seed", names)
        kept = [checkpoint for checkpoint in kept if checkpoint.pretraining_seed in seeds]
    if steps == "last":
        last = _last_steps(kept)
        kept = [checkpoint for checkpoint in kept if checkpoint.step == last[_pretraining_run(checkpoint)]]
    elif steps != "all":
        if isinstance(steps, str):
            raise SuiteError(f"steps is '{steps}'; give 'last', 'all' or a list of optimisation steps.")
        wanted = set(steps)
        _refuse_absent(wanted, {c.step for c in kept}, "step", names)
        kept = [checkpoint for checkpoint in kept if checkpoint.step in wanted]
    if not kept:
        raise SuiteError(
            f"The selection from {_joined(names)} is empty: name at least one seed and one step."
        )
    return tuple(
        sorted(
            kept, key=lambda c: tuple((v is None, v or 0) for v in (c.pretraining_seed, c.step, c.parameters))
        )
    )


def _wanted(checkpoint: Checkpoint, aliases: bool, finetuned: bool | str, languages: bool) -> bool:
    if checkpoint.alias_of is not None and not aliases:
        return False
    if checkpoint.language is not None and not languages:
        return False
    if isinstance(finetuned, str):
        return checkpoint.finetuned_on == finetuned
    return finetuned or checkpoint.finetuned_on is None


def _nothing_left(names: list[str], pool: list[Checkpoint], finetuned: bool | str) -> str:
    tasks = _joined(sorted({c.finetuned_on for c in pool if c.finetuned_on}))
    if isinstance(finetuned, str):
        return (
            f"No checkpoint of {_joined(names)} was fine-tuned on '{finetuned}'; there are some for: {tasks}."
        )
    return (
        f"All {len(pool)} checkpoints of {_joined(names)} are aliases, or fine-tuned (on {tasks}). "
        "Ask for aliases or for fine-tuned checkpoints to select them."
    )


def _pretraining_run(checkpoint: Checkpoint) -> tuple[object, ...]:
    """What all snapshots of one pretraining run have in common."""
    return checkpoint.family, checkpoint.pretraining_seed, checkpoint.architecture, checkpoint.cased


def _last_steps(checkpoints: list[Checkpoint]) -> dict[tuple[object, ...], int | None]:
    last: dict[tuple[object, ...], int | None] = {}
    for checkpoint in checkpoints:
        run = _pretraining_run(checkpoint)
        best = last.setdefault(run, checkpoint.step)
        if checkpoint.step is not None and (best is None or checkpoint.step > best):
            last[run] = checkpoint.step
    return last


def _refuse_absent(asked: set[int], existing: set[int | None], what: str, names: list[str]) -> None:
    absent = sorted(asked - existing)
    if not absent:
        return
    known = sorted(value for value in existing if value is not None)
    hint = ""
    if what == "step" and all(value * 1000 in existing for value in absent):
        hint = f" Steps are counted singly: did you mean {_joined([value * 1000 for value in absent])}?"
    there = f"there are: {_ranges(known)}" if known else "none is known for these checkpoints"
    raise SuiteError(f"{_joined(names)}: no checkpoint has the {what} {_joined(absent)}; {there}.{hint}")


def _joined(values: Sequence[object]) -> str:
    return ", ".join(str(value) for value in values) or "none"


def _ranges(values: list[int]) -> str:
    """1, 2, 3, 7 as "1-3, 7"."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


@lru_cache(maxsize=1)
def _index(families: tuple[str, ...]) -> dict[str, Checkpoint]:
    """All names of all checkpoints. Keyed by the families, since plug-ins may register more later."""
    index: dict[str, Checkpoint] = {}
    for family in families:
        for checkpoint in FAMILIES.get(family).checkpoints:
            hub = (source.location for source in checkpoint.sources if source.kind == "hub")
            for name in dict.fromkeys((checkpoint.id, *checkpoint.names, *hub)):
                if (other := index.setdefault(name, checkpoint)) is not checkpoint:
                    raise NameTakenError(
                        f"'{name}' names both '{other.id}' ({other.family}) and '{checkpoint.id}' "
                        f"({checkpoint.family}). Give one of them another name."
                    )
    return index
