"""Options that take a difference: what they accept, what they refuse, and that all verbs do alike."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import multibench
from multibench.cli.common import difference
from multibench.errors import OptionError, StatisticsError
from multibench.results import Results
from multibench.stats import Noise, compare_groups, equivalence, non_inferiority, plan_comparison, power_of
from multibench.stats.sizes import possible_size
from tests.support.command import multibench as command
from tests.support.stored import store_run


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of two seeds with two runs each."""
    folder = tmp_path_factory.mktemp("results")
    rng = np.random.default_rng(0)
    for step in (10, 20):
        for seed in (0, 1):
            for run in (0, 1):
                outputs = rng.normal(size=(40, 2)).astype(np.float32)
                store_run(
                    folder / f"{step}-{seed}-{run}",
                    outputs=outputs,
                    pretraining_seed=seed,
                    step=step,
                    finetuning_seed=run,
                    metrics={"accuracy": 0.5, "mcc": 0.0},
                )
    return folder


VERBS = {
    "power": ("power", "RESULTS", "--base", "step=10", "--expt", "step=20", "--effect"),
    "half-width": (
        "power",
        "RESULTS",
        "--base",
        "step=10",
        "--expt",
        "step=20",
        "--effect",
        "1%",
        "--half-width",
    ),
    "dynamics": ("dynamics", "RESULTS", "--margin"),
    "report": ("report", "RESULTS", "--out", "OUT", "--effect"),
    "reproduce": ("reproduce", "hf_squad", "--margin"),
}


def said(text: str) -> float:
    return difference("--effect")(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("0.5pt", 0.005), ("0.5%", 0.005), ("0.005", 0.005), ("0.5 pt", 0.005), ("0.5 points", 0.005)),
        *((".5PT", 0.005), ("1 point", 0.01), ("0.1", 0.1), ("5e-3", 0.005), ("12%", 0.12), ("+1pts", 0.01)),
    ],
)
def test_points_percent_and_fractions_say_the_same(text: str, value: float) -> None:
    assert said(text) == value


def test_a_bare_number_that_may_be_points_is_refused_with_both_spellings() -> None:
    with pytest.raises(OptionError) as refused:
        said("0.5")
    assert str(refused.value) == (
        "--effect 0.5 could be 0.5 points or 50: write 0.5pt or 0.5% (both are points) for the one, 50pt for the "
        "other."
    )


@pytest.mark.parametrize("text", ["0.5", "0.11", "1", "2", "100"])
def test_what_a_refusal_proposes_is_accepted(text: str) -> None:
    with pytest.raises(OptionError) as refused:
        said(text)
    sentence = str(refused.value)
    first, second = (
        sentence.split("write ")[1].split(" or ")[0],
        sentence.split("the one, ")[1].split(" for ")[0],
    )
    assert said(first) == pytest.approx(float(text) / 100)
    assert said(second) == pytest.approx(float(text))


@pytest.mark.parametrize(
    "text", ["", "half", "0,5pt", "0.5 pounds", "nan", "inf", "1e-2pt%", "0.5pt 1", "٠.٥pt"]
)
def test_what_is_no_difference_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"give points, such as .*, or a fraction"):
        said(text)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0.5", "could be 0.5 points or 50"),
        ("0", "by its size: give a positive fraction"),
        ("-1pt", "by its size: give a positive fraction"),
        ("some", "give points"),
        ("150pt", "150 points|between 0 and 1"),
    ],
)
def test_every_verb_refuses(results: Path, tmp_path: Path, verb: str, text: str, sentence: str) -> None:
    places = {"RESULTS": results, "OUT": tmp_path / "out"}
    words = [places.get(word, word) for word in VERBS[verb]]
    refused = command(*words[:-1], f"{words[-1]}={text}").refusal()
    assert any(part in refused for part in sentence.split("|")), refused
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["power", "half-width", "dynamics", "reproduce"])
def test_spellings_give_one_table(results: Path, verb: str) -> None:
    words = [results if word == "RESULTS" else word for word in VERBS[verb]]
    found = {command(*words, text).out for text in ("0.7pt", "0.7%", "0.007")}
    assert len(found) == 1
    assert found.pop()


def test_helps_show_the_spellings() -> None:
    for verb in ("power", "dynamics", "report", "reproduce"):
        shown = command(verb, "--help").out
        assert "pt" in shown
        assert "0.5%" in shown or "1%" in shown


def test_functions_refuse_impossible_differences(results: Path) -> None:
    opened = Results.open(results)
    for effect in (1.5, 0.0, -0.1, float("nan"), float("inf")):
        with pytest.raises(StatisticsError, match=r"The effect is .*[gG]ive a .*fraction"):
            multibench.power(opened, effect, "step=10", "step=20")
        with pytest.raises(StatisticsError, match=r"The (effect|margin) is"):
            multibench.report(opened, results / "out", effect=effect)
        with pytest.raises(StatisticsError, match="The margin is"):
            multibench.dynamics(opened, margin=effect)
        with pytest.raises(StatisticsError, match="The half-width is"):
            multibench.power(opened, 0.01, "step=10", "step=20", half_width=effect)


def test_the_reach_is_that_of_the_metric(results: Path) -> None:
    opened = Results.open(results)
    multibench.power(opened, 1.5, "step=10", "step=20", metric="mcc")
    with pytest.raises(StatisticsError, match="which is 250 points; two scores of this metric differ by 200"):
        multibench.power(opened, 2.5, "step=10", "step=20", metric="mcc")
    with pytest.raises(StatisticsError, match="which is 110 points; two scores of this metric differ by 100"):
        multibench.dynamics(opened, margin=1.1, metric="accuracy")
    assert possible_size(7.0, "margin") == 7.0


def test_plans_and_designs_refuse_what_their_noise_cannot_have() -> None:
    noise = Noise(1e-4, 1e-4, 1e-2, 1e-3, 1e-3, True, reach=1.0)
    for asked in (1.2, float("nan")):
        with pytest.raises(StatisticsError, match="The effect is"):
            plan_comparison(noise, asked, n_examples=100)
        with pytest.raises(StatisticsError, match="The effect is"):
            power_of(noise, asked, 5, 1, 100)
        with pytest.raises(StatisticsError, match="The half-width is"):
            plan_comparison(noise, 0.01, n_examples=100, half_width=asked)


def test_the_command_that_a_report_gives_is_accepted(results: Path, tmp_path: Path) -> None:
    words = ("report", results, "--out", tmp_path / "out", "--effect")
    assert command(*words, "20pt").code == 0
    text = (tmp_path / "out" / "report.md").read_text("utf-8")
    again = text.split("--out DIR --effect ")[1].split()[0]
    assert said(again) == 0.2


def test_tests_against_a_margin_refuse_what_no_difference_reaches() -> None:
    rng = np.random.default_rng(1)
    info = {"seed": [0, 1, 2] * 2, "intervention": [False] * 3 + [True] * 3}
    labels = np.arange(50) % 2
    found = compare_groups(info, rng.normal(size=(6, 50, 2)), labels, "accuracy", True).inference
    assert found is not None
    for refused in (lambda: equivalence(found, 1.5), lambda: non_inferiority(found, 1.5)):
        with pytest.raises(StatisticsError, match=r"The margin is 1\.5, which is 150 points"):
            refused()
    assert equivalence(found, (-math.inf, 0.3)).high == 0.3
