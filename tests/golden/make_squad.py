"""Make ``squad.json.gz``: what transformers 4.40.2 says of generated SQuAD predictions.

transformers took this code from Google's ``run_squad.py`` and the official script of SQuAD v2.0, and dropped it
in version 5. So it runs in an environment of its own, not with the tests:

    python -m venv oracle
    oracle/bin/pip install transformers==4.40.2 "numpy<2"
    oracle/bin/python tests/golden/make_squad.py

Three parts, all from fixed seeds:

``sets``        predictions with gold answers, one exact match and F1 each, and ``squad_evaluate`` of every set
``thresholds``  ``find_all_best_thresh`` of scores and null odds, many of them tied
``spans``       ``squad_convert_examples_to_features`` and ``compute_predictions_logits`` of whole numbers as logits
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import platform
import random
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import transformers
from transformers import BertTokenizer
from transformers.data.metrics import squad_metrics
from transformers.data.processors.squad import SquadExample, squad_convert_examples_to_features

TARGET = Path(__file__).with_name("squad.json.gz")
VERSION = "4.40.2"

WORDS = [
    *("cat", "dog", "sat", "mat", "U.S.A.", "1990", "$3.50", "don't", "re-use", "naïve"),
    *("İstanbul", "Straße", "東京", "猫", "ñandú", "x_y", "Thé", "É", "—", "“quoted”"),
]
NOTHING = ["the", "a", "An", "THE", ",", "...", "'", "!?", "a,", "\u00a0", "the a"]
BLANKS = [" ", " ", " ", "  ", "\t", "\u00a0", "\n", ", ", "-"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PLAIN = ["ada", "bob", "cat", "dog", "elm", "fig", "gnu", "hen", "ivy", "jay"]
ROUGH = [
    "Ada",
    "naïve",
    "U.S.",
    "Bob's",
    "re-use",
    "(cat)",
    "jays",
    "dogfig",
    "É",
    "x-ray,",
    "$5",
    "İvy",
    "ﬁg",
]
PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *LETTERS,
    *(f"##{c}" for c in LETTERS),
    *PLAIN,
    *".,'()-$5",
]
# max_seq_length, doc_stride, max_query_length; then pairs of n_best and max_answer_length.
CUT = (32, 10, 8)
CHOICES = ((20, 30), (5, 8), (2, 3))


def phrase(rng: random.Random, nothing: bool) -> str:
    """Some words, articles and punctuation among them; where ``nothing``, perhaps nothing else."""
    if nothing and rng.random() < 0.25:
        return rng.choice([*NOTHING, ""])
    words = [rng.choice(WORDS) for _ in range(rng.choice([1, 1, 2, 2, 3, 5, 9]))]
    words += rng.choices(NOTHING, k=rng.choice([0, 0, 1, 2])) + rng.choices(words, k=rng.choice([0, 0, 1]))
    rng.shuffle(words)
    return "".join(word + rng.choice(BLANKS) for word in words) if rng.random() < 0.5 else " ".join(words)


def answer_set(rng: random.Random, nothing: bool, size: int) -> dict[str, Any]:
    """Predictions and gold answers of one data set, and all that the script says of them."""
    texts, gold = [], []
    for _ in range(size):
        golds = [phrase(rng, nothing) for _ in range(rng.choice([0, 1, 1, 2, 3, 4]))]
        if not nothing:
            golds = [text for text in golds if squad_metrics.normalize_answer(text)]
        text = phrase(rng, nothing)
        if golds and rng.random() < 0.7:  # something like the answer
            text = rng.choice(golds)
            if rng.random() < 0.7:
                words = text.split()
                rng.shuffle(words)
                text = " ".join([*words[: rng.choice([1, 2, 9])], *rng.choices(WORDS, k=rng.choice([0, 1]))])
        if not nothing and not squad_metrics.normalize_answer(text):
            text = "cat"
        texts.append(text)
        gold.append(golds)
    # Distinct multiples of 2 ** -10, which float32 holds exactly; those of questions with answers are lower.
    odds = [0.0] * size
    ranks = sorted(range(size), key=lambda i: rng.random() - 0.7 * bool(gold[i]))
    for i, value in zip(ranks, sorted(rng.sample(range(-8192, 8192), size)), strict=True):
        odds[i] = value / 1024
    names = [str(i) for i in range(size)]
    examples = [
        SimpleNamespace(qas_id=name, answers=[{"text": t} for t in golds])
        for name, golds in zip(names, gold, strict=True)
    ]
    predictions, nulls = dict(zip(names, texts, strict=True)), dict(zip(names, odds, strict=True))
    exact, f1 = squad_metrics.get_raw_scores(examples, predictions)
    return {
        "nothing": nothing,
        "texts": texts,
        "gold": gold,
        "odds": odds,
        "exact": list(exact.values()),
        "f1": list(f1.values()),
        "all": squad_metrics.squad_evaluate(examples, predictions, nulls, 0.0),
    }


def threshold_case(rng: random.Random) -> dict[str, Any]:
    """Scores as float32 holds them, null odds of which many may be equal, and the best thresholds.

    ``best`` takes equal odds in the order of the questions, ``losses_first`` those without answer first.
    """
    size, grid = rng.choice([1, 2, 5, 12, 40]), rng.choice([1, 2, 8, 1024])
    f1 = [float(np.float32(rng.choice([0, 1, 2 / 3, 0.4, 0.8, 2 / 7]))) for _ in range(size)]
    exact = [float(score == 1) for score in f1]
    answerable = [int(rng.random() < 0.6) for _ in range(size)]
    odds = [rng.randint(-3 * grid, 3 * grid) / grid for _ in range(size)]
    for i in range(size):
        if not answerable[i]:
            exact[i] = f1[i] = 0.0
    case: dict[str, Any] = {"answerable": answerable, "odds": odds, "exact": exact, "f1": f1}
    losses_first = sorted(range(size), key=lambda i: answerable[i])
    for name, order in (("best", range(size)), ("losses_first", losses_first)):
        found: dict[str, float] = {}
        squad_metrics.find_all_best_thresh(
            found,
            *[{i: values[i] for i in order} for values in (["text"] * size, exact, f1, odds, answerable)],
        )
        case[name] = found
    return case


def span_set(rng: random.Random, words: list[str], size: int) -> dict[str, Any]:
    """Questions and contexts, logits for every token of their windows, and the answers taken from them."""
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, files = Path(folder) / "vocab.txt", [Path(folder) / f"{name}.json" for name in "abc"]
        vocabulary.write_text("\n".join(PIECES) + "\n", "utf-8")
        tokenizer = BertTokenizer(str(vocabulary))
        examples = []
        for i in range(size):
            question = " ".join(rng.choices(PLAIN, k=rng.randint(1, 10)))
            context = " ".join(rng.choices(words, k=rng.randint(1, 45)))
            examples.append(SquadExample(f"q{i}", question, context, None, None, ""))
        features = squad_convert_examples_to_features(
            examples, tokenizer, *CUT, False, padding_strategy="do_not_pad", tqdm_enabled=False
        )
        lengths = [len(feature.tokens) for feature in features]
        logits = np.array([rng.randint(-40, 40) for _ in range(2 * sum(lengths))], dtype=np.int8).reshape(
            -1, 2
        )
        results, padded, done = [], [], 0
        for feature, length in zip(features, lengths, strict=True):
            starts, ends = (logits[done : done + length, k].astype(float) / 8 for k in (0, 1))
            padding = [5.0] * (CUT[0] - length)
            padded.append(
                SimpleNamespace(
                    unique_id=feature.unique_id,
                    start_logits=[*starts, *padding],
                    end_logits=[*ends, *padding],
                )
            )
            results.append(
                SimpleNamespace(
                    unique_id=feature.unique_id, start_logits=starts.tolist(), end_logits=ends.tolist()
                )
            )
            done += length
        answers = []
        for n_best, longest in CHOICES:
            found: dict[str, Any] = {"n_best": n_best, "max_answer_length": longest}
            # A threshold that nothing exceeds: the best answer that is not null.
            for name, given, version_2, threshold in (
                ("v1", results, False, 0.0),
                ("padded", padded, False, 0.0),
                ("best", results, True, 1e9),
                ("v2", results, True, 0.0),
            ):
                found[name] = list(
                    squad_metrics.compute_predictions_logits(
                        *(examples, features, given, n_best, longest, True, *map(str, files)),
                        *(False, version_2, threshold, tokenizer),
                    ).values()
                )
            found["null_odds"] = list(json.loads(files[2].read_text("utf-8")).values())
            answers.append(found)
    ids = np.concatenate([np.array(feature.input_ids, dtype="<i4") for feature in features])
    return {
        "questions": [example.question_text for example in examples],
        "contexts": [example.context_text for example in examples],
        "windows": lengths,
        "tokens_sha256": hashlib.sha256(ids.tobytes()).hexdigest(),
        "logits_times_8": base64.b64encode(logits.tobytes()).decode("ascii"),
        "answers": answers,
    }


def main() -> None:
    """Write the file anew; it comes out the same byte for byte."""
    if transformers.__version__ != VERSION:
        raise SystemExit(f"transformers {transformers.__version__} is installed; expected {VERSION}.")
    rng = random.Random(20)
    content = {
        "made_by": f"{Path(__file__).name} with transformers {VERSION}, Python {platform.python_version()}",
        "sets": [answer_set(rng, nothing, 150) for nothing in (False, True) for _ in range(40)],
        "thresholds": [threshold_case(rng) for _ in range(1500)],
        "pieces": PIECES,
        "cut": CUT,
        "spans": {"plain": span_set(rng, PLAIN, 150), "rough": span_set(rng, [*PLAIN, *ROUGH], 150)},
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    TARGET.write_bytes(gzip.compress(text.encode("utf-8"), 9, mtime=0))


if __name__ == "__main__":
    main()
