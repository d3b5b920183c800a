"""Make the TensorFlow checkpoints beside this file, with TensorFlow's own writer.

Run once, in an environment with tensorflow-cpu 2.x, transformers 4.40.2 and torch::

    python make_tensorflow.py

Writes ``tensorflow/``: a published checkpoint as Google makes them (``plain``), one in the middle of pretraining with
Adam slots in three shards (``pretraining``), one tensor of every type with its values (``types``), a
partitioned variable, the index of an object graph, and what transformers' own converter makes of the first two
(``converted.npz``: parameters, token ids and outputs).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import torch
import transformers
from transformers.models.bert.modeling_bert import load_tf_weights_in_bert

TARGET = Path(__file__).parent / "tensorflow"
VERSION = "4.40.2"
HIDDEN, LAYERS, HEADS, INNER, POSITIONS = 8, 2, 2, 16, 12
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "##s", "the", "and"]
CONFIG = {
    "attention_probs_dropout_prob": 0.1,
    "directionality": "bidi",
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": HIDDEN,
    "initializer_range": 0.02,
    "intermediate_size": INNER,
    "max_position_embeddings": POSITIONS,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "pooler_fc_size": 768,
    "pooler_type": "first_token_transform",
    "type_vocab_size": 2,
    "vocab_size": len(PIECES),
}
v1 = tf.compat.v1


def variables() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the variables of Google's pretraining model."""
    found: dict[str, tuple[int, ...]] = {}

    def dense(scope: str, inputs: int, outputs: int) -> None:
        found[f"{scope}/kernel"], found[f"{scope}/bias"] = (inputs, outputs), (outputs,)

    def norm(scope: str) -> None:
        found[f"{scope}/LayerNorm/gamma"] = found[f"{scope}/LayerNorm/beta"] = (HIDDEN,)

    found["bert/embeddings/word_embeddings"] = (len(PIECES), HIDDEN)
    found["bert/embeddings/token_type_embeddings"] = (2, HIDDEN)
    found["bert/embeddings/position_embeddings"] = (POSITIONS, HIDDEN)
    norm("bert/embeddings")
    for layer in range(LAYERS):
        scope = f"bert/encoder/layer_{layer}"
        for part in ("query", "key", "value"):
            dense(f"{scope}/attention/self/{part}", HIDDEN, HIDDEN)
        dense(f"{scope}/attention/output/dense", HIDDEN, HIDDEN)
        norm(f"{scope}/attention/output")
        dense(f"{scope}/intermediate/dense", HIDDEN, INNER)
        dense(f"{scope}/output/dense", INNER, HIDDEN)
        norm(f"{scope}/output")
    dense("bert/pooler/dense", HIDDEN, HIDDEN)
    dense("cls/predictions/transform/dense", HIDDEN, HIDDEN)
    norm("cls/predictions/transform")
    found["cls/predictions/output_bias"] = (len(PIECES),)
    found["cls/seq_relationship/output_weights"] = (2, HIDDEN)
    found["cls/seq_relationship/output_bias"] = (2,)
    return found


def values(seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Random float32 values of every variable, those of LayerNorm's gamma around 1."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.normal(0, 0.3, shape) + name.endswith("gamma")).astype(np.float32)
        for name, shape in sorted(variables().items())
    }


def save(content: dict[str, np.ndarray[Any, Any]], prefix: Path, devices: int = 1, **saver: Any) -> None:
    """Write ``content`` by TensorFlow 1's ``Saver``; variables go round the ``devices``, a shard each."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with tf.Graph().as_default():
        made = []
        for i, (name, value) in enumerate(content.items()):
            with tf.device(f"/cpu:{i % devices}"):
                made.append(v1.get_variable(name, initializer=tf.constant(value), use_resource=False))
        config = v1.ConfigProto(device_count={"CPU": devices})
        with v1.Session(config=config) as session:
            session.run(v1.global_variables_initializer())
            v1.train.Saver(made, sharded=devices > 1, write_version=v1.train.SaverDef.V2).save(
                session, str(prefix), write_meta_graph=False, **saver
            )


def with_model_files(folder: Path) -> None:
    (folder / "bert_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", "utf-8")
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in PIECES), "utf-8")


def converted(prefix: Path) -> dict[str, np.ndarray[Any, Any]]:
    """What transformers' converter makes of a checkpoint: parameters and outputs for some token ids."""
    config = transformers.BertConfig(**CONFIG)
    model = transformers.BertForPreTraining(config)
    load_tf_weights_in_bert(model, config, str(prefix))
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, len(PIECES), (3, POSITIONS)))
    segments = (torch.arange(POSITIONS) > 5).long().expand(3, -1)
    found = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    with torch.inference_mode():  # in double precision, or rounding in another order shows
        output = model.eval().double()(ids, token_type_ids=segments)
    return {
        **found,
        "input ids": ids.numpy(),
        "segments": segments.numpy(),
        "prediction logits": output.prediction_logits.numpy(),
        "relationship logits": output.seq_relationship_logits.numpy(),
    }


def types() -> dict[str, np.ndarray[Any, Any]]:
    """One small tensor of every type that checkpoints hold, a scalar and an empty one."""
    rng = np.random.default_rng(5)
    normal = rng.normal(0, 1, (3, 5))
    integers = rng.integers(-100, 100, (2, 3))
    names = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
    found = {
        name: np.asarray(normal if "float" in name else integers if name != "bool" else integers > 0).astype(
            tf.as_dtype(name).as_numpy_dtype
        )
        for name in names
    }
    return {**found, "scalar": np.float32(2.5), "empty": np.zeros((0, 4), np.float32)}


def main() -> None:
    """Write all files anew."""
    if transformers.__version__ != VERSION:
        raise SystemExit(f"transformers {transformers.__version__} is installed; expected {VERSION}.")
    shutil.rmtree(TARGET, ignore_errors=True)

    save(values(1), TARGET / "plain" / "bert_model.ckpt", write_state=False)
    with_model_files(TARGET / "plain")

    weights = values(2)
    slots = {
        f"{name}/{slot}": np.random.default_rng(3).normal(0, 1e-3, value.shape).astype(np.float32)
        for name, value in weights.items()
        for slot in ("adam_m", "adam_v")
    }
    content = dict(sorted({**weights, **slots, "global_step": np.int64(20)}.items()))
    save(content, TARGET / "pretraining" / "model.ckpt", devices=3, global_step=20)
    state = TARGET / "pretraining" / "checkpoint"
    state.write_text(
        'model_checkpoint_path: "model.ckpt-20"\nall_model_checkpoint_paths: "model.ckpt-20"\n', "utf-8"
    )
    with_model_files(TARGET / "pretraining")

    arrays = {}
    for name, prefix in (("plain", "bert_model.ckpt"), ("pretraining", "model.ckpt-20")):
        arrays.update({f"{name}: {k}": v for k, v in converted(TARGET / name / prefix).items()})
    np.savez_compressed(TARGET / "converted.npz", **arrays)

    typed = types()
    save(typed, TARGET / "types" / "model.ckpt", write_state=False)
    plain = {k: v.view(np.uint16) if k == "bfloat16" else v for k, v in typed.items()}
    np.savez_compressed(TARGET / "types" / "values.npz", **plain)

    with tf.Graph().as_default():
        part = v1.fixed_size_partitioner(2)
        initial = v1.constant_initializer(1.0)
        v1.get_variable("bert/embeddings/word_embeddings", (6, 2), initializer=initial, partitioner=part)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            place = TARGET / "partitioned" / "model.ckpt"
            place.parent.mkdir()
            v1.train.Saver().save(session, str(place), write_meta_graph=False, write_state=False)

    with tempfile.TemporaryDirectory() as folder:
        graph = tf.train.Checkpoint(step=tf.Variable(1), model=tf.train.Checkpoint(kernel=tf.Variable([1.0])))
        written = graph.write(str(Path(folder) / "model.ckpt"))
        (TARGET / "object_graph").mkdir()
        shutil.copy(f"{written}.index", TARGET / "object_graph" / "model.ckpt.index")


if __name__ == "__main__":
    main()
