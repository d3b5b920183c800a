"""Thousands of damaged files for each reader: refused in a sentence, or read as a model that is whole.

TensorFlow's files carry checksums and are held to more; see ``tensorflow/test_hostile.py``.
"""

from __future__ import annotations

import json
import resource
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.load import Head, load_model
from multibench.errors import CheckpointError
from tests.support.tiny import VOCABULARY, make_checkpoint, weights_of

GOLDEN = Path(__file__).parents[2] / "golden" / "nvidia"
HEAD = Head("span", 2)


class Source(NamedTuple):
    """A checkpoint, and the file of it that is damaged."""

    opened: Path
    file: Path


def _tensors() -> dict[str, torch.Tensor]:
    return {f"bert.{name}": torch.from_numpy(value) for name, value in weights_of("bert").items()}


def _safetensors(root: Path) -> list[Source]:
    folder = make_checkpoint(root / "a")
    return [Source(folder, folder / "model.safetensors")]


def _pickles(root: Path) -> list[Source]:
    """Both forms that ``torch.save`` has had: a zip archive, and pickles one after another."""
    found = []
    for name, zipped in (("zip", True), ("old", False)):
        file = make_checkpoint(root / name) / "pytorch_model.bin"
        file.with_name("model.safetensors").unlink()
        torch.save(_tensors(), file, _use_new_zipfile_serialization=zipped)
        found.append(Source(file.parent, file))
    return found


def _descriptions(root: Path) -> list[Source]:
    folder = make_checkpoint(root / "a")
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    index = {"weight_map": dict.fromkeys(weights_of("bert"), "part.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true, "strip_accents": null}')
    names = ("config.json", "vocab.txt", "tokenizer_config.json", "model.safetensors.index.json")
    saved = make_checkpoint(root / "b")
    (saved / "vocab.txt").unlink()
    vocabulary = {piece: number for number, piece in enumerate(VOCABULARY)}
    content = {"normalizer": {"lowercase": True}, "model": {"type": "WordPiece", "vocab": vocabulary}}
    (saved / "tokenizer.json").write_text(json.dumps(content))
    return [*(Source(folder, folder / name) for name in names), Source(saved, saved / "tokenizer.json")]


def _nemo(root: Path) -> list[Source]:
    """Gzipped, and plain: gzip's checksum refuses most of what is damaged before anything else can."""
    packed, plain = root / "packed" / "a.nemo", root / "plain" / "a.nemo"
    for path in (packed, plain):
        path.parent.mkdir()
    shutil.copy(GOLDEN / "qa.nemo", packed)
    with tarfile.open(packed) as source, tarfile.open(plain, "w") as target:
        for member in source:
            target.addfile(member, source.extractfile(member) if member.isfile() else None)
    return [Source(packed, packed), Source(plain, plain)]


def _megatron(root: Path) -> list[Source]:
    root.joinpath("vocab.txt").write_bytes((GOLDEN / "vocab.txt").read_bytes())
    new, old = root / "new.pt", root / "old.pt"
    shutil.copy(GOLDEN / "megatron_v2.pt", new)
    tree = torch.load(GOLDEN / "megatron_v1.pt", weights_only=False)
    torch.save(tree, old, _use_new_zipfile_serialization=False)
    return [Source(new, new), Source(old, old)]


def _deeplearningexamples(root: Path) -> list[Source]:
    folder = make_checkpoint(root / "a")
    (folder / "model.safetensors").unlink()
    (folder / "config.json").rename(folder / "bert_config.json")
    torch.save({"model": _tensors(), "epoch": 1}, folder / "ckpt.pt")
    return [
        Source(folder / "ckpt.pt", folder / "ckpt.pt"),
        Source(folder / "ckpt.pt", folder / "bert_config.json"),
    ]


READERS = [_safetensors, _pickles, _descriptions, _nemo, _megatron, _deeplearningexamples]


def _damaged(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    kind = rng.integers(4)
    if kind == 0:
        return data[: int(rng.integers(len(data)))]
    if kind == 1:  # a piece twice, or gone
        start, stop = sorted(int(i) for i in rng.integers(len(data), size=2))
        stop = min(stop, start + int(rng.integers(1, 2000)))
        return data[:stop] + data[start:] if rng.integers(2) else data[:start] + data[stop:]
    places: NDArray[np.int64] = rng.integers(len(data), size=int(rng.geometric(0.3)))
    if kind == 2:  # near the start, where headers and pickles are
        places = places % min(len(data), 4096)
    for place in places.tolist():
        changed[place] = int(rng.choice([0, 255, rng.integers(256), changed[place] ^ (1 << rng.integers(8))]))
    return bytes(changed)


def _fuzz(root: Path, make: Callable[[Path], list[Source]], rounds: int, seed: int) -> tuple[int, int]:
    """How many of ``rounds`` damaged files were read, and refused; anything else is an error here."""
    root.mkdir()
    sources = make(root)
    for source in sources:
        load_model(open_folder(source.opened), HEAD)
    before = sorted(root.rglob("*"))
    rng = np.random.default_rng(seed)
    read, refused = 0, []
    for number in range(rounds):
        opened, file = sources[number % len(sources)]
        whole = file.read_bytes()
        file.write_bytes(_damaged(whole, rng))
        try:
            folder = open_folder(opened)
            assert len(folder.content) == 64
            model = load_model(folder, HEAD)
            prefix = f"{model.base_model_prefix}."
            assert all(p.isfinite().all() for n, p in model.named_parameters() if n.startswith(prefix))
            read += 1
        except CheckpointError as error:
            refused.append(str(error))
        finally:
            file.write_bytes(whole)
        assert sorted(root.rglob("*")) == before
    assert [sentence for sentence in refused if not sentence.endswith((".", ".)", "?", "?)"))] == []
    return read, len(refused)


@pytest.mark.parametrize("make", READERS)
def test_damaged_files_are_read_or_refused_in_a_sentence(
    tmp_path: Path, make: Callable[[Path], list[Source]]
) -> None:
    read, refused = _fuzz(tmp_path / "fuzz", make, 40, seed=1)
    assert read + refused == 40
    assert refused > 5


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("make", READERS)
def test_five_thousand_damaged_files_are_read_or_refused_in_a_sentence(
    tmp_path: Path, make: Callable[[Path], list[Source]]
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read, refused = _fuzz(tmp_path / "fuzz", make, 5000, seed=2)
    assert refused > read > 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB
