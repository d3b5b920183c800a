"""Checkpoints applied as they are: which output of their own head is which class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.formats.tensorflow import write_tensorflow
from multibench.errors import CheckpointError, SuiteError
from tests.support.command import multibench
from tests.support.tiny import Bench, make_bench, make_checkpoint, weights_of

LABELS = {"0": "LABEL_0", "1": "LABEL_1"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A BERT that a run fine-tuned until it knows the classes, with its head: outputs are "other", "same"."""
    bench = make_bench(tmp_path_factory.mktemp("tuned"))
    bench.write(finetuning_seeds=[0], keep_weights="last")
    bench.run("recipe.epochs=12")
    (run,) = bench.store.run_ids()
    return dict(load_file(bench.store.path(run) / "weights" / "model.safetensors"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def _turned(whole: dict[str, Any], order: list[int]) -> dict[str, Any]:
    return {k: np.ascontiguousarray(v[order]) if k.startswith("classifier.") else v for k, v in whole.items()}


def _run(bench: Bench, name: str, **changes: Any) -> Any:
    bench.write(checkpoints=[{"path": str(bench.root / name)}], evaluate_only=True, **changes)
    bench.run()
    found = bench.opened().where(f"checkpoint={bench.root / name}").stored
    return found[-1]


def _outputs(run: Any) -> Any:
    return run.store.predictions(run.run_id, "pairs.dev").outputs


def _evaluate_only(bench: Bench, folder: str) -> Path:
    return bench.write(checkpoints=[{"path": str(bench.root / folder)}], evaluate_only=True)


def _tuned(bench: Bench, name: str, order: list[int], names: dict[str, str] | None) -> None:
    """A checkpoint with a head of its own, whose outputs are in ``order``."""
    rng = np.random.default_rng(4)
    head = rng.normal(size=(2, 32)).astype(np.float32)
    weights = {f"bert.{k}": v for k, v in weights_of("bert").items()}
    weights |= {"classifier.weight": head[order], "classifier.bias": np.array([0.1, -0.1], np.float32)[order]}
    make_checkpoint(bench.root / name, weights=weights, **({} if names is None else {"id2label": names}))


def test_a_checkpoints_own_head_is_read_in_the_order_of_its_names(bench: Bench) -> None:
    _tuned(bench, "straight", [0, 1], {"0": "other", "1": "same"})
    _tuned(bench, "turned", [1, 0], {"0": "SAME", "1": "Other"})
    outputs = []
    for name in ("straight", "turned"):
        _evaluate_only(bench, name)
        bench.run()
        (run,) = bench.opened().where(f"checkpoint={bench.root / name}").stored
        assert run.fields["finetuning_seed"] is None
        assert run.manifest["training"] == {}
        assert run.manifest["identity"]["seeds"] is None
        outputs.append(run.store.predictions(run.run_id, "pairs.dev").outputs)
    assert len(np.unique(outputs[0].argmax(axis=1))) == 2
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-6)


def test_the_same_weights_under_other_names_are_another_run(bench: Bench) -> None:
    _tuned(bench, "straight", [0, 1], {"0": "other", "1": "same"})
    _tuned(bench, "renamed", [0, 1], {"0": "same", "1": "other"})
    for name in ("straight", "renamed"):
        _evaluate_only(bench, name)
        bench.run()
    one, two = (run.store.predictions(run.run_id, "pairs.dev").outputs for run in bench.opened().stored)
    np.testing.assert_array_equal(one, two[:, ::-1])


@pytest.mark.parametrize("names", [LABELS, None])
def test_an_order_that_nothing_states_is_found_by_accuracy(
    bench: Bench, whole: dict[str, Any], names: dict[str, str] | None
) -> None:
    known = {} if names is None else {"id2label": names}
    make_checkpoint(bench.root / "straight", weights=whole, **known)
    make_checkpoint(bench.root / "turned", weights=_turned(whole, [1, 0]), **known)
    straight, turned = _run(bench, "straight"), _run(bench, "turned")
    np.testing.assert_allclose(_outputs(straight), _outputs(turned), atol=1e-6)
    assert straight.score("pairs.dev", "accuracy") > 0.8
    found = turned.manifest["provenance"]["class_order"]
    assert found["order"] == ["same", "other"]
    assert found["found"] == "by accuracy"
    assert found["accuracy"] == pytest.approx(turned.score("pairs.dev", "accuracy"))
    data = turned.manifest["evaluations"]["pairs.dev"]["data"]
    assert turned.manifest["identity"]["hyperparameters"]["class_order"] == f"by accuracy on {data}"
    assert bench.plan().todo() == []


def test_a_stated_order_is_used(bench: Bench, whole: dict[str, Any]) -> None:
    make_checkpoint(bench.root / "numbered", weights=_turned(whole, [1, 0]), id2label=LABELS)
    right = _run(bench, "numbered", class_order={"pairs": ["same", "other"]})
    assert right.score("pairs.dev", "accuracy") > 0.8
    assert right.manifest["identity"]["hyperparameters"]["class_order"] == [1, 0]
    by_path = _run(bench, "numbered", class_order={bench.task("pairs"): ["same", "other"]})
    assert by_path.run_id == right.run_id


def test_a_statement_that_the_checkpoint_s_own_names_contradict_is_refused(
    bench: Bench, whole: dict[str, Any]
) -> None:
    make_checkpoint(bench.root / "named", weights=whole, id2label={"0": "Other", "1": "Same"})
    with pytest.raises(CheckpointError, match="itself names its classes other, same"):
        _run(bench, "named", class_order={"pairs": ["same", "other"]})
    assert _run(bench, "named", class_order={"pairs": ["other", "same"]}).score("pairs.dev", "accuracy") > 0.8


def test_names_of_other_classes_need_a_statement(bench: Bench, whole: dict[str, Any]) -> None:
    make_checkpoint(bench.root / "foreign", weights=whole, id2label={"0": "nein", "1": "ja"})
    with pytest.raises(
        CheckpointError, match=r"names its classes nein, ja; expected other, same\. If you know"
    ):
        _run(bench, "foreign")
    assert (
        _run(bench, "foreign", class_order={"pairs": ["other", "same"]}).score("pairs.dev", "accuracy") > 0.8
    )


def test_an_order_that_accuracy_does_not_tell_is_refused_and_nothing_is_stored(bench: Bench) -> None:
    _tuned(bench, "numbered", [0, 1], LABELS)
    _evaluate_only(bench, "numbered")
    sentence = multibench("run", bench.suite, *bench.options, "--quiet").refusal()
    assert "is not clear" in sentence
    assert "state it in the suite: class_order: {pairs: [other, same]}" in sentence
    assert "--class-order" not in sentence
    assert bench.store.run_ids() == []


def test_an_evaluation_without_labels_tells_no_order(bench: Bench, whole: dict[str, Any]) -> None:
    make_checkpoint(bench.root / "numbered", weights=whole, id2label=LABELS)
    with pytest.raises(CheckpointError, match="no evaluation of pairs has labels"):
        _run(bench, "numbered", evaluations={"pairs": ["extra"]})
    both = _run(bench, "numbered", evaluations={"pairs": ["extra", "dev"]})
    assert both.score("pairs.dev", "accuracy") > 0.8


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"class_order": {"pairs": ["same"]}}, r"the classes of pairs \(other, same\), each once"),
        ({"class_order": {"pairs": ["same", "same"]}}, "each once"),
        ({"class_order": {"pears": ["same", "other"]}}, "did you mean 'pairs'"),
        (
            {"class_order": {"pairs": ["same", "other"]}, "evaluate_only": False},
            "it needs 'evaluate_only: true'",
        ),
    ],
)
def test_statements_that_are_none_are_refused(bench: Bench, changes: dict[str, Any], said: str) -> None:
    bench.write(**{"evaluate_only": True, **changes})
    with pytest.raises(SuiteError, match=said):
        bench.plan()


def test_a_fine_tuned_classifier_of_tensorflow_is_applied_as_it_is(
    bench: Bench, whole: dict[str, Any]
) -> None:
    import torch

    source = open_folder(make_checkpoint(bench.root / "source", weights=_turned(whole, [1, 0])))
    weights = {name: torch.as_tensor(tensor) for name, tensor in source.weights().items()}
    write_tensorflow(weights, source.config, bench.root / "google", source.vocabulary.pieces)
    from_folder = _run(bench, "google")
    assert from_folder.score("pairs.dev", "accuracy") > 0.8
    assert from_folder.manifest["provenance"]["class_order"]["order"] == ["same", "other"]
    bench.write(checkpoints=[{"path": str(bench.root / "google" / "bert_model.ckpt")}], evaluate_only=True)
    (by_prefix,) = bench.plan().runs
    assert (by_prefix.run_id, by_prefix.state) == (from_folder.run_id, "done")


def test_inputs_are_cut_to_the_positions_that_a_checkpoint_has_unless_a_length_is_stated(
    bench: Bench, whole: dict[str, Any]
) -> None:
    make_checkpoint(bench.root / "named", weights=whole, id2label={"0": "other", "1": "same"})
    run = _run(bench, "named", recipe={"base": "modern_glue"})
    assert run.manifest["settings"]["max_length"] == 40
    with pytest.raises(CheckpointError, match="max_length is 128, but"):
        _run(bench, "named", recipe={"base": "modern_glue", "max_length": 128})


def test_two_orders_are_no_grid_of_settings(bench: Bench, whole: dict[str, Any]) -> None:
    from multibench.results.selection import select_settings

    make_checkpoint(bench.root / "one", weights=whole, id2label={"0": "other", "1": "same"})
    make_checkpoint(
        bench.root / "two",
        weights=_turned(weights_of_head(whole, 1), [1, 0]),
        id2label={"0": "same", "1": "other"},
    )
    entries = [
        {"path": str(bench.root / name), "family": "mine", "pretraining_seed": seed}
        for seed, name in enumerate(("one", "two"))
    ]
    bench.write(checkpoints=entries, evaluate_only=True)
    bench.run()
    (chosen,) = select_settings(bench.opened())
    assert len(chosen.runs) == 2
    assert chosen.selection.startswith("none (one setting)")


def weights_of_head(whole: dict[str, Any], seed: int) -> dict[str, Any]:
    """Another checkpoint with the same head."""
    rng = np.random.default_rng(seed)
    return {k: v + rng.normal(0, 1e-4, v.shape).astype(np.float32) for k, v in whole.items()}
