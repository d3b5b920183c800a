"""Predictions in the layout of Google's release for coreference: runs by Winogender sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from multibench.errors import ResultsError
from multibench.exchange import export_google_predictions, import_google_predictions
from multibench.exchange.coreference import label_info
from multibench.reports.bias import bias_scores
from multibench.results import Results
from multibench.tasks import DataSources, find_task, load_split
from tests.support.command import multibench
from tests.tasks.written import Row, write_split

OCCUPATIONS = {"technician": "customer", "accountant": "taxpayer", "pilot": "passenger"}
PRONOUNS = {"NOM": ("he", "she", "they"), "ACC": ("him", "her", "them"), "POSS": ("his", "her", "their")}
GENDERS = ("male", "female", "neutral")
LAYOUT_GENDERS = {"UNKNOWN": "neutral", "MASCULINE": "male", "FEMININE": "female"}
SEEDS, RUNS = 3, 2


def _templates() -> list[tuple[str, str, int, str]]:
    """Occupation, participant, answer and type of pronoun: two templates an occupation, as released."""
    kinds = list(PRONOUNS)
    return [
        (occupation, participant, answer, kinds[(k + answer) % 3])
        for k, (occupation, participant) in enumerate(OCCUPATIONS.items())
        for answer in (1, 0)
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The sentences as Winogender has them: male, female, neutral; the participant first, then someone."""
    task = find_task("winogender")
    assert task.official is not None
    rows = []
    for occupation, participant, answer, kind in _templates():
        for who in (participant, "someone"):
            for gender, pronoun in zip(GENDERS, PRONOUNS[kind], strict=True):
                sentence = f"The {occupation} told {who} that it was up to {pronoun}."
                metadata = {"occupation": occupation, "participant": who, "gender": gender}
                rows.append(Row((sentence,), answer, metadata))
    write_split(tmp_path / "data", task, task.official, "test", rows)
    return tmp_path / "data"


def _label_info() -> str:
    """The same sentences in the order of the layout."""
    lines = ["\tgender\tpronoun_type\tanswer\toccupation\tother_participant\tsomeone\ttemplate_idx"]
    for template, (occupation, participant, answer, kind) in enumerate(_templates()):
        for someone in (False, True):
            for gender in LAYOUT_GENDERS:
                cells = (len(lines) - 1, gender, kind, answer, occupation, participant, someone, template)
                lines.append("\t".join(map(str, cells)))
    return "".join(f"{line}\n" for line in lines)


def _answers() -> NDArray[np.int64]:
    return np.repeat([answer for _, _, answer, _ in _templates()], 6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two groups of six runs; the later one is more often right."""
    rng = np.random.default_rng(5)
    for group, share in (("base", 0.75), ("cda_intervention-50k", 0.85)):
        root = tmp_path / "coref" / group
        root.mkdir(parents=True)
        (root / "label_info.tsv").write_text(_label_info(), "utf-8")
        seeds = [(p, f) for p in range(SEEDS) for f in range(RUNS)]
        lines = ["\tpretrain_seed\tfinetune_seed", *(f"{i}\t{p}\t{f}" for i, (p, f) in enumerate(seeds))]
        (root / "run_info.tsv").write_text("".join(f"{line}\n" for line in lines), "utf-8")
        right = rng.random((len(seeds), 36)) < share
        np.savetxt(root / "preds.tsv", np.where(right, _answers(), 1 - _answers()), fmt="%d", delimiter="\t")
    return tmp_path / "coref"


def _import(folder: Path, out: Path, data: Path | None = None, **options: Any) -> Results:
    import_google_predictions(folder, out, data=data, accept_different_data=True, **options)
    return Results.open(out)


@pytest.mark.parametrize("with_data", [False, True])
def test_occupations_are_stored_with_the_choices(
    folder: Path, data: Path, tmp_path: Path, with_data: bool
) -> None:
    results = _import(folder, tmp_path / "results", data if with_data else None)
    tensor = results.where("family=multiberts").predictions("winogender.test")
    assert tensor.clusters is not None
    assert tensor.cluster_unit == "occupations"
    assert tensor.clusters.tolist() == np.repeat(range(len(OCCUPATIONS)), 12).tolist()


def _accuracies(folder: Path, group: str) -> dict[tuple[int, int], float]:
    said = np.loadtxt(folder / group / "preds.tsv")
    scores = (said == _answers()).mean(axis=1).tolist()
    return dict(zip([(p, f) for p in range(SEEDS) for f in range(RUNS)], scores, strict=True))


@pytest.mark.parametrize("with_data", [False, True])
def test_each_group_has_its_runs_and_scores(
    folder: Path, data: Path, tmp_path: Path, with_data: bool
) -> None:
    results = _import(folder, tmp_path / "results", data if with_data else None)
    for group, filter_ in (
        ("base", "family=multiberts,step=2000000"),
        ("cda_intervention-50k", "family=cda_intervention-50k"),
    ):
        found = {
            (run.fields["pretraining_seed"], run.fields["finetuning_seed"]): run.score(
                "winogender.test", "accuracy"
            )
            for run in results.where(filter_).stored
        }
        assert found == pytest.approx(_accuracies(folder, group))
    checkpoints = {run.fields["checkpoint"] for run in results.where("family=multiberts").stored}
    assert checkpoints == {f"google/multiberts-seed_{k}" for k in range(SEEDS)}


def test_sentences_are_found_among_those_of_the_data(folder: Path, data: Path, tmp_path: Path) -> None:
    run = _import(folder, tmp_path / "results", data).where("family=multiberts,pretraining_seed=1").stored[0]
    examples = load_split(find_task("winogender"), "test", DataSources(data, frozenset({"winogender"})))
    assert run.manifest["evaluations"]["winogender.test"]["data"] == examples.fingerprint
    said = run.predictions("winogender.test").outputs.argmax(axis=1)
    row = np.loadtxt(folder / "base" / "preds.tsv")[RUNS + run.fields["finetuning_seed"]]
    layout = [line.split("\t") for line in _label_info().splitlines()[1:]]
    for i, text in enumerate(examples.texts[0]):
        meta = {name: values[i] for name, values in examples.metadata.items()}
        (at,) = [
            k
            for k, cells in enumerate(layout)
            if (cells[4], LAYOUT_GENDERS[cells[1]]) == (meta["occupation"], meta["gender"])
            and int(cells[3]) == examples.labels[i]
            and (cells[6] == "True") == (meta["participant"] == "someone")
        ]
        assert said[i] == row[at], text


def test_groups_are_compared_paired(folder: Path, tmp_path: Path) -> None:
    _import(folder, tmp_path / "results")
    sides = ("--base", "family=multiberts", "--expt", "family=cda_intervention-50k")
    done = multibench("compare", tmp_path / "results", *sides, "--nboot", "200", "--format", "json")
    assert done.code == 0, done.err
    assert '"paired"' in done.out


def test_seeds_that_are_not_shared_are_pointed_out(folder: Path, tmp_path: Path) -> None:
    (folder / "cda_intervention-50k").rename(folder / "from_scratch")
    done = import_google_predictions(folder, tmp_path / "results", accept_different_data=True)
    assert any(remark.startswith("from_scratch: ") and "--unpaired" in remark for remark in done.remarks)


def test_exported_they_are_the_same_files(folder: Path, data: Path, tmp_path: Path) -> None:
    results = _import(folder, tmp_path / "results", data)
    written = export_google_predictions(results, tmp_path / "out", data)
    assert len(written) == 6
    for path in written:
        theirs = folder / path.relative_to(tmp_path / "out" / "coref")
        assert path.read_text() == theirs.read_text(), path


def test_without_the_sentences_nothing_is_exported(folder: Path, data: Path, tmp_path: Path) -> None:
    results = _import(folder, tmp_path / "results")
    with pytest.raises(ResultsError, match="import it with the same --data"):
        export_google_predictions(results, tmp_path / "out", data)


def test_the_notebooks_own_reader_takes_floats_and_so_does_this(folder: Path, tmp_path: Path) -> None:
    path = folder / "base" / "preds.tsv"
    before = _accuracies(folder, "base")
    np.savetxt(path, np.loadtxt(path))  # blanks, and 1.000000000000000000e+00
    found = sorted(
        run.score("winogender.test", "accuracy")
        for run in _import(folder, tmp_path / "results").where("family=multiberts").stored
    )
    assert found == pytest.approx(sorted(before.values()))


DAMAGE = {
    "another referent": ("preds.tsv", lambda text: "7" + text[1:], "class numbers from 0 to 1"),
    "a run less": (
        "preds.tsv",
        lambda text: text[: text.rindex("\n", 0, -1) + 1],
        "5 rows of 36 predictions",
    ),
    "no seeds": ("run_info.tsv", lambda text: text.replace("\t0\t", "\tx\t", 1), "the seeds are 'x'"),
    "gender": ("label_info.tsv", lambda text: text.replace("UNKNOWN", "NONE", 1), "gender 'NONE'"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_does_not_fit_is_refused_in_one_sentence(damage: str, folder: Path, tmp_path: Path) -> None:
    name, change, expected = DAMAGE[damage]
    path = folder / "base" / name
    path.write_text(change(path.read_text()))
    words = ("--out", tmp_path / "out", "--accept-different-data")
    assert expected in multibench("import", "google-predictions", folder, *words).refusal()


def test_sentences_that_the_data_have_not_are_refused(folder: Path, data: Path, tmp_path: Path) -> None:
    path = folder / "base" / "label_info.tsv"
    path.write_text(path.read_text().replace("technician", "plumber"))
    words = ("--out", tmp_path / "out", "--data", data, "--accept-different-data")
    refusal = multibench("import", "google-predictions", folder, *words).refusal()
    assert "are not among them, such as the one on" in refusal


@pytest.mark.shared
def test_the_sentences_of_winogender_have_their_place_in_the_layout(shared_dir: Path) -> None:
    examples = load_split(find_task("winogender"), "test", DataSources(shared_dir / "data"))
    rows, info = label_info(examples)
    assert sorted(rows) == list(range(720))
    # As the released notebook shows the first and the last rows.
    first = {
        "gender": "UNKNOWN",
        "pronoun_type": "NOM",
        "answer": "1",
        "occupation": "technician",
        "other_participant": "customer",
        "someone": "False",
        "template_idx": "0",
    }
    assert info[0] == first
    assert info[4] == {**first, "gender": "MASCULINE", "someone": "True"}
    last = {"occupation": "secretary", "other_participant": "visitor", "template_idx": "119"}
    assert info[719] == {**first, **last, "gender": "FEMININE", "someone": "True"}
    assert {row["pronoun_type"] for row in info} == {"NOM", "ACC", "POSS"}


def _shares(data: Path) -> dict[str, float]:
    """Shares of women beside the sentences, as released."""
    shares = dict(zip(OCCUPATIONS, (0.4, 0.6, 0.05), strict=True))
    [sentences] = data.rglob("all_sentences.tsv")
    lines = ["occupation\tbls_pct_female", *(f"{name}\t{100 * share}" for name, share in shares.items())]
    sentences.with_name("occupations-stats.tsv").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return shares


def _bias_by_hand(folder: Path, group: str, shares: dict[str, float]) -> list[float]:
    """Correlation of bias with shares for each run, from the file's rows alone."""
    genders = [line.split("\t")[1] for line in _label_info().splitlines()[1:]]
    names = [line.split("\t")[4] for line in _label_info().splitlines()[1:]]
    found = []
    for run in np.loadtxt(folder / group / "preds.tsv"):
        bias = []
        for name in shares:
            rows = [(p == 0, g) for p, g, n in zip(run, genders, names, strict=True) if n == name]
            of = {wanted: np.mean([hit for hit, g in rows if g == wanted]) for wanted in set(genders)}
            bias.append(of["FEMININE"] - of["MASCULINE"])
        constant = np.ptp(bias) == 0
        found.append(0.0 if constant else float(np.corrcoef(bias, list(shares.values()))[0, 1]))
    return found


def test_the_bias_of_runs_has_an_interval_over_seeds_and_occupations(
    folder: Path, data: Path, tmp_path: Path
) -> None:
    shares = _shares(data)
    results = _import(folder, tmp_path / "results", data)
    table = bias_scores(results, data, accept_different_data=True)
    rows = {row["checkpoints"]: row for row in table.to_dict()["rows"]}
    assert len(rows) == 2
    estimate = rows["multiberts step 2,000,000"]["bias_correlation"]
    assert estimate["value"] == pytest.approx(np.mean(_bias_by_hand(folder, "base", shares)))
    assert -1 <= estimate["low"] < estimate["value"] < estimate["high"] <= 1
    assert estimate["over"].endswith("occupations")
    assert rows["multiberts step 2,000,000"]["runs"] == SEEDS * RUNS
    assert rows["multiberts step 2,000,000"]["occupations"] == 3


def test_bias_is_refused_where_the_gender_of_a_pronoun_is_not_known(
    folder: Path, data: Path, tmp_path: Path
) -> None:
    _shares(data)
    without = _import(folder, tmp_path / "results")
    with pytest.raises(ResultsError, match="Import them again with --data"):
        bias_scores(without, data, accept_different_data=True)
    with pytest.raises(ResultsError, match=r"no stored run has predictions for winogender\.test"):
        bias_scores(Results([]), data)
    asked = ("scores", tmp_path / "results", "--metric", "bias_correlation", "--data", data)
    assert "winogender" in multibench(*asked).refusal()  # 36 sentences are not those of the release
    assert "leave out --method" in multibench(*asked, "--method", "multibootstrap").refusal()
