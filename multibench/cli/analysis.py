"""``scores``, ``compare``, ``variance``, ``power``, ``dynamics`` and ``instances``: from stored runs to statements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from multibench.cli.common import (
    AcceptOption,
    FormatOption,
    ResultsArgument,
    difference,
    print_table,
    reading,
)
from multibench.errors import ResultsError

__all__ = ["add_verbs"]

SelectOption = Annotated[
    str | None,
    typer.Option("--select", help="How one setting of a grid is chosen, instead of the suite's rule."),
]
NbootOption = Annotated[int, typer.Option(min=100, help="Bootstrap draws.")]
LevelOption = Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level of intervals.")]
MetricOption = Annotated[
    str | None, typer.Option("--metric", help="One metric, or 'all'; the headline metric if not given.")
]


WhereOption = Annotated[
    str, typer.Option("--where", help="Only runs that this filter accepts: key=value[,key=value].")
]
BaseOption = Annotated[str, typer.Option("--base", help="Filter of the base side: family=pocket,step=0.")]
ExptOption = Annotated[str, typer.Option("--expt", help="Filter of the experiment side.")]
TaskOption = Annotated[str | None, typer.Option("--task", help="Only this task.")]
PairedOption = Annotated[
    bool | None,
    typer.Option(
        "--paired/--unpaired", help="Pair pretraining seeds; by default if both sides have the same."
    ),
]


MethodOption = Annotated[
    Literal["surrogate", "multibootstrap"],
    typer.Option("--method", help="Of intervals; multibootstrap is the published percentile method."),
]
ClustersOption = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Folder with official files: clusters of examples that older runs were stored without."
    ),
]


BIAS = "bias_correlation"
"""The metric that is one of occupations, not of examples."""


def add_verbs(app: typer.Typer) -> None:
    """Add this module's verbs."""
    app.command()(scores)
    app.command()(compare)
    app.command()(variance)
    app.command()(power)
    app.command()(dynamics)
    app.command()(instances)


def scores(
    results: ResultsArgument = Path("results"),
    where: WhereOption = "",
    metric: MetricOption = None,
    select: SelectOption = None,
    nboot: NbootOption = 2000,
    confidence: LevelOption = 0.95,
    method: MethodOption = "surrogate",
    data: ClustersOption = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            help="The average over a benchmark's tasks instead: glue (nine tasks), glue-bert (the BERT paper's)."
        ),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="With --benchmark: the average over the tasks that there are.")
    ] = False,
    format_: FormatOption = "text",
    accept_damaged: AcceptOption = False,
) -> None:
    """Scores with intervals for each group of checkpoints, task and metric (bias_correlation: Winogender's bias)."""
    from multibench.reports import benchmark_scores, bias_scores
    from multibench.reports import scores as make

    _refuse_mixture(metric, benchmark, partial, method)
    with reading(results, accept_damaged, data) as opened:
        chosen = opened.where(where)
        if benchmark is not None:
            print_table(benchmark_scores(chosen, benchmark, select, confidence, partial), format_)
        elif metric == BIAS:
            print_table(bias_scores(chosen, data, select, confidence), format_)
        else:
            print_table(make(chosen, metric, select, nboot, confidence, method), format_)


def _refuse_mixture(metric: str | None, benchmark: str | None, partial: bool, method: str) -> None:
    """Raise ``ResultsError`` for options of ``scores`` that say nothing together."""
    if benchmark is None and partial:
        raise ResultsError("--partial is about the average of a benchmark; give --benchmark glue with it.")
    if benchmark is not None and metric is not None:
        raise ResultsError(
            f"--benchmark {benchmark} names the metrics of its tasks itself; leave out --metric."
        )
    if method != "surrogate" and (benchmark is not None or metric == BIAS):
        what = f"--metric {BIAS}" if benchmark is None else f"--benchmark {benchmark}"
        raise ResultsError(f"{what} has intervals by surrogate mean squares only; leave out --method.")


def compare(
    results: ResultsArgument,
    base: BaseOption,
    expt: Annotated[
        list[str], typer.Option("--expt", help="Filter of the experiment side; may be given several times.")
    ],
    task: TaskOption = None,
    metric: MetricOption = None,
    paired: PairedOption = None,
    match: Annotated[
        list[str] | None,
        typer.Option(help="Compare like with like: seeds, step or size; may be given several times."),
    ] = None,
    select: SelectOption = None,
    nboot: NbootOption = 2000,
    confidence: LevelOption = 0.95,
    method: MethodOption = "surrogate",
    always_valid: Annotated[
        bool,
        typer.Option(
            "--always-valid", help="Hold however often one has looked while pretraining seeds were added."
        ),
    ] = False,
    data: ClustersOption = None,
    format_: FormatOption = "text",
    accept_damaged: AcceptOption = False,
) -> None:
    """Base against experiments: differences with intervals, p-values and, of several, their adjustment."""
    from multibench.reports import compare as make

    with reading(results, accept_damaged, data) as opened:
        table = make(
            opened,
            base,
            expt,
            task,
            metric,
            paired,
            select,
            nboot,
            confidence,
            match or (),
            method,
            always_valid,
        )
        print_table(table, format_)


def variance(
    results: ResultsArgument = Path("results"),
    where: WhereOption = "",
    metric: MetricOption = None,
    select: SelectOption = None,
    confidence: LevelOption = 0.95,
    data: ClustersOption = None,
    format_: FormatOption = "text",
    accept_damaged: AcceptOption = False,
) -> None:
    """Where the noise comes from: pretraining seeds, fine-tuning seeds, examples, interactions."""
    from multibench.reports import variance as make

    with reading(results, accept_damaged, data) as opened:
        print_table(make(opened.where(where), metric, select, confidence), format_)


def power(
    results: ResultsArgument,
    effect: Annotated[
        float,
        typer.Option(
            parser=difference("--effect"),
            metavar="DIFFERENCE",
            help="The smallest difference that matters: 0.5pt, 0.5% (points as well) or 0.005.",
        ),
    ],
    base: BaseOption,
    expt: ExptOption,
    task: TaskOption = None,
    metric: MetricOption = None,
    paired: PairedOption = None,
    select: SelectOption = None,
    target: Annotated[float, typer.Option("--power", min=0.05, max=0.999, help="Power to reach.")] = 0.8,
    half_width: Annotated[
        float | None,
        typer.Option(
            parser=difference("--half-width"),
            metavar="DIFFERENCE",
            help="Half-width to reach as well: 0.5pt, 0.5% (points as well) or 0.005.",
        ),
    ] = None,
    budget_hours: Annotated[float, typer.Option(min=0.0, help="Hours of computing to be had.")] = float(
        "inf"
    ),
    confidence: LevelOption = 0.95,
    data: ClustersOption = None,
    format_: FormatOption = "text",
    accept_damaged: AcceptOption = False,
) -> None:
    """How many seeds, and runs a seed, would settle a comparison whose noise was measured."""
    from multibench.reports import power as make

    asked = (effect, base, expt, task, metric, paired, select, target, half_width, budget_hours, confidence)
    with reading(results, accept_damaged, data) as opened:
        print_table(make(opened, *asked), format_)


def dynamics(
    results: ResultsArgument = Path("results"),
    task: TaskOption = None,
    metric: MetricOption = None,
    margin: Annotated[
        float | None,
        typer.Option(
            parser=difference("--margin"),
            metavar="DIFFERENCE",
            help="What counts as no change: 0.5pt, 0.5% (points as well) or 0.005.",
        ),
    ] = None,
    family: Annotated[str | None, typer.Option(help="Only this family: multiberts, pocket.")] = None,
    where: WhereOption = "",
    select: SelectOption = None,
    alpha: Annotated[
        float, typer.Option(min=0.001, max=0.2, help="Chance at which the step named may come too early.")
    ] = 0.05,
    confidence: LevelOption = 0.95,
    data: ClustersOption = None,
    format_: FormatOption = "text",
    accept_damaged: AcceptOption = False,
) -> None:
    """Scores along pretraining steps, and the step from which they are equivalent to the last one's."""
    from multibench.reports import dynamics as make

    with reading(results, accept_damaged, data) as opened:
        chosen = opened.where(where)
        print_table(make(chosen, task, metric, margin, family, select, alpha, confidence), format_)


def instances(
    results: ResultsArgument = Path("results"),
    show: Annotated[
        Literal["agreement", "difficulty", "differences"] | None,
        typer.Option(help="Which table; agreement if not given, differences if there are two sides."),
    ] = None,
    base: Annotated[str | None, typer.Option(help="For differences: filter of the base side.")] = None,
    expt: Annotated[str | None, typer.Option(help="For differences: filter of the experiment side.")] = None,
    task: TaskOption = None,
    metric: MetricOption = None,
    paired: PairedOption = None,
    where: WhereOption = "",
    select: SelectOption = None,
    top: Annotated[int, typer.Option(min=1, help="Examples shown; JSON has all.")] = 20,
    alpha: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="False discovery rate of differences.")
    ] = 0.05,
    method: Annotated[
        Literal["benjamini-hochberg", "benjamini-yekutieli"],
        typer.Option(help="How that rate is controlled; the second under any dependence."),
    ] = "benjamini-hochberg",
    confidence: LevelOption = 0.95,
    data: ClustersOption = None,
    format_: FormatOption = "text",
    accept_damaged: AcceptOption = False,
) -> None:
    """Single examples: agreement of runs, the hardest ones, and those that two groups differ on."""
    from multibench.reports import instances as make

    asked = (show, base, expt, task, metric, paired, select, top, alpha, method, confidence)
    with reading(results, accept_damaged, data) as opened:
        print_table(make(opened.where(where), *asked), format_)
