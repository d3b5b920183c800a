"""A folder of Hugging Face: which files make it up, its weights one by one, and their digest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multibench.checkpoints.formats.pickles import load_pickle, model_in, tensors_in
from multibench.checkpoints.formats.saved import TOKENIZER_FILES
from multibench.checkpoints.formats.texts import read_json
from multibench.checkpoints.formats.weights import (
    DTYPES,
    Entry,
    canonical_tensors,
    entries_digest,
    tensors_digest,
)
from multibench.errors import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["DESCRIPTION", "has_weights", "read_tensors", "weight_files", "weight_names", "weights_digest"]

DESCRIPTION = ("config.json", *TOKENIZER_FILES)
"""What there may be beside the weights, and is used."""

# A file of all weights, or an index of several; safetensors before pickles.
_FORMS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)


def has_weights(folder: Path) -> bool:
    """Whether ``folder`` holds a configuration and PyTorch weights."""
    return (folder / "config.json").is_file() and any(
        (folder / name).is_file() for form in _FORMS for name in form
    )


def weight_names(names: Iterable[str]) -> list[str]:
    """Those of ``names``, of one folder, that hold one form of the weights: safetensors if whole, else pickles.

    Empty if neither is: parts count only together with their index.
    """
    found = sorted(names)
    safe = [n for n in found if n.endswith(".safetensors") or n == "model.safetensors.index.json"]
    bins = [n for n in found if n.startswith("pytorch_model") and n.endswith((".bin", ".bin.index.json"))]
    return next((form for form, whole in zip((safe, bins), _FORMS, strict=True) if {*form} & {*whole}), [])


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights of the checkpoint in ``folder``: safetensors before pickles.

    Raises ``CheckpointError`` if there are none, or an index names one that is not there.
    """
    for single, index in _FORMS:
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            try:
                names = sorted(set(read_json(folder / index)["weight_map"].values()))
                files = [folder / Path(name).name for name in names]
            except (KeyError, AttributeError, TypeError) as error:
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


def read_tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Canonical name and value of each weight of the checkpoint in ``folder``, one by one, on the CPU, as stored.

    Of safetensors one tensor is in memory at a time; a pickle is read whole and given away piece by piece, so
    that whoever copies the tensors never holds the weights twice. Code in pickles is never run; see
    ``load_pickle``. Raises ``CheckpointError`` for damaged files and for one name given twice.
    """
    given: set[str] = set()
    for path in weight_files(folder):
        for name, tensor in _tensors_of(path):
            if name in given:
                raise CheckpointError(f"{folder} holds {name} in two files; expected each weight in one.")
            given.add(name)
            yield name, tensor
            del tensor  # before the next one is read


def weights_digest(folder: Path) -> str:
    """SHA-256 over canonical name, dtype, shape and bytes of every tensor, by sorted name.

    Equal weights give equal digests whatever file format holds them. Safetensors need no torch for it.
    """
    files = weight_files(folder)
    if files[0].suffix == ".safetensors":
        return entries_digest(entry for path in files for entry in _entries(path))
    return tensors_digest(read_tensors(folder))


def _tensors_of(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    if path.suffix == ".safetensors":
        with _opened(path) as (header, read):
            yield from canonical_tensors(header, lambda name: _tensor(header[name], read(name), path), path)
        return
    try:
        with path.open("rb") as file:
            loaded = tensors_in(model_in(load_pickle(file, str(path))), path.stat().st_size, str(path))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read as weights: {error.strerror or error}.") from error
    yield from canonical_tensors(list(loaded), loaded.pop, path)


def _entries(path: Path) -> Iterator[Entry]:
    with _opened(path) as (header, read):
        for name, stated in header.items():
            yield name, stated["dtype"], stated["shape"], read(name)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[dict[str, Any], Callable[[str], bytearray]]]:
    """The header of a file of safetensors, and a function that reads the bytes of a tensor.

    Read, not mapped: what is mapped counts as memory in use, and a file that is cut off meanwhile ends the process.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"), path.open("rb") as file:  # checks the header against the file
            start = 8 + int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(start - 8))
            header.pop("__metadata__", None)

            def read(name: str) -> bytearray:
                begin, end = header[name]["data_offsets"]
                content = bytearray(end - begin)
                file.seek(start + begin)
                if file.readinto(content) < len(content):
                    raise CheckpointError(f"{path} was cut off while it was read.")
                return content

            yield header, read
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or cut off: {error}.") from error


def _tensor(stated: dict[str, Any], content: bytearray, path: Path) -> torch.Tensor:
    import torch

    if stated["dtype"] not in DTYPES:
        raise CheckpointError(f"{path} holds numbers of the type {stated['dtype']}, which no BERT has.")
    dtype = getattr(torch, DTYPES[stated["dtype"]])
    flat = torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
    return flat.view(dtype).reshape(stated["shape"])
