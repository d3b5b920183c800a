"""``plan`` for a card: hours of a GPU are predicted or measured, called so, and never at a CPU's rate."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from multibench import api
from multibench.cli import running
from multibench.errors import OptionError, UnknownNameError
from multibench.execution import found
from multibench.planning import Plan, cards, hours_of
from multibench.planning.cards import Precision, find_card
from multibench.planning.measured import MeasuredRates, read_rate
from tests.support.command import multibench
from tests.support.tiny import Bench, make_bench

TORCH_NAMES = {
    "NVIDIA H100 80GB HBM3": "h100",
    "NVIDIA H200": "h200",
    "NVIDIA A100-SXM4-80GB": "a100",
    "Tesla T4": "t4",
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def plan(bench: Bench) -> Plan:
    return bench.plan("finetuning_seeds=0-3")


@pytest.fixture(autouse=True)
def _no_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found, "found_cards", list)


def _report(tmp_path: Path, rates: dict[tuple[str, str, int | None], float], **changes: Any) -> str:
    """A file as ``bench --format json`` writes it, with operations a second by size, precision and replicas."""
    report = {
        "title": "Speed of fine-tuning",
        "device": {"name": "NVIDIA Imaginary", "kind": "cuda", "memory": 80 * 10**9, "threads": 8},
        "sizes": {
            "tiny": {"layers": 2, "heads": 2, "hidden": 128, "inner": 512},
            "base": {"layers": 12, "heads": 12, "hidden": 768, "inner": 3072},
        },
        "rows": [
            {"size": s, "precision": p, "replicas": r, "operations_per_second": rate, "examples_s": 1.0}
            for (s, p, r), rate in rates.items()
        ],
        **changes,
    }
    path = tmp_path / "rates.json"
    path.write_text(json.dumps(report), "utf-8")
    return str(path)


def _known(value: float | None) -> float:
    assert value is not None
    return value


def _predicted(plan: Plan, precision: Precision = "bf16") -> float:
    """Hours on an H100."""
    (device,) = hours_of(plan, ["h100"]).devices
    return _known(device.hours[precision])


def test_every_card_says_where_its_figures_are_from() -> None:
    for card in cards().values():
        assert card.source
        assert card.quoted
        assert 1e11 < card.copying < 1e13
        assert 8e9 < card.memory < 1e12
        assert list(card.products.values()) == sorted(card.products.values())  # fp32, tf32, bf16, fp16
        assert card.products["fp32"] >= 5e12
        assert card.products["fp16"] < 1.5e15  # a figure with sparsity would be about twice as high
    names = [name for card in cards().values() for name in card.torch_names]
    assert len(names) == len(set(names)) >= len(cards())
    # What copies and large products are assumed to reach on these two.
    h100, h200 = cards()["h100"], cards()["h200"]
    assert h100.copying_reached == pytest.approx(3.0e12, rel=0.02)
    assert h200.copying_reached == pytest.approx(4.3e12, rel=0.02)
    assert h100.products_reached("bf16") == pytest.approx(790e12, rel=0.01)
    assert cards()["t4"].products_reached("bf16") is None


@pytest.mark.parametrize(("torch_name", "name"), TORCH_NAMES.items())
def test_cards_are_found_by_either_name(torch_name: str, name: str) -> None:
    assert find_card(torch_name).name == find_card(name).name == find_card(name.upper()).name == name


@pytest.mark.parametrize("name", ["h10", "NVIDIA A100-SXM4-80GB MIG 1g.10gb", "NVIDIA H100", "", "tpu"])
def test_a_card_without_figures_is_refused(bench: Bench, name: str) -> None:
    """A part of a card, or a name that may mean two cards, has no figures of its own: no others are taken for them."""
    with pytest.raises(UnknownNameError, match="no figures"):
        find_card(name)
    said = multibench("plan", bench.suite, *bench.options, "--gpu", name).refusal()
    assert "no figures for the card" in said
    assert "plan --rate FILE" in said


def test_help_names_every_card() -> None:
    listed = running._GPU_HELP.partition(":")[2].partition(";")[0].replace(" or ", ", ")
    assert [name.strip() for name in listed.split(",")] == list(cards())


def test_a_plan_shows_predicted_hours_of_each_card(bench: Bench) -> None:
    shown = multibench(
        "plan", bench.suite, *bench.options, "--gpu", "h100", "--gpu", "t4", "--gpu", "H100"
    ).out
    assert "on this machine's CPU at" in shown
    lines = [line.split() for line in shown.splitlines() if "predicted, not measured" in line]
    assert [line[0] for line in lines] == ["h100", "t4"]
    assert lines[1][2:4] == ["-", "-"]  # no units for tf32 and bf16
    assert "The suite asks for fp32." in shown
    # Without a card nothing is said of one.
    assert "predicted" not in multibench("plan", bench.suite, *bench.options).out


def test_json_has_the_same_hours(bench: Bench, plan: Plan) -> None:
    told = json.loads(multibench("plan", bench.suite, *bench.options, "--gpu", "a100", "--json").out)
    (device,) = told["hours_by_device"]
    assert (device["device"], device["kind"]) == ("a100", "predicted")
    assert list(device["hours"]) == ["fp32", "tf32", "bf16", "fp16"]
    assert told["missing_cost"]["flops_per_second"] < 1e13  # the CPU's own
    (again,) = api.plan_hours(bench.plan(), ["a100"]).devices
    assert again.to_dict() == device


def test_hours_follow_from_stacks_and_steps(plan: Plan) -> None:
    (device,) = hours_of(plan, ["h100"]).devices
    assert device.together == len(plan.runs) == 4
    hours = _predicted(plan)
    # A few steps of a tiny model: milliseconds each, whatever the card.
    assert 1e-6 < hours < 1e-3
    longer = tuple(
        replace(r, settings=r.settings.model_copy(update={"epochs": 10 * r.settings.epochs}))
        for r in plan.runs
    )
    assert 5 * hours < _predicted(replace(plan, runs=longer)) < 10.5 * hours
    # Four at a time take little longer than one.
    assert hours < 1.5 * _predicted(replace(plan, runs=plan.runs[:1]))


def test_evaluations_count_alone(plan: Plan) -> None:
    applied = replace(plan, runs=tuple(replace(run, finetuning_seed=None) for run in plan.runs))
    (device,) = hours_of(applied, ["h100"]).devices
    assert device.together == 1
    assert 0 < _predicted(applied, "fp32") < _predicted(plan, "fp32")


def test_an_unknown_size_has_no_hours(plan: Plan) -> None:
    run = plan.runs[0]
    shape = replace(run.checkpoint.architecture, intermediate=None)
    unknown = replace(run, checkpoint=replace(run.checkpoint, architecture=shape))
    (device,) = hours_of(replace(plan, runs=(unknown,)), ["h100"]).devices
    assert set(device.hours.values()) == {None}
    (given,) = hours_of(replace(plan, runs=(unknown,)), rate="6e13").devices
    assert given.hours == {"fp32": None}


def test_nothing_is_left_to_do(plan: Plan) -> None:
    done = replace(plan, runs=tuple(replace(run, state="done") for run in plan.runs))
    assert hours_of(done, ["h100"], "6e13", ["NVIDIA H200", "NVIDIA Imaginary"]) == hours_of(done)
    with pytest.raises(UnknownNameError):
        hours_of(done, ["h10"])


def test_cards_of_this_machine_are_shown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    there = ["NVIDIA H200", "NVIDIA H200", "NVIDIA Imaginary"]
    monkeypatch.setattr(found, "found_cards", lambda: there)
    shown = multibench("plan", bench.suite, *bench.options).out
    assert sum("predicted, not measured" in line for line in shown.splitlines()) == 1
    assert shown.count("h200") == 1
    assert "'NVIDIA Imaginary', whose figures are not known here" in shown
    assert "bench --device cuda --format json" in shown
    told = json.loads(multibench("plan", bench.suite, *bench.options, "--json").out)
    (remark,) = told["hours_remarks"]
    assert "NVIDIA Imaginary" in remark


def test_a_measured_card_needs_no_figures(bench: Bench, plan: Plan, tmp_path: Path) -> None:
    path = _report(tmp_path, {("tiny", "bf16", 1): 1e12})
    hours = hours_of(plan, rate=path, found=["NVIDIA Imaginary"])
    assert not hours.remarks
    assert [(d.device, d.kind) for d in hours.devices] == [("NVIDIA Imaginary", "measured")]


@pytest.mark.parametrize(("driver", "asked"), [(False, False), (True, True)])
def test_torch_is_asked_only_where_a_driver_is(
    driver: bool, asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    import torch

    monkeypatch.undo()
    calls: list[int] = []
    monkeypatch.setattr(found, "_DRIVERS", (tmp_path if driver else tmp_path / "none",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(calls.append(1)) or True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda k: f"card {k}")
    monkeypatch.setattr(sys, "platform", "linux")
    modules = {name: module for name, module in sys.modules.items() if name != "torch"}
    with monkeypatch.context() as patched:
        patched.setattr(found, "sys", type("Sys", (), {"modules": modules, "platform": "linux"}))
        assert found.found_cards() == (["card 0", "card 1"] if asked else [])
    assert bool(calls) is asked


def test_a_card_that_does_not_answer_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.undo()

    def broken(_: int) -> str:
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", broken)
    assert found.found_cards() == []


def test_a_given_rate(bench: Bench, plan: Plan) -> None:
    (device,) = hours_of(plan, rate="6e13").devices
    assert device.kind == "given"
    assert device.hours == {"fp32": pytest.approx(_known(plan.cost().flops) / 6e13 / 3600)}
    shown = multibench("plan", bench.suite, *bench.options, "--rate", "6e13").out
    assert "at the rate given, 60 TFLOP/s" in shown


@pytest.mark.parametrize(
    "rate", ["60", "0", "-1e12", "nan", "inf", "6e20", "60T", "", "no/such/file.json", "."]
)
def test_a_rate_that_is_none_is_refused(bench: Bench, rate: str) -> None:
    said = multibench("plan", bench.suite, *bench.options, f"--rate={rate}").refusal()
    assert "--rate" in said
    assert "6e13" in said


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "60", '{"rows": []}', "\x00\xff", "[" * 100_000],
)
def test_a_file_that_bench_did_not_write_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    path.write_text(text, "utf-8")
    with pytest.raises(OptionError, match="bench --format json"):
        read_rate(str(path))


@pytest.mark.parametrize(
    "changes",
    [
        {"device": {"name": "x", "kind": "cuda", "memory": 0}},
        {"sizes": {}},
        {"rows": [{"size": "tiny", "precision": "int8", "replicas": 1, "operations_per_second": 1e12}]},
        {"rows": [{"size": "tiny", "precision": "bf16", "replicas": 1, "operations_per_second": -1}]},
        {"rows": [{"size": "tiny", "precision": "bf16", "replicas": None, "operations_per_second": 1e12}]},
    ],
)
def test_a_file_with_impossible_rates_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"rates\.json"):
        read_rate(_report(tmp_path, {}, **changes))


def test_rates_are_those_of_models_and_stacks_like_it(plan: Plan, tmp_path: Path) -> None:
    found = read_rate(
        _report(
            tmp_path,
            {
                ("tiny", "fp32", None): 9e13,  # a plain script
                ("tiny", "fp32", 1): 1e12,
                ("tiny", "fp32", 16): 4e12,
                ("base", "fp32", 1): 1e13,
                ("base", "fp32", 4): 1e13,
                ("tiny", "bf16", 4): 2e12,
            },
        )
    )
    assert isinstance(found, MeasuredRates)
    assert found.precisions == ("fp32", "bf16")
    architecture = plan.runs[0].checkpoint.architecture

    def rate(layers: int, hidden: int, replicas: int, precision: Precision = "fp32") -> float | None:
        shape = replace(architecture, layers=layers, hidden=hidden, intermediate=4 * hidden)
        return found._rate(shape, replicas, precision)

    assert rate(2, 128, 1) == 1e12
    assert rate(2, 128, 3) == 1e12
    assert rate(2, 128, 5) == 4e12
    assert 1e12 < _known(rate(4, 256, 1)) < _known(rate(8, 512, 1)) < 1e13  # between those that were measured
    assert rate(12, 768, 1) == pytest.approx(1e13)
    assert rate(24, 1024, 1) == 1e13  # larger: as fast as the largest
    assert rate(1, 128, 1) == 5e11  # smaller: as long as the smallest
    assert rate(1, 32, 1) is None  # too far from all
    assert rate(48, 1600, 1) is None
    assert rate(4, 256, 1, "bf16") is None
    assert rate(2, 128, 1, "bf16") == 2e12


def test_hours_at_measured_rates(plan: Plan, tmp_path: Path) -> None:
    architecture = plan.runs[0].checkpoint.architecture
    shape = {"layers": architecture.layers, "hidden": architecture.hidden, "inner": architecture.intermediate}
    path = _report(tmp_path, {("own", "fp32", 4): 1e9, ("own", "bf16", 4): 2e9}, sizes={"own": shape})
    (device,) = hours_of(plan, rate=path).devices
    assert device.hours == {
        "fp32": pytest.approx(_known(plan.cost().flops) / 1e9 / 3600),
        "bf16": pytest.approx(_known(plan.cost().flops) / 2e9 / 3600),
    }
    far = _report(tmp_path, {("base", "fp32", 4): 1e13})
    (device,) = hours_of(plan, rate=far).devices
    assert device.hours == {"fp32": None}
    assert "--size" in device.basis


def test_runs_made_on_a_card_of_this_machine_give_its_rate(plan: Plan) -> None:
    def manifest(rate: float | None, **made: Any) -> dict[str, Any]:
        here = {
            "host": socket.gethostname(),
            "device": "cuda",
            "accelerator": "NVIDIA X",
            "precision": "bf16",
            "threads": 1,
        }
        return {"training": {"flops_per_second": rate}, "provenance": {**here, **made}}

    stored = [
        *(manifest(rate) for rate in (1e12, 3e12, 2e12, None)),
        manifest(1e18, host="far"),
        manifest(1e9, device="cpu", accelerator=None),
        manifest(5e11, precision="fp32"),
        {"imported": {}, "provenance": {}},
    ]
    known = replace(plan, manifests={str(k): one for k, one in enumerate(stored)})
    (device,) = hours_of(known).devices
    flops = _known(plan.cost().flops)
    assert device.device == "NVIDIA X"
    assert device.basis == "measured in 4 finished runs on this machine"
    assert device.hours == {
        "bf16": pytest.approx(flops / 2e12 / 3600),
        "fp32": pytest.approx(flops / 5e11 / 3600),
    }
