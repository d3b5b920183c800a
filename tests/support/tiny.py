"""Checkpoints, tasks and suites so small that a whole fine-tuning takes a fraction of a second.

Everything is drawn by numpy from fixed seeds, so it is the same on every machine and under every
version of torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors.numpy import save_file

from multibench import api
from multibench.execution.outcome import SuiteOutcome
from multibench.planning import Plan
from multibench.results import Results, RunStore

Kind = Literal["bert", "distilbert"]
Weights = dict[str, NDArray[Any]]

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
GOOD = ["fine", "good", "great", "happy", "kind", "lovely", "nice", "superb", "warm", "wise"]
BAD = ["awful", "bad", "bleak", "cruel", "dull", "gloomy", "nasty", "poor", "sad", "vile"]
PLAIN = [
    f"{start}{end}" for start in ("ba", "de", "fo", "gu", "ki") for end in ("la", "mo", "ne", "ri", "su")
]
VOCABULARY = [
    *SPECIAL,
    *GOOD,
    *BAD,
    *PLAIN,
    *(f"##{w}" for w in PLAIN),
    *"abcdefghijklmnopqrstuvwxyz0123456789.,'",
]

HIDDEN, LAYERS, HEADS, INTERMEDIATE, POSITIONS = 32, 2, 2, 64, 40
TRAIN_ROWS, DEV_ROWS = 48, 24

_BERT_LAYER = {
    "attention.self.query": (HIDDEN, HIDDEN),
    "attention.self.key": (HIDDEN, HIDDEN),
    "attention.self.value": (HIDDEN, HIDDEN),
    "attention.output.dense": (HIDDEN, HIDDEN),
    "attention.output.LayerNorm": None,
    "intermediate.dense": (INTERMEDIATE, HIDDEN),
    "output.dense": (HIDDEN, INTERMEDIATE),
    "output.LayerNorm": None,
}
_DISTILBERT_LAYER = {
    "attention.q_lin": (HIDDEN, HIDDEN),
    "attention.k_lin": (HIDDEN, HIDDEN),
    "attention.v_lin": (HIDDEN, HIDDEN),
    "attention.out_lin": (HIDDEN, HIDDEN),
    "sa_layer_norm": None,
    "ffn.lin1": (INTERMEDIATE, HIDDEN),
    "ffn.lin2": (HIDDEN, INTERMEDIATE),
    "output_layer_norm": None,
}


def config_of(kind: Kind) -> dict[str, Any]:
    """``config.json`` as Hugging Face would write it, less what does not matter."""
    if kind == "bert":
        return {
            "model_type": "bert",
            "architectures": ["BertModel"],
            "vocab_size": len(VOCABULARY),
            "hidden_size": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "intermediate_size": INTERMEDIATE,
            "max_position_embeddings": POSITIONS,
        }
    return {
        "model_type": "distilbert",
        "architectures": ["DistilBertModel"],
        "vocab_size": len(VOCABULARY),
        "dim": HIDDEN,
        "n_layers": LAYERS,
        "n_heads": HEADS,
        "hidden_dim": INTERMEDIATE,
        "max_position_embeddings": POSITIONS,
    }


def weights_of(kind: Kind, seed: int = 0) -> Weights:
    """Every tensor of the bare model, named as in ``BertModel`` or ``DistilBertModel``, with BERT's pooler.

    Random, but that good and bad words lie on opposite sides: what pretraining would have brought,
    so that a dozen steps of fine-tuning have something to find.
    """
    rng = np.random.default_rng([seed, len(kind)])
    found: Weights = {}

    def matrix(name: str, *shape: int, sd: float) -> None:
        found[f"{name}.weight"] = rng.normal(0, sd, shape).astype(np.float32)

    def linear(name: str, *shape: int) -> None:
        matrix(name, *shape, sd=0.25)
        found[f"{name}.bias"] = rng.normal(0, 0.01, shape[0]).astype(np.float32)

    def norm(name: str) -> None:
        found[f"{name}.weight"] = rng.normal(1, 0.05, HIDDEN).astype(np.float32)
        found[f"{name}.bias"] = rng.normal(0, 0.05, HIDDEN).astype(np.float32)

    matrix("embeddings.word_embeddings", len(VOCABULARY), HIDDEN, sd=0.3)
    tone = rng.normal(0, 1, HIDDEN).astype(np.float32)
    for word in (*GOOD, *BAD):
        found["embeddings.word_embeddings.weight"][VOCABULARY.index(word)] += tone if word in GOOD else -tone
    matrix("embeddings.position_embeddings", POSITIONS, HIDDEN, sd=0.05)
    if kind == "bert":
        matrix("embeddings.token_type_embeddings", 2, HIDDEN, sd=0.05)
    norm("embeddings.LayerNorm")
    layers, parts = (
        ("encoder.layer", _BERT_LAYER) if kind == "bert" else ("transformer.layer", _DISTILBERT_LAYER)
    )
    for layer in range(LAYERS):
        for part, shape in parts.items():
            name = f"{layers}.{layer}.{part}"
            norm(name) if shape is None else linear(name, *shape)
    if kind == "bert":
        linear("pooler.dense", HIDDEN, HIDDEN)
    return found


def write_config(folder: Path, kind: Kind, changes: dict[str, Any]) -> None:
    """``config.json``, with some keys changed."""
    (folder / "config.json").write_text(json.dumps({**config_of(kind), **changes}), "utf-8")


def write_vocabulary(folder: Path, pieces: Iterable[str] = VOCABULARY) -> None:
    """``vocab.txt``."""
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), "utf-8")


def make_checkpoint(
    folder: Path, kind: Kind = "bert", seed: int = 0, weights: Weights | None = None, **config: Any
) -> Path:
    """A checkpoint folder with configuration, vocabulary and ``model.safetensors``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, kind, config)
    write_vocabulary(folder)
    tensors = weights_of(kind, seed) if weights is None else weights
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


_TASK = """
name = "{name}"
version = 1
title = "Tiny {kind}"
description = "Made of words of the tiny vocabulary."
kind = "{kind}"
inputs = [{inputs}]
{facts}
evaluations = ["dev"]
mean_tokens = 12.0
licence = "none needed"
source = "tests"

[splits.train]
rows = {train_rows}
{train_facts}

[splits.dev]
rows = {dev_rows}
{dev_facts}

[splits.extra]
rows = {dev_rows}
labelled = false

[official]
folder = "{name}"
{codes}

[official.splits.train]
file = "train.tsv"
inputs = [{inputs}]
label = "label"

[official.splits.dev]
file = "dev.tsv"
inputs = [{inputs}]
label = "label"

[official.splits.extra]
file = "extra.tsv"
inputs = [{inputs}]
"""


def _sentence(rng: np.random.Generator, word: str) -> str:
    words = [*rng.choice(PLAIN, size=int(rng.integers(2, 7))), word]
    return " ".join(rng.permutation(words))


def _pairs(rng: np.random.Generator, rows: int) -> list[tuple[str, str, str]]:
    """Two sentences with one word each that tells the class: both good ("same") or both bad ("other")."""
    found = []
    for i in range(rows):
        words = rng.choice(GOOD if i % 3 else BAD, size=2)
        found.append((_sentence(rng, words[0]), _sentence(rng, words[1]), "yes" if i % 3 else "no"))
    return found


def _tones(rng: np.random.Generator, rows: int) -> list[tuple[str, str]]:
    """A sentence and its score: 0 to 5, by how many of its five telling words are good."""
    found = []
    for _ in range(rows):
        good = int(rng.integers(0, 6))
        words = [*rng.choice(GOOD, size=good), *rng.choice(BAD, size=5 - good), *rng.choice(PLAIN, size=3)]
        found.append((" ".join(rng.permutation(words)), f"{good}.{5 * int(rng.integers(0, 2)) * (good < 5)}"))
    return found


def _write_rows(path: Path, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in (columns, *rows)), "utf-8")


def make_classification(root: Path, name: str = "pairs") -> Path:
    """A task of one's own, two classes and two texts: its TOML file; data in ``root/data``."""
    rng = np.random.default_rng(11)
    train, dev = _pairs(rng, TRAIN_ROWS), _pairs(rng, DEV_ROWS)
    columns = ("sentence1", "sentence2", "label")
    _write_rows(root / "data" / name / "train.tsv", columns, train)
    _write_rows(root / "data" / name / "dev.tsv", columns, dev)
    _write_rows(root / "data" / name / "extra.tsv", columns[:2], [row[:2] for row in _pairs(rng, DEV_ROWS)])
    facts = [
        f"histogram = {{ other = {rows // 3}, same = {rows - rows // 3} }}" for rows in (TRAIN_ROWS, DEV_ROWS)
    ]
    text = _TASK.format(
        name=name,
        kind="classification",
        inputs='"sentence1", "sentence2"',
        facts='labels = ["other", "same"]\nmetrics = ["accuracy", "f1"]\nheadline = "accuracy"',
        codes='label_codes = ["no", "yes"]',
        train_rows=TRAIN_ROWS,
        dev_rows=DEV_ROWS,
        train_facts=facts[0],
        dev_facts=facts[1],
    )
    (root / f"{name}.toml").write_text(text, "utf-8")
    return root / f"{name}.toml"


def make_regression(root: Path, name: str = "tones") -> Path:
    """A task of one's own, a score from 0 to 5 for one text: its TOML file; data in ``root/data``."""
    rng = np.random.default_rng(12)
    train, dev, extra = (_tones(rng, rows) for rows in (TRAIN_ROWS, DEV_ROWS, DEV_ROWS))
    _write_rows(root / "data" / name / "train.tsv", ("sentence", "label"), train)
    _write_rows(root / "data" / name / "dev.tsv", ("sentence", "label"), dev)
    _write_rows(root / "data" / name / "extra.tsv", ("sentence",), [row[:1] for row in extra])
    means = [f"mean_score = {np.mean([float(row[1]) for row in rows]):.4f}" for rows in (train, dev)]
    text = _TASK.format(
        name=name,
        kind="regression",
        inputs='"sentence"',
        facts='score_range = [0.0, 5.0]\nmetrics = ["pearson", "spearman"]\nheadline = "pearson"',
        codes="",
        train_rows=TRAIN_ROWS,
        dev_rows=DEV_ROWS,
        train_facts=means[0],
        dev_facts=means[1],
    )
    (root / f"{name}.toml").write_text(text, "utf-8")
    return root / f"{name}.toml"


RECIPE = {"base": "modern_glue", "learning_rate": 3e-3, "batch_size": 8, "epochs": 2, "max_length": 32}


@dataclass(frozen=True)
class Bench:
    """A folder with tiny checkpoints, tasks and data, where suites are written and run."""

    root: Path

    @property
    def suite(self) -> Path:
        """The suite file."""
        return self.root / "tiny.yaml"

    @property
    def results(self) -> Path:
        """What ``--results`` names."""
        return self.root / "results"

    @property
    def data(self) -> Path:
        """What ``--data`` names."""
        return self.root / "data"

    @property
    def store(self) -> RunStore:
        """Where the runs of the suite are."""
        return RunStore(self.results / "tiny")

    def task(self, name: str) -> str:
        """The path of a task's TOML file, as a suite names it."""
        return str(self.root / f"{name}.toml")

    def write(self, **changes: Any) -> Path:
        """Write the suite: one BERT on one task with two seeds, but for what ``changes`` says."""
        content = {
            "checkpoints": [{"path": str(self.root / "bert")}],
            "tasks": [self.task("pairs")],
            "recipe": RECIPE,
            "finetuning_seeds": [0, 1],
            **changes,
        }
        self.suite.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}), "utf-8")
        return self.suite

    @property
    def options(self) -> list[str]:
        """The command line's options that say where things are."""
        return ["--results", str(self.results), "--data", str(self.data)]

    def plan(self, *overrides: str) -> Plan:
        """``api.plan`` of the suite."""
        return api.plan(self.suite, self.results, self.data, overrides=overrides)

    def run(self, *overrides: str, **options: Any) -> SuiteOutcome:
        """``api.run`` of the suite, on one thread and, if not told otherwise, each run alone."""
        options = {"replicas": 1, **options}
        return api.run(
            self.suite, self.results, self.data, overrides=overrides, threads=1, quiet=True, **options
        )

    def opened(self) -> Results:
        """What is stored."""
        return Results.open(self.results)


def make_bench(root: Path) -> Bench:
    """A bench with ``bert`` and ``distilbert``, and the tasks ``pairs`` and ``tones``."""
    make_checkpoint(root / "bert", "bert")
    make_checkpoint(root / "distilbert", "distilbert")
    make_classification(root)
    make_regression(root)
    bench = Bench(root)
    bench.write()
    return bench
