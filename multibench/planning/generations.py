"""Stored runs that a suite asks for by name and that are not the ones it asks for: made from what was here before."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from multibench.results.design import design_of
from multibench.results.identity import RunIdentity
from multibench.results.partition import short_digests

__all__ = ["generation_remarks"]

_PARTS = {
    "identity_version": "way of training (dropout masks, products)",
    "checkpoint": "weights",
    "training_data": "training data",
    "task_version": "version of the task",
    "seeds": "seeds that noise is drawn from",
}


class Planned(Protocol):
    """A planned run, as far as it matters here."""

    @property
    def identity(self) -> RunIdentity | None:
        """What decides its numbers."""

    def labels(self) -> dict[str, Any]:
        """What it is listed under."""


def generation_remarks(runs: Iterable[Planned], stored: Mapping[str, dict[str, Any]]) -> list[str]:
    """Sentences on stored runs that do not count though their names and settings are those of planned ones.

    ``10 stored runs do not count: their training data differ (rte: stored 3a0af020, now 77b1c2d4).``
    """
    planned = [run for run in runs if run.identity is not None]
    ids = {run.identity.run_id for run in planned if run.identity is not None}
    others = [manifest for run_id, manifest in stored.items() if run_id not in ids]
    if not others:
        return []
    wanted: dict[str, dict[str, Any]] = {}
    designs: set[str | None] = set()
    for run in planned:
        assert run.identity is not None
        identity, labels = run.identity.to_dict(), run.labels()
        wanted.setdefault(_name(labels, identity), {**identity, "origin": labels.get("origin")})
        designs.add(labels.get("finetuning_seed_design"))
    counts: Counter[tuple[str, ...]] = Counter()
    pairs: dict[tuple[str, ...], dict[str, None]] = defaultdict(dict)
    for manifest in others:
        identity = manifest["identity"]
        now = wanted.get(_name(manifest["labels"], identity))
        if now is None or design_of(manifest) not in designs:
            continue  # runs of another design have a remark of their own
        differ = tuple(part for part in _PARTS if identity[part] != now[part])
        if "checkpoint" in differ:  # the seeds of a folder of one's own follow from its weights
            differ = tuple(part for part in differ if part != "seeds")
        counts[differ] += 1
        pairs[differ] |= dict.fromkeys(_pairs(differ, manifest["labels"], identity, now))
    return [_sentence(differ, count, list(pairs[differ])) for differ, count in counts.items() if differ]


def _name(labels: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """What names a run: its labels and settings, and nothing of their content."""
    keys = ("family", "checkpoint", "pretraining_seed", "step", "task", "finetuning_seed", "held_out")
    return json.dumps([[labels.get(key) for key in keys], identity["hyperparameters"]], sort_keys=True)


def _pairs(
    differ: tuple[str, ...], labels: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[str]:
    """What each part was and is, of whose name."""
    for part in differ:
        if part == "seeds":
            origin = labels.get("origin")
            if origin != now["origin"]:
                yield f"{labels['checkpoint']}: stored for the origin {origin or 'unknown'}, now {now['origin']}"
            continue
        of = labels["checkpoint"] if part == "checkpoint" else labels["task"]
        old, new = before[part], now[part]
        if part != "task_version":
            shown = short_digests([old, new])
            old, new = shown[old], shown[new]
        yield f"{of}: stored {old}, now {new}"


def _sentence(differ: tuple[str, ...], count: int, pairs: list[str]) -> str:
    one = count == 1
    parts = " and ".join(_PARTS[part] for part in differ)
    more = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
    listed = f" ({'; '.join(pairs[:3])}{more})" if pairs else ""
    verb = "differs" if differ == ("task_version",) else "differ"
    head = "1 stored run does not count: its" if one else f"{count} stored runs do not count: their"
    stays = "no table takes both" if differ == ("seeds",) else "tables show it as a group of its own"
    return f"{head} {parts} {verb}{listed}. What is stored stays, and {stays}."
