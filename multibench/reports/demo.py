"""The page that ``multibench demo`` ends with: what the built-in runs say, and where to look next."""

from __future__ import annotations

from pathlib import Path

from multibench.reports.comparison import compare
from multibench.reports.tables import Cell, Table
from multibench.reports.variance import variance
from multibench.results import Results

__all__ = ["demo_page", "difference_table", "share_table"]


def difference_table(results: Results, first: int, last: int) -> Table:
    """Step ``last`` less step ``first``, a row for each evaluation, with the interval to report."""
    full = compare(results, f"step={first}", f"step={last}")
    rows: list[dict[str, Cell]] = []
    for row in full.rows:
        rows.append(
            {
                "evaluation": row["evaluation"],
                "metric": row["metric"],
                f"step {first:,}": row["base"],
                f"step {last:,}": row["experiment"],
                "difference": row["difference"],
                "p": row["p"],
                "seeds": row["seeds"],
                "runs": row["runs"],
                "examples": row["examples"],
            }
        )
    return Table(
        "Does pretraining help? Scores in percent, with 95 % intervals over seeds and examples",
        tuple(rows[0]),
        tuple(rows),
    )


def share_table(results: Results) -> Table:
    """Where the noise of the mean scores of ``results`` comes from, a row for each evaluation."""
    full = variance(results)
    rows: dict[str, dict[str, Cell]] = {}
    for row in full.rows:
        own = rows.setdefault(str(row["evaluation"]), {"evaluation": row["evaluation"]})
        factor = str(row["factor"])
        if factor == "pretraining seeds":
            own["sd between pretraining seeds"], own["at most"] = row["sd"], row["sd at most"]
        own[factor] = row["share of variance"]
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    return Table(
        "Where does the noise come from? Spread in points, and shares of the variance of the mean score in percent",
        tuple(names),
        tuple(rows.values()),
        (
            "The last column is the noise of having these examples and no others, alone and together with the seeds.",
        ),
    )


def demo_page(folder: Path) -> str:
    """The whole page for the results of the demo's suite in ``folder``."""
    results = Results.open(folder)
    steps = sorted({int(run.fields["step"]) for run in results.stored})
    first, last = steps[0], steps[-1]
    where = f"--base step={first} --expt step={last}"
    return "\n".join(
        [
            difference_table(results, first, last).render("text"),
            share_table(results.where(f"step={last}")).render("text"),
            f"These are built-in models on built-in tasks, made to show the tool: {len(results)} runs, each with all",
            "of its predictions. They say nothing about language. Where to look next:",
            "",
            f"  multibench scores   {folder} --metric all",
            f"  multibench compare  {folder} {where}",
            f"  multibench variance {folder} --where step={last}",
            f"  multibench power    {folder} {where} --effect 0.01",
            "  multibench list families        the published checkpoints to do the same with",
            "  multibench show suite demo      the suite file behind this, a pattern for your own",
            "",
        ]
    )
