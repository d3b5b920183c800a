"""What the check of a GPU takes along: weights that rebuild to the same bits, and files that are all there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from benchmarks.device_check import inputs, provenance
from benchmarks.device_check.weights import FILES, PACKED, pack, rebuild, rounded, widened
from tests.support.tiny import make_checkpoint, weights_of


def model_in(folder: Path, weights: dict[str, Any] | None = None) -> Path:
    """A tiny checkpoint with all files that are packed."""
    make_checkpoint(folder, weights=weights)
    for name in FILES:
        if not (folder / name).exists():
            (folder / name).write_text("{}", "utf-8")
    return folder


def data_in(folder: Path) -> Path:
    """Official files of the two tasks, by name."""
    for task in inputs.TASKS:
        (folder / "glue" / task).mkdir(parents=True)
        for name in ("train.tsv", "dev.tsv"):
            (folder / "glue" / task / name).write_text(f"{task} {name}\n", "utf-8")
    return folder


def test_weights_rebuild_to_the_same_bits_everywhere(tmp_path: Path) -> None:
    weights = weights_of("bert")
    weights["embeddings.position_ids"] = np.arange(40)[None]
    pack(model_in(tmp_path / "model", weights), tmp_path / "packed")
    one, two = (rebuild(tmp_path / "packed", tmp_path / name) for name in ("one", "two"))
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()
    found = load_file(one / "model.safetensors")
    assert set(found) == set(weights_of("bert"))
    for name, values in weights_of("bert").items():
        assert found[name].dtype == np.float32
        if values.ndim == 2:
            # Computed by hand, number by number: one division, one rounding, one product.
            scale = (np.abs(values).max(axis=1) / np.float32(127)).astype(np.float32)
            by_hand = np.array(
                [
                    [np.float32(int(np.rint(v / s))) * s for v in row]
                    for row, s in zip(values, scale, strict=True)
                ],
                dtype=np.float32,
            )
            assert by_hand.tobytes() == found[name].tobytes()
            assert (np.abs(found[name] - values) <= 0.501 * scale[:, None]).all()
        else:
            assert found[name].tobytes() == values.tobytes()
    assert (tmp_path / "packed" / PACKED).stat().st_size < 0.4 * (one / "model.safetensors").stat().st_size
    assert {path.name for path in one.iterdir()} == {*FILES, "model.safetensors"}


@pytest.mark.parametrize(
    "row",
    [
        [0.0, 0.0, 0.0],
        [1e-40, -3e-41, 0.0],  # so small that float32 has few bits left
        [3.4e38, -3.4e38, 1.0],
        [1.0, -1.0, 0.5 / 127],
        [-127.0, 127.0, 63.5],
    ],
)
def test_rows_of_any_size_are_rounded_within_half_a_step(row: list[float]) -> None:
    matrix = np.array([row, [1.0, 2.0, 3.0]], dtype=np.float32)
    whole, scale = rounded(matrix)
    assert (whole.dtype, scale.dtype) == (np.int8, np.float32)
    back = widened(whole, scale)
    assert np.isfinite(back).all()
    assert (np.abs(back - matrix) <= 0.51 * scale + 1e-44).all()


def test_weights_that_were_damaged_are_refused(tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    pack(model_in(tmp_path / "model"), packed)
    parts = load_file(packed / PACKED)
    parts["pooler.dense.weight"][0, 0] += 1
    save_file(parts, packed / PACKED)
    with pytest.raises(ValueError, match="damaged on its way") as caught:
        rebuild(packed, tmp_path / "one")
    assert str(packed / PACKED) in str(caught.value)
    assert not (tmp_path / "one" / "model.safetensors").exists()


def test_the_folder_holds_what_the_check_needs(tmp_path: Path) -> None:
    data, model, out = data_in(tmp_path / "data"), model_in(tmp_path / "model"), tmp_path / "out"
    size = inputs.make(data, out, model, wheels=False)
    assert size == sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert (out / "glue/RTE/dev.tsv").read_text("utf-8") == "RTE dev.tsv\n"
    assert set(json.loads((out / provenance.COMMIT).read_text("utf-8"))) == {"commit", "modified", "sources"}
    assert rebuild(out / inputs.MODEL, tmp_path / "built").is_dir()
    with pytest.raises(ValueError, match="holds files already"):
        inputs.make(data, out, model, wheels=False)


@pytest.mark.parametrize(
    "lacking", ["data/glue/RTE/train.tsv", "data/glue/MRPC/dev.tsv", "model/model.safetensors"]
)
def test_a_file_that_is_not_there_is_named(
    lacking: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, model = data_in(tmp_path / "data"), model_in(tmp_path / "model")
    (tmp_path / lacking).unlink()
    words = ["--data", str(data), "--model", str(model), "--out", str(tmp_path / "out"), "--without-wheels"]
    with pytest.raises(SystemExit) as caught:
        inputs.main(words)
    assert caught.value.code == 2
    assert f"There is no file {tmp_path / lacking}." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_more_than_may_travel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "LARGEST", 1000)
    with pytest.raises(ValueError, match="more than the"):
        inputs.make(data_in(tmp_path / "data"), tmp_path / "out", model_in(tmp_path / "model"), wheels=False)


def test_wheels_are_asked_for_in_versions_that_go_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(inputs.subprocess, "run", lambda command, check: asked.append(command))
    monkeypatch.setattr(inputs, "write_commit", lambda path: None)
    monkeypatch.setattr(inputs.metadata, "version", lambda name: f"1.{len(name)}")
    inputs.make(data_in(tmp_path / "data"), tmp_path / "out", model_in(tmp_path / "model"))
    (command,) = asked
    assert command[-5:] == [f"{name}==1.{len(name)}" for name in inputs.WHEELS]
    assert "3.12" in command
    assert "--no-deps" in command


@pytest.mark.minilm
def test_minilm_packs_into_half_of_what_may_travel(minilm_dir: Path, tmp_path: Path) -> None:
    pack(minilm_dir, tmp_path / "packed")
    assert sum(path.stat().st_size for path in (tmp_path / "packed").iterdir()) < 25e6
    rebuilt = load_file(rebuild(tmp_path / "packed", tmp_path / "one") / "model.safetensors")
    original = load_file(minilm_dir / "model.safetensors")
    assert set(rebuilt) == {name for name in original if "position_ids" not in name}
    for name, values in rebuilt.items():
        step = np.abs(original[name]).max(axis=-1, keepdims=True) / 127 if values.ndim == 2 else 0.0
        assert (np.abs(values - original[name]) <= 0.51 * step).all()
