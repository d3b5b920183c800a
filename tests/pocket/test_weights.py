"""The shipped family: every member loads whole, steps and seeds differ, all of it is small."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from multibench.checkpoints import FAMILIES
from multibench.pocket import vocabulary
from multibench.pocket.corpus import documents
from multibench.pocket.pretrain import STEPS
from multibench.pocket.weights import WEIGHTS

SEEDS = range(5)
MEMBERS = [WEIGHTS / f"seed_{seed}" / f"step_{step}" for seed in SEEDS for step in STEPS]
DISTILLED = WEIGHTS / "distil"
FOLDERS = [*MEMBERS, DISTILLED]


def name(folder: Path) -> str:
    return str(folder.relative_to(WEIGHTS))


def tensors(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def test_every_folder_is_in_the_catalogue_and_labelled_as_built_in() -> None:
    listed = {
        source.location: checkpoint
        for checkpoint in FAMILIES.get("pocket").checkpoints
        for source in checkpoint.sources
        if source.kind == "builtin"
    }
    assert set(listed) == {f"pocket/weights/{name(folder)}" for folder in FOLDERS}
    for location, checkpoint in listed.items():
        assert "built in" in checkpoint.notes
        config = json.loads((WEIGHTS.parent.parent / location / "config.json").read_text())
        assert config["model_type"] == checkpoint.architecture.model_type
        assert config["vocab_size"] == checkpoint.architecture.vocab_size
        if checkpoint.step is not None:
            assert location.endswith(f"seed_{checkpoint.pretraining_seed}/step_{checkpoint.step}")


def test_all_of_it_takes_less_than_12_megabytes() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {path.parent for path in files if path.suffix == ".safetensors"} == set(FOLDERS)
    assert sum(path.stat().st_size for path in files) < 12e6


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_weights_are_half_precision_and_finite(folder: Path) -> None:
    for tensor in tensors(folder).values():
        assert tensor.dtype == np.float16
        assert np.isfinite(tensor).all()


@pytest.mark.parametrize("folder", [MEMBERS[0], MEMBERS[-1], DISTILLED], ids=name)
def test_transformers_loads_every_weight_in_single_precision(folder: Path) -> None:
    import torch
    from transformers import AutoModel

    model, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert type(model).__name__ == ("DistilBertModel" if folder == DISTILLED else "BertModel")
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    stored = tensors(folder)
    for key, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), stored[key].astype(np.float32))


def test_the_tokenizer_reads_the_corpus_as_pretraining_did() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MEMBERS[-1])
    known = vocabulary.load()
    assert len(tokenizer) == len(known)
    for document in documents(0, 20):
        for sentence in document:
            ids = tokenizer(sentence, add_special_tokens=False)["input_ids"]
            assert ids == vocabulary.encode(sentence, known)
    unknown = tokenizer.tokenize("Zebras are new here, No. 7!")
    assert "[UNK]" not in unknown
    assert "".join(unknown).replace("##", "") == "zebrasarenewhere,no.7!"


def test_each_folder_has_the_shared_vocabulary() -> None:
    shared = vocabulary.VOCABULARY_FILE.read_bytes()
    assert all((folder / "vocab.txt").read_bytes() == shared for folder in FOLDERS)


def test_steps_and_seeds_differ_in_every_matrix() -> None:
    def matrices(folder: Path) -> dict[str, np.ndarray]:
        return {key: t.astype(np.float32) for key, t in tensors(folder).items() if t.ndim == 2}

    for one, other in [
        *(
            (WEIGHTS / "seed_0" / f"step_{a}", WEIGHTS / "seed_0" / f"step_{b}")
            for a, b in itertools.pairwise(STEPS)
        ),
        *(
            (WEIGHTS / f"seed_{seed}" / f"step_{step}", WEIGHTS / f"seed_{seed + 1}" / f"step_{step}")
            for seed in range(4)
            for step in (0, STEPS[-1])
        ),
    ]:
        ours, theirs = matrices(one), matrices(other)
        for key, matrix in ours.items():
            assert np.abs(matrix - theirs[key]).max() > 1e-3, (name(one), name(other), key)


def test_pretraining_moved_the_pooler() -> None:
    """Next-sentence prediction trains it: it must not be what the initialisation left."""
    for seed in SEEDS:
        first, last = (tensors(WEIGHTS / f"seed_{seed}" / f"step_{step}") for step in (0, STEPS[-1]))
        key = "pooler.dense.weight"
        moved = np.linalg.norm(last[key].astype(float) - first[key].astype(float))
        assert moved > np.linalg.norm(first[key].astype(float))
