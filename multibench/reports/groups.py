"""Groups of checkpoints as reports name, order and filter them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from multibench.errors import ResultsError
from multibench.reports.scores import chosen_title
from multibench.results import Chosen, Results
from multibench.results.filters import RunFilter, parse_filter
from multibench.results.partition import short_digests

__all__ = [
    "CheckpointGroup",
    "checkpoint_groups",
    "comparison_pairs",
    "reference_group",
    "refuse_mixture",
    "trained_apart",
]

MOST_STEPS = 4


@dataclass(frozen=True)
class CheckpointGroup:
    """Checkpoints that differ in their pretraining seed only; ``parameters`` is None where it is unknown."""

    title: str
    family: str
    step: int | None
    parameters: int | None
    seeds: frozenset[Any]
    """Pretraining seeds; a checkpoint without a known one is its own, under its name."""
    filter: RunFilter

    @property
    def n_seeds(self) -> int:
        """Number of pretraining seeds."""
        return len(self.seeds)


def checkpoint_groups(chosen: Iterable[Chosen]) -> list[CheckpointGroup]:
    """The groups that ``chosen`` holds, by family, size and step."""
    found: dict[tuple[Any, ...], CheckpointGroup] = {}
    for one in chosen:
        assert one.place is not None  # as ``select_settings`` gives it
        fields = one.runs[0].fields
        known = fields["pretraining_seed"] is not None
        own = {run.fields["pretraining_seed" if known else "checkpoint"] for run in one.runs}
        before = found.get(one.group)
        found[one.group] = CheckpointGroup(
            one.place.name,
            fields["family"],
            fields["step"],
            fields["parameters"],
            frozenset(own) | (before.seeds if before else frozenset()),
            RunFilter(one.place.name, one.place.conditions),
        )
    return sorted(found.values(), key=lambda g: (g.family, g.parameters or 0, g.step or 0, g.title))


def reference_group(
    groups: Sequence[CheckpointGroup], results: Results, base: str | None = None
) -> CheckpointGroup:
    """The group that a report compares the others with.

    It is the group whose runs the filter ``base`` accepts, or the one with most pretraining seeds (of equals the
    latest step, the largest, the first by name). Raises ``ResultsError`` if ``base`` is not one group.
    """
    if base is None:
        return max(groups, key=lambda g: (g.n_seeds, g.step or 0, g.parameters or 0, -groups.index(g)))
    asked = results.where(parse_filter(base, results.fields()))
    matching = [g for g in groups if len(asked.where(g.filter))]
    if len(matching) != 1:
        names = ", ".join(g.title for g in matching) or "none"
        raise ResultsError(
            f"The base of a report must be one group of checkpoints; '{base}' accepts {names}. Narrow or widen the "
            "filter."
        )
    return matching[0]


def comparison_pairs(
    groups: Sequence[CheckpointGroup], reference: CheckpointGroup
) -> list[tuple[CheckpointGroup, CheckpointGroup]]:
    """Which groups a report compares, as (base, experiment): all others with ``reference``.

    Earlier steps of its own family and size are compared the other way round, so that a gain is what further
    pretraining brought; of more than four, the first, the last within half of the reference and the one before it
    stand for all.
    """
    earlier = [g for g in groups if _earlier(g, reference)]
    if len(earlier) > MOST_STEPS:
        steps = [g.step or 0 for g in earlier]
        half = max((s for s in steps if 2 * s <= (reference.step or 0)), default=steps[0])
        earlier = [g for g in earlier if g.step in {steps[0], half, steps[-1]}]
    others = [g for g in groups if g is not reference and not _earlier(g, reference)]
    return [*((g, reference) for g in earlier), *((reference, g) for g in others)]


def _earlier(group: CheckpointGroup, reference: CheckpointGroup) -> bool:
    same = (group.family, group.parameters) == (reference.family, reference.parameters)
    return same and group.step is not None and group.step < (reference.step or 0)


def refuse_mixture(parts: Sequence[Chosen], side: str, task: str) -> None:
    """Raise ``ResultsError`` if ``parts``, all the runs of one side on ``task``, cannot be taken for one group.

    Checkpoints without a pretraining seed may stand together, as seeds of their own, if they differ in nothing else.
    """
    fields = [part.runs[0].fields for part in parts]
    why = ""
    if any(each["pretraining_seed"] is not None for each in fields):
        why = "groups of checkpoints"
    elif len({(each["family"], each["checkpoint"]) for each in fields}) < len(parts):
        why = "runs of one name that are not of one group"
    elif len({(each["training_data"], each["task_version"], each["held_out"]) for each in fields}) > 1:
        why = "runs on different training data"
    elif any(part.selection.startswith("none") for part in parts):
        settings = {str(part.runs[0].manifest["identity"]["hyperparameters"]) for part in parts}
        why = "runs of different settings" if len(settings) > 1 else ""
    if why:
        titles = ", ".join(dict.fromkeys(map(chosen_title, parts)))
        raise ResultsError(f"The {side} side mixes {why} for {task}: {titles}. Narrow its filter.")


def trained_apart(base: Chosen, experiment: Chosen) -> tuple[str, ...]:
    """A sentence if two sides were trained on different data, which then is a part of their difference."""
    data = [one.runs[0].fields["training_data"] for one in (base, experiment)]
    if data[0] == data[1] or None in data:
        return ()
    shown = short_digests(data)
    return (
        f"{base.task}: base and experiment were trained on different data ({shown[data[0]]} and {shown[data[1]]}), "
        "and that is a part of their difference.",
    )
