"""Makes ``tests/golden/nvidia``: checkpoints in NVIDIA's formats, and what others' code makes of them.

Not run by the tests. It needs two things that multibench does not::

    pip install --target T --no-deps transformers==4.40.2 tokenizers==0.19.1 huggingface-hub==0.23.5
    pip download --no-deps nemo_toolkit==1.0.0 && unzip nemo_toolkit-1.0.0-py3-none-any.whl -d N
    PYTHONPATH=T python tests/golden/make_nvidia.py N

``megatron_v*.pt`` are random state dictionaries nested as Megatron-LM v2.5 nests them; ``megatron.npz`` is what
``convert_megatron_bert_checkpoint`` of transformers 4.40.2 makes of each, with the outputs of its
``MegatronBertForPreTraining``. The ``.nemo`` files hold NeMo 1.0.0's own classifiers beside Hugging Face's
encoder, put together as its ``BERTLMModel``, ``QAModel`` and ``GLUEModel`` do, and packed by its own function;
``nemo.npz`` is what those modules compute.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
import yaml

OUT = Path(__file__).with_name("nvidia")
HIDDEN, HEADS, LAYERS, INNER, POSITIONS = 8, 2, 2, 12, 10
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnop"]
PADDED = 24
IDS = torch.tensor([[2, 5, 9, 20, 3, 0], [2, 7, 11, 3, 12, 3]])
TYPES = torch.tensor([[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]])
INPUTS = {"input_ids": IDS, "attention_mask": MASK, "token_type_ids": TYPES}


def _random(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator) * 0.4


def _linear(g: torch.Generator, prefix: str, rows: int, columns: int) -> dict[str, torch.Tensor]:
    return {f"{prefix}.weight": _random(g, rows, columns), f"{prefix}.bias": _random(g, rows)}


def _norm(g: torch.Generator, prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}.weight": 1 + _random(g, HIDDEN), f"{prefix}.bias": _random(g, HIDDEN)}


def _embedding(g: torch.Generator, rows: int) -> dict[str, torch.Tensor]:
    return {"weight": _random(g, rows, HIDDEN)}


def megatron(seed: int, attention: str) -> dict[str, Any]:
    """The ``model`` of a checkpoint; ``attention`` is what its version calls that block."""
    g = torch.Generator().manual_seed(seed)
    encoder: dict[str, torch.Tensor] = {}
    for i in range(LAYERS):
        encoder |= _norm(g, f"layers.{i}.input_layernorm")
        encoder |= _linear(g, f"layers.{i}.{attention}.query_key_value", 3 * HIDDEN, HIDDEN)
        encoder |= _linear(g, f"layers.{i}.{attention}.dense", HIDDEN, HIDDEN)
        encoder |= _norm(g, f"layers.{i}.post_attention_layernorm")
        encoder |= _linear(g, f"layers.{i}.mlp.dense_h_to_4h", INNER, HIDDEN)
        encoder |= _linear(g, f"layers.{i}.mlp.dense_4h_to_h", HIDDEN, INNER)
    encoder |= _norm(g, "final_layernorm")
    embedding = {
        "word_embeddings": _embedding(g, PADDED),
        "position_embeddings": _embedding(g, POSITIONS),
        "tokentype_embeddings": _embedding(g, 2),
    }
    norm = {f"layernorm.{k.rpartition('.')[2]}": v for k, v in _norm(g, "x").items()}
    return {
        "language_model": {
            "embedding": embedding,
            "transformer" if attention == "attention" else "encoder": encoder,
            "pooler": _linear(g, "dense", HIDDEN, HIDDEN),
        },
        "lm_head": {"bias": _random(g, PADDED), **_linear(g, "dense", HIDDEN, HIDDEN), **norm},
        "binary_head": {"weight": _random(g, 2, HIDDEN), "bias": _random(g, 2)},
    }


def _arrays(values: dict[str, torch.Tensor], prefix: str) -> dict[str, np.ndarray]:
    return {f"{prefix}/{name}": value.detach().numpy() for name, value in values.items()}


def make_megatron() -> None:
    """One file a version, by the script that ships with transformers."""
    from transformers import MegatronBertConfig, MegatronBertForPreTraining
    from transformers.models.megatron_bert.convert_megatron_bert_checkpoint import convert_megatron_checkpoint

    known: dict[str, np.ndarray] = {}
    for version in (0.0, 1.0, 2.0, 3.0):
        sizes = argparse.Namespace(
            tokenizer_type="BertWordPieceLowerCase",
            padded_vocab_size=PADDED,
            max_position_embeddings=POSITIONS,
            hidden_size=HIDDEN,
            num_layers=LAYERS,
            num_attention_heads=HEADS,
            ffn_hidden_size=INNER,
        )
        checkpoint: dict[str, Any] = {
            "model": megatron(int(version), "self_attention" if version > 2 else "attention")
        }
        checkpoint |= {"args": sizes, "iteration": 20, "np_rng_state": np.random.RandomState(3).get_state()}
        if version:  # the first version did not state itself
            checkpoint["checkpoint_version"] = version
        name = f"megatron_v{int(version)}"
        torch.save(checkpoint, OUT / f"{name}.pt")
        config = MegatronBertConfig()
        converted = convert_megatron_checkpoint(None, checkpoint, config)
        model = MegatronBertForPreTraining(config).eval()
        missing = model.load_state_dict(converted, strict=False).missing_keys
        assert set(missing) <= {"cls.predictions.decoder.bias"}, missing
        with torch.inference_mode():
            output = model(**INPUTS)
        # All in one vector by sorted name, since a small array takes more room for its header than for itself.
        known["shapes"] = np.array(json.dumps({n: list(converted[n].shape) for n in sorted(converted)}))
        known[f"{name}/converted"] = np.concatenate([converted[n].numpy().ravel() for n in sorted(converted)])
        known |= _arrays(
            {"mlm": output.prediction_logits, "nsp": output.seq_relationship_logits}, f"{name}/outputs"
        )
    np.savez_compressed(OUT / "megatron.npz", **known)


def _load_nemo(root: Path) -> SimpleNamespace:
    """NeMo's classifiers and its packing function, without what its packages would import beside them."""
    for name in (
        "nemo",
        "nemo.collections",
        "nemo.collections.common",
        "nemo.collections.nlp",
        "nemo.collections.nlp.modules",
        "nemo.collections.nlp.modules.common",
    ):
        package = ModuleType(name)
        package.__path__ = [str(root / name.replace(".", "/"))]
        sys.modules[name] = package
    parts = ModuleType("nemo.collections.common.parts")
    parts.__path__ = [str(root / "nemo/collections/common/parts")]
    sys.modules[parts.__name__] = parts
    core = ModuleType("nemo.core.classes")
    core.NeuralModule, core.Exportable = torch.nn.Module, object  # type: ignore[attr-defined]
    core.typecheck = lambda: lambda function: function  # type: ignore[attr-defined]
    types = ModuleType("nemo.core.neural_types")
    for name in ("ChannelType", "LogitsType", "LogprobsType", "NeuralType", "RegressionValuesType"):
        setattr(types, name, object)
    omegaconf = ModuleType("omegaconf.omegaconf")
    omegaconf.MISSING = "???"  # type: ignore[attr-defined]
    sys.modules |= {
        m.__name__: m for m in (core, types, omegaconf, ModuleType("nemo.core"), ModuleType("omegaconf"))
    }
    for name in ("transformer_utils", "multi_layer_perceptron"):
        module = importlib.import_module(f"{parts.__name__}.{name}")
        vars(parts).update({key: value for key, value in vars(module).items() if not key.startswith("_")})
    common = "nemo.collections.nlp.modules.common"
    tokens = importlib.import_module(f"{common}.token_classifier")
    sequences = importlib.import_module(f"{common}.sequence_classifier")
    source = (root / "nemo/core/classes/modelPT.py").read_text("utf-8")
    pack = next(
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name == "_make_nemo_file_from_folder"
    )
    pack.decorator_list = []
    scope: dict[str, Any] = {"tarfile": tarfile}
    exec(compile(ast.Module([pack], []), "modelPT.py", "exec"), scope)
    return SimpleNamespace(
        MlmHead=tokens.BertPretrainingTokenClassifier,
        TokenClassifier=tokens.TokenClassifier,
        SequenceClassifier=sequences.SequenceClassifier,
        pack=scope[pack.name],
    )


def make_nemo(root: Path) -> None:
    """The three kinds of models; weights and outputs by NeMo's modules."""
    from transformers import BertConfig, BertModel

    nemo = _load_nemo(root)
    config = BertConfig(
        vocab_size=PADDED,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        max_position_embeddings=POSITIONS,
        initializer_range=0.2,
    )
    known: dict[str, np.ndarray] = {}
    for seed, kind in enumerate(("bertlm", "qa", "glue")):
        torch.manual_seed(seed)
        model: Any = torch.nn.Module()
        model.bert_model = BertModel(config)
        if kind == "bertlm":
            model.mlm_classifier = nemo.MlmHead(
                hidden_size=HIDDEN, num_classes=PADDED, num_layers=1, activation="gelu", log_softmax=True
            )
            model.nsp_classifier = nemo.SequenceClassifier(
                hidden_size=HIDDEN, num_classes=2, num_layers=2, log_softmax=False, activation="tanh"
            )
            model.mlm_classifier.mlp.last_linear_layer.weight = (
                model.bert_model.embeddings.word_embeddings.weight
            )
        elif kind == "qa":
            model.classifier = nemo.TokenClassifier(
                hidden_size=HIDDEN, num_classes=2, num_layers=1, log_softmax=False
            )
        else:
            model.pooler = nemo.SequenceClassifier(hidden_size=HIDDEN, num_classes=3, log_softmax=False)
        with torch.no_grad():
            for parameter in model.parameters():  # biases and norms that are not 0 and 1
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.eval()
        with torch.inference_mode():
            states = model.bert_model(**INPUTS)[0]
            outputs = {"states": states}
            outputs |= {n: m(hidden_states=states) for n, m in model.named_children() if n != "bert_model"}
        known |= _arrays(outputs, kind)
        target, settings = {
            "bertlm": ("language_modeling.BERTLMModel", {"only_mlm_loss": False}),
            "qa": (
                "question_answering.QAModel",
                {"token_classifier": {"num_layers": 1, "log_softmax": False}},
            ),
            "glue": ("glue_benchmark.GLUEModel", {"task_name": "mnli"}),
        }[kind]
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            vocabulary, encoder = "0a1b_vocab.txt", "2c3d_bert-base-uncased_encoder_config.json"
            (here / vocabulary).write_text("".join(f"{piece}\n" for piece in PIECES), "utf-8")
            written: dict[str, Any] = {
                "target": f"nemo.collections.nlp.models.{target}",
                "tokenizer": {"tokenizer_name": "bert-base-uncased", "vocab_file": f"nemo:{vocabulary}"},
                "language_model": {"pretrained_model_name": "bert-base-uncased", "lm_checkpoint": None},
                **settings,
            }
            if kind == "bertlm":
                written["language_model"] |= {"config_file": None, "config": config.to_diff_dict()}
            else:
                (here / encoder).write_text(json.dumps(config.to_dict(), indent=2), "utf-8")
                written["language_model"] |= {"config_file": f"nemo:{encoder}", "config": None}
            (here / "model_config.yaml").write_text(yaml.safe_dump(written), "utf-8")
            torch.save(model.state_dict(), here / "model_weights.ckpt")
            nemo.pack(filename=OUT / f"{kind}.nemo", source_dir=folder)
    np.savez_compressed(OUT / "nemo.npz", **known)


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    (OUT / "vocab.txt").write_text("".join(f"{piece}\n" for piece in PIECES), "utf-8")
    make_megatron()
    make_nemo(Path(sys.argv[1]))
