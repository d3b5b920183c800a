"""Where the numbers come from: runs, code, and the commands that make them again."""

from __future__ import annotations

import hashlib
import shlex
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields
from importlib.metadata import version
from typing import Any

from multibench.reports.cells import Cell, Name, Quantity, say
from multibench.reports.findings import Findings, Options
from multibench.reports.page.document import Section
from multibench.reports.tables import Table
from multibench.results.frame import StoredRun

__all__ = ["provenance"]


def provenance(findings: Findings) -> Section:
    """Where the runs come from, and the commands that make this report again."""
    stored = findings.results.stored
    digest = hashlib.sha256("\n".join(sorted(run.run_id for run in stored)).encode()).hexdigest()
    suites = sorted({str(run.fields["suite"]) for run in stored if not run.manifest.get("imported")})
    words = ["multibench", "report", "RESULTS", "--out", "DIR", *_options(findings.options)]
    lines = [
        *(f"multibench run {shlex.quote(suite)}" for suite in suites),
        shlex.join(words),
    ]
    said = (
        say(
            "Run folders are the truth: every number of this report follows from them, and is listed under "
            "its id in ",
            Name("estimates.json"),
            ". The run ids hash all that can change a run's numbers; a digest of those behind this report, "
            "sorted and joined by line feeds, is ",
            Name(f"sha256 {digest}"),
            ". Made by multibench ",
            Name(version("multibench")),
            ". Made again, from the same runs by the same version, it is the same to the last byte.",
        ),
        *findings.results.damaged,
    )
    table = _origins(stored)
    return Section(
        "provenance",
        "Provenance, and how to reproduce this",
        said,
        {"provenance": table},
        (),
        ("\n".join(lines),),
    )


def _options(options: Options) -> Iterator[str]:
    names = {"rule": "select"}
    for field in fields(options):
        value = getattr(options, field.name)
        if value != field.default:
            # A bare number above 0.1 would be refused: it may be meant as points.
            text = f"{100 * value:.12g}pt" if field.name == "effect" and value > 0.1 else str(value)
            yield from (f"--{names.get(field.name, field.name)}", text)


def _origins(stored: tuple[StoredRun, ...]) -> Table:
    """A row for each way in which runs were made."""
    seconds: dict[tuple[tuple[str, str], ...], list[float]] = defaultdict(list)
    for run in stored:
        seconds[tuple(_origin(run).items())].append(float(run.manifest["provenance"].get("seconds") or 0))
    rows: list[dict[str, Cell]] = []
    for origin, times in sorted(seconds.items()):
        hours = sum(times) / 3600
        spent = Quantity(hours, f"{hours:.3g}" if hours else "", "hours of computing")
        rows.append({**dict(origin), "runs": len(times), "hours": spent})
    kept = [n for n in rows[0] if any(str(row[n]) for row in rows)]
    return Table("Where the runs come from", tuple(kept), tuple(rows))


def _origin(run: StoredRun) -> dict[str, str]:
    made: dict[str, Any] = run.manifest["provenance"]
    code, packages = made.get("code") or {}, made.get("packages") or {}
    commit = str(code.get("commit") or "")[:12] + (" with changes" if code.get("dirty") else "")
    imported = run.manifest.get("imported") or {}
    return {
        "suite": str(run.fields["suite"]),
        "recipe": str(run.fields["recipe"]),
        "imported from": " of ".join(imported[key] for key in ("layout", "from") if key in imported),
        "multibench": str(packages.get("multibench") or ""),
        "commit": commit,
        "torch": str(packages.get("torch") or ""),
        "transformers": str(packages.get("transformers") or ""),
        "device": str(made.get("accelerator") or made.get("device") or made.get("processor") or ""),
        "precision": str(made.get("precision") or run.fields.get("precision") or ""),
    }
