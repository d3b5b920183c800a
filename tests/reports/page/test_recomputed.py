"""Every number of every table again, from the run folders: by closed forms and other code, or the statistics alone."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, pearsonr

from multibench.reports.evaluated import evaluated
from multibench.reports.scores import chosen_title
from multibench.results import Results, RunStore, select_settings
from multibench.stats import (
    compare_groups,
    comparison_noise,
    dynamics,
    estimate_group,
    power_of,
    variance_components,
)
from tests.reports.page.conftest import Reported

pytestmark = pytest.mark.xdist_group("report")

Row = dict[str, Any]


@pytest.fixture(scope="module")
def stored(reported: Reported) -> list[Row]:
    """Every run with a score computed from its stored predictions, not read from its manifest."""
    store = RunStore(reported.results / "study")
    found = []
    for run_id in store.run_ids():
        manifest = store.manifest(run_id)
        labels = manifest["labels"]
        row = {
            **labels,
            "id": run_id,
            "status": manifest["status"],
            "rate": manifest["settings"]["learning_rate"],
        }
        row["title"] = (
            labels["checkpoint"]
            if labels["pretraining_seed"] is None
            else f"{labels['family']} step {labels['step']:,}"
        )
        row["seed"] = (
            labels["checkpoint"] if labels["pretraining_seed"] is None else labels["pretraining_seed"]
        )
        row["score"] = 0.0
        if manifest["evaluations"]:
            part = store.predictions(run_id, f"{labels['task']}.dev")
            row["outputs"], row["labels"] = part.outputs, part.labels
            assert part.labels is not None
            if labels["task"] == "stsb":
                row["score"] = float(pearsonr(part.outputs[:, 0], part.labels).statistic)
            else:
                row["score"] = float((part.outputs.argmax(axis=1) == part.labels).mean())
        found.append(row)
    return found


def _chosen(stored: list[Row], title: str, task: str) -> list[Row]:
    """Runs of the rate whose mean over the runs that both rates have is highest; scored ones only."""
    own = [
        row for row in stored if (row["title"], row["task"]) == (title, task) and row["status"] != "failed"
    ]
    by_rate = defaultdict(list)
    for row in own:
        by_rate[row["rate"]].append(row)
    common = set.intersection(
        *({(r["checkpoint"], r["finetuning_seed"]) for r in rows} for rows in by_rate.values())
    )

    def mean(rate: float) -> float:
        scores = [r["score"] for r in by_rate[rate] if (r["checkpoint"], r["finetuning_seed"]) in common]
        return float(np.mean(scores))

    best = max(sorted(by_rate), key=mean)
    return [row for row in by_rate[best] if "outputs" in row]


def _rows(reported: Reported, name: str) -> Iterator[tuple[Row, Row]]:
    """Rows of a page's table: texts by column, and the entries of ``estimates.json`` by column."""
    columns = (
        (reported.out / "tables" / f"{name}.md").read_text("utf-8").splitlines()[2].strip("| ").split(" | ")
    )
    for row in reported.page.tables[name][1:]:
        texts = {column: cell.text.strip() for column, cell in zip(columns, row, strict=True)}
        entries = {
            c: reported.estimates[cell.numbers[0]]
            for c, cell in zip(columns, row, strict=True)
            if cell.numbers
        }
        yield texts, entries


def _values(entries: Row) -> Row:
    return {column: entry["value"] for column, entry in entries.items()}


def _mean_of_seeds(runs: list[Row]) -> float:
    by_seed = defaultdict(list)
    for run in runs:
        by_seed[run["seed"]].append(run["score"])
    return float(np.mean([np.mean(scores) for scores in by_seed.values()]))


def _task(texts: Row) -> str:
    return str(texts["evaluation"]).partition(".")[0]


def _info(runs: list[Row]) -> tuple[dict[str, list[Any]], Any, Any]:
    info = {"seed": [r["seed"] for r in runs], "finetune_seed": [r["finetuning_seed"] for r in runs]}
    return info, np.stack([r["outputs"] for r in runs]), runs[0]["labels"]


def _optimism(reported: Reported, title: str, task: str, metric: str) -> float:
    """What the choice of a rate made the score too good by, where it was made on the split that is reported."""
    for chosen in select_settings(Results.open(reported.results)):
        if (chosen_title(chosen), chosen.task) == (title, task):
            found = evaluated(chosen, f"{task}.dev", metric)
            assert found is not None
            return 0.0 if found.choice is None else found.choice.optimism
    raise AssertionError(title)


def test_scores(reported: Reported, stored: list[Row]) -> None:
    rows = list(_rows(reported, "scores"))
    assert len(rows) == 8 * 2
    lucky = 0
    for texts, entries in rows:
        runs = _chosen(stored, texts["checkpoints"], _task(texts))
        score = entries["score [95 %]"]
        luck = _optimism(reported, texts["checkpoints"], _task(texts), texts["metric"])
        lucky += luck > 0
        assert score["value"] == pytest.approx(_mean_of_seeds(runs) - luck, abs=1e-9)
        again = estimate_group(*_info(runs), texts["metric"], corrections=[-luck] * len(runs))
        assert (score["low"], score["high"]) == pytest.approx((again.low, again.high), abs=1e-9)
        scores = [run["score"] for run in runs]
        assert _values(entries) | {"score [95 %]": 0} == pytest.approx(
            {
                "score [95 %]": 0,
                "sd of runs": np.std(scores, ddof=1),
                "pretraining seeds": len({run["seed"] for run in runs}),
                "runs": len(runs),
                "examples": 60,
                "collapsed": sum(run["status"] == "collapsed" for run in runs),
            }
        )
    assert lucky > 8


def test_runs_and_their_spread(reported: Reported, stored: list[Row]) -> None:
    by_id = {row["id"]: row for row in stored}
    for texts, entries in _rows(reported, "runs"):
        if entries:
            assert entries["score"]["value"] == pytest.approx(by_id[texts["run"]]["score"], abs=1e-9)
        else:
            assert by_id[texts["run"]]["status"] == "diverged"
    for texts, entries in _rows(reported, "spread"):
        runs = _chosen(stored, texts["checkpoints"], _task(texts))
        scores = [run["score"] for run in runs]
        means = [np.mean([r["score"] for r in runs if r["seed"] == s]) for s in {r["seed"] for r in runs}]
        expected = {
            "lowest": min(scores),
            "median": float(np.median(scores)),
            "highest": max(scores),
            "sd of runs": np.std(scores, ddof=1),
            "pretraining seeds": len(means),
            "runs": len(scores),
            **({"sd of seed means": np.std(means, ddof=1)} if len(means) > 1 else {}),
        }
        assert _values(entries) == pytest.approx(expected)


def test_variance(reported: Reported, stored: list[Row]) -> None:
    total: dict[tuple[str, str], float] = defaultdict(float)
    errors: dict[tuple[str, str], float] = {}
    for texts, entries in _rows(reported, "variance"):
        runs = _chosen(stored, texts["checkpoints"], _task(texts))
        found = variance_components(*_info(runs), texts["metric"])
        source = found.source(texts["factor"])
        assert source is not None
        values = _values(entries)
        assert values["contribution"] == pytest.approx(source.contribution)
        assert values["share of variance"] == pytest.approx(source.share.value)
        assert values["units"] == source.n_units
        if texts["sd"] != "not estimable":
            assert (values["sd"], values["sd at most"]) == pytest.approx((source.sd.value, source.sd.high))
        key = texts["checkpoints"], texts["evaluation"]
        total[key] += values["contribution"] ** 2
        errors[key] = values["standard error"]
        assert values["standard error"] == pytest.approx(
            estimate_group(*_info(runs), texts["metric"]).standard_error
        )
    assert {key: math.sqrt(value) for key, value in total.items()} == pytest.approx(errors)
    assert len(errors) > 10


def _both(stored: list[Row], texts: Row) -> tuple[list[Row], list[Row], bool]:
    base, experiment = (_chosen(stored, texts[side], _task(texts)) for side in ("from", "to"))
    return base, experiment, texts["pairing"].startswith("paired")


def _sides(base: list[Row], experiment: list[Row]) -> tuple[Any, Any, Any]:
    info, outputs, labels = _info([*base, *experiment])
    return {**info, "intervention": [False] * len(base) + [True] * len(experiment)}, outputs, labels


def test_comparisons(reported: Reported, stored: list[Row]) -> None:
    rows = list(_rows(reported, "comparisons"))
    assert len(rows) == 7 * 2
    for texts, entries in rows:
        base, experiment, paired = _both(stored, texts)
        same_family = texts["from"].split()[0] == texts["to"].split()[0]
        seeds = [{r["seed"] for r in side} for side in (base, experiment)]
        assert paired is (same_family and seeds[0] == seeds[1])
        assert ("are common" in texts["pairing"]) is (same_family and seeds[0] != seeds[1])
        metric = "pearson" if _task(texts) == "stsb" else "accuracy"
        luck = [_optimism(reported, texts[side], _task(texts), metric) for side in ("from", "to")]
        corrections = [-luck[0]] * len(base) + [-luck[1]] * len(experiment)
        found = compare_groups(*_sides(base, experiment), metric, paired, corrections=corrections)
        values = _values(entries)
        assert values["difference"] == pytest.approx(found.difference.value)
        assert entries["difference"]["low"] == pytest.approx(found.difference.low)
        assert values["base"] == pytest.approx(_mean_of_seeds(base) - luck[0])
        assert values["experiment"] == pytest.approx(_mean_of_seeds(experiment) - luck[1])
        assert values["base seeds"] == len(seeds[0])
        assert values["experiment seeds"] == len(seeds[1])
        assert values["p"] == pytest.approx(found.p_value)
        held = entries["simultaneous"]
        assert values["p"] <= values["p (adjusted)"] <= min(1.0, len(rows) * values["p"]) + 1e-12
        assert (values["p (adjusted)"] <= 0.05) is not (held["low"] <= 0 <= held["high"])
        assert held["low"] <= entries["difference"]["low"]
        assert held["high"] >= entries["difference"]["high"]
    holding = [e for e in reported.estimates.values() if e["estimand"] == "comparisons that hold"]
    several = [min(_values(e)["base seeds"], _values(e)["experiment seeds"]) > 1 for _, e in rows]
    adjusted = [_values(entries)["p (adjusted)"] for _, entries in rows]
    assert holding[0]["value"] == sum(p <= 0.05 and both for p, both in zip(adjusted, several, strict=True))


def test_dynamics(reported: Reported, stored: list[Row]) -> None:
    rows = list(_rows(reported, "dynamics"))
    for task, metric in (("rte", "accuracy"), ("stsb", "pearson")):
        own = [(texts, entries) for texts, entries in rows if _task(texts) == task]
        steps = [20_000, 200_000, 1_000_000, 2_000_000]
        runs = [r for step in steps for r in _chosen(stored, f"multiberts step {step:,}", task)]
        info, outputs, labels = _info(runs)
        luck = [-_optimism(reported, r["title"], task, metric) for r in runs]
        steps_of = {**info, "step": [r["step"] for r in runs]}
        found = dynamics(steps_of, outputs, labels, metric, 0.005, corrections=luck)
        for (_, entries), step in zip(own, found.steps, strict=True):
            values = _values(entries)
            assert values["step"] == step.step
            assert values["score [95 %]"] == pytest.approx(step.score.value)
            assert entries["score [95 % band]"]["low"] == pytest.approx(step.band.low)
            assert values["sd of seeds"] == pytest.approx(step.seed_sd.value)


def test_selection(reported: Reported, stored: list[Row]) -> None:
    for texts, entries in _rows(reported, "grid"):
        rate = float(texts["setting"].removeprefix("lr "))
        own = [
            r
            for r in stored
            if (r["title"], r["task"], r["rate"]) == (texts["checkpoints"], _task(texts), rate)
            and r["status"] != "failed"
        ]
        scores = [r["score"] for r in own]
        values = _values(entries)
        assert (values["mean"], values["runs"]) == pytest.approx((np.mean(scores), len(scores)))
        assert values["sd of runs"] == pytest.approx(np.std(scores, ddof=1))
        chosen = {r["id"] for r in _chosen(stored, texts["checkpoints"], _task(texts))}
        assert (texts["chosen"] == "yes") is bool(chosen & {r["id"] for r in own})
    for texts, entries in _rows(reported, "best_of_n"):
        scores = [r["score"] for r in _chosen(stored, texts["checkpoints"], _task(texts))]
        values = _values(entries)
        if len(scores) == values["runs"] and math.comb(len(scores), int(values["n"])) < 1000:
            best = [max(subset) for subset in itertools.combinations(scores, int(values["n"]))]
            assert values["expected best"] == pytest.approx(np.mean(best))
    for texts, entries in _rows(reported, "best_of_grid"):
        own = [r for r in stored if (r["title"], r["task"]) == (texts["checkpoints"], _task(texts))]
        by_rate = [
            [r["score"] for r in own if r["rate"] == rate] for rate in sorted({r["rate"] for r in own})
        ]
        values = _values(entries)
        best = [max(pair) for pair in itertools.product(*by_rate)]
        assert values["expected best"] == pytest.approx(np.mean(best))
        assert values["best seen"] == pytest.approx(max(max(s) for s in by_rate))
        assert values["mean of all"] == pytest.approx(np.mean(by_rate))


def test_agreement_and_single_examples(reported: Reported, stored: list[Row]) -> None:
    kinds = {
        "same pretraining seed": lambda a, b: a["seed"] == b["seed"],
        "other pretraining seed": lambda a, b: a["seed"] != b["seed"],
    }
    seen = 0
    for texts, entries in _rows(reported, "agreement"):
        if _task(texts) == "stsb" or texts["pairs of runs with"] not in kinds:
            continue
        runs = _chosen(stored, texts["checkpoints"], _task(texts))
        wanted = kinds[texts["pairs of runs with"]]
        answers = [run["outputs"].argmax(axis=1) for run in runs]
        pairs = [(i, j) for i, j in itertools.combinations(range(len(runs)), 2) if wanted(runs[i], runs[j])]
        values = _values(entries)
        assert values["pairs"] == len(pairs)
        assert values["agreement"] == pytest.approx(
            np.mean([(answers[i] == answers[j]).mean() for i, j in pairs])
        )
        gold = runs[0]["labels"]
        flips = [((answers[i] == gold) != (answers[j] == gold)).mean() for i, j in pairs]
        assert values["flips"] == pytest.approx(np.mean(flips))
        seen += 1
    assert seen > 8
    for texts, entries in _rows(reported, "hardest"):
        if _task(texts) == "rte":
            runs = _chosen(stored, "multiberts step 2,000,000", "rte")
            assert _values(entries)["right [%]"] == pytest.approx(_right(runs, texts["example"]))
    for texts, entries in _rows(reported, "examples_1"):
        if _task(texts) == "rte":
            values = _values(entries)
            for side, title in (
                ("base", "multiberts step 1,000,000"),
                ("experiment", "multiberts step 2,000,000"),
            ):
                runs = _chosen(stored, title, "rte")
                assert values[f"{side}, right [%]"] == pytest.approx(_right(runs, texts["example"]))


def _right(runs: list[Row], example: str) -> float:
    """Share of runs that have an example right, every pretraining seed weighing the same."""
    place = int(example)
    return _mean_of_seeds(
        [{**r, "score": float(r["outputs"][place].argmax() == r["labels"][place])} for r in runs]
    )


def test_trouble(reported: Reported, stored: list[Row]) -> None:
    rows = list(_rows(reported, "trouble"))
    for texts, entries in rows:
        own = [
            r
            for r in stored
            if texts["checkpoints"] == "all"
            or (r["title"], r["task"], f"lr {r['rate']:g}")
            == (texts["checkpoints"], texts["task"], texts["setting"])
        ]
        states = Counter(r["status"] for r in own)
        values = _values(entries)
        assert values["runs"] == len(own)
        assert [values[s] for s in ("collapsed", "diverged", "failed")] == [
            states[s] for s in ("collapsed", "diverged", "failed")
        ]
        bad = states["collapsed"] + states["diverged"]
        exact = binomtest(bad, len(own) - states["failed"]).proportion_ci(0.95, "exact")
        share = entries["share collapsed or diverged"]
        assert [share["value"], share["low"], share["high"]] == pytest.approx(
            [bad / (len(own) - states["failed"]), exact.low, exact.high], abs=1e-6
        )
    assert rows[-1][0]["checkpoints"] == "all"
    for texts, entries in _rows(reported, "sensitivity"):
        runs = _chosen(stored, texts["checkpoints"], _task(texts))
        rest = [r for r in runs if r["status"] != "collapsed"]
        values = _values(entries)
        metric = "pearson" if _task(texts) == "stsb" else "accuracy"
        luck = _optimism(reported, texts["checkpoints"], _task(texts), metric)
        assert values["all runs"] == pytest.approx(_mean_of_seeds(runs) - luck)
        assert values["without collapsed runs"] == pytest.approx(_mean_of_seeds(rest) - luck)
        assert (values["collapsed"], values["runs"]) == (len(runs) - len(rest), len(runs))


def test_power_and_size(reported: Reported, stored: list[Row]) -> None:
    rows = list(_rows(reported, "power"))
    assert len(rows) == 3 * 2
    for texts, entries in rows:
        base, experiment, paired = _both(stored, texts)
        noise = comparison_noise(*_sides(base, experiment), texts["metric"], paired_seeds=paired)
        values = _values(entries)
        each = int(values["runs a seed"])
        for count in (5, 10, 25, 50):
            design = power_of(noise, 0.005, count, each, 60)
            assert values[f"with {count} seeds"] == pytest.approx(design.half_width)
        assert values["power, 25 seeds"] == pytest.approx(power_of(noise, 0.005, 25, each, 60).power)
    for texts, entries in _rows(reported, "size"):
        runs = _chosen(stored, texts["checkpoints"], _task(texts))
        metric = "pearson" if _task(texts) == "stsb" else "accuracy"
        luck = _optimism(reported, texts["checkpoints"], _task(texts), metric)
        assert _values(entries) == pytest.approx(
            {
                "parameters": runs[0]["parameters"],
                "score": _mean_of_seeds(runs) - luck,
                "pretraining seeds": len({r["seed"] for r in runs}),
                "runs": len(runs),
            }
        )


def test_the_summary_counts(reported: Reported, stored: list[Row]) -> None:
    states = Counter(row["status"] for row in stored)
    said = {
        e["estimand"]: e["value"] for name, e in reported.estimates.items() if name.startswith("summary.s0")
    }
    assert said["checkpoint"] == len({row["checkpoint"] for row in stored})
    assert said["group"] == len({row["title"] for row in stored})
    assert said["evaluation"] == 2
    assert said["collapsed runs"] == states["collapsed"] > 0
    assert (said["diverged runs"], said["failed runs"]) == (1, 1)
    hours = [_values(entries) for _, entries in _rows(reported, "provenance")]
    assert [(row["runs"], row["hours"]) for row in hours] == [
        (len(stored), pytest.approx(len(stored) * 90 / 3600))
    ]


def test_no_table_is_forgotten(reported: Reported) -> None:
    recomputed = {
        "scores", "runs", "spread", "variance", "comparisons", "dynamics", "grid", "best_of_n", "best_of_grid",
        "agreement", "hardest", "examples_1", "trouble", "sensitivity", "power", "size", "provenance",
    }  # fmt: skip
    assert set(reported.page.tables) == recomputed
