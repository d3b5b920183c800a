"""Span heads: the loop against plain Hugging Face, best answers against brute force, and a rule that is learnt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from transformers import (
    BertForQuestionAnswering,
    DistilBertForQuestionAnswering,
    get_linear_schedule_with_warmup,
)

from multibench import api
from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.load import Dropout, Head, initialise_head, load_model
from multibench.errors import StatisticsError
from multibench.metrics.squad import refused
from multibench.recipes import Hyperparameters
from multibench.results import Results
from multibench.results.summary import collapse_evidence
from multibench.seeds import derive_seeds
from multibench.tasks import find_task
from multibench.tasks.encode import Encoded
from multibench.tasks.spans import EncodedSpans
from multibench.training import packing
from multibench.training.batching import step_rows, steps_in_total
from multibench.training.loop import train
from multibench.training.predict import predict
from multibench.training.spans import best_answers, per_window_loss
from tests.support.tiny import BAD, GOOD, PLAIN, VOCABULARY, Kind, make_checkpoint

SETTINGS = Hyperparameters(
    learning_rate=1e-3, batch_size=16, epochs=5, warmup=0.2, weight_decay=0.05, clip_norm=0.5
)
# What shifts all scores of a softmax alike has a gradient of zero, up to rounding that Adam scales up: the bias
# of the keys in attention, and here all that adds one vector to every token at the end.
WITHOUT_GRADIENT = (
    *("key.bias", "k_lin.bias", "qa_outputs.bias"),
    *(f"layer.1.{name}.bias" for name in ("output.LayerNorm", "output_layer_norm")),
)
FIRST_WORD = 5  # ids below are special tokens


def _encoded(question: list[int], context: list[int], seed: int = 5) -> EncodedSpans:
    """One window an example, of random words and with a random answer (one in four has none)."""
    rng = np.random.default_rng(seed)
    parts, targets = [], []
    for q, c in zip(question, context, strict=True):
        words = rng.integers(FIRST_WORD, len(VOCABULARY), size=q + c)
        parts.append(np.array([2, *words[:q], 3, *words[q:], 3], dtype=np.int32))
        start = q + 2 + int(rng.integers(c))
        end = int(rng.integers(start, q + 2 + c))
        targets.append((start, end) if rng.random() < 0.75 else (0, 0))
    first = np.concatenate([[0], np.cumsum(context)])[:-1].astype(np.int64)
    return EncodedSpans(
        tokens=np.concatenate(parts),
        starts=np.concatenate([[0], np.cumsum([len(p) for p in parts])]).astype(np.int64),
        second=np.array([q + 2 for q in question], dtype=np.int32),
        pad_id=0,
        examples=np.arange(len(parts), dtype=np.int64),
        first=first,
        characters=np.stack([np.arange(sum(context)), np.arange(sum(context)) + 1], axis=1).astype(np.int32),
        targets=np.array(targets, dtype=np.int64),
    )


def _reference(kind: Kind, path: Path, head: dict[str, torch.Tensor], encoded: EncodedSpans) -> Any:
    """The loop that a user would write, with Hugging Face's own loss and schedule."""
    cls = BertForQuestionAnswering if kind == "bert" else DistilBertForQuestionAnswering
    model = cls.from_pretrained(path)
    model.load_state_dict(head, strict=False)
    model.eval()  # dropout off; gradients flow all the same
    decayed = [p for n, p in model.named_parameters() if "bias" not in n and "norm" not in n.lower()]
    rest = [p for n, p in model.named_parameters() if "bias" in n or "norm" in n.lower()]
    groups = [
        {"params": decayed, "weight_decay": SETTINGS.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=SETTINGS.learning_rate)
    steps = steps_in_total(len(encoded), SETTINGS.batch_size, SETTINGS.epochs, drop_last=False)
    schedule = get_linear_schedule_with_warmup(optimizer, int(SETTINGS.warmup * steps), steps)
    assert encoded.targets is not None
    losses = []
    for rows in step_rows(len(encoded), SETTINGS.batch_size, 20, derive_seeds(0).order):
        ids, mask, types = (torch.from_numpy(part) for part in encoded.padded(rows))
        start, end = torch.from_numpy(encoded.targets[rows]).T
        inputs = {"input_ids": ids, "attention_mask": mask, "start_positions": start, "end_positions": end}
        if kind == "bert":
            inputs["token_type_ids"] = types
        loss = model(**inputs).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), SETTINGS.clip_norm or 0.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return losses, model.state_dict()


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_twenty_steps_equal_hugging_face_and_torch(tmp_path: Path, kind: Kind) -> None:
    path = make_checkpoint(tmp_path / "model", kind)
    encoded = _encoded([4] * 70, [13] * 70)
    model = load_model(open_folder(path), Head("span", 2), Dropout(0.0, 0.0, 0.0))
    initialise_head(model, 11)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    head = {name: before[name] for name in ("qa_outputs.weight", "qa_outputs.bias")}
    losses, weights = _reference(kind, path, head, encoded)
    assert encoded.targets is not None
    record = train(model, encoded, encoded.targets, SETTINGS, derive_seeds(0), max_steps=20)
    np.testing.assert_allclose(record.losses, losses, atol=1e-5, rtol=0)
    assert len(losses) == 20
    moved = 0.0
    for name, tensor in model.state_dict().items():
        if not name.endswith(WITHOUT_GRADIENT):
            torch.testing.assert_close(tensor, weights[name], atol=1e-5, rtol=0)
        moved = max(moved, float((tensor - before[name]).abs().max()))
    assert moved > 5e-3  # the weights moved far, so that their equality says something


def test_padding_takes_no_part_in_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step with one bucket a length or one for all, and the loss written out window by window."""
    rng = np.random.default_rng(2)
    encoded = _encoded(rng.integers(2, 6, 16).tolist(), rng.integers(3, 30, 16).tolist())
    assert encoded.targets is not None
    folder = open_folder(make_checkpoint(tmp_path / "model"))
    records, gradients = [], []
    for overhead in (0, 100_000):
        model = load_model(folder, Head("span", 2), Dropout(0.0, 0.0, 0.0))
        initialise_head(model, 11)
        if not records:
            scores = torch.from_numpy(predict(model, encoded)).double()
        monkeypatch.setattr(packing, "overhead_in_tokens", lambda *_, n=overhead: n)
        record = train(model, encoded, encoded.targets, SETTINGS, derive_seeds(0), max_steps=1)
        records.append(record)
        gradients.append(record.gradient_norms[0])
    assert records[0].computed_tokens == records[0].tokens == records[1].computed_tokens
    assert abs(records[0].losses[0] - records[1].losses[0]) < 1e-6
    assert abs(gradients[0] - gradients[1]) < 1e-5
    by_hand = []
    for w, (start, end) in enumerate(encoded.targets.tolist()):
        own = scores[encoded.starts[w] : encoded.starts[w + 1]]
        surprise = torch.logsumexp(own, dim=0) - torch.stack([own[start, 0], own[end, 1]])
        by_hand.append(float(surprise.mean()))
    assert records[1].losses[0] == pytest.approx(np.mean(by_hand), abs=1e-5)


def test_the_loss_of_a_window_does_not_depend_on_its_neighbours() -> None:
    lengths = np.array([4, 5, 9])
    scores = torch.randn(18, 2, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 0], [2, 4], [8, 8]])
    encoded = Encoded(
        np.zeros(18, np.int32), np.append(0, np.cumsum(lengths)), np.ones(3, np.int32), pad_id=0
    )
    packer = packing.Packer(encoded, np.arange(1), torch.device("cpu"))
    together = per_window_loss(scores, packer.pack([np.arange(3)]), targets)
    for w, (start, end) in enumerate(targets.tolist()):
        own = scores[encoded.starts[w] : encoded.starts[w + 1]]
        surprise = torch.logsumexp(own, dim=0) - torch.stack([own[start, 0], own[end, 1]])
        assert together[w] == pytest.approx(float(surprise.mean()), abs=1e-6)


# Best answers -------------------------------------------------------------------------------------------------


def _windows(shape: list[list[tuple[int, int]]], question: int = 2) -> EncodedSpans:
    """For each example its windows as (first, last + 1) tokens of its context; a token is one character."""
    tokens, starts, second, owner, first = 0, [0], [], [], []
    offset = 0
    for i, windows in enumerate(shape):
        for begin, end in windows:
            tokens += question + 3 + end - begin
            starts.append(tokens)
            second.append(question + 2)
            owner.append(i)
            first.append(offset + begin)
        offset += max(end for _, end in windows)
    characters = [(k, k + 1) for windows in shape for k in range(max(end for _, end in windows))]
    return EncodedSpans(
        tokens=np.full(tokens, 7, dtype=np.int32),
        starts=np.array(starts, dtype=np.int64),
        second=np.array(second, dtype=np.int32),
        pad_id=0,
        examples=np.array(owner, dtype=np.int64),
        first=np.array(first, dtype=np.int64),
        characters=np.array(characters, dtype=np.int32).reshape(-1, 2),
        targets=None,
    )


def _brute_force(
    windows: list[tuple[int, int]],
    scores: list[NDArray[np.float32]],
    n_best: int,
    longest: int,
    question: int = 2,
) -> tuple[float, tuple[int, int]] | None:
    """Every pair of positions of every window, by the rules as they are written; None if no pair counts."""

    def context_around(token: int, window: tuple[int, int]) -> float:
        begin, end = window
        return min(token - begin, end - 1 - token) + 0.01 * (end - begin)

    best: tuple[float, tuple[int, int]] | None = None
    for window, table in zip(windows, scores, strict=True):
        ranked = [sorted(range(len(table)), key=lambda p, k=k: -table[p, k])[:n_best] for k in (0, 1)]  # type: ignore[misc]
        for start in range(len(table)):
            for end in range(start, len(table)):
                a, b = start - question - 2 + window[0], end - question - 2 + window[0]
                if start not in ranked[0] or end not in ranked[1]:
                    continue
                if a < window[0] or b >= window[1] or end - start + 1 > longest:
                    continue
                showing = [w for w in windows if w[0] <= a < w[1]]
                if max(showing, key=lambda w: context_around(a, w)) != window:
                    continue
                score = float(table[start, 0]) + float(table[end, 1])
                if best is None or score > best[0]:
                    best = (score, (a, b))
    return best


@pytest.mark.parametrize(("n_best", "longest"), [(20, 30), (3, 4), (1, 2), (40, 1)])
def test_best_answers_equal_brute_force(n_best: int, longest: int) -> None:
    rng = np.random.default_rng([n_best, longest])
    shape, contexts = [], []
    for _ in range(40):
        length, room, step = int(rng.integers(1, 25)), int(rng.integers(4, 12)), int(rng.integers(1, 5))
        begins = range(0, max(0, length - room) + step, step)
        shape.append([(b, min(length, b + room)) for b in begins])
        contexts.append("".join(chr(ord("a") + k) for k in range(length)))
    encoded = _windows(shape)
    scores = rng.normal(size=(len(encoded.tokens), 2)).astype(np.float32)
    found = best_answers(encoded, scores, tuple(contexts), n_best, longest)
    tables = np.split(scores, encoded.starts[1:-1])
    limited = several = 0
    for i, windows in enumerate(shape):
        own = [tables[w] for w in np.flatnonzero(encoded.examples == i)]
        expected = _brute_force(windows, own, n_best, longest)
        if expected is None:  # no pair among the best: all pairs are looked at
            expected = _brute_force(windows, own, 10_000, longest)
            limited += 1
        assert expected is not None
        score, (a, b) = expected
        assert found.texts[i] == contexts[i][a : b + 1]
        null = min(float(table[0, 0]) + float(table[0, 1]) for table in own)
        assert found.null_odds[i] == pytest.approx(null - score, abs=1e-6)
        several += len(windows) > 1
    assert several > 20
    assert limited > 5 or n_best > 1


def test_a_start_counts_only_where_it_is_seen_best() -> None:
    encoded = _windows([[(0, 6), (4, 10)]])  # token 4 has 1 neighbour on its poorer side here, none there
    scores = np.zeros((len(encoded.tokens), 2), dtype=np.float32)
    scores[encoded.starts[1] + 4, 0] = 9  # token 4 at the edge of the second window
    scores[encoded.starts[0] + 4 + 2, :] = 1  # token 2 in the first
    assert best_answers(encoded, scores, ("abcdefghij",)).texts == ("c",)


def test_the_lowest_null_score_of_all_windows_counts() -> None:
    encoded = _windows([[(0, 4), (2, 6)], [(0, 3)]])
    scores = np.zeros((len(encoded.tokens), 2), dtype=np.float32)
    for window, values in enumerate([(5, 1), (3, 2), (-1, -2)]):
        scores[encoded.starts[window]] = values
    scores[encoded.starts[0] + 4 + 1] = (2, 0.5)
    found = best_answers(encoded, scores, ("abcdef", "xyz"))
    assert found.null_odds.tolist() == [5 - 2.5, -3]
    assert found.texts[0] == "b"


def test_no_context_no_answer_and_no_numbers_no_answers() -> None:
    encoded = _windows([[(0, 0)], [(0, 2)]])
    scores = np.zeros((len(encoded.tokens), 2), dtype=np.float32)
    found = best_answers(encoded, scores, ("", "ab"))
    assert found.texts == ("", "a")
    assert found.null_odds.tolist() == [np.inf, 0]
    scores[3, 0] = np.nan
    with pytest.raises(StatisticsError, match="NaN"):
        best_answers(encoded, scores, ("", "ab"))


# End to end ---------------------------------------------------------------------------------------------------

_TASK = """
name = "finding"
version = 1
title = "Find the kind word"
description = "The context holds one kind word, which is the answer, or one unkind word, and then there is none."
kind = "span"
inputs = ["question", "context"]
unanswerable = true
metrics = ["exact_match", "answer_f1", "best_exact_match", "best_answer_f1"]
headline = "answer_f1"
evaluations = ["dev"]
mean_tokens = 20.0
licence = "none needed"
source = "tests"

[splits.train]
rows = {train}

[splits.dev]
rows = {dev}
histogram = {{ answerable = {yes}, unanswerable = {no} }}

[official]
format = "squad"
folder = "finding"
splits = {{ train = {{ file = "train.json" }}, dev = {{ file = "dev.json" }} }}
"""
TRAIN, DEV = 128, 48


def _write_data(folder: Path, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    paragraphs = []
    for i in range(rows):
        words = [str(w) for w in rng.choice(PLAIN, size=int(rng.integers(4, 22)))]
        place = int(rng.integers(len(words)))
        words[place] = str(rng.choice(GOOD if i % 3 else BAD))
        context = " ".join(words)
        start = len(" ".join([*words[:place], ""]))
        answers = [{"text": words[place], "answer_start": start}] if i % 3 else []
        question = {"id": f"{seed}-{i}", "question": " ".join(rng.choice(PLAIN, size=2)), "answers": answers}
        paragraphs.append({"context": context, "qas": [question]})
    folder.parent.mkdir(parents=True, exist_ok=True)
    document = {"version": "v2.0", "data": [{"title": "all", "paragraphs": paragraphs}]}
    folder.write_text(json.dumps(document), "utf-8")


def test_a_suite_on_a_task_of_ones_own_learns_to_find_answers(tmp_path: Path) -> None:
    data = tmp_path / "data"
    _write_data(data / "finding" / "train.json", TRAIN, 1)
    _write_data(data / "finding" / "dev.json", DEV, 2)
    facts = _TASK.format(train=TRAIN, dev=DEV, yes=DEV - DEV // 3, no=DEV // 3)
    (tmp_path / "finding.toml").write_text(facts, "utf-8")
    recipe = {
        "base": "modern_glue",
        "learning_rate": 5e-3,
        "batch_size": 16,
        "epochs": 5,
        "max_length": 18,  # room for 13 words: some contexts need two windows
        "doc_stride": 6,
    }
    suite = {
        "checkpoints": [
            {"path": str(make_checkpoint(tmp_path / kind, kind))} for kind in ("bert", "distilbert")
        ],
        "tasks": [str(tmp_path / "finding.toml")],
        "recipe": recipe,
        "finetuning_seeds": [0],
    }
    (tmp_path / "spans.yaml").write_text(yaml.safe_dump(suite), "utf-8")
    api.run(tmp_path / "spans.yaml", tmp_path / "results", data, threads=1, quiet=True)
    results = Results.open(tmp_path / "results")
    assert len(results) == 2
    contexts = [
        p["context"] for p in json.loads((data / "finding" / "dev.json").read_text())["data"][0]["paragraphs"]
    ]
    for run in results.stored:
        assert run.manifest["status"] == "finished", run.manifest["reason"]
        assert run.score("finding.dev", "exact_match") > 0.9
        assert run.score("finding.dev", "answer_f1") >= run.score("finding.dev", "exact_match")
        for name in ("exact_match", "answer_f1"):
            assert run.score("finding.dev", f"best_{name}") >= run.score("finding.dev", name)
        assert run.manifest["training"]["examples"] > 5 * TRAIN  # windows, more than there are questions
        stored = run.store.predictions(run.run_id, "finding.dev")
        assert stored.labels is not None
        assert stored.labels.tolist() == [int(i % 3 > 0) for i in range(DEV)]
        assert stored.texts is not None
        assert all(text and text in context for text, context in zip(stored.texts, contexts, strict=True))
        odds = stored.outputs[:, 4]
        for threshold in (0.0, 1e9, -1e9):
            no = refused(odds, threshold)
            again = np.where(no, stored.labels == 0, stored.outputs[:, 2])
            if threshold == 0.0:
                np.testing.assert_array_equal(again, stored.outputs[:, 0])
            else:
                assert again.mean() == pytest.approx(
                    1 / 3 if threshold < 0 else stored.outputs[:, 2].mean(), abs=1e-6
                )
    assert results.predictions("finding.dev").outputs.shape == (2, DEV, 5)
    task = find_task(str(tmp_path / "finding.toml"))
    outputs = np.zeros((3, 5), dtype=np.float32)
    assert (
        collapse_evidence(task, outputs, ["", "", ""]) == "every one of 3 questions is left without an answer"
    )
    assert collapse_evidence(task, outputs, ["a b"] * 3) == "every one of 3 answers is 'a b'"
    assert collapse_evidence(task, outputs, ["a", "b", "b"]) is None
