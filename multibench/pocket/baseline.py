"""What words alone can do: linear models on bags of words, to hold the built-in family against.

``python -m multibench.pocket.baseline`` prints a line of JSON for each kind and task. ``plain`` counts the
words of each input; ``overlap`` also knows which words both inputs share and how many, which no bag of
words knows.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from multibench.metrics import METRICS
from multibench.metrics.squad import answer_f1
from multibench.pocket import vocabulary
from multibench.pocket.tasks import split

__all__ = ["COLUMNS", "EVALUATIONS", "bag_of_words", "bag_of_words_answers", "main", "score"]

Row = dict[str, Any]
# Task -> first input, second input if there is one, target, outputs.
COLUMNS = {
    "pocket_acceptability": ("sentence", None, "label", 2),
    "pocket_inference": ("premise", "hypothesis", "label", 3),
    "pocket_similarity": ("sentence1", "sentence2", "score", 1),
}
EVALUATIONS = {
    "pocket_acceptability": [("pocket_acceptability", "dev")],
    "pocket_inference": [
        ("pocket_inference", "dev_matched"),
        ("pocket_inference", "dev_mismatched"),
        ("pocket_stress", "dev"),
    ],
    "pocket_similarity": [("pocket_similarity", "dev")],
}
_LONGEST = 4  # words of an answer: preposition, article, adjective, noun


def score(task: str, outputs: Any, rows: list[Row]) -> float:
    """The task's headline metric, a fraction; ``outputs`` ``(n, classes)`` or ``(n, 1)``."""
    if task == "pocket_similarity":
        return METRICS.get("pearson").score(np.array([row["score"] for row in rows]), outputs)
    if task == "pocket_stress":
        outputs = np.stack([outputs[:, 0], outputs[:, 1:].max(axis=1)], axis=1)
    name = "mcc" if task == "pocket_acceptability" else "accuracy"
    return METRICS.get(name).score(np.array([row["label"] for row in rows]), outputs)


def bag_of_words(task: str, overlap: bool = False) -> dict[str, float]:
    """Headline score on each evaluation of a linear model whose penalty cross-validation chose."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import RidgeCV

    first, second, target, classes = COLUMNS[task]
    counter = CountVectorizer(token_pattern=r"\w+")
    train = split(task, "train")
    counter.fit([row[column] for row in train for column in (first, second) if column])

    def features(rows: list[Row]) -> Any:
        parts = [counter.transform([row[column] for row in rows]) for column in (first, second) if column]
        if overlap and second:
            words = [[set(vocabulary.words(row[column])) for column in (first, second)] for row in rows]
            shared = [[len(a & b), len(a - b), len(b - a)] for a, b in words]
            parts += [parts[0].multiply(parts[1]), csr_matrix(np.array(shared, dtype=float))]
        return hstack(parts).tocsr()

    model = RidgeCV(alphas=np.logspace(-1, 3, 9)) if classes == 1 else _logistic()
    model.fit(features(train), [row[target] for row in train])
    scores = {}
    for name, part in EVALUATIONS[task]:
        rows = split(name, part)
        x = features(rows)
        outputs = model.predict(x)[:, None] if classes == 1 else model.predict_proba(x)
        scores[f"{name}.{part}"] = score(name, outputs, rows)
    return scores


def bag_of_words_answers(overlap: bool = False) -> float:
    """F1 on the question task of linear models of where an answer starts, where it ends, and whether there is one.

    A word is described by itself, its neighbours and the question's first word; with ``overlap`` also by
    which of these the question holds.
    """
    from sklearn.feature_extraction import DictVectorizer

    train, dev = (split("pocket_questions", part) for part in ("train", "dev"))
    tokens = [_tokens(row, overlap) for row in train]
    vectors = DictVectorizer()
    x = vectors.fit_transform([described for each in tokens for described in each[1]])
    models = []
    for place in (0, 1):
        wanted = [
            bool(row["answers"]["text"]) and bounds[place] == _gold(row)[place]
            for row, (words, _) in zip(train, tokens, strict=True)
            for bounds in words
        ]
        models.append(_logistic("neg_log_loss").fit(x, wanted))
    questions = DictVectorizer()
    asked = questions.fit_transform([_words_of(row, overlap) for row in train])
    answerable = _logistic().fit(asked, [bool(row["answers"]["text"]) for row in train])
    total = 0.0
    for row in dev:
        words, described = _tokens(row, overlap)
        start, end = (model.predict_log_proba(vectors.transform(described))[:, 1] for model in models)
        pairs = [(i, j) for i in range(len(words)) for j in range(i, min(len(words), i + _LONGEST))]
        i, j = max(pairs, key=lambda pair: start[pair[0]] + end[pair[1]])
        given = row["context"][words[i][0] : words[j][1]]
        if not answerable.predict(questions.transform([_words_of(row, overlap)]))[0]:
            given = ""
        total += answer_f1(given, row["answers"]["text"], True)
    return total / len(dev)


def _gold(row: Row) -> tuple[int, int]:
    start = row["answers"]["answer_start"][0]
    return start, start + len(row["answers"]["text"][0])


def _tokens(row: Row, overlap: bool) -> tuple[list[tuple[int, int]], list[dict[str, Any]]]:
    """Start and end character of each word of the context, and what describes it."""
    bounds, place = [], 0
    words = vocabulary.words(row["context"])
    for word in words:
        place = row["context"].index(word, place)
        bounds.append((place, place + len(word)))
        place += len(word)
    asked = vocabulary.words(row["question"])
    padded = ["", "", *words, "", ""]
    described = []
    for i in range(len(words)):
        near = {f"{shift}": padded[i + 2 + shift] for shift in (-2, -1, 0, 1, 2)}
        known = {f"asked {shift}": word in asked for shift, word in near.items()} if overlap else {}
        described.append({**near, **known, "question": f"{asked[0]} {words[i]}"})
    return bounds, described


def _words_of(row: Row, overlap: bool) -> dict[str, Any]:
    told, asked = ({*vocabulary.words(row[column])} for column in ("context", "question"))
    words = {f"{column} {word}": 1 for column, held in (("told", told), ("asked", asked)) for word in held}
    return {**words, "missing": len(asked - told)} if overlap else words


def _logistic(scoring: str = "accuracy") -> Any:
    from sklearn.linear_model import LogisticRegressionCV

    return LogisticRegressionCV(
        Cs=np.logspace(-3, 1, 5),
        cv=5,
        scoring=scoring,
        max_iter=2000,
        l1_ratios=(0,),
        use_legacy_attributes=False,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    argparse.ArgumentParser(prog="python -m multibench.pocket.baseline", description=__doc__).parse_args(
        arguments
    )
    for name, overlap in (("plain", False), ("overlap", True)):
        for task in COLUMNS:
            _print(name, bag_of_words(task, overlap))
        _print(name, {"pocket_questions.dev": bag_of_words_answers(overlap)})
    return 0


def _print(name: str, scores: dict[str, float]) -> None:
    sys.stdout.write(json.dumps({"features": name, **{k: round(v, 4) for k, v in scores.items()}}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
