"""Weights whatever file they come from: one name for each, and a digest of all.

Canonical names are those of the bare model (``BertModel``, ``DistilBertModel``): the prefixes of
wrappers and of a task model are taken off and TensorFlow's ``gamma`` and ``beta`` are renamed, so that
every export of one model reads alike and has one digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from multibench.errors import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = [
    "DTYPES",
    "WRAPPERS",
    "Entry",
    "canonical_name",
    "canonical_tensors",
    "entries_digest",
    "tensors_digest",
    "unwrapped",
]

_PREFIXES = ("bert.", "distilbert.")
# What puts its name before those of a whole model: data parallelism, Lightning and Megatron, and the keys under which
# trainers keep a model's weights in a larger dictionary.
WRAPPERS = ("module", "model", "state_dict", "model_state_dict")
# What puts its name anywhere: torch.compile, fully sharded data parallelism, recomputed activations.
_INNER_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_BUFFERS = ("position_ids", "token_type_ids")

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
"""What safetensors and torch call the types of numbers."""
_SHORT = {f"torch.{long}": short for short, long in DTYPES.items()}

Entry = tuple[str, str, Sequence[int], "bytes | bytearray"]
"""Name, type as safetensors calls it, shape and bytes of a tensor."""


def unwrapped(name: str) -> str:
    """``name`` without what wrappers have put into it, however they are nested; no weight of a BERT is called so."""
    parts = [part for part in name.split(".") if part not in _INNER_WRAPPERS]
    first = next((k for k, part in enumerate(parts) if part not in WRAPPERS), len(parts))
    return ".".join(parts[first:]) or name


def canonical_name(name: str) -> str | None:
    """The bare model's name of a tensor; None for buffers that are no weights."""
    name = unwrapped(name)
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    if name.endswith(_BUFFERS):
        return None
    if name.endswith(".gamma"):
        return name.removesuffix("gamma") + "weight"
    if name.endswith(".beta"):
        return name.removesuffix("beta") + "bias"
    return name


def canonical_tensors(
    names: Iterable[str], take: Callable[[str], torch.Tensor], path: Path
) -> Iterator[tuple[str, torch.Tensor]]:
    """Canonical name and value of each weight among ``names``, which ``take`` gives one by one.

    ``take`` may hand a tensor over for good (``dict.pop``): each name is asked for once. Raises
    ``CheckpointError``, which names ``path``, if one canonical name is given two different tensors.
    """
    import torch

    groups: dict[str, list[str]] = {}
    for name in names:
        if (canonical := canonical_name(name)) is not None:
            groups.setdefault(canonical, []).append(name)
    for canonical, (first, *others) in groups.items():
        tensor = take(first)
        if not all(torch.equal(tensor, take(other)) for other in others):
            raise CheckpointError(f"{path} gives two different tensors for {canonical}.")
        yield canonical, tensor
        del tensor  # before the next one is taken


def tensors_digest(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """SHA-256 over canonical name, dtype, shape and bytes of every tensor, by sorted name."""
    return entries_digest(map(_entry, tensors))


def _entry(named: tuple[str, torch.Tensor]) -> Entry:
    import torch

    name, tensor = named
    raw = tensor.contiguous().reshape(-1).view(torch.uint8)
    return name, _SHORT.get(str(tensor.dtype), str(tensor.dtype)), list(tensor.shape), raw.numpy().tobytes()


def entries_digest(entries: Iterable[Entry]) -> str:
    """What ``tensors_digest`` gives for the same tensors, without torch."""
    parts: dict[str, str] = {}
    for name, dtype, shape, data in entries:
        canonical = canonical_name(name)
        if canonical is not None:
            parts[canonical] = f"{dtype} {list(shape)} {hashlib.sha256(data).hexdigest()}"
    lines = "\n".join(f"{name} {parts[name]}" for name in sorted(parts))
    return hashlib.sha256(lines.encode()).hexdigest()
