"""Kept weights are a folder that transformers reads as it is, and its pipelines repeat the stored predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.checkpoints.agreement import Agreement, agreement
from multibench.checkpoints.folder import open_folder
from multibench.tasks import DataSources, find_task, load_split
from tests.support.tiny import VOCABULARY, Bench, Kind, make_bench, make_checkpoint, weights_of

FLAGS = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def _kept(bench: Bench, task: str = "pairs", **changes: Any) -> tuple[Path, Any, list[Any]]:
    """The folder of the kept weights of one run, its outputs on dev, and dev's inputs as pipelines take them."""
    bench.write(tasks=[bench.task(task)], keep_weights="last", finetuning_seeds=[0], **changes)
    bench.run()
    (run_id,) = bench.store.run_ids()
    outputs = bench.store.predictions(run_id, f"{task}.dev").outputs
    texts = load_split(find_task(bench.task(task)), "dev", DataSources(bench.data)).texts
    inputs = [dict(zip(("text", "text_pair"), each, strict=False)) for each in zip(*texts, strict=True)]
    return bench.store.path(run_id) / "weights", outputs, inputs


def _said(folder: Path, inputs: list[Any], **options: Any) -> list[Any]:
    from transformers import pipeline

    said = pipeline("text-classification", str(folder), device="cpu", truncation=True, **options)
    return [said(given) for given in inputs]


def _repeats(folder: Path, outputs: Any, inputs: list[Any], labels: tuple[str, ...]) -> None:
    odds = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    for row, said in enumerate(_said(folder, inputs, top_k=None)):
        found = {each["label"]: each["score"] for each in said}
        np.testing.assert_allclose([found[label] for label in labels], odds[row], atol=1e-5)
        assert said[0]["label"] == labels[int(outputs[row].argmax())]


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_a_pipeline_repeats_the_stored_predictions(bench: Bench, kind: Kind) -> None:
    folder, outputs, inputs = _kept(bench, checkpoints=[{"path": str(bench.root / kind)}])
    _repeats(folder, outputs, inputs, ("other", "same"))
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "other", "1": "same"}
    assert config["label2id"] == {"other": 0, "same": 1}
    assert json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"] == 32


def test_scores_of_a_regression_are_not_squashed(bench: Bench) -> None:
    folder, outputs, inputs = _kept(bench, "tones")
    said = [each["score"] for each in _said(folder, inputs)]
    np.testing.assert_allclose(said, outputs[:, 0], atol=1e-5)


def _whole(folder: Path) -> None:
    from tokenizers import pre_tokenizers

    tokenizer = open_folder(folder).vocabulary.tokenizer()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _added(folder: Path) -> None:
    token = {"content": "[E]", **FLAGS}
    settings = {"do_lower_case": True, "added_tokens_decoder": {str(len(VOCABULARY)): token}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _cased(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "strip_accents": true}')


@pytest.mark.parametrize("change", [_added, _whole, _cased])
def test_the_checkpoint_s_own_tokenizer_comes_with_the_weights(bench: Bench, change: Any) -> None:
    weights = weights_of("bert")
    name = "embeddings.word_embeddings.weight"
    weights[name] = np.concatenate([weights[name], np.ones((1, 32), np.float32)])
    folder = make_checkpoint(bench.root / "bert", weights=weights, vocab_size=len(VOCABULARY) + 1)
    change(folder)
    for split in ("train", "dev"):
        path = bench.data / "pairs" / f"{split}.tsv"
        path.write_text(path.read_text().replace("bala", "BÁ[E]la").replace("demo", "[E]"))
    kept, outputs, inputs = _kept(bench)
    assert open_folder(kept).vocabulary == open_folder(folder).vocabulary
    found = agreement(open_folder(kept))
    assert isinstance(found, Agreement)
    assert found.first is None, found.sentence()
    _repeats(kept, outputs, inputs, ("other", "same"))


def test_an_own_head_keeps_its_order_under_the_task_s_names(bench: Bench) -> None:
    rng = np.random.default_rng(4)
    weights = {f"bert.{k}": v for k, v in weights_of("bert").items()}
    weights |= {
        "classifier.weight": rng.normal(size=(2, 32)).astype(np.float32),
        "classifier.bias": np.zeros(2, np.float32),
    }
    make_checkpoint(bench.root / "bert", weights=weights, id2label={"0": "LABEL_0", "1": "LABEL_1"})
    order = {"pairs": ["same", "other"]}
    folder, outputs, inputs = _kept(bench, evaluate_only=True, class_order=order)
    assert json.loads((folder / "config.json").read_text())["id2label"] == {"0": "same", "1": "other"}
    _repeats(folder, outputs, inputs, ("other", "same"))


def test_kept_weights_are_a_checkpoint_like_any_other(bench: Bench) -> None:
    folder, outputs, _ = _kept(bench)
    bench.write(checkpoints=[{"path": str(folder)}], evaluate_only=True)
    (run,) = bench.plan().todo()
    assert run.head is not None
    assert run.head.order == (0, 1)
    bench.run()
    again = bench.store.predictions(str(run.run_id), "pairs.dev").outputs
    np.testing.assert_allclose(again, outputs, atol=1e-5)
