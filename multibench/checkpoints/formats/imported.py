"""What every reader of a foreign format gives, and the steps that several of them share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from multibench.checkpoints.formats.saved import read_vocabulary
from multibench.checkpoints.formats.texts import read_small
from multibench.checkpoints.formats.vocabulary import Vocabulary
from multibench.checkpoints.formats.weights import unwrapped
from multibench.errors import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = [
    "Imported",
    "bert_config",
    "config_beside",
    "heads_of",
    "left_out",
    "parse_config",
    "vocabulary_beside",
    "without_copies",
    "without_prefixes",
]

_SMALL = 1 << 20
_MOST_LEVELS = 50
_MOST_PARTS = 100_000


class Imported(NamedTuple):
    """A checkpoint of another format, in the words of Hugging Face."""

    weights: dict[str, torch.Tensor]
    """By the names of the Hugging Face model, with its prefix (``bert.``), on the CPU, as stored. The word
    embeddings are not repeated as the decoder of the masked language model."""
    config: dict[str, Any]
    """As ``config.json`` would hold it."""
    vocabulary: Vocabulary | None
    """None if neither the file nor its folder has one."""
    notes: tuple[str, ...]
    """What whoever uses the weights should know, a sentence each; every weight left out is named."""


def without_prefixes(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``weights`` without the prefixes that wrappers of the model (data parallelism, say) put before names.

    Raises ``CheckpointError`` if two names differ in these alone.
    """
    found: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        if found.setdefault(unwrapped(name), tensor) is not tensor:
            raise CheckpointError(
                f"{unwrapped(name)} is given twice, under prefixes of wrappers such as {name}."
            )
    return found


def without_copies(weights: Mapping[str, torch.Tensor], embeddings: str) -> dict[str, torch.Tensor]:
    """``weights`` without the decoder of the masked language model, where it repeats what ``embeddings`` names.

    So is the decoder's bias, where it repeats the predictions'.
    """
    import torch

    originals = {
        "cls.predictions.decoder.weight": embeddings,
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }

    def repeats(name: str) -> bool:
        original = weights.get(originals.get(name, ""))
        return original is not None and torch.equal(weights[name], original)

    return {name: tensor for name, tensor in weights.items() if not repeats(name)}


def left_out(names: Iterable[str], why: str) -> list[str]:
    """A note that names weights which were left out, and says why; none if there are none."""
    found = sorted(names)
    return [f"Left out, since {why}: {', '.join(found)}."] if found else []


def heads_of(hidden: int, stated: object, where: Path, notes: list[str]) -> int:
    """The number of attention heads: ``stated``, or the 64 units a head that all published BERTs of NVIDIA have.

    Shapes of weights do not tell it. Raises ``CheckpointError`` if it is neither stated nor to be had so.
    """
    if stated is None and hidden % 64 == 0:
        notes.append(
            f"The number of attention heads is not stated; {hidden // 64}, which is 64 units a head."
        )
        return hidden // 64
    if isinstance(stated, bool) or not isinstance(stated, int) or stated < 1 or hidden % stated:
        raise CheckpointError(
            f"{where}: {hidden} hidden units and {'no' if stated is None else stated} attention heads were given; "
            "put a config.json with the right num_attention_heads beside it."
        )
    return stated


def bert_config(
    weights: Mapping[str, torch.Tensor], stated: Mapping[str, Any], where: Path, notes: list[str]
) -> dict[str, Any]:
    """The configuration of a BERT or DistilBERT: ``stated``, completed by the shapes of ``weights``.

    ``weights`` have the names of the Hugging Face model with prefix. The size of the vocabulary is always that of
    the embeddings, since vocabularies are padded after configurations are written. Raises ``CheckpointError``
    if there are no embeddings, other sizes are stated, or the number of heads cannot be known.
    """
    distil = any(name.startswith("distilbert.") for name in weights)
    prefix = "distilbert." if distil else "bert."
    layer = prefix + ("transformer.layer." if distil else "encoder.layer.")
    inner = "ffn.lin1.weight" if distil else "intermediate.dense.weight"

    def shape(name: str) -> list[int]:
        tensor = weights.get(name)
        if tensor is None or tensor.dim() != 2:
            raise CheckpointError(f"{where} has no matrix {name}: it holds no BERT.")
        return list(tensor.shape)

    vocab_size, hidden = shape(f"{prefix}embeddings.word_embeddings.weight")
    numbers = {int(m[1]) for name in weights if (m := re.match(re.escape(layer) + r"(\d{1,4})\.", name))}
    keys = (
        ("dim", "n_layers", "n_heads", "hidden_dim")
        if distil
        else ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    )
    shapes = {
        "max_position_embeddings": shape(f"{prefix}embeddings.position_embeddings.weight")[0],
        keys[0]: hidden,
        keys[1]: len(numbers),
        keys[3]: shape(f"{layer}0.{inner}")[0],
    }
    if not distil:
        shapes["type_vocab_size"] = shape("bert.embeddings.token_type_embeddings.weight")[0]
    said = stated.get("vocab_size", vocab_size)
    wrong = [key for key, size in shapes.items() if stated.get(key, size) != size]
    if wrong:
        raise CheckpointError(
            f"{where}: the configuration states {wrong[0]} = {stated[wrong[0]]!r}, the weights have "
            f"{shapes[wrong[0]]}. They belong to different models."
        )
    if said != vocab_size:
        notes.append(f"The vocabulary is padded from {said} to {vocab_size} embeddings.")
    return {
        **shapes,
        **stated,
        keys[2]: heads_of(hidden, stated.get(keys[2]), where, notes),
        "vocab_size": vocab_size,
        "model_type": "distilbert" if distil else "bert",
    }


def parse_config(content: bytes, where: str) -> dict[str, Any]:
    """A configuration in JSON or in YAML without aliases, at most 1 MiB and 50 levels deep.

    Raises ``CheckpointError`` for anything else, and for a configuration that asks for code of its own.
    """
    import yaml

    if len(content) > _SMALL:
        raise CheckpointError(f"{where} has {len(content):,} bytes; a configuration has at most {_SMALL:,}.")
    try:
        text = content.decode("utf-8")
        if text.lstrip().startswith("{"):
            loaded = json.loads(text)
        else:
            level = 0
            for number, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
                level += isinstance(event, yaml.CollectionStartEvent) - isinstance(
                    event, yaml.CollectionEndEvent
                )
                if isinstance(event, yaml.AliasEvent) or level > _MOST_LEVELS or number > _MOST_PARTS:
                    raise ValueError("aliases or too many levels or parts, which no configuration needs")
            loaded = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise CheckpointError(f"{where} cannot be read as a configuration: {why}.") from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{where} holds no mapping of names to values.")
    _refuse_code(loaded, where)
    return loaded


def _refuse_code(value: object, where: str) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in {"auto_map", "trust_remote_code"} and inner:
                raise CheckpointError(
                    f"{where} points to code of its own ({key}), which multibench never runs."
                )
            _refuse_code(inner, where)
    elif isinstance(value, list):
        for inner in value:
            _refuse_code(inner, where)


def config_beside(*folders: Path) -> dict[str, Any]:
    """``config.json``, or Google's ``bert_config.json``, of the first folder that has one; else nothing."""
    for folder in folders:
        for name in ("config.json", "bert_config.json"):
            path = folder / name
            if path.is_file():
                return parse_config(read_small(path), str(path))
    return {}


def vocabulary_beside(*folders: Path, cased: bool | None) -> Vocabulary | None:
    """The vocabulary of the first folder that has one; ``cased`` as for ``read_vocabulary``."""
    for folder in folders:
        if (folder / "vocab.txt").is_file() or (folder / "tokenizer.json").is_file():
            return read_vocabulary(folder, cased)
    return None
