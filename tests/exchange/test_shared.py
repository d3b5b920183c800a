"""Real predictions: ten fine-tuning seeds of BERT-base on MNLI."""

from __future__ import annotations

from pathlib import Path

import pytest

from multibench.exchange import export_google_predictions, import_google_predictions
from multibench.results import Results
from multibench.tasks import DataSources, find_task, load_split
from tests.scoring.test_official import ACCURACIES

pytestmark = pytest.mark.shared


@pytest.fixture
def folder(shared_dir: Path) -> Path:
    """The predictions."""
    return shared_dir / "data" / "predictions" / "bert_base_mnli_10_seeds"


@pytest.mark.parametrize("with_data", [False, True])
def test_the_accuracies_are_those_of_their_readme(
    folder: Path, shared_dir: Path, tmp_path: Path, with_data: bool
) -> None:
    data = shared_dir / "data" / "glue-partial" if with_data else None
    done = import_google_predictions(folder, tmp_path, data=data)
    assert any("contradiction, entailment, neutral (found by" in remark for remark in done.remarks)
    found = {
        run.fields["finetuning_seed"]: run.score("mnli.dev_matched", "accuracy")
        for run in Results.open(tmp_path).stored
    }
    assert found == pytest.approx(ACCURACIES, abs=1e-9)


@pytest.mark.parametrize("with_data", [False, True])
def test_premises_are_known_at_the_import_or_later(
    folder: Path, shared_dir: Path, tmp_path: Path, with_data: bool
) -> None:
    data = shared_dir / "data" / "glue-partial"
    done = import_google_predictions(folder, tmp_path, data=data if with_data else None)
    assert any("premises are not stored" in remark for remark in done.remarks) != with_data
    stored = Results.open(tmp_path).predictions("mnli.dev_matched")
    assert (stored.clusters is not None) == with_data
    tensor = Results.open(tmp_path, data=data).predictions("mnli.dev_matched")
    assert tensor.clusters is not None
    assert (tensor.clusters.shape, tensor.cluster_unit, tensor.remarks) == ((9815,), "premises", ())
    premises = load_split(find_task("mnli"), "dev_matched", DataSources(data)).texts[0]
    pairs = set(zip(premises, tensor.clusters.tolist(), strict=True))
    assert len(pairs) == len(set(premises)) == tensor.clusters.max() + 1


def test_exported_again_they_are_the_same_files_but_for_zeros(folder: Path, tmp_path: Path) -> None:
    import_google_predictions(folder, tmp_path / "results")
    written = export_google_predictions(Results.open(tmp_path / "results"), tmp_path / "out")
    assert (tmp_path / "out/GLUE/MNLI_dev_labels").read_bytes() == (folder / "MNLI_dev_labels").read_bytes()
    for path in written:
        given = folder / path.relative_to(tmp_path / "out" / "GLUE")
        if path.parent.name == "MNLI":
            numbers = [
                [[float(cell) for cell in line.split("\t")] for line in each.read_text().splitlines()]
                for each in (path, given)
            ]
            assert numbers[0] == numbers[1]
    rows = [sorted((each / "index.tsv").read_text().splitlines()) for each in (tmp_path / "out/GLUE", folder)]
    assert rows[0] == rows[1]
