"""Small checkpoints that users would bring: added tokens, wrapped weights, a head without names of classes."""

from __future__ import annotations

import json
import shutil

import pytest

from multibench.checkpoints.folder import open_folder
from multibench.results import Results
from tests.support.cases import Case
from tests.support.command import multibench

pytestmark = pytest.mark.shared


def _checks(folder: str) -> dict[str, tuple[bool | None, str]]:
    (found,) = json.loads(multibench("verify", "checkpoint", folder, "--json").out)
    return {check["name"]: (check["ok"], check["says"]) for check in found["checks"]}


def test_added_tokens_are_tokens(case: Case) -> None:
    folder = open_folder(case("b05") / "checkpoint")
    assert folder.vocabulary.tokenizer().encode("apple [ENT] bridge [/ENT]").ids == [2, 8, 34, 9, 35, 3]
    checks = _checks("checkpoint")
    assert checks["vocabulary"] == (True, "34 pieces and 2 added tokens for 36 embeddings")
    assert checks["ids"] == (True, "1,000 texts have the ids that transformers' BertTokenizer gives them")


@pytest.mark.parametrize("name", ["module_prefix", "compiled_prefix"])
def test_weights_under_a_wrapper_s_prefix_are_read(case: Case, name: str) -> None:
    case("b15")
    checks = _checks(name)
    assert checks["weights"][0] is True
    assert checks["weights"][1].startswith("23 tensors")


def test_a_head_without_names_of_classes_is_applied_as_the_suite_states(case: Case) -> None:
    folder = case("b16")
    words = ("run", "suite.yaml", "--data", "data", "--results", "res", "--quiet")
    sentence = multibench(*words).refusal()
    assert "accuracy of 52.50 %" in sentence
    assert "state it in the suite: class_order: {mood: [bad, good]}" in sentence
    for order, score in (("good, bad", 0.525), ("bad, good", 0.475)):
        suite = folder / "suite.yaml"
        stated = "".join(
            line for line in suite.read_text().splitlines(keepends=True) if "class_order" not in line
        )
        suite.write_text(f"{stated.rstrip()}\nclass_order: {{mood: [{order}]}}\n")
        shutil.rmtree(folder / "res", ignore_errors=True)
        assert multibench(*words).code == 0
        (run,) = Results.open(folder / "res").stored
        assert run.score("mood.dev", "accuracy") == pytest.approx(score)
