"""Tiny tasks with data and prediction files in every layout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SPANS = """
name = "{name}"
version = 1
title = "Tiny questions"
description = "Which word?"
kind = "span"
inputs = ["question", "context"]
unanswerable = {unanswerable}
metrics = ["answer_f1", "exact_match"]
headline = "answer_f1"
evaluations = ["dev"]
mean_tokens = 9.0
licence = "none needed"
source = "tests"

[splits.dev]
rows = {rows}

[official]
format = "squad"
folder = "{name}"
splits = {{ dev = {{ file = "dev.json" }} }}
"""

HANS = """
name = "heuristics"
version = 1
title = "Tiny heuristics"
description = "Two classes for models of three."
kind = "classification"
inputs = ["sentence1", "sentence2"]
labels = ["entailment", "not_entailment"]
metrics = ["accuracy"]
headline = "accuracy"
evaluations = ["dev"]
merges = { entailment = ["entailment"], not_entailment = ["neutral", "contradiction"] }
metadata = ["heuristic", "subcase"]
mean_tokens = 9.0
licence = "none needed"
source = "tests"

[splits.dev]
rows = 6

[official]
folder = "heuristics"
inputs = ["sentence1", "sentence2"]
label = "gold_label"
label_codes = ["entailment", "non-entailment"]
splits = { dev = "dev.txt" }
"""

HANS_ROWS = [
    ("non-entailment", "ex0", "lexical_overlap", "ln_a"),
    ("entailment", "ex1", "lexical_overlap", "le_a"),
    ("non-entailment", "ex2", "constituent", "cn_a"),
    ("entailment", "ex3", "constituent", "ce_a"),
    ("non-entailment", "ex4", "constituent", "cn_a"),
    ("entailment", "ex5", "lexical_overlap", "le_a"),
]

# Question -> the texts that answer it; none: no text does.
GOLD = {
    "q1": ("red fox", "fox"),
    "q2": ("seven",),
    "q3": ("the north",),
    "q4": (),
    "q5": (),
}
_CONTEXT = "The red fox met seven hares in the north."


def make_questions(root: Path, name: str = "questions", gold: Mapping[str, tuple[str, ...]] = GOLD) -> Path:
    """A span task with one context: its TOML file; data in ``root/data``."""
    asked = [
        {
            "id": question,
            "question": "Which?",
            "answers": [{"text": t, "answer_start": _CONTEXT.index(t)} for t in texts],
        }
        for question, texts in gold.items()
    ]
    document = {"data": [{"title": "t", "paragraphs": [{"context": _CONTEXT, "qas": asked}]}]}
    path = root / "data" / name / "dev.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), "utf-8")
    unanswerable = any(not texts for texts in gold.values())
    facts = SPANS.format(name=name, unanswerable=str(unanswerable).lower(), rows=len(gold))
    (root / f"{name}.toml").write_text(facts, "utf-8")
    return root / f"{name}.toml"


def make_heuristics(root: Path) -> Path:
    """A task in the layout of HANS: its TOML file; data in ``root/data``."""
    rows = [
        ("gold_label", "sentence1", "sentence2", "pairID", "heuristic", "subcase"),
        *(
            (label, "A b .", "B a .", name, heuristic, subcase)
            for label, name, heuristic, subcase in HANS_ROWS
        ),
    ]
    path = root / "data/heuristics/dev.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows), "utf-8")
    (root / "heuristics.toml").write_text(HANS, "utf-8")
    return root / "heuristics.toml"


def glue_text(predictions: Mapping[str, Any] | Iterable[Any]) -> str:
    """A file as the GLUE server takes it; indices from 0 if only values are given."""
    pairs = predictions.items() if isinstance(predictions, Mapping) else enumerate(predictions)
    return "index\tprediction\n" + "".join(f"{index}\t{value}\n" for index, value in pairs)


def hans_text(predictions: Mapping[str, str]) -> str:
    """A file as the script of HANS takes it."""
    return "pairID,gold_label\n" + "".join(f"{name},{label}\n" for name, label in predictions.items())
