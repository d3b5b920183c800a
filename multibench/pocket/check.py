"""Does pretraining help, and do seeds differ? A quick fine-tuning of the built-in family.

``python -m multibench.pocket.check --weights DIR --seeds 0 1 --steps 0 12000`` prints one line of JSON per
(task, seed, step, fine-tuning seed), and one per task for a bag of words. It shares no code with
multibench's own training, so that the two can be held against each other.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.pocket import vocabulary
from multibench.pocket.tasks import split
from multibench.pocket.weights import WEIGHTS

__all__ = ["RECIPE", "Recipe", "bag_of_words", "encode_pairs", "fine_tune", "main", "score"]

Floats = NDArray[np.float64]
Row = dict[str, Any]
COLUMNS = {
    "pocket_acceptability": ("sentence", None, "label", 2),
    "pocket_inference": ("premise", "hypothesis", "label", 3),
    "pocket_similarity": ("sentence1", "sentence2", "score", 1),
}


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters that suit models of this size."""

    learning_rate: float = 1e-3
    batch_size: int = 32
    epochs: int = 3
    warm_up: float = 0.1
    weight_decay: float = 0.01


RECIPE = Recipe()


def encode_pairs(rows: list[Row], first: str, second: str | None) -> list[tuple[list[int], list[int]]]:
    """(ids, token types) of ``[CLS] first [SEP] second [SEP]`` for each row."""
    known = vocabulary.load()
    cls, sep = known["[CLS]"], known["[SEP]"]
    encoded = []
    for row in rows:
        a = [cls, *vocabulary.encode(row[first], known), sep]
        b = [*vocabulary.encode(row[second], known), sep] if second else []
        encoded.append((a + b, [0] * len(a) + [1] * len(b)))
    return encoded


def _inputs(
    encoded: list[tuple[list[int], list[int]]], chosen: Sequence[int] | NDArray[np.int64]
) -> dict[str, Any]:
    import torch

    longest = max(len(encoded[i][0]) for i in chosen)
    arrays = np.zeros((3, len(chosen), longest), dtype=np.int64)
    for row, i in enumerate(chosen):
        ids, types = encoded[i]
        arrays[0, row, : len(ids)], arrays[1, row, : len(ids)], arrays[2, row, : len(ids)] = ids, types, 1
    names = ("input_ids", "token_type_ids", "attention_mask")
    return {name: torch.from_numpy(array) for name, array in zip(names, arrays, strict=True)}


def fine_tune(task: str, folder: Path, seed: int, recipe: Recipe = RECIPE) -> Any:
    """A sequence classifier (or regressor) on the weights in ``folder``, trained on all of ``task``."""
    import torch
    from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup

    first, second, target, classes = COLUMNS[task]
    rows = split(task, "train")
    encoded = encode_pairs(rows, first, second)
    targets = torch.tensor([row[target] for row in rows])
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=classes).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    steps = recipe.epochs * (len(rows) // recipe.batch_size)
    scheduler = get_linear_schedule_with_warmup(optimizer, int(recipe.warm_up * steps), steps)
    for _ in range(recipe.epochs):
        order = rng.permutation(len(rows))
        for start in range(0, len(rows) - recipe.batch_size + 1, recipe.batch_size):
            chosen = order[start : start + recipe.batch_size]
            logits = model(**_inputs(encoded, chosen)).logits
            wanted = targets[chosen]
            if classes == 1:
                loss = torch.nn.functional.mse_loss(logits[:, 0], wanted.float())
            else:
                loss = torch.nn.functional.cross_entropy(logits, wanted)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
    return model.eval()


def _outputs(model: Any, encoded: list[tuple[list[int], list[int]]]) -> Floats:
    import torch

    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i][0]))
    found = np.zeros((len(encoded), model.config.num_labels))
    with torch.inference_mode():
        for start in range(0, len(order), 128):
            chosen = order[start : start + 128]
            found[chosen] = model(**_inputs(encoded, chosen)).logits.numpy()
    return found


def score(task: str, outputs: Floats, rows: list[Row]) -> float:
    """The task's headline metric: MCC, accuracy, or Pearson's correlation; fractions, not percent."""
    from sklearn.metrics import matthews_corrcoef

    if task == "pocket_similarity":
        return float(np.corrcoef(outputs[:, 0], [row["score"] for row in rows])[0, 1])
    labels = np.array([row["label"] for row in rows])
    guesses = outputs.argmax(axis=1)
    if task == "pocket_stress":
        guesses = np.minimum(guesses, 1)
    if task == "pocket_acceptability":
        return float(matthews_corrcoef(labels, guesses))
    return float((guesses == labels).mean())


def _evaluations(task: str) -> list[tuple[str, str]]:
    if task == "pocket_inference":
        return [(task, "dev_matched"), (task, "dev_mismatched"), ("pocket_stress", "dev")]
    return [(task, "dev")]


def bag_of_words(task: str) -> dict[str, float]:
    """Scores of a linear model on word counts of each sentence, of the pair's shared words and of how
    many they are; penalty chosen by cross-validation on the training set.
    """
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegressionCV, RidgeCV

    first, second, target, classes = COLUMNS[task]
    counter = CountVectorizer(token_pattern=r"\w+", ngram_range=(1, 1))
    train = split(task, "train")
    counter.fit([row[column] for row in train for column in (first, second) if column])

    def features(rows: list[Row]) -> Any:
        a = counter.transform([row[first] for row in rows])
        if second is None:
            return a
        b = counter.transform([row[second] for row in rows])
        words = [(vocabulary.words(row[first]), vocabulary.words(row[second])) for row in rows]
        shared = [[len({*x} & {*y}), len({*x} - {*y}), len({*y} - {*x}), len(x) - len(y)] for x, y in words]
        return hstack([a, b, a.multiply(b), csr_matrix(np.array(shared, dtype=float))]).tocsr()

    targets = [row[target] for row in train]
    if classes == 1:
        model = RidgeCV(alphas=np.logspace(-1, 3, 9))
    else:
        model = LogisticRegressionCV(
            Cs=np.logspace(-3, 1, 5),
            cv=5,
            scoring="accuracy",
            max_iter=2000,
            l1_ratios=(0,),
            use_legacy_attributes=False,
        )
    model.fit(features(train), targets)
    scores = {}
    for name, part in _evaluations(task):
        rows = split(name, part)
        x = features(rows)
        outputs = model.predict(x)[:, None] if classes == 1 else model.predict_proba(x)
        scores[f"{name}.{part}"] = score(name, outputs, rows)
    return scores


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    import torch
    from transformers.utils import logging

    parser = argparse.ArgumentParser(prog="python -m multibench.pocket.check", description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--tasks", nargs="+", default=list(COLUMNS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 12000])
    parser.add_argument("--finetuning-seeds", type=int, nargs="+", default=[0])
    for name, value in vars(RECIPE).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = parser.parse_args(arguments)
    recipe = Recipe(**{name: getattr(options, name) for name in vars(RECIPE)})
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for task in options.tasks:
        first, second, _, _ = COLUMNS[task]
        _print({"task": task, "bag_of_words": bag_of_words(task)})
        for step in options.steps:
            for seed in options.seeds:
                for finetuning_seed in options.finetuning_seeds:
                    started = time.process_time()
                    folder = options.weights / f"seed_{seed}" / f"step_{step}"
                    model = fine_tune(task, folder, finetuning_seed, recipe)
                    seconds = time.process_time() - started
                    scores = {}
                    for name, part in _evaluations(task):
                        rows = split(name, part)
                        outputs = _outputs(model, encode_pairs(rows, first, second))
                        scores[f"{name}.{part}"] = score(name, outputs, rows)
                    run = {"task": task, "seed": seed, "step": step, "finetuning_seed": finetuning_seed}
                    _print({**run, **scores, "seconds": seconds})
    return 0


def _print(record: dict[str, Any]) -> None:
    shown = {k: round(v, 4) if isinstance(v, float) else v for k, v in record.items()}
    sys.stdout.write(json.dumps(shown) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
