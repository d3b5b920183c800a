"""Windows against Hugging Face's own tokenizer, and targets against the answers they stand for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from multibench.checkpoints.formats.vocabulary import Vocabulary
from multibench.errors import CheckpointError, DataError
from multibench.recipes import Hyperparameters
from multibench.tasks import DataSources
from multibench.tasks.data import Answer, Examples
from multibench.tasks.spans import EncodedSpans, encode_windows

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
PIECES = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *LETTERS,
    *(f"##{c}" for c in LETTERS),
    *".,?'-猫",
    "the",
    "##ing",
)
VOCABULARY = Vocabulary(PIECES, lower_case=True)


def _examples(
    questions: list[str], contexts: list[str], answers: list[tuple[Answer, ...]] | None = None
) -> Examples:
    return Examples(
        task="reading",
        split="dev",
        ids=tuple(f"q{i}" for i in range(len(questions))),
        texts=(tuple(questions), tuple(contexts)),
        labels=None if answers is None else np.array([len(a) > 0 for a in answers], dtype=np.int64),
        origin="tests",
        answers=None if answers is None else tuple(answers),
    )


def _windows(examples: Examples, *cut: int | None) -> EncodedSpans:
    return encode_windows(examples, VOCABULARY.tokenizer(), *cut)


def _word(rng: np.random.Generator) -> str:
    word = "".join(rng.choice(list(LETTERS), size=int(rng.integers(1, 6))))
    return str(
        rng.choice(
            [word, word, word, word.upper(), f"{word}ing", f"the{word}", "é" + word, "猫", f"({word}),", "♞"]
        )
    )


def _text(rng: np.random.Generator, words: int) -> str:
    return "".join(
        _word(rng) + str(rng.choice([" ", " ", "  ", "\n", "\u00a0"])) for _ in range(words)
    ).rstrip()


def _random_examples(rng: np.random.Generator, n: int) -> Examples:
    """Texts with accents, signs outside the vocabulary and odd blanks; answers of one to four words, or none."""
    questions = [_text(rng, int(rng.integers(1, 5))) + "?" for _ in range(n)]
    contexts = [_text(rng, int(rng.integers(1, 40))) for _ in range(n)]
    answers: list[tuple[Answer, ...]] = []
    for context in contexts:
        words = [
            i
            for i in range(len(context))
            if not context[i].isspace() and (i == 0 or context[i - 1].isspace())
        ]
        start = int(rng.choice(words))
        text = " ".join(context[start:].split(" ")[: int(rng.integers(1, 5))]).rstrip()
        answers.append((Answer(text, start),) if rng.random() < 0.8 else ())
    return _examples(questions, contexts, answers)


def _reference_targets(encoding: Any, window: int, answer: Answer | None) -> tuple[int, int]:
    """Start and end as the question-answering example of Hugging Face finds them, token by token."""
    offsets, parts = encoding["offset_mapping"][window], encoding.sequence_ids(window)
    context = [i for i, part in enumerate(parts) if part == 1]
    if answer is None or not context:
        return 0, 0
    first, last = answer.start, answer.start + len(answer.text)
    if offsets[context[0]][0] > first or offsets[context[-1]][1] < last:
        return 0, 0
    start = max(i for i in context if offsets[i][0] <= first)
    end = min(i for i in context if offsets[i][1] >= last)
    return start, end


def _leaves_text_out(tokenizer: Any) -> bool:
    """Whether windows without overlap are fewer than the text fills, as those of transformers 5.17 are."""
    found = tokenizer("a", "b " * 40, truncation="only_second", max_length=18, return_overflowing_tokens=True)
    return len(found["input_ids"]) < 3


@pytest.mark.parametrize(
    ("max_length", "doc_stride", "overlap"),
    [(40, 10, None), (40, 1, None), (64, 25, None), (512, 128, None), (44, None, 9), (44, None, 0)],
)
def test_windows_are_those_of_hugging_face(
    tmp_path: Path, max_length: int, doc_stride: int | None, overlap: int | None
) -> None:
    from transformers import BertTokenizer

    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n", "utf-8")
    reference = BertTokenizer.from_pretrained(tmp_path)
    if _leaves_text_out(reference):
        pytest.skip("windows of this version of transformers leave a part of the text out")
    examples = _random_examples(np.random.default_rng(max_length + (doc_stride or 0)), 40)
    found = _windows(examples, max_length, doc_stride, 512, overlap)
    assert found.targets is not None
    window = several = 0
    for i, (question, context) in enumerate(zip(*examples.texts, strict=True)):
        room = max_length - 3 - len(reference(question, add_special_tokens=False)["input_ids"])
        expected = reference(
            question,
            context,
            truncation="only_second",
            max_length=max_length,
            stride=overlap if doc_stride is None else room - min(doc_stride, room),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        several += len(expected["input_ids"]) > 1
        answers = examples.answers[i] if examples.answers is not None else ()
        for k, ids in enumerate(expected["input_ids"]):
            rows = np.array([window])
            tokens, mask, types = found.padded(rows)
            assert tokens[0].tolist() == ids
            assert mask.all()
            assert types[0].tolist() == expected["token_type_ids"][k]
            assert found.examples[window] == i
            second, length = int(found.second[window]), int(found.context_lengths[window])
            assert [p for p, part in enumerate(expected.sequence_ids(k)) if part == 1] == list(
                range(second, second + length)
            )
            for position in range(second, second + length):
                assert (
                    found.answer_bounds(window, position, position) == expected["offset_mapping"][k][position]
                )
            wanted = _reference_targets(expected, k, answers[0] if answers else None)
            assert tuple(found.targets[window].tolist()) == wanted
            window += 1
    assert window == len(found)
    assert several > (5 if max_length < 512 else -1)
    assert 10 < np.count_nonzero(found.targets[:, 0]) < len(found)


def test_targets_point_at_the_answer() -> None:
    examples = _random_examples(np.random.default_rng(1), 60)
    found = _windows(examples, 48, 12)
    assert found.targets is not None
    assert examples.answers is not None
    seen = set()
    for window, (start, end) in enumerate(found.targets.tolist()):
        i = int(found.examples[window])
        if (start, end) == (0, 0):
            continue
        low, high = found.answer_bounds(window, start, end)
        assert examples.texts[1][i][low:high] == examples.answers[i][0].text
        seen.add(i)
    answerable = {i for i, answers in enumerate(examples.answers) if answers}
    assert seen <= answerable
    assert len(seen) > 0.9 * len(answerable)  # the rest are longer than a window


def test_an_answer_that_a_window_cuts_is_not_in_it() -> None:
    context = " ".join(LETTERS[:12])
    examples = _examples(["a"], [context], [(Answer("e f", 8),)])
    found = _windows(examples, 9, 3)  # room for 5 letters: abcde defgh ghijk jkl
    assert found.targets is not None
    assert found.context_lengths.tolist() == [5, 5, 5, 3]
    assert found.targets.tolist() == [[0, 0], [4, 5], [0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        (Answer("bc", 3), (4, 5)),
        (Answer(" bc ", 2), (4, 5)),  # blanks around an answer are no tokens
        (Answer("c", 4), (5, 5)),
        (Answer("ring", 6), (6, 7)),
        (Answer("ng", 8), (7, 7)),  # begins inside the piece "##ing"
        (Answer("ri", 6), (6, 7)),  # ends inside it
    ],
)
def test_tokens_that_an_answer_begins_or_ends_in_are_taken_whole(
    answer: Answer, target: tuple[int, int]
) -> None:
    found = _windows(_examples(["a"], ["a  bc ring"], [(answer,)]), 32)
    assert found.characters.tolist() == [[0, 1], [3, 4], [4, 5], [6, 7], [7, 10]]  # a b ##c r ##ing
    assert found.targets is not None
    assert tuple(found.targets[0].tolist()) == target


def _parts(found: EncodedSpans) -> list[tuple[int, int]]:
    return [(int(f), int(f + n)) for f, n in zip(found.first, found.context_lengths, strict=True)]


def test_every_token_is_in_a_window_and_starts_are_a_stride_apart() -> None:
    context = " ".join(LETTERS)
    found = _windows(_examples(["a b"], [context]), 15, 4)  # room for 10
    assert found.targets is None
    assert _parts(found) == [(s, min(s + 10, 36)) for s in range(0, 29, 4)]


def test_a_stride_beyond_the_room_leaves_no_gap() -> None:
    found = _windows(_examples(["a b"], [" ".join(LETTERS)]), 15, 128)
    assert _parts(found) == [(0, 10), (10, 20), (20, 30), (30, 36)]


@pytest.mark.parametrize(("length", "windows"), [(9, 1), (10, 1), (11, 2), (14, 2), (15, 3)])
def test_the_last_window_is_the_first_that_reaches_the_end(length: int, windows: int) -> None:
    found = _windows(_examples(["a b"], [" ".join(LETTERS[:length])]), 15, 4)
    assert len(found) == windows
    assert _parts(found)[-1][1] == length


def test_questions_are_cut_first_and_contexts_shared() -> None:
    question, context = " ".join(LETTERS), "x y"
    found = _windows(_examples([question, "a"], [context, context]), 64, 128, 5)
    tokens = [[PIECES[t] for t in row] for row in found.padded(np.arange(2))[0]]
    assert tokens[0] == ["[CLS]", *"abcde", "[SEP]", "x", "y", "[SEP]"]
    assert tokens[1][:6] == ["[CLS]", "a", "[SEP]", "x", "y", "[SEP]"]
    assert len(found.characters) == 2


def test_a_question_that_leaves_no_room_is_refused() -> None:
    examples = _examples(["a", " ".join(LETTERS)], ["x y", "x y"])
    with pytest.raises(
        DataError, match=r"'q1': a question of 29 WordPieces leaves no room .* max_length of 32"
    ):
        _windows(examples, 32, 128, 29)
    assert _windows(examples, 32, 128, 28).context_lengths.tolist() == [2, 1, 1]
    with pytest.raises(DataError, match=r"'q1': .* beyond a window_overlap of 9\. .* or window_overlap\."):
        _windows(examples, 32, None, 20, 9)


def test_a_run_gets_the_windows_of_its_settings() -> None:
    import torch

    from multibench.execution.workshop import Workshop

    examples = _random_examples(np.random.default_rng(3), 20)
    workshop = Workshop(DataSources(), torch.device("cpu"), _examples={("reading", "dev"): examples})
    folder, task = SimpleNamespace(vocabulary=VOCABULARY), SimpleNamespace(name="reading")
    found = []
    for placed in ({"window_overlap": 9}, {"doc_stride": 9}, {"doc_stride": 20}):
        settings = Hyperparameters(
            learning_rate=1e-5, batch_size=8, epochs=1, max_length=40, max_question_length=12, **placed
        )
        found.append(workshop.windows(folder, task, "dev", settings))
        cut = (40, placed.get("doc_stride"), 12, placed.get("window_overlap"))
        assert found[-1].tokens.tolist() == _windows(examples, *cut).tokens.tolist()
    assert len({len(windows) for windows in found}) == 3


def test_an_empty_context_has_one_empty_window() -> None:
    found = _windows(_examples(["a", "b"], ["\u0007", "x"], [(Answer("\u0007", 0),), (Answer("x", 0),)]), 16)
    assert found.context_lengths.tolist() == [0, 1]
    assert found.targets is not None
    assert found.targets.tolist() == [[0, 0], [3, 3]]


def test_a_foreign_vocabulary_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"turns 100% of reading\.dev into"):
        _windows(_examples(["a"], ["♞ ♞ ♞"]), 16)


def test_mixed_lengths_are_padded_as_any_other_input() -> None:
    found = _windows(_examples(["a", "b c"], ["x y z", "x"]), 16)
    ids, mask, types = found.padded(np.arange(2))
    lengths: NDArray[np.int64] = found.lengths
    assert lengths.tolist() == [7, 6]
    assert ids[1, 6] == 0
    assert mask.sum(axis=1).tolist() == [7, 6]
    assert types.tolist() == [[0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 0]]
