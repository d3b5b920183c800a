"""PyTorch's files, read as data: no code in them runs, and they cannot ask for more memory than they have bytes.

``torch.load(weights_only=True)`` refuses code. It still follows records that are compressed, and tensors
whose strides repeat a few stored numbers a billion times, so both are looked for here.
"""

from __future__ import annotations

import argparse
import re
import warnings
import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO

from multibench.checkpoints.formats.weights import WRAPPERS
from multibench.errors import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["load_pickle", "model_in", "tensors_in"]

# States of random generators in training checkpoints are numpy arrays, whose pickles call these.
_INERT = (
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.ndarray",
    "numpy.dtype",
)
_TRAINING = re.compile(
    r"optim|master|lr_|sched|amp\b|(grad_)?scaler|rng|random|callbacks|loops|args|iteration|epoch"
)
_MOST_WRAPPERS = 5
_MOST_TENSORS = 100_000
_DEEPEST = 16


class _Inert:
    """Takes the place of what a pickle would build beside weights, and holds nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _allowed() -> list[Any]:
    """Namespaces of arguments, and inert classes under the names that pickles of numpy arrays use."""
    named = [name.rpartition(".") for name in _INERT]
    inert = [type(n, (_Inert,), {"__module__": module, "__qualname__": n}) for module, _, n in named]
    return [argparse.Namespace, *inert]


def load_pickle(file: BinaryIO, where: str) -> Any:
    """What ``torch.save`` put into ``file`` (seekable), on the CPU; ``where`` names it in errors.

    Namespaces of arguments are read, numpy arrays come as empty objects. Raises ``CheckpointError`` for
    anything damaged, for compressed records, and for a pickle that asks for any other class or function;
    nothing of it is run.
    """
    import torch

    try:
        _require_stored(file, where)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_allowed()):
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # torch.load raises whatever the pickle makes it raise
        raise CheckpointError(f"{where} cannot be read as weights: {_why(error)}.") from error


def _why(error: Exception) -> str:
    # Torch's own sentences advise to switch the protection off.
    asked = re.search(r"GLOBAL (\S+)", str(error))
    if asked:
        return (
            f"it asks for {ascii(asked[1].rstrip('.'))[1:-1]}, which is code and no weights; it was not run"
        )
    if "weights_only" in str(error):
        detail = re.search(r"WeightsUnpickler error: ([^\n]+)", str(error))
        why = f" ({detail[1].strip('. ')})" if detail else ""
        return f"it is damaged, or holds more than weights{why}"
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _require_stored(file: BinaryIO, where: str) -> None:
    """Refuse a zip whose records are compressed or overlap: they may unfold to any size."""
    file.seek(0)
    is_zip = file.read(4) == b"PK\x03\x04"
    size = file.seek(0, 2)
    if is_zip:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
        if (
            any(r.compress_type != zipfile.ZIP_STORED for r in records)
            or sum(r.file_size for r in records) > size
        ):
            raise CheckpointError(
                f"{where} has compressed records, which PyTorch never writes; it was not read."
            )
    file.seek(0)


def model_in(tree: object, level: int = 0) -> object:
    """The part of what a trainer saved that is the model: what lies under ``state_dict``, ``model`` and the like.

    What lies beside it and serves the training (an optimizer, a schedule, states of random generators) is left out;
    anything else stays, so that it is accounted for. More than a few levels of such keys no trainer writes: ``level``
    is the number of those above.
    """
    if level > _MOST_WRAPPERS:
        return tree
    held = [tree[key] for key in WRAPPERS if key in tree] if isinstance(tree, dict) else []
    if not isinstance(tree, dict) or not any(isinstance(value, dict) for value in held):
        return next((value for value in held if isinstance(value, list)), tree)
    return {
        key: model_in(value, level + 1) if key in WRAPPERS else value
        for key, value in tree.items()
        if not (isinstance(key, str) and _TRAINING.match(key))
    }


def tensors_in(tree: object, size: int, where: str) -> dict[str, torch.Tensor]:
    """Every tensor in dictionaries within dictionaries, by its keys joined with dots; the rest is passed over.

    ``size`` is the number of bytes of the file. Raises ``CheckpointError`` for a tree that is no dictionary
    or has no end, and for tensors that are not plain numbers in memory, each stored once.
    """
    found: dict[str, torch.Tensor] = {}
    waiting: list[tuple[str, object, int]] = [("", tree, 0)]
    seen = total = 0
    if not isinstance(tree, dict):
        raise CheckpointError(f"{where} holds a {type(tree).__name__}, not a dictionary of tensors.")
    while waiting:
        prefix, node, depth = waiting.pop()
        if isinstance(node, dict):
            seen += len(node)
            if seen > _MOST_TENSORS or depth > _DEEPEST:
                raise CheckpointError(f"{where} holds more names, or deeper ones, than any model has.")
            waiting += [
                (f"{prefix}.{key}" if prefix else str(key), node[key], depth + 1) for key in reversed(node)
            ]
        elif (tensor := _plain(node, prefix, where)) is not None:
            total += tensor.numel() * tensor.element_size()
            if prefix in found or total > 4 * size:
                raise CheckpointError(f"{where}: {prefix} is given twice, or repeats what other names hold.")
            found[prefix] = tensor
    return found


def _plain(node: object, name: str, where: str) -> torch.Tensor | None:
    import torch

    if not isinstance(node, torch.Tensor):
        return None
    plain = (
        type(node) in (torch.Tensor, torch.nn.Parameter)
        and node.layout == torch.strided
        and node.device.type == "cpu"
        and not (node.is_quantized or node.is_neg() or node.is_conj())
    )
    if not plain or node.numel() * node.element_size() > node.untyped_storage().nbytes():
        raise CheckpointError(f"{where}: {name} is no plain tensor with every number stored.")
    return node.detach()
