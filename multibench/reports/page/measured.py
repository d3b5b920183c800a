"""Sections on single groups: scores, runs one by one, noise, steps, size, and runs that went wrong."""

from __future__ import annotations

from dataclasses import replace

from multibench import plots
from multibench.reports.cells import Cell, Quantity, say
from multibench.reports.findings import Findings
from multibench.reports.page.document import Section
from multibench.reports.page.figures import figures_of
from multibench.reports.tables import Table

__all__ = ["agreement", "dynamics", "noise", "scores", "seeds", "size", "trouble"]


def scores(findings: Findings) -> Section:
    """Scores by group, evaluation and metric."""
    said = say(
        "Mean scores of each group of checkpoints. A group is what one pretraining procedure made: its "
        "checkpoints differ in their pretraining seed. The column 'over' names what an interval covers; where"
        " it lacks pretraining seeds, the interval is about one checkpoint and says nothing of the next."
    )
    return Section(
        "scores",
        "Scores",
        (said,),
        {"scores": _without_method(findings.scores)},
        figures_of(findings, plots.score_intervals, "scores", findings.scores, "Scores with intervals"),
    )


def _without_method(table: Table) -> Table:
    """The table as it stands on a page: its notes say what the method is."""
    return replace(table, columns=tuple(name for name in table.columns if name != "method"))


def seeds(findings: Findings) -> Section:
    """Every run."""
    said = say(
        "Every run is a dot; runs of one pretraining seed stand in one column, with a bar at their mean; "
        "crosses are runs that collapsed. Each table row is one run, under the settings that the scores above"
        " are about."
    )
    title = "Every run, by pretraining seed"
    figures = figures_of(findings, plots.seed_dots, "seeds", findings.runs, title, _dot)
    tables = {"spread": findings.spread, "runs": findings.runs}
    return Section("seeds", "Seed distributions", (said,), tables, figures)


def _dot(row: dict[str, Cell]) -> str:
    """A run as the title of its dot."""
    seeds = [f"{name} {row[name]}" for name in ("pretraining seed", "fine-tuning seed") if row[name]]
    return f"{', '.join([str(row['checkpoints']), *seeds])}: {row['score']} % ({row['status']}, {row['run']})"


def noise(findings: Findings) -> Section:
    """Variance components."""
    table = findings.variance
    if table is None:
        return Section("variance", "Where the noise comes from", (findings.silent["variance"],))
    said = say(
        "How much of the variance of a mean score comes from the pretraining seeds, the fine-tuning seeds and the "
        "examples that happen to be there. What more seeds cannot lower, more examples may."
    )
    figures = figures_of(
        findings, plots.variance_shares, "variance", table, "Shares of the variance of mean scores"
    )
    return Section("variance", "Where the noise comes from", (said,), {"variance": table}, figures)


def dynamics(findings: Findings) -> Section | None:
    """Scores along pretraining; nothing for results of single steps."""
    table = findings.dynamics
    if table is None:
        return None
    said = say(
        "Scores against pretraining steps, over the seeds that every step has. The bands hold for all steps "
        "at once. A step counts as settled if it and every later one are shown to be within ",
        Quantity(findings.options.effect, f"{100 * findings.options.effect:g} points", "margin"),
        " of the last.",
    )
    figures = figures_of(findings, plots.learning_curves, "dynamics", table, "Scores along pretraining")
    return Section("dynamics", "Learning dynamics", (said,), {"dynamics": table}, figures)


def size(findings: Findings) -> Section | None:
    """Score against size; nothing for fewer than three sizes."""
    table = findings.size
    if table is None:
        return None
    said = say("Mean scores by number of parameters; of families with several steps the last.")
    figures = figures_of(findings, plots.size, "size", table, "Scores against number of parameters")
    return Section("size", "Size", (said,), {"size": table}, figures)


def agreement(findings: Findings) -> Section | None:
    """How alike runs answer, hard examples, and examples that groups differ on; nothing where nothing can be paired."""
    if findings.agreement is None:
        return None
    tables = {"agreement": findings.agreement}
    if findings.hardest is not None:
        title = f"Hardest examples of {findings.reference.title}"
        tables["hardest"] = replace(findings.hardest, title=title)
    for k, (base, experiment, table) in enumerate(findings.example_differences, start=1):
        title = f"Examples on which {base.title} and {experiment.title} differ"
        tables[f"examples_{k}"] = replace(table, title=title)
    said = say(
        "Equal scores do not mean equal answers. Agreement is the share of examples that two runs answer alike; kappa "
        "corrects it for chance; a flip is an example that one run has right and the other wrong. Tables of single "
        "examples name them by their ids in the official files."
    )
    figures = figures_of(
        findings, plots.agreement, "agreement", findings.agreement, "Agreement of pairs of runs"
    )
    return Section("agreement", "Agreement and flips", (said,), tables, figures)


def trouble(findings: Findings) -> Section:
    """Runs that collapsed, diverged or failed."""
    tables = {"trouble": findings.trouble}
    if findings.sensitivity is not None:
        tables["sensitivity"] = findings.sensitivity
    whole = findings.trouble.rows[-1]
    if not any(whole[state] for state in ("collapsed", "diverged", "failed")):
        said = say("No run collapsed, diverged or failed; the interval says how rare that can be said to be.")
    else:
        said = say(
            "A collapsed run answers every example alike; a diverged one has no score. Both are results of "
            "fine-tuning. Failed runs (out of memory and the like) are not, and are left out."
        )
    return Section("trouble", "Runs that went wrong", (said,), tables)
