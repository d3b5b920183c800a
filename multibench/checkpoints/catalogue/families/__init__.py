"""The families' facts (``*.toml`` beside this file) and the reader that expands them.

A family file states each fact once. ``[common]`` holds what all checkpoints share; a
``[[checkpoints]]`` table describes one, or with ``each`` many: the product of its lists, or one for
each table of its list. ``{name}`` in a text stands for a value of ``each`` or a size, ``{step_k}``
for the step in thousands. ``[details."id"]`` adds to single ones, and ``[[seen]]`` names those ids
(``*`` matches anything) that were read somewhere although a rule generates them. Every fact refers
to an entry of ``[evidence]``; ``default`` there is for facts that name none.
"""

from __future__ import annotations

import fnmatch
import itertools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from multibench.checkpoints.catalogue.architecture import Architecture
from multibench.checkpoints.catalogue.checkpoint import Checkpoint, Evidence, Family, Source
from multibench.errors import CheckpointError, MultibenchError
from multibench.registry import nearest_or_all

__all__ = ["built_in_files", "read_family"]

Table = dict[str, Any]

FACTS = (
    "id", "architecture", "pretraining_seed", "step", "cased", "language", "licence", "parameters_stated",
    "finetuned_on", "alias_of", "names",
)  # fmt: skip
SIZES = tuple(size.name for size in fields(Architecture))
UNKNOWN_SIZES = dict.fromkeys(("heads", "intermediate", "vocab_size"))
# What an `architecture` table may say instead of a size: heads = hidden / head_width,
# intermediate = hidden * intermediate_ratio.
RATIOS = ("head_width", "intermediate_ratio")
MERGED = ("architecture", "evidence")
KEYS = (*FACTS, *SIZES, "sources", "notes", "evidence")
FAMILY_KEYS = (
    "name", "title", "description", "paper", "notes", "evidence", "common", "checkpoints", "details", "seen",
)  # fmt: skip


def built_in_files() -> list[Path]:
    """The family files of this package, by name."""
    return sorted(Path(__file__).parent.glob("*.toml"))


def read_family(path: str | Path) -> Family:
    """The family that a TOML file describes. Raises ``CheckpointError`` if it cannot be used."""
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"The family file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"The family file {path} is not valid TOML: {error}.") from error
    try:
        return _family(document)
    except MultibenchError as error:
        raise CheckpointError(f"The family file {path} cannot be used: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"The family file {path} lacks or misuses something: {error!r}.") from error


def _family(document: Table) -> Family:
    _refuse_unknown(document, FAMILY_KEYS, "the file")
    evidence = {key: Evidence(**entry) for key, entry in document["evidence"].items()}
    details = dict(document.get("details", {}))
    checkpoints = []
    for entry in document["checkpoints"]:
        for row in _expand(_merge(document.get("common", {}), entry)):
            added = details.pop(row["id"], None)
            checkpoints.append(_checkpoint(_merge(row, added or {}), document["name"], evidence))
    if details:
        raise CheckpointError(
            f"[details] speaks of checkpoints that are not there: {', '.join(sorted(details))}."
        )
    checkpoints = _mark_seen(checkpoints, document.get("seen", []))
    _check_aliases(checkpoints)
    return Family(
        name=document["name"],
        title=document["title"],
        description=document["description"],
        paper=document["paper"],
        notes=tuple(document.get("notes", ())),
        checkpoints=tuple(checkpoints),
    )


def _merge(base: Table, added: Table) -> Table:
    """``added`` over ``base``; the tables of ``MERGED`` are merged key by key."""
    merged = {**base, **added}
    for key in MERGED:
        if key in base and key in added:
            merged[key] = {**base[key], **added[key]}
    return merged


def _expand(entry: Table) -> Iterator[Table]:
    """``entry`` once for each value of its ``each``, with the sizes and the derived names filled in."""
    each = entry.pop("each", [{}])
    where = f"the checkpoint '{entry.get('id')}'"
    choices = (
        each
        if isinstance(each, list)
        else [dict(zip(each, values, strict=True)) for values in itertools.product(*each.values())]
    )
    _refuse_unknown(entry, KEYS, where)
    text = repr(entry)
    for choice in choices:
        unused = {name: value for name, value in choice.items() if f"{{{name}}}" not in text}
        _refuse_unknown(unused, KEYS, where)
        row = {**entry, **choice}
        sizes = {**entry.get("architecture", {}), **{key: row.pop(key) for key in SIZES if key in row}}
        row["architecture"] = _with_ratios(sizes, where)
        step_k = row["step"] // 1000 if "step" in row else None
        values = {**row, **row["architecture"], "step_k": step_k}
        yield {key: value if key in MERGED else _filled(value, values) for key, value in row.items()}


def _with_ratios(sizes: Table, where: str) -> Table:
    _refuse_unknown(sizes, (*SIZES, *RATIOS), f"the architecture of {where}")
    sizes = dict(sizes)
    if (width := sizes.pop("head_width", None)) is not None:
        sizes["heads"] = sizes["hidden"] // width
    if (ratio := sizes.pop("intermediate_ratio", None)) is not None:
        sizes["intermediate"] = sizes["hidden"] * ratio
    return sizes


def _filled(value: Any, values: Table) -> Any:
    """``value`` with every ``{name}`` in its texts replaced."""
    if isinstance(value, str):
        return value.format_map(values) if "{" in value else value
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    return value


@cache
def _architecture(sizes: frozenset[tuple[str, Any]]) -> Architecture:
    # One object for all checkpoints of a shape: a family has few shapes and many checkpoints.
    return Architecture(**{**UNKNOWN_SIZES, **dict(sizes)})


def _checkpoint(row: Table, family: str, evidence: Mapping[str, Evidence]) -> Checkpoint:
    name = row["id"]
    chosen = row.get("evidence", {})
    _refuse_unknown(chosen, (*FACTS, "default"), f"the evidence of '{name}'")

    def evidence_for(key: str | None, fact: str) -> Evidence:
        if key is None or key not in evidence:
            raise CheckpointError(
                f"'{name}' states {fact} without a source: name one of the entries of [evidence] "
                f"({', '.join(evidence)}), not {key!r}."
            )
        return evidence[key]

    stated = {fact: row[fact] for fact in FACTS if fact in row}
    stated["architecture"] = _architecture(frozenset(row["architecture"].items()))
    stated["names"] = tuple(row.get("names", ()))
    provenance = {
        fact: evidence_for(chosen.get(fact, chosen.get("default")), fact)
        for fact, value in stated.items()
        if value != ()
    }
    sources = []
    for entry in row.get("sources", ()):
        entry = dict(entry)
        key = entry.pop("evidence", None)
        found = provenance["id"] if key is None else evidence_for(key, f"the source {entry['location']}")
        sources.append(Source(**entry, evidence=found))
    return Checkpoint(
        **stated,
        family=family,
        sources=tuple(sources),
        notes=tuple(row.get("notes", ())),
        provenance=provenance,
    )


def _mark_seen(checkpoints: list[Checkpoint], entries: list[Table]) -> list[Checkpoint]:
    """The checkpoints, with the evidence of each id and source that an entry of ``[[seen]]`` names."""
    known = [name for c in checkpoints for name in (c.id, *(source.location for source in c.sources))]
    seen: dict[str, Evidence] = {}
    for entry in entries:
        for pattern in entry["names"]:
            if not (hits := fnmatch.filter(known, pattern)):
                raise CheckpointError(f"[[seen]] names '{pattern}', which matches nothing here.")
            seen.update(dict.fromkeys(hits, Evidence("seen", entry["source"])))

    def marked(c: Checkpoint) -> Checkpoint:
        if seen.keys().isdisjoint((c.id, *(source.location for source in c.sources))):
            return c
        return replace(
            c,
            provenance={**c.provenance, "id": seen.get(c.id, c.provenance["id"])},
            sources=tuple(replace(s, evidence=seen.get(s.location, s.evidence)) for s in c.sources),
        )

    return [marked(checkpoint) for checkpoint in checkpoints]


def _check_aliases(checkpoints: list[Checkpoint]) -> None:
    by_id = {checkpoint.id: checkpoint for checkpoint in checkpoints}
    for alias in checkpoints:
        if alias.alias_of is None:
            continue
        target = by_id.get(alias.alias_of)
        if target is None or (target.pretraining_seed, target.step) != (alias.pretraining_seed, alias.step):
            raise CheckpointError(
                f"'{alias.id}' is called an alias of '{alias.alias_of}', which has another seed or step."
            )


def _refuse_unknown(table: Table, legal: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in legal:
            raise CheckpointError(f"'{key}' is not known in {where}; {nearest_or_all(key, legal)}")
