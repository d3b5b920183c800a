"""The first section: what was found, in words with the numbers in them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from multibench.reports.cells import Cell, Mention, Name, Quantity, Sentence, count, mention, say
from multibench.reports.findings import Findings
from multibench.reports.page.document import Section
from multibench.stats import Estimate

__all__ = ["summary"]

OTHER_SEED = "other pretraining seed"
MOST = 6
"""Sentences on single differences; the tables have the rest."""


def summary(findings: Findings) -> Section:
    """Runs, scores of the group that the others are compared with, differences, noise and trouble."""
    about = _runs(findings)
    topics = {
        "How good": _scores(findings),
        "How different": _differences(findings),
        "How noisy": _noise(findings),
        "How alike runs answer": _agreement(findings),
        "When it is settled": _settled(findings),
        "What went wrong": _trouble(findings),
    }
    found = {topic: tuple(sentences) for topic, sentences in topics.items()}
    said = {topic: sentences for topic, sentences in found.items() if sentences}
    return Section("summary", "Summary", (about,), findings=said)


def _runs(findings: Findings) -> Sentence:
    states = Counter(run.manifest["status"] for run in findings.results.stored)
    evaluations = {row["evaluation"] for row in findings.scores.rows}
    checkpoints = {run.fields["checkpoint"] for run in findings.results.stored}
    return say(
        "This report is about ",
        count(len(findings.results), "run"),
        " of ",
        count(len(checkpoints), "checkpoint"),
        " in ",
        count(len(findings.groups), "group"),
        ", scored on ",
        count(len(evaluations), "evaluation"),
        ". ",
        count(states["finished"], "run"),
        " finished as they should, ",
        Quantity(states["collapsed"], f"{states['collapsed']:,}", "collapsed runs"),
        " collapsed to constant predictions, ",
        Quantity(states["diverged"], f"{states['diverged']:,}", "diverged runs"),
        " diverged, ",
        Quantity(states["failed"], f"{states['failed']:,}", "failed runs"),
        " failed.",
    )


def _scores(findings: Findings) -> Iterator[Sentence]:
    title = findings.reference.title
    for row in findings.scores.rows:
        score = next((cell for cell in row.values() if isinstance(cell, Estimate)), None)
        if row["checkpoints"] != title or score is None:
            continue
        yield say(
            Name(f"{title} scores "),
            mention(score, unit=" %"),
            Name(f" on {row['evaluation']} ({row['metric']}{_setting(row)})"),
            ", ",
            Name(_estimand(score)),
            ": ",
            count(score.n_seeds, "pretraining seed"),
            ", ",
            count(score.n_runs, "run"),
            ", ",
            count(score.n_examples, "example"),
            ".",
        )


def _setting(row: dict[str, Cell]) -> str:
    return f", {row['setting']}" if row.get("setting") else ""


def _estimand(score: Estimate) -> str:
    return score.estimand.rpartition(": ")[2]


def _differences(findings: Findings) -> Iterator[Sentence]:
    table = findings.comparisons
    if table is None:
        return
    alpha = 1 - findings.options.confidence
    rows = sorted(table.rows, key=lambda row: _family_of(findings, row) != 1)
    for row in rows[:MOST]:
        difference = row["difference"]
        assert isinstance(difference, Estimate)
        gain = "gain" if difference.value >= 0 else "difference"
        adjusted = row.get("p (adjusted)")
        p = adjusted if isinstance(adjusted, Quantity) else row["p"]
        assert isinstance(p, Quantity)
        shown = row.get("simultaneous")
        difference = shown if isinstance(shown, Estimate) else difference
        yield say(
            Name(f"{row['evaluation']}: from {row['from']} to {row['to']}, over "),
            *_seeds(row),
            f", the {gain} is ",
            mention(difference, signed=True, unit=" points"),
            *_p_words(p, p is adjusted),
            _verdict(row, p, alpha),
        )
    holding = sum(_verdict(row, row.get("p (adjusted)", row["p"]), alpha) == _HOLDS for row in table.rows)
    if len(table.rows) > 1:
        yield say(
            "Of ",
            count(len(table.rows), "comparison"),
            ", ",
            Quantity(holding, f"{holding:,}", "comparisons that hold"),
            " hold for the procedures behind both sides, all of them together.",
        )


def _p_words(p: Quantity, adjusted: bool) -> list[Mention | str]:
    if math.isnan(p.value):
        return [". "]
    shown = Mention(p, p.text if "<" in p.text else f"= {p.text}")
    return [", p ", shown, " (interval and p hold for all comparisons together). " if adjusted else ". "]


def _seeds(row: dict[str, Cell]) -> list[Quantity | str]:
    base, experiment = (int(str(row[f"{side} seeds"])) for side in ("base", "experiment"))
    if str(row["pairing"]).startswith("paired"):
        return [count(base, "pretraining seed"), " that both have"]
    first = Quantity(base, f"{base:,}", "pretraining seeds of base")
    return [first, " and ", count(experiment, "pretraining seed")]


_HOLDS = "This holds for the procedures, not only for these checkpoints."


def _verdict(row: dict[str, Cell], p: Cell, alpha: float) -> str:
    if isinstance(p, Quantity) and math.isnan(p.value):
        return "A single run stands on one side: nothing is said of its procedure."
    if not isinstance(p, Quantity) or not p.value <= alpha:
        return "The runs do not tell the two apart."
    if min(int(str(row[f"{side} seeds"])) for side in ("base", "experiment")) < 2:
        return "One side is a single checkpoint: this is about that checkpoint, not about its procedure."
    return _HOLDS


def _family_of(findings: Findings, row: dict[str, Cell]) -> int:
    """How many families a comparison is between."""
    families = {group.title: group.family for group in findings.groups}
    return len({families.get(str(row[side])) for side in ("from", "to")})


def _noise(findings: Findings) -> Iterator[Sentence]:
    title = findings.reference.title
    if findings.variance is None:
        return
    for row in findings.variance.rows:
        share = row["share of variance"]
        if (row["checkpoints"], row["factor"]) == (title, "pretraining seeds") and isinstance(
            share, Estimate
        ):
            sd = row["sd"]
            assert isinstance(sd, Quantity)
            spread = " not estimable" if math.isnan(sd.value) else f" {sd.text} points"
            yield say(
                Name(f"{row['evaluation']}: of the variance of {title}'s mean score "),
                mention(share, unit=" %"),
                " comes from which pretraining seeds were drawn (their standard deviation is",
                Quantity(sd.value, spread, sd.unit),
                ").",
            )


def _agreement(findings: Findings) -> Iterator[Sentence]:
    rows = [] if findings.agreement is None else findings.agreement.rows
    for row in rows:
        flips, agreement = row.get("flips"), row.get("agreement")
        if (row["checkpoints"], row["pairs of runs with"]) != (findings.reference.title, OTHER_SEED):
            continue
        if isinstance(flips, Estimate) and isinstance(agreement, Estimate):
            yield say(
                Name(
                    f"{row['evaluation']}: two runs of {findings.reference.title} from different pretraining seeds"
                ),
                " give the same answer to ",
                mention(agreement, unit=" %"),
                " of the examples; one of them is right and the other wrong on ",
                mention(flips, unit=" %"),
                ".",
            )


def _settled(findings: Findings) -> Iterator[Sentence]:
    table = findings.dynamics
    if table is None:
        return
    for note in table.notes:
        if isinstance(note, Sentence) and (
            "every step measured is within" in note or "no earlier step" in note
        ):
            yield note


def _trouble(findings: Findings) -> Iterator[Sentence]:
    share = findings.trouble.rows[-1]["share collapsed or diverged"]
    if isinstance(share, Estimate):
        yield say(
            "Of the runs that did not fail, ",
            mention(share, unit=" %"),
            " collapsed or diverged; collapsed ones count in all scores, diverged ones have none.",
        )
