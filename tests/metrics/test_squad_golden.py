"""SQuAD scores, best thresholds and best answers against those of transformers 4.40.2 (see tests/golden)."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.checkpoints.formats.vocabulary import Vocabulary
from multibench.metrics import METRICS
from multibench.metrics.squad import ANSWER_OUTPUTS, answer_f1, answer_outputs, exact_match, normalise_answer
from multibench.tasks.data import Examples
from multibench.tasks.spans import EncodedSpans, encode_windows
from multibench.training.spans import BestAnswers, best_answers

GOLDEN = Path(__file__).parents[1] / "golden" / "squad.json.gz"
BEST = {"best_exact_match": "exact", "best_answer_f1": "f1"}


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gzip.decompress(GOLDEN.read_bytes()))
    return content


def _nothing(text: str) -> bool:
    return not normalise_answer(text)


def test_every_score_is_that_of_the_script(golden) -> None:
    n = 0
    for each in golden["sets"]:
        for text, gold, exact, f1 in zip(*(each[k] for k in ("texts", "gold", "exact", "f1")), strict=True):
            assert (exact_match(text, gold, True), answer_f1(text, gold, True)) == (exact, f1), (text, gold)
            if gold and not any(map(_nothing, [text, *gold])):  # both versions of the script are of one mind
                assert (exact_match(text, gold, False), answer_f1(text, gold, False)) == (exact, f1)
            n += 1
    assert n == 12_000


def test_of_texts_without_words_the_script_of_version_1_thinks_otherwise(golden) -> None:
    """It has no F1 for them, and counts gold answers that are nothing but articles."""
    cases = [
        (text, gold, exact)
        for each in golden["sets"]
        for text, gold, exact in zip(each["texts"], each["gold"], each["exact"], strict=True)
        if _nothing(text) and gold and any(map(_nothing, gold))
    ]
    assert len(cases) > 300
    for text, gold, exact in cases:
        assert answer_f1(text, gold, False) == 0
        assert answer_f1(text, gold, True) == exact == float(all(map(_nothing, gold)))
        assert exact_match(text, gold, False) == 1


def _outputs(each: dict[str, Any], threshold: float) -> tuple[Any, Any]:
    labels = np.array([len(gold) > 0 for gold in each["gold"]], dtype=np.int64)
    return labels, answer_outputs(each["texts"], each["odds"], each["gold"], threshold)


def test_means_and_best_thresholds_of_data_sets_are_those_of_the_script(golden) -> None:
    for each in golden["sets"]:
        if each["nothing"]:
            continue
        labels, outputs = _outputs(each, 0.0)
        for name, key in {"exact_match": "exact", "answer_f1": "f1", **BEST}.items():
            key = f"best_{key}" if name in BEST else key
            # Scores are stored in float32.
            assert 100 * METRICS.get(name).score(labels, outputs) == pytest.approx(each["all"][key], abs=2e-6)
            if name in BEST:
                threshold = METRICS.get(name).thresholds(labels, outputs[None])[0]
                assert threshold == each["all"][f"{key}_thresh"]


def test_where_a_text_without_words_is_no_answer(golden) -> None:
    """The script's search does not believe its own scores there; see the modules of the metrics."""
    differ = 0
    for each in golden["sets"]:
        if not each["nothing"]:
            continue
        labels, outputs = _outputs(each, 0.0)
        refused = outputs[:, ANSWER_OUTPUTS.index("null_odds")] > 0
        empty_gold = (labels == 1) & [all(map(_nothing, gold)) for gold in each["gold"]]
        theirs = np.where(refused & empty_gold, 0, outputs[:, 0])
        assert 100 * theirs.mean(dtype=float) == pytest.approx(each["all"]["exact"], abs=1e-9)
        # Any text is wrong where there is no answer, as their search has it, and then all else is the same.
        wrong = (labels == 0) & [text != "" for text in each["texts"]]
        outputs[wrong, 2:4] = 0
        for name, key in BEST.items():
            metric = METRICS.get(name)
            assert 100 * metric.score(labels, outputs) == pytest.approx(each["all"][f"best_{key}"], abs=2e-6)
        ours = 100 * METRICS.get("best_exact_match").score(*_outputs(each, 0.0))
        assert ours > each["all"]["best_exact"] - 2e-6
        differ += ours > each["all"]["best_exact"] + 1e-3
    assert differ > 10


def _case(case: dict[str, Any]) -> tuple[Any, Any]:
    columns = [case["exact"], case["f1"], case["exact"], case["f1"], case["odds"]]
    return np.array(case["answerable"]), np.array(columns, dtype=np.float32).T[None]


def test_of_tied_thresholds_the_one_of_the_script_is_found(golden) -> None:
    """Equal null odds go together; the script, too, finds that if losses come first in its file."""
    order_mattered = refused_all = 0
    for case in golden["thresholds"]:
        labels, outputs = _case(case)
        for name, key in BEST.items():
            metric, expected = METRICS.get(name), case["losses_first"]
            score, threshold = metric.score(labels, outputs[0]), metric.thresholds(labels, outputs)[0]
            assert 100.0 * (score * len(labels)) / len(labels) == pytest.approx(
                expected[f"best_{key}"], rel=1e-15
            )
            if np.isneginf(threshold):  # refuse all: the script says 0
                assert score == np.mean(labels == 0)
                assert expected[f"best_{key}_thresh"] == 0
                refused_all += 1
            else:
                assert threshold == expected[f"best_{key}_thresh"]
            if len(set(case["odds"])) == len(labels):
                assert case["best"] == expected
            assert case["best"][f"best_{key}"] >= expected[f"best_{key}"]
            order_mattered += case["best"][f"best_{key}"] > expected[f"best_{key}"]
    assert order_mattered > 100
    assert refused_all > 100


@pytest.fixture(scope="module", params=["plain", "rough"])
def spans(request, golden) -> tuple[dict[str, Any], EncodedSpans, list[BestAnswers]]:
    """What is in the file, our windows, and our best answers for each choice of settings."""
    each = golden["spans"][request.param]
    texts = tuple(each["questions"]), tuple(each["contexts"])
    examples = Examples("reading", "dev", tuple(map(str, range(len(texts[0])))), texts, None, "tests")
    windows = encode_windows(examples, Vocabulary(tuple(golden["pieces"]), True).tokenizer(), *golden["cut"])
    logits = np.frombuffer(base64.b64decode(each["logits_times_8"]), dtype=np.int8).reshape(-1, 2)
    scores = logits.astype(np.float32) / 8
    found = [
        best_answers(windows, scores, texts[1], choice["n_best"], choice["max_answer_length"])
        for choice in each["answers"]
    ]
    return {**each, "plain": request.param == "plain"}, windows, found


def test_windows_are_those_of_the_oracle(spans) -> None:
    each, windows, _ = spans
    assert windows.lengths.tolist() == each["windows"]
    assert hashlib.sha256(windows.tokens.astype("<i4").tobytes()).hexdigest() == each["tokens_sha256"]
    assert len(windows) > 1.5 * len(each["questions"])  # many contexts need several


def test_best_answers_and_null_odds_are_those_of_the_oracle(spans) -> None:
    each, _, found = spans
    same = 0
    for choice, ours in zip(each["answers"], found, strict=True):
        for i, (theirs, text) in enumerate(zip(choice["best"], ours.texts, strict=True)):
            if theirs == "empty":  # none of its best pairs is an answer: here all pairs are considered
                assert text in each["contexts"][i]
                continue
            assert ours.null_odds[i] == choice["null_odds"][i]
            assert choice["v1"][i] == theirs
            assert choice["v2"][i] == ("" if ours.null_odds[i] > 0 else theirs)
            # The oracle gives the whole words around pieces that it cannot align.
            assert text == theirs or (text in theirs and not each["plain"])
            same += text == theirs
        # Scores of padding take places among the best there; here nothing is padded.
        assert choice["padded"] != choice["v1"]
    shares = [choice["best"].count("empty") / len(each["questions"]) for choice in each["answers"]]
    assert shares[0] == 0 < shares[1] < shares[2]
    assert same > 240
