"""SQuAD's JSON, rows of the same columns, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.errors import DataError
from multibench.metrics import METRICS
from multibench.metrics.squad import answer_outputs
from multibench.tasks import DataSources, Task, load_split, sources
from multibench.tasks.data import Answer, Examples
from multibench.tasks.squad import read_squad, span_examples

CONTEXT = "Ada saw a naïve 猫 in Rome."
QUESTIONS: list[dict[str, Any]] = [
    {"id": "q1", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}], "is_impossible": False},
    {"id": "q2", "question": "Why?", "answers": [], "is_impossible": True},
    {
        "id": "q3",
        "question": "What?",
        "answers": [{"text": "猫", "answer_start": 16}, {"text": "naïve 猫", "answer_start": 10}],
    },
]


def _task(rows: int = 3, unanswerable: bool = True, **more: Any) -> Task:
    split = {"rows": rows, **more.pop("facts", {})}
    values = {
        "name": "reading",
        "version": 1,
        "title": "Reading",
        "description": "Answers in texts.",
        "kind": "span",
        "inputs": ["question", "context"],
        "unanswerable": unanswerable,
        "metrics": ["exact_match", "answer_f1"],
        "headline": "answer_f1",
        "evaluations": ["dev"],
        "mean_tokens": 20,
        "licence": "none",
        "source": "tests",
        "splits": {"dev": split, "test": {"rows": rows, "labelled": False}},
        "official": {
            "format": "squad",
            "folder": "reading",
            "splits": {"dev": {"file": "dev.json"}, "test": {"file": "test.json"}},
        },
    }
    return Task.model_validate({**values, **more})


def _document(questions: list[Any] | None = None, context: Any = CONTEXT) -> dict[str, Any]:
    paragraph = {"context": context, "qas": QUESTIONS if questions is None else questions}
    return {"version": "v2.0", "data": [{"title": "T", "paragraphs": [paragraph]}]}


def _write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    return path


def _rows() -> list[dict[str, Any]]:
    return [
        {
            "id": q["id"],
            "question": q["question"],
            "context": CONTEXT,
            "answers": {k: [a[k] for a in q["answers"]] for k in ("text", "answer_start")},
        }
        for q in QUESTIONS
    ]


def test_a_file_is_read_in_its_order_with_its_ids(tmp_path: Path) -> None:
    _write(tmp_path / "reading" / "dev.json", _document())
    examples = load_split(_task(), "dev", DataSources(tmp_path))
    assert examples.ids == ("q1", "q2", "q3")
    assert examples.texts == (("Who?", "Why?", "What?"), (CONTEXT,) * 3)
    assert examples.answers == ((Answer("Ada", 0),), (), (Answer("猫", 16), Answer("naïve 猫", 10)))
    assert examples.labels is not None
    assert examples.labels.tolist() == [1, 0, 1]
    assert examples.as_released


def test_the_folder_itself_and_a_byte_order_mark_will_do(tmp_path: Path) -> None:
    _write(tmp_path / "reading" / "dev.json", "\ufeff" + json.dumps(_document()))
    assert len(load_split(_task(), "dev", DataSources(tmp_path / "reading"))) == 3


def test_rows_of_the_hub_and_of_modules_are_the_same_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Table:
        column_names = ("id", "title", "context", "question", "answers")
        cache_files = ()

        def __getitem__(self, name: str) -> list[Any]:
            return [row[name] for row in _rows()]

        def __len__(self) -> int:
            return len(QUESTIONS)

    monkeypatch.setattr(sources, "_datasets_loader", lambda: lambda *_, **__: Table())
    monkeypatch.setattr(sources.network, "hub_is_reachable", lambda: True)
    hub = {"id": "somebody/reading", "config": "v2", "label": "answers", "splits": {"dev": "validation"}}
    from_hub = load_split(_task(hub=hub), "dev", DataSources())

    module = type("Module", (), {"split": staticmethod(lambda task, split: _rows())})
    monkeypatch.setattr(sources, "import_module", lambda name: module)
    builtin = {"module": "somewhere", "label": "answers"}
    from_module = load_split(_task(builtin=builtin, official=None), "dev", DataSources())

    from_file = read_squad(_task(), "dev", _write(tmp_path / "dev.json", _document()))
    assert from_hub.fingerprint == from_module.fingerprint == from_file.fingerprint


def test_the_fingerprint_sees_the_answers() -> None:
    def fingerprint(*answers: Answer) -> str:
        rows = _rows()[:1]
        rows[0]["answers"] = {"text": [a.text for a in answers], "answer_start": [a.start for a in answers]}
        return _examples(rows).fingerprint

    found = {
        fingerprint(Answer("Ada", 0)),
        fingerprint(Answer("Ada", 0), Answer("Ada", 0)),
        fingerprint(Answer("a", 2)),
        fingerprint(Answer("a", 4), Answer("a", 8)),
        fingerprint(Answer("a", 8), Answer("a", 4)),
        fingerprint(),
    }
    assert len(found) == 6


def _examples(rows: list[dict[str, Any]], task: Task | None = None, split: str = "dev") -> Examples:
    columns = ([row[name] for row in rows] for name in ("id", "question", "context", "answers"))
    return span_examples(task or _task(), split, *columns, "the rows")  # type: ignore[arg-type]


def test_a_split_without_labels_needs_no_answers(tmp_path: Path) -> None:
    bare = [{"id": q["id"], "question": q["question"]} for q in QUESTIONS]
    path = _write(tmp_path / "reading" / "test.json", _document(bare))
    examples = read_squad(_task(), "test", path)
    assert examples.labels is None
    assert examples.answers is None
    with pytest.raises(DataError, match=r"qas\[0\] has no list 'answers'"):
        read_squad(_task(), "dev", path)


@pytest.mark.parametrize(("said", "found"), [(9, 10), (11, 10), (8, 10), (12, 10)])
def test_an_offset_that_is_off_by_two_is_put_right(said: int, found: int) -> None:
    rows = _rows()[:1]
    rows[0]["answers"] = {"text": ["naïve"], "answer_start": [said]}
    assert _examples(rows).answers == ((Answer("naïve", found),),)


def test_counts_of_answerable_questions_are_facts(tmp_path: Path) -> None:
    _write(tmp_path / "reading" / "dev.json", _document())
    right = _task(facts={"histogram": {"answerable": 2, "unanswerable": 1}})
    assert load_split(right, "dev", DataSources(tmp_path)).as_released
    wrong = _task(facts={"histogram": {"answerable": 1, "unanswerable": 2}})
    with pytest.raises(DataError, match=r"label counts {'unanswerable': 1, 'answerable': 2} instead of"):
        load_split(wrong, "dev", DataSources(tmp_path))
    accepted = load_split(wrong, "dev", DataSources(tmp_path, frozenset(["reading"])))
    assert not accepted.as_released
    assert accepted.answers is not None


def _question(**changes: Any) -> dict[str, Any]:
    return {k: v for k, v in {**QUESTIONS[0], **changes}.items() if v is not ...}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "not valid JSON in UTF-8"),
        ("[" * 100_000, "not valid JSON"),
        ([], "no list 'data'"),
        ({"data": {"a": 1}}, "no list 'data'"),
        ({"data": []}, "holds no questions"),
        ({"data": ["x"]}, r"data\[0\] is 'x', not an object"),
        ({"data": [{"paragraphs": [{"context": "c"}]}]}, r"data\[0\] paragraphs\[0\] has no list 'qas'"),
        (_document(context=None), "'context' is None"),
        (_document(context="half a pair \ud800"), "not a text"),
        (_document([_question(id=5.0)]), "'id' is 5.0"),
        (_document([_question(), _question()]), "the id 'q1' occurs twice"),
        (_document([_question(question=...)]), "'question' is None"),
        (_document([_question(answers=...)]), "no list 'answers'"),
        (_document([_question(is_impossible=True)]), "'is_impossible' is True, and it has 1 answers"),
        (_document([_question(is_impossible="no")]), "'is_impossible' is 'no'"),
        (_document([_question(answers=[{"text": "Ada"}])]), "no answer with a start"),
        (_document([_question(answers=[{"text": "Ada", "answer_start": True}])]), "no answer with a start"),
        (_document([_question(answers=[{"text": "Ada", "answer_start": 0.0}])]), "no answer with a start"),
        (_document([_question(answers=[{"text": "", "answer_start": 0}])]), "no answer with a start"),
        (_document([_question(answers=[{"text": "Eve", "answer_start": 4}])]), "where 'saw' stands"),
        (_document([_question(answers=[{"text": "Ada", "answer_start": 10**30}])]), "where '' stands"),
        (_document([_question(answers=[{"text": "Ada", "answer_start": -7}])]), "where 'Ada' stands"),
    ],
)
def test_anything_else_is_one_sentence(tmp_path: Path, document: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_squad(_task(), "dev", _write(tmp_path / "dev.json", document))
    assert str(caught.value).endswith((".", "?", ")"))
    assert len(str(caught.value)) < 400


def test_questions_without_answer_are_a_fact_of_the_task() -> None:
    with pytest.raises(DataError, match="'unanswerable = true'"):
        _examples(_rows(), _task(unanswerable=False))


@pytest.mark.parametrize(
    "answers",
    [None, [], {"text": "Ada", "answer_start": 0}, {"text": ["Ada"]}, {"text": [1], "answer_start": []}],
)
def test_rows_need_lists_of_answers(answers: Any) -> None:
    rows = _rows()[:1]
    rows[0]["answers"] = answers
    with pytest.raises(DataError, match="not lists 'text' and 'answer_start'"):
        _examples(rows)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": ["question"]}, "question and context"),
        ({"kind": "regression", "inputs": ["a"], "official": None}, "for span tasks only"),
        (
            {"official": {"folder": "x", "splits": {"dev": {"file": "f", "inputs": ["q", "c"]}}}},
            "official format",
        ),
        (
            {
                "official": {
                    "format": "squad",
                    "folder": "x",
                    "splits": {"dev": {"file": "f", "inputs": ["q"]}},
                }
            },
            "no columns",
        ),
    ],
)
def test_facts_of_span_tasks_are_checked(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _task(**changes)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "rows", "answerable"), [("dev-v1.1.json", 10570, 10570), ("dev-v2.0.json", 11873, 5928)]
)
def test_gold_answers_of_the_official_files_score_100(
    shared_dir: Path, file: str, rows: int, answerable: int
) -> None:
    facts = {"histogram": {"answerable": answerable, "unanswerable": rows - answerable}}
    unanswerable = answerable < rows
    official = {"format": "squad", "folder": "squad", "splits": {"dev": {"file": file}}}
    task = _task(rows, unanswerable, facts=facts, official=official)
    examples = load_split(task, "dev", DataSources(shared_dir / "data"))
    assert examples.answers is not None
    assert examples.labels is not None
    assert examples.as_released
    for context, answers in zip(examples.texts[1], examples.answers, strict=True):
        assert all(context[a.start :].startswith(a.text) for a in answers)
    gold = [[answer.text for answer in answers] for answers in examples.answers]
    odds = np.where(examples.labels == 1, -1.0, 1.0)

    def scored(which: int) -> tuple[float, float]:
        texts = [answers[which] if answers else "something else" for answers in gold]
        outputs = answer_outputs(texts, odds, gold, 0.0 if unanswerable else None)
        # Answers to everything, as a model without a threshold gives them, are right where there is one.
        assert outputs[:, 2].sum() == outputs[:, 0].sum() - (rows - answerable)
        exact, f1 = (METRICS.get(name).score(examples.labels, outputs) for name in task.metrics)
        return exact, f1

    assert scored(0) == (1.0, 1.0)
    # One question's last answer is a full stop: an exact match without a shared word in v1.1, no answer in v2.0.
    one_less = pytest.approx(1 - 1 / rows, abs=1e-9)
    assert scored(-1) == (one_less if unanswerable else 1.0, one_less)


@pytest.mark.shared
def test_the_partial_training_file_is_not_the_released_data(shared_dir: Path) -> None:
    task = _task(87599, unanswerable=False)
    examples = read_squad(task, "dev", shared_dir / "data" / "squad" / "train-v1.1.partial.json")
    assert len(examples) == 11877
    assert examples.labels is not None
    assert examples.labels.all()
