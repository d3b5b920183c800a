"""Checkpoints written for Hugging Face and for NeMo. Each writer fills an empty folder, and says what it left out."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from multibench.checkpoints.formats.added import BERT_NAMES
from multibench.checkpoints.formats.imported import left_out
from multibench.checkpoints.formats.nemo import CONFIG, HEADS, WEIGHTS
from multibench.checkpoints.formats.vocabulary import SPECIAL, AddedToken, Vocabulary
from multibench.errors import CheckpointError

if TYPE_CHECKING:
    import torch

    from multibench.checkpoints.folder import CheckpointFolder

__all__ = ["Written", "write_huggingface", "write_nemo", "write_tokenizer"]

_ENCODER = ("embeddings.", "encoder.", "transformer.", "pooler.")
_CLASSES = {"bert": "Bert", "distilbert": "DistilBert", "megatron-bert": "MegatronBert"}
# The first head that is there decides which model a folder is said to hold.
_PURPOSES = {
    "qa_outputs.weight": "ForQuestionAnswering",
    "classifier.weight": "ForSequenceClassification",
    "cls.seq_relationship.weight": "ForPreTraining",
    "cls.predictions.bias": "ForMaskedLM",
    "vocab_projector.bias": "ForMaskedLM",
}


class Written(NamedTuple):
    """What a writer did not write, by canonical name, and what a user should know."""

    left_out: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def _prefixed(source: CheckpointFolder, name: str) -> str:
    """Hugging Face's name, in a model with a head, of a weight of the bare model."""
    prefix = "distilbert." if source.config["model_type"] == "distilbert" else "bert."
    return prefix + name if name.startswith(_ENCODER) else name


def write_huggingface(
    source: CheckpointFolder, weights: Mapping[str, torch.Tensor], out: Path, _: str
) -> Written:
    """``config.json``, ``model.safetensors``, ``vocab.txt`` and ``tokenizer_config.json`` in the folder ``out``."""
    from safetensors.torch import save_file

    purpose = next((purpose for head, purpose in _PURPOSES.items() if head in weights), "Model")
    config = {key: value for key, value in source.config.items() if value is not None}
    if "classifier.weight" in weights:
        names = config.setdefault(
            "id2label", {str(i): f"LABEL_{i}" for i in range(len(weights["classifier.weight"]))}
        )
        config["label2id"] = {name: int(i) for i, name in names.items()}
    config["architectures"] = [_CLASSES[config["model_type"]] + purpose]
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    write_tokenizer(source.vocabulary, config["max_position_embeddings"], out)
    bare = purpose == "Model"
    named = {n if bare else _prefixed(source, n): t.contiguous().clone() for n, t in weights.items()}
    save_file(named, out / "model.safetensors", metadata={"format": "pt"})
    # For everyone who may read the rest; safetensors keeps it to its owner.
    (out / "model.safetensors").chmod((out / "config.json").stat().st_mode)
    return Written()


def write_tokenizer(vocabulary: Vocabulary, max_length: int, out: Path) -> None:
    """The files of which transformers makes the tokenizer of ``vocabulary``, in the folder ``out``.

    ``max_length`` is the number of tokens that it cuts texts to where it is asked to cut them.
    """
    settings: dict[str, Any] = {"model_max_length": max_length}
    if vocabulary.pipeline is None:
        settings |= {
            "do_lower_case": vocabulary.lower_case,
            "strip_accents": vocabulary.strip_accents,
            "tokenize_chinese_chars": vocabulary.split_chinese,
            "tokenizer_class": "BertTokenizer",
        }
    else:
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        # Of itself that class gives no token types, which tell the second text from the first.
        settings["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
        (out / "tokenizer.json").write_text(vocabulary.pipeline, "utf-8")
    if vocabulary.added:
        plain = SPECIAL if vocabulary.pipeline is None else ()
        own = {name: AddedToken(name, vocabulary.id_of(name)) for name in plain if name in vocabulary.pieces}
        tokens = own | {token.content: token for token in vocabulary.added}
        settings |= {name: token for name, token in BERT_NAMES.items() if token in tokens}
        settings["added_tokens_decoder"] = {
            str(token.number): {key: value for key, value in asdict(token).items() if key != "number"}
            for token in tokens.values()
        }
    text = json.dumps(settings, indent=2, sort_keys=True)
    (out / "tokenizer_config.json").write_text(text + "\n", "utf-8")
    (out / "vocab.txt").write_bytes(_pieces(vocabulary))


def write_nemo(
    source: CheckpointFolder, weights: Mapping[str, torch.Tensor], out: Path, name: str
) -> Written:
    """``<name>.nemo`` in the folder ``out``, as NeMo 1.0.0 restores it: a gzipped tar, its vocabulary inside.

    Heads of pretraining make it a ``BERTLMModel``, one for spans a ``QAModel``; NeMo's next-sentence head gets
    BERT's pooler as its first layer, which is what it computes. Raises ``CheckpointError`` for Megatron-BERT.
    """
    import torch
    import yaml

    config = {key: value for key, value in source.config.items() if value is not None and key != "id2label"}
    if config["model_type"] == "megatron-bert":
        raise CheckpointError(f"{source.path} is a Megatron-BERT, which is written for huggingface alone.")
    # What there is by Hugging Face's names; the decoder is the word embeddings unless it is there itself.
    available = {"cls.predictions.decoder.weight": weights["embeddings.word_embeddings.weight"]}
    available |= {_prefixed(source, name): tensor for name, tensor in weights.items()}
    heads = [head for head, parts in HEADS.items() if available.keys() >= set(parts.values())]
    saved = {f"bert_model.{n}": tensor for n, tensor in weights.items() if n.startswith(_ENCODER)}
    for head in heads:
        saved |= {f"{head}.{part}": available[theirs] for part, theirs in HEADS[head].items()}
    if "classifier" in heads:
        target, purpose = "question_answering.QAModel", _span_settings()
    else:
        target, purpose = (
            "language_modeling.BERTLMModel",
            {
                "only_mlm_loss": "nsp_classifier" not in heads,
                "num_tok_classification_layers": 1,
                "num_seq_classification_layers": 2,
            },
        )
    casing = "uncased" if source.vocabulary.lower_case else "cased"
    called = f"{'distilbert' if config['model_type'] == 'distilbert' else 'bert'}-base-{casing}"
    settings = {
        "target": f"nemo.collections.nlp.models.{target}",
        **purpose,
        "tokenizer": {
            "tokenizer_name": called,
            "vocab_file": "nemo:vocab.txt",
            "tokenizer_model": None,
            "special_tokens": None,
        },
        "language_model": {
            "pretrained_model_name": called,
            "config_file": None,
            "config": config,
            "lm_checkpoint": None,
        },
        "optim": None,
    }
    content = io.BytesIO()
    torch.save({n: t.contiguous() for n, t in saved.items()}, content)
    members: dict[str, bytes | memoryview] = {
        CONFIG: yaml.safe_dump(settings, sort_keys=False).encode(),
        WEIGHTS: content.getbuffer(),
        "vocab.txt": _pieces(source.vocabulary),
    }
    # A time stamp would make two archives of the same weights differ.
    with (
        (out / f"{name}.nemo").open("wb") as file,
        gzip.GzipFile("", "wb", 1, file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for member, data in members.items():
            info = tarfile.TarInfo(f"./{member}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    placed = {theirs for head in heads for theirs in HEADS[head].values()}
    rest = {n for n in weights if not n.startswith(_ENCODER)} - placed
    notes = left_out(rest, "NeMo has no head that computes the same")
    if not heads:
        notes.append("There is no head that NeMo knows: restore it with strict=False, and train a new one.")
    return Written(frozenset(rest), tuple(notes))


def _span_settings() -> dict[str, Any]:
    return {
        "token_classifier": {
            "num_classes": 2,
            "num_layers": 1,
            "activation": "relu",
            "log_softmax": False,
            "dropout": 0.0,
            "use_transformer_init": True,
        }
    }


def _pieces(vocabulary: Vocabulary) -> bytes:
    return "".join(f"{piece}\n" for piece in vocabulary.pieces).encode()
