"""What is checked about a checkpoint: each thing that can be wrong is found, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from multibench.checkpoints import find
from multibench.checkpoints import fingerprint as module
from multibench.checkpoints.download.bring import bring
from multibench.checkpoints.download.locate import local_checkpoint
from multibench.checkpoints.fingerprint import fingerprint
from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.formats.huggingface import weights_digest
from multibench.checkpoints.verify import Verified, verify_checkpoints
from multibench.errors import CheckpointError, UnavailableError, UnknownNameError
from tests.support.command import multibench
from tests.support.tiny import GOOD, HIDDEN, VOCABULARY, make_checkpoint, weights_of, write_vocabulary


@pytest.fixture(autouse=True)
def _words_of_the_tiny_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SENTENCES", ("good bala demo", "a bad, sad moki.", "nice"))
    monkeypatch.setattr(module, "MASKED", ("a good [MASK].",))


def _checks(verified: Verified) -> dict[str, tuple[bool | None, str]]:
    return {check.name: (check.ok, check.says) for check in verified.checks}


def _one(path: Path, **options: Any) -> Verified:
    (verified,) = verify_checkpoints([str(path)], **options)
    return verified


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_a_sound_checkpoint_passes(tmp_path: Path, kind: Any) -> None:
    path = make_checkpoint(tmp_path / "sound", kind)
    verified = _one(path)
    assert verified.ok
    assert verified.weights == weights_digest(path)
    assert verified.content == open_folder(path).content
    checks = _checks(verified)
    assert set(checks) == {"files", "weights", "vocabulary", "casing", "tokenizer", "ids"}
    tensors = weights_of(kind)
    parameters = sum(value.size for value in tensors.values())
    assert checks["weights"] == (
        True,
        f"{len(tensors)} tensors with {parameters:,} parameters fill the encoder to the last",
    )
    assert checks["files"][0] is None
    json.dumps(verified.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        (
            "bert",
            (
                "cls.predictions.transform.dense",
                "cls.predictions.transform.LayerNorm",
                "cls.predictions.bias",
            ),
        ),
        ("distilbert", ("vocab_transform", "vocab_layer_norm", "vocab_projector.bias")),
    ],
)
def test_a_fingerprint_is_what_transformers_computes(
    tmp_path: Path, kind: Any, head: tuple[str, str, str]
) -> None:
    import torch
    from transformers import BertForMaskedLM, BertTokenizer, DistilBertForMaskedLM

    tensors = weights_of(kind)
    rng = np.random.default_rng(3)
    tensors |= {
        f"{head[0]}.weight": rng.normal(0, 0.3, (HIDDEN, HIDDEN)).astype(np.float32),
        f"{head[0]}.bias": rng.normal(0, 0.3, HIDDEN).astype(np.float32),
        f"{head[1]}.weight": rng.normal(1, 0.1, HIDDEN).astype(np.float32),
        f"{head[1]}.bias": rng.normal(0, 0.1, HIDDEN).astype(np.float32),
        head[2]: rng.normal(0, 0.1, len(VOCABULARY)).astype(np.float32),
    }
    path = make_checkpoint(tmp_path / "mlm", kind, weights=tensors)
    seen = fingerprint(open_folder(path))
    prefixed = {n if n.startswith(head) else f"{kind}.{n}": value for n, value in tensors.items()}
    theirs = make_checkpoint(tmp_path / "theirs", kind, weights=prefixed)
    model = (BertForMaskedLM if kind == "bert" else DistilBertForMaskedLM).from_pretrained(theirs).eval()
    tokenizer = BertTokenizer.from_pretrained(theirs)
    ids = tokenizer(module.MASKED[0], return_tensors="pt")
    with torch.no_grad():
        ids = {name: value for name, value in ids.items() if kind == "bert" or name != "token_type_ids"}
        gap = model(**ids).logits[0, ids["input_ids"][0].tolist().index(tokenizer.mask_token_id)].softmax(0)
    assert seen.masked == ((VOCABULARY[int(gap.argmax())], pytest.approx(float(gap.max()), abs=1e-4)),)
    assert seen.gaps() == [(module.MASKED[0], *seen.masked[0])]
    assert (seen.tensors, len(seen.vectors)) == (len(tensors) - 5, 3)
    embeddings = [value for name, value in tensors.items() if name.startswith("embeddings")]
    norm = sum(float((value.astype(np.float64) ** 2).sum()) for value in embeddings) ** 0.5
    assert seen.norms["embeddings"] == pytest.approx(norm, abs=1e-4)
    assert set(seen.norms) == {"embeddings", "layer 0", "layer 1"} | ({"pooler"} if kind == "bert" else set())
    assert seen == fingerprint(open_folder(path))


def test_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    first, second = (fingerprint(open_folder(make_checkpoint(tmp_path / str(s), seed=s))) for s in (0, 1))
    assert first.vectors != second.vectors
    assert first.norms != second.norms


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: w.pop("encoder.layer.1.output.dense.bias"), "lacks 1 of the weights"),
        (lambda w: w.update({"encoder.layer.2.output.dense.bias": np.ones(32)}), "has no place for"),
        (lambda w: w["pooler.dense.bias"].fill(np.nan), "holds NaN or infinity"),
        (lambda w: w.pop("pooler.dense.weight"), "holds no pooler"),
    ],
)
def test_weights_that_are_not_all_accounted_for_fail(tmp_path: Path, change: Any, reason: str) -> None:
    tensors = weights_of("bert")
    change(tensors)
    verified = _one(make_checkpoint(tmp_path / "broken", weights=tensors))
    assert not verified.ok
    assert reason in _checks(verified)["weights"][1]


def test_casing_is_told_from_the_pieces(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "cased")
    settings = path / "tokenizer_config.json"
    settings.write_text('{"do_lower_case": false}')
    assert _checks(_one(path))["casing"] == (
        False,
        "the tokenizer keeps capitals, but no piece has any: every capital would be [UNK]",
    )
    write_vocabulary(path, [word.capitalize() if word in GOOD else word for word in VOCABULARY])
    assert _checks(_one(path))["casing"][0] is True
    settings.write_text('{"do_lower_case": true}')
    assert _checks(_one(path))["casing"][0] is False


def test_vocabularies_that_do_not_fit_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_checkpoint(tmp_path / "one")
    ours = {piece: number for number, piece in enumerate(VOCABULARY)}
    saved = path / "tokenizer.json"
    saved.write_text(json.dumps({"model": {"vocab": ours}}))
    assert _checks(_one(path))["tokenizer"][0] is True
    swapped = {**ours, "good": ours["bad"], "bad": ours["good"]}
    saved.write_text(json.dumps({"model": {"vocab": swapped}}))
    ok, says = _checks(_one(path))["opens"]
    assert ok is False
    agree = f"{len(ours) - 2:,} of {len(ours):,} pieces agree"
    assert f"tokenizer.json and vocab.txt are two vocabularies: {agree}" in says
    saved.unlink()
    monkeypatch.setattr(module, "SENTENCES", ("gänzlich unbekannte Wörter",))
    assert _checks(_one(path))["tokenizer"][0] is False
    write_vocabulary(path, [*VOCABULARY[:-1], VOCABULARY[-2]])
    assert _checks(_one(path))["vocabulary"] == (False, f"1 of {len(ours):,} pieces are there twice")


def test_what_cannot_be_opened_is_a_failed_check(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "one")
    write_vocabulary(path, [*VOCABULARY, "more"])
    verified = _one(path)
    assert not verified.ok
    assert verified.fingerprint is None
    assert "They belong to different models" in _checks(verified)["opens"][1]


def test_a_pooler_that_was_not_trained_is_remarked_on(tmp_path: Path) -> None:
    tensors = weights_of("bert")
    rng = np.random.default_rng(0)
    tensors["pooler.dense.weight"] = rng.normal(0, 0.02, (32, 32)).astype(np.float32)
    tensors["pooler.dense.bias"][:] = 0
    verified = _one(make_checkpoint(tmp_path / "nemo", weights=tensors))
    assert verified.ok
    assert "as it was initialised" in _checks(verified)["pooler"][1]


def test_a_pinned_checksum_is_enforced(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "one")
    digest = weights_digest(path)
    assert _checks(_one(path, expected=digest.upper()))["sha256"][0] is True
    verified = _one(path, expected="0" * 64)
    assert not verified.ok
    assert digest in _checks(verified)["sha256"][1]
    with pytest.raises(CheckpointError, match="is expected of 2 checkpoints"):
        verify_checkpoints([str(path), str(tmp_path)], expected=digest)


def test_files_are_held_against_what_was_fetched(tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "mine")
    own = local_checkpoint("mine", tmp_path, None, None, None)
    folder = bring(own, tmp_path / "out", tmp_path)
    assert folder is not None
    assert _checks(_one(folder))["files"] == (True, "3 are as they were fetched")
    weights = weights_of("bert", seed=1)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    verified = _one(folder)
    assert not verified.ok
    assert _checks(verified)["files"] == (False, "changed since they were fetched: model.safetensors")


def test_equal_weights_are_found_and_aliases_held_to_their_word(tmp_path: Path) -> None:
    final, alias = "google/multiberts-seed_2", "google/multiberts-seed_2-step_2000k"
    assert find(alias).alias_of == final
    make_checkpoint(tmp_path / final)
    make_checkpoint(tmp_path / alias)
    one, other = verify_checkpoints([final, alias], tmp_path)
    assert _checks(one)["duplicate"] == (None, f"holds the same weights as {alias}")
    assert _checks(other)["duplicate"] == (None, f"holds the same weights as {final}")
    assert _checks(one)["architecture"] == (
        False,
        "layers is 2, the catalogue says 12; hidden is 32, the catalogue says 768; heads is 2, the catalogue says "
        "12; intermediate is 64, the catalogue says 3072",
    )
    make_checkpoint(tmp_path / alias, seed=1)
    one, other = verify_checkpoints([final, alias], tmp_path)
    assert "duplicate" not in _checks(one)
    assert _checks(other)["alias"] == (
        False,
        f"is listed as a second name of {final}, whose weights are others",
    )


def test_what_is_not_here_or_not_known_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"multibench fetch google/multiberts-seed_2 --out DIR"):
        verify_checkpoints(["google/multiberts-seed_2"], tmp_path)
    with pytest.raises(UnknownNameError):
        verify_checkpoints(["google/multiberts-seed_2000"], tmp_path)


def test_the_command_prints_text_or_json_and_fails_where_a_check_does(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "one")
    outcome = multibench("verify", "checkpoint", path)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == f"{path}  ({path})"
    assert lines[-1].split() == ["-", "sha256", weights_digest(path)]
    assert any(line.startswith("  ok     weights      39 tensors") for line in lines), outcome.out
    outcome = multibench("verify", "checkpoint", path, "--sha256", "0" * 64, "--json")
    assert outcome.code == 1
    (entry,) = json.loads(outcome.out)
    assert not entry["ok"]
    assert "nowhere" in multibench("verify", "checkpoint", "nowhere").refusal()
