"""A small task of one's own with predictions of several runs, for imports and scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.results import Results
from tests.support.command import Outcome, multibench

FACTS = """
name = "{name}"
version = 1
title = "Moods"
description = "Made up."
kind = "{kind}"
inputs = ["text"]
{labels}
metrics = {metrics}
headline = {headline}
evaluations = ["dev"]
mean_tokens = 5
licence = "none needed"
source = "tests"
{more}

[splits.dev]
rows = {rows}

[files]
folder = "{name}"
label = "label"
{files}
splits = {{ dev = "dev.tsv" }}
"""


class Mood:
    """A classification task below ``root``, with gold labels and a folder for predictions."""

    def __init__(
        self,
        root: Path,
        labels: Sequence[str] = ("bad", "good"),
        rows: int = 120,
        name: str = "mood",
        metrics: Sequence[str] = ("accuracy",),
        more: str = "",
        files: str = "",
        seed: int = 0,
    ) -> None:
        self.root, self.name, self.labels, self.rows = root, name, tuple(labels), rows
        rng = np.random.default_rng(seed)
        self.gold: NDArray[np.int64] = rng.permutation(np.arange(rows) % len(labels))
        facts = FACTS.format(
            name=name,
            kind="classification",
            labels=f"labels = {list(labels)}",
            metrics=list(metrics),
            headline=f"'{metrics[0]}'",
            rows=rows,
            more=more,
            files=files,
        )
        self.toml = root / f"{name}.toml"
        self.toml.write_text(facts, "utf-8")
        self.write_data([self.labels[k] for k in self.gold])
        self.predictions = root / "preds"
        self.predictions.mkdir(exist_ok=True)

    def write_data(self, labels: Sequence[str]) -> None:
        """The gold labels, each beside a text."""
        folder = self.root / "data" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        lines = ["text\tlabel", *(f"word {i}\t{label}" for i, label in enumerate(labels))]
        (folder / "dev.tsv").write_text("\n".join(lines) + "\n", "utf-8")

    def said(self, accuracy: float, seed: int) -> NDArray[np.int64]:
        """Predicted classes, right in exactly this share of the rows."""
        rng = np.random.default_rng([seed, 7])
        right = rng.permutation(np.arange(self.rows) < round(accuracy * self.rows))
        others = (self.gold + rng.integers(1, len(self.labels), self.rows)) % len(self.labels)
        return np.where(right, self.gold, others)

    def write(self, name: str, text: str) -> Path:
        """A file of predictions."""
        path = self.predictions / name
        path.write_text(text, "utf-8")
        return path

    def index(self, rows: Sequence[Mapping[str, Any]], name: str = "index.tsv") -> Path:
        """An index with ``family`` and ``task``, and what ``rows`` say."""
        full = [{"family": "bert", "task": str(self.toml), **row} for row in rows]
        columns = list(dict.fromkeys(key for row in full for key in row))
        lines = ["\t".join(columns), *("\t".join(str(row.get(c, "")) for c in columns) for row in full)]
        path = self.root / name
        path.write_text("\n".join(lines) + "\n", "utf-8")
        return path

    def runs(self, files: Sequence[str], **more: Sequence[Any]) -> Path:
        """An index with a fine-tuning seed for each of ``files``."""
        return self.index(
            [
                {"finetuning_seed": k, "file": file} | {key: values[k] for key, values in more.items()}
                for k, file in enumerate(files)
            ]
        )

    def imported(self, index: Path, *options: Any) -> Outcome:
        """``import predictions`` of all that the index lists."""
        words = ("--index", index, "--out", self.root / "res", "--data", self.root / "data")
        return multibench("import", "predictions", self.predictions, *words, *options)

    def score(self, path: Path, *options: Any) -> Outcome:
        """``score`` of one file, as JSON."""
        words = ("score", self.toml, path, "--data", self.root / "data", "--format", "json")
        return multibench(*words, *options)

    def accuracies(self) -> list[float]:
        """What ``scores`` is made of: the stored accuracy of each run, by fine-tuning seed."""
        stored = sorted(
            Results.open(self.root / "res").stored, key=lambda run: run.fields["finetuning_seed"] or 0
        )
        return [run.score(f"{self.name}.dev", "accuracy") for run in stored]


def lines(values: Sequence[Any], header: str | None = None) -> str:
    """A value a line, perhaps below a header."""
    return "".join(f"{value}\n" for value in ([] if header is None else [header]) + list(values))
