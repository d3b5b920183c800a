"""Whether two sides of a comparison are paired, and why: decided here and nowhere else.

Equal numbers of two pretraining seeds mean the same pretraining only if both come from one origin: of one family and
size, or declared so by a suite (``paired_with``). Pairing what is unrelated would take a common noise for granted
that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from multibench.errors import ResultsError
from multibench.results import PredictionTensor

__all__ = ["Pairing", "pairing_of"]


@dataclass(frozen=True)
class Pairing:
    """The decision and its reason; ``common`` are seeds that both sides have where they are not all."""

    paired: bool
    why: str
    common: tuple[Any, ...] = ()


def pairing_of(base: PredictionTensor, experiment: PredictionTensor, asked: bool | None = None) -> Pairing:
    """How the runs of two sides are compared.

    Paired by pretraining seed where both sides have the same two or more of one origin; by fine-tuning seed where both
    are runs of one pretraining seed of one origin, with the same fine-tuning seeds. ``asked`` is what a user wants.
    Raises ``ResultsError`` if pairing is asked for and the sides have no common origin.
    """
    if asked is False:
        return Pairing(False, "unpaired, as asked")
    origins = [_origins(side) for side in (base, experiment)]
    shared = len(origins[0]) == 1 and origins[0] == origins[1]
    if not shared:
        if asked:
            raise ResultsError(
                f"The sides cannot be paired: base is of the origin {_named(origins[0])}, the experiment of "
                f"{_named(origins[1])}, so equal numbers of their pretraining seeds mean nothing. Compare them "
                "unpaired, or declare in the suite whose seeds they share (paired_with)."
            )
        return Pairing(False, "unpaired: no common origin")
    origin = next(iter(origins[0]))
    seeds = [dict.fromkeys(side.run_info()["seed"]) for side in (base, experiment)]
    common = tuple(seed for seed in seeds[0] if seed in seeds[1])
    if seeds[0].keys() == seeds[1].keys() and len(common) == 1:
        labels = [set(side.run_info()["finetune_seed"]) for side in (base, experiment)]
        if labels[0] == labels[1] or asked:
            return Pairing(True, f"paired by fine-tuning seed: one pretraining seed of {origin}")
        return Pairing(False, "unpaired: one pretraining seed, other fine-tuning seeds")
    if (seeds[0].keys() == seeds[1].keys() and common) or (asked and common):
        return Pairing(True, f"paired by pretraining seed: one origin, {origin}")
    if asked:
        raise ResultsError(
            "The sides cannot be paired: they have no pretraining seed in common "
            f"(base has {_some(seeds[0])}, the experiment {_some(seeds[1])}). Compare them unpaired."
        )
    if len(common) > 1:
        fewest = min(map(len, seeds))
        return Pairing(False, f"unpaired: {len(common)} of {fewest} pretraining seeds are common", common)
    return Pairing(False, "unpaired: other pretraining seeds")


def _origins(side: PredictionTensor) -> set[str]:
    return {str(run["origin"]) for run in side.runs}


def _named(origins: set[str]) -> str:
    return " and ".join(sorted(origins)[:3])


def _some(seeds: dict[Any, None]) -> str:
    shown = ", ".join(map(str, list(seeds)[:5]))
    return f"{shown}, ..." if len(seeds) > 5 else shown
