"""Whom the fine-tuning seeds of a stored run are shared with: its design, and the origin that it is nested in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from multibench.errors import ResultsError

__all__ = [
    "DESIGNS",
    "Design",
    "common_design",
    "design_of",
    "design_remarks",
    "finetuning_labels",
    "origin_name",
    "origin_of",
]

Design: TypeAlias = Literal["nested", "shared", "unknown"]
DESIGNS: tuple[Design, ...] = ("nested", "shared", "unknown")

# What imports of version 1 said.
_FORMERLY: dict[str, Design] = {"crossed": "shared"}


def design_of(manifest: Mapping[str, Any]) -> Design | None:
    """How the run's fine-tuning seed was derived; None if it was made here and nothing was trained.

    Runs that were made here before it was recorded are ``shared``; imported ones are ``unknown`` unless the import
    said something.
    """
    labels = manifest["labels"]
    if "imported" in manifest:
        return _design(manifest["imported"].get("finetuning_seeds"))
    if labels["finetuning_seed"] is None:
        return None
    return _design(labels.get("finetuning_seed_design", "shared"))


def _design(said: object) -> Design:
    """The design of that name; ``unknown`` for any other."""
    return next((name for name in DESIGNS if name == said), _FORMERLY.get(str(said), "unknown"))


def origin_of(manifest: Mapping[str, Any]) -> str:
    """The origin that is recorded, or else that of the run's family and size."""
    labels = manifest["labels"]
    recorded = labels.get("origin")
    return origin_name(labels["family"], labels["parameters"]) if recorded is None else str(recorded)


def origin_name(family: str, size: int | str | None) -> str:
    """``multiberts/109482240``: a family and a size, in parameters where they are known."""
    return f"{family}/{'unknown' if size is None else size}"


def common_design(runs: Iterable[Mapping[str, Any]], what: str) -> Design:
    """The one design of ``runs`` (their fields); ``nested`` where nothing was trained, each head being its own.

    Raises ``ResultsError`` if there are several: ``what`` is the title of the runs.
    """
    found = {run["finetuning_seed_design"] for run in runs} - {None}
    designs = [name for name in DESIGNS if name in found]
    if len(designs) > 1:
        names = " and ".join(f"`{name}`" for name in designs)
        raise ResultsError(
            f"The runs on {what} have fine-tuning seeds of several designs, {names}, which no interval covers "
            f"together. Take one with a filter such as finetuning_seed_design={designs[0]}."
        )
    return designs[0] if designs else "nested"


def design_remarks(runs: Sequence[Mapping[str, Any]], what: str) -> tuple[str, ...]:
    """A sentence if nobody says whether equal fine-tuning seeds of several pretraining seeds share anything."""
    units: dict[int, set[Any]] = {}
    for run in runs:
        if run["finetuning_seed"] is not None and run["finetuning_seed_design"] == "unknown":
            seed = run["pretraining_seed"]
            units.setdefault(run["finetuning_seed"], set()).add(run["checkpoint"] if seed is None else seed)
    if not any(len(seeds) > 1 for seeds in units.values()):
        return ()
    return (
        f"{what}: it is not known whether equal fine-tuning seeds of several checkpoints share their noise; they are "
        "analysed as if they did (an import can say it: --finetuning-seeds nested or shared).",
    )


def finetuning_labels(runs: Iterable[Mapping[str, Any]], seeds: Iterable[Any]) -> list[Any]:
    """A label a run, equal for two runs of one pretraining seed or of a ``shared`` design that share their noise.

    ``seeds`` are the pretraining seeds. Nested seeds are named with theirs, so that none are equal across pretraining
    seeds; so are runs whose fine-tuning seed has no number (-1), of which nobody says that they share anything.
    """
    labels: list[Any] = []
    for run, seed in zip(runs, seeds, strict=True):
        k, design = run["finetuning_seed"], run["finetuning_seed_design"]
        own = k is None or design == "nested"
        number = -1 if k is None else k
        labels.append(f"{number} of {seed}" if own else number)
    return labels
