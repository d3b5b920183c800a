"""Weight files of a Hugging Face folder: reading, canonical names, and a digest of their content.

Canonical names are those of the bare model (``BertModel``, ``DistilBertModel``): the prefix of a
task model is taken off and TensorFlow's ``gamma`` and ``beta`` are renamed, so that every export of
one model reads alike and has one digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multibench.checkpoints.formats.pickles import load_pickle, tensors_in
from multibench.errors import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = [
    "canonical_name",
    "canonical_tensors",
    "read_weights",
    "tensors_digest",
    "weight_files",
    "weights_digest",
]

_PREFIXES = ("bert.", "distilbert.")
_BUFFERS = ("position_ids", "token_type_ids")


def canonical_name(name: str) -> str | None:
    """The bare model's name of a tensor; None for buffers that are no weights."""
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    if name.endswith(_BUFFERS):
        return None
    if name.endswith(".gamma"):
        return name.removesuffix("gamma") + "weight"
    if name.endswith(".beta"):
        return name.removesuffix("beta") + "bias"
    return name


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights of the checkpoint in ``folder``: safetensors before pickles.

    Raises ``CheckpointError`` if there are none, or an index names one that is not there.
    """
    for single, index in (
        ("model.safetensors", "model.safetensors.index.json"),
        ("pytorch_model.bin", "pytorch_model.bin.index.json"),
    ):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            try:
                names = sorted(set(json.loads((folder / index).read_text("utf-8"))["weight_map"].values()))
                files = [folder / Path(name).name for name in names]
            except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
                raise CheckpointError(f"{folder / index} is no index of weight files: {error!r}.") from error
            if not files:
                raise CheckpointError(f"{folder / index} is no index of weight files: it names none.")
            missing = [path.name for path in files if not path.is_file()]
            if missing:
                raise CheckpointError(f"{folder} lacks {', '.join(missing)}, which its index names.")
            return files
    raise CheckpointError(
        f"{folder} holds no weights: neither model.safetensors nor pytorch_model.bin. "
        "(Is it a link to a download that did not finish?)"
    )


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of the checkpoint in ``folder`` under canonical names, on the CPU, as stored.

    Code in pickles is never run; see ``load_pickle``. Raises ``CheckpointError`` for damaged files and for one
    name given twice.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = {}
    for path in weight_files(folder):
        try:
            if path.suffix == ".safetensors":
                loaded = load_file(path)
            else:
                with path.open("rb") as file:
                    loaded = tensors_in(load_pickle(file, str(path)), path.stat().st_size, str(path))
        except SafetensorError as error:
            raise CheckpointError(f"{path} is damaged or cut off: {error}.") from error
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read as weights: {error.strerror or error}.") from error
        for name, tensor in canonical_tensors(loaded, path).items():
            if name in tensors and not torch.equal(tensors[name], tensor):
                raise CheckpointError(f"{path} gives two different tensors for {name}.")
            tensors[name] = tensor
    return tensors


def canonical_tensors(loaded: Mapping[Any, Any], path: Path) -> dict[str, torch.Tensor]:
    """The tensors among ``loaded`` under canonical names; the rest is passed over.

    Raises ``CheckpointError``, which names ``path``, if one name is given two different tensors.
    """
    import torch

    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in loaded.items():
        canonical = canonical_name(str(name))
        if canonical is None or not isinstance(tensor, torch.Tensor):
            continue
        if canonical in tensors and not torch.equal(tensors[canonical], tensor):
            raise CheckpointError(f"{path} gives two different tensors for {canonical}.")
        tensors[canonical] = tensor
    return tensors


def _safetensors_entries(path: Path) -> Iterator[tuple[str, str, list[int], memoryview]]:
    """Name, dtype, shape and bytes of each tensor, without torch."""
    import mmap

    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"), path.open("rb") as file:  # checks the header against the file
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or cut off: {error}.") from error
    header.pop("__metadata__", None)
    with mapped, memoryview(mapped) as view, view[8 + length :] as data:
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            with data[begin:end] as part:
                yield name, entry["dtype"], entry["shape"], part


# What safetensors calls the types of torch.
_DTYPES = {
    "torch.float64": "F64",
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.int16": "I16",
    "torch.int8": "I8",
    "torch.uint8": "U8",
    "torch.bool": "BOOL",
}


def _entries(tensors: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, str, list[int], bytes]]:
    import torch

    for name, tensor in tensors:
        raw = tensor.contiguous().view(torch.uint8) if tensor.dim() else tensor.reshape(1).view(torch.uint8)
        yield (
            name,
            _DTYPES.get(str(tensor.dtype), str(tensor.dtype)),
            list(tensor.shape),
            raw.numpy().tobytes(),
        )


def weights_digest(folder: Path) -> str:
    """SHA-256 over canonical name, dtype, shape and bytes of every tensor, by sorted name.

    Equal weights give equal digests whatever file format holds them.
    """
    files = weight_files(folder)
    if files[0].suffix == ".safetensors":
        return _digest(entry for path in files for entry in _safetensors_entries(path))
    return tensors_digest(read_weights(folder).items())


def tensors_digest(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """The digest that ``weights_digest`` gives for files that hold ``tensors``."""
    return _digest(_entries(tensors))


def _digest(entries: Iterator[tuple[str, str, list[int], memoryview | bytes]]) -> str:
    parts: dict[str, str] = {}
    for name, dtype, shape, data in entries:
        canonical = canonical_name(name)
        if canonical is not None:
            parts[canonical] = f"{dtype} {shape} {hashlib.sha256(data).hexdigest()}"
    lines = "\n".join(f"{name} {parts[name]}" for name in sorted(parts))
    return hashlib.sha256(lines.encode()).hexdigest()
