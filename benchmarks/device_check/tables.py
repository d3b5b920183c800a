"""A check as Markdown: a heading for the card, a line of facts, and a table of each stage that found something."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["part"]

Figures = list[dict[str, Any]]


def part(found: dict[str, Any]) -> list[str]:
    """Lines for what one ``device_check.json`` holds; stages that never ran are left out."""
    stages = found["stages"]
    lines = [
        f"### {_card(found)}",
        "",
        *_facts(found),
        "",
        *_table(("stage", "ended", "seconds"), _ends(stages)),
    ]
    for name, title, rows in _TABLES:
        figures = stages.get(name, {}).get("figures", [])
        made = rows(figures)
        if made:
            lines += ["", f"**{title}**", "", *_table(made[0], made[1:])]
    return lines


def _card(found: dict[str, Any]) -> str:
    told = _of(_figures(found, "facts"), what="device")
    card = found["card"] or {}
    rates = _of(_figures(found, "facts"), what="rates")
    name = told.get("card") or card.get("name") or rates.get("name") or found["device"]
    return f"{name}, {found['begun'][:10]}"


def _facts(found: dict[str, Any]) -> list[str]:
    """Sentences on code, versions and rates."""
    code, versions, facts = found["code"], found["versions"], _figures(found, "facts")
    device, rates = _of(facts, what="device"), _of(facts, what="rates")
    commit = "an unknown commit" if code["commit"] is None else f"commit `{code['commit'][:12]}`"
    changed = {True: ", with changes that it does not have", None: "", False: ""}[code["modified"]]
    if code["by"] == "file":
        changed += ", as a file beside it says"
    lines = [
        f"Code of {commit}{changed}. Python {versions['python']}, torch {device.get('torch') or versions['torch']}, "
        f"transformers {versions['transformers']}, numpy {versions['numpy']}."
    ]
    card = found["card"] or {}
    if card or device.get("cuda"):
        lines.append(
            f"Driver {card.get('driver_version', 'unknown')}, CUDA {device.get('cuda') or 'unknown'}, "
            f"memory {card.get('memory.total', 'unknown')}, UUID {card.get('uuid', 'unknown')}."
        )
    if rates:
        products = ", ".join(f"{name} {rate / 1e12:.1f} TFLOP/s" for name, rate in rates["products"].items())
        lines.append(f"Matrix products {products}; copies {rates['copying'] / 1e12:.2f} TB/s.")
    begun = [_of(facts, what=what).get("seconds") for what in ("import of torch", "first use of the device")]
    if None not in begun:
        lines.append(f"Import of torch {begun[0]:.1f} s, first use of the device {begun[1]:.1f} s.")
    lines.append(f"The check took {found['seconds']:.0f} s.")
    return lines


def _ends(stages: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name, stage in stages.items():
        how = "done" if stage["rc"] == 0 else "cut: its time was up" if stage["cut"] else _failed(stage)
        rows.append([name, how, f"{stage['seconds']:.0f}"])
    return rows


def _failed(stage: dict[str, Any]) -> str:
    last = (stage["said"].splitlines() or ["nothing was said"])[-1].strip()[:160]
    return f"failed with exit code {stage['rc']}: {last}".replace("|", "/")


def _tests(figures: Figures) -> list[list[str]]:
    outcomes = [line["outcome"] for line in figures if line["what"] == "test"]
    if not outcomes:
        return []
    broken = ", ".join(f"`{f['name'].split('::')[-1]}`" for f in figures if f.get("outcome") == "failed")
    counts = [str(outcomes.count(name)) for name in ("passed", "failed", "skipped")]
    return [["passed", "failed", "skipped", "which failed"], [*counts, broken or "none"]]


def _steps(figures: Figures) -> list[list[str]]:
    rows = []
    for line in figures:
        if line["what"] == "fp32":
            way = f"fp32, dropout {line['dropout']:g}, against the processor"
            repeat = "yes" if line["bits_repeat"] else "no"
            found = [_small(line["loss_from_host"]), _small(line["norm_from_host"]), repeat]
            rows.append([line["size"], way, str(line["steps"]), *found])
        else:
            for name, way in (
                ("loss_from_fp32", "bf16, against fp32"),
                ("loss_from_company", "bf16, of 3 together"),
            ):
                rows.append([line["size"], way, str(line["steps"]), _small(line[name]), "", ""])
    head = ["size", "what", "steps", "loss differs by", "norm differs by (share)", "bits repeat"]
    return [head, *rows] if rows else []


def _runs(figures: Figures) -> list[list[str]]:
    names = sorted({name for line in figures for name in line["scores"]})
    rows = [
        [
            line["precision"],
            "yes" if line["dropout"] else "no",
            f"{line['seconds']:.1f}",
            *(_spread(line["scores"].get(name, [])) for name in names),
        ]
        for line in figures
    ]
    return [["precision", "dropout", "seconds, with start-up", *names], *rows] if rows else []


def _grid(figures: Figures) -> list[list[str]]:
    rows = []
    for size in dict.fromkeys(line["size"] for line in figures if "who" in line):
        own, other = (_of(figures, size=size, who=who) for who in ("multibench", "Trainer"))
        row = [size, *(_seconds(side) for side in (own, other))]
        made = other.get("made")
        row[2] += f", from {made} of them" if made not in (None, other.get("runs")) else ""
        ratios = [_ratio(other.get(name), own.get(name)) for name in ("seconds", "without_start")]
        rows.append([*row, *ratios])
    head = [
        "size",
        "multibench (without start-up)",
        "Trainer (without start-up)",
        "times",
        "without start-up",
    ]
    return [head, *rows] if rows else []


def _speed(figures: Figures) -> list[list[str]]:
    rows = []
    for line in figures:
        way = f"{line['replicas']} together" if line["replicas"] else line["way"]
        if "error" in line:
            rows.append([line["size"], way, line["error"].replace("|", "/")[:80], "", "", "", ""])
            continue
        memory = "" if line["memory"] is None else f"{line['memory'] / 1e9:.1f}"
        rows.append(
            [
                line["size"],
                way,
                f"{line['examples']:,.0f}",
                "" if line["times_plain"] is None else f"{line['times_plain']:.2f}",
                f"{line['step_ms']:.2f}",
                f"{line['of_products']:.1%}",
                memory,
            ]
        )
    head = ["size", "way", "examples/s", "times plain", "ms a step of a run", "of products", "GB"]
    return [head, *rows] if rows else []


def _profile(figures: Figures) -> list[list[str]]:
    rows = [
        [
            line["size"],
            str(line["replicas"]),
            f"{line['wall_ms']:.1f}",
            f"{line['busy_ms']:.1f}",
            f"{line['launches']:,.0f}",
            ", ".join(f"`{one['name'][:40].replace('|', '/')}` {one['ms']:.2f}" for one in line["most"][:3]),
        ]
        for line in figures
    ]
    head = ["size", "together", "ms, recorded", "ms busy", "launches", "most time in (ms)"]
    return [head, *rows] if rows else []


_TABLES: tuple[tuple[str, str, Callable[[Figures], list[list[str]]]], ...] = (
    ("tests", "Tests marked `gpu`", _tests),
    ("steps", "The card and the processor (largest difference of a step's loss)", _steps),
    ("runs", "MiniLM, rounded to 8 bits, on real texts (mean score and sd of runs)", _runs),
    (
        "grid",
        "20 runs of MRPC, three epochs, bf16, seconds; Trainer with dynamic padding, a process each",
        _grid,
    ),
    ("speed", "Training steps in bf16 at MRPC's lengths, batch 32", _speed),
    ("profile", "A step of all together under torch's profiler", _profile),
)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def _figures(found: dict[str, Any], stage: str) -> Figures:
    figures: Figures = found["stages"].get(stage, {}).get("figures", [])
    return figures


def _of(figures: Figures, **values: str) -> dict[str, Any]:
    """The first line with these values, or an empty one."""
    return next((line for line in figures if values.items() <= line.items()), {})


def _small(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "not a number"
    return "0" if value == 0 else f"{value:.1e}"


def _spread(scores: list[float]) -> str:
    if not scores:
        return ""
    spread = f"{statistics.stdev(scores):.1f}" if len(scores) > 1 else "-"
    return f"{statistics.mean(scores):.1f} ({spread}), {len(scores)} runs"


def _seconds(side: dict[str, Any]) -> str:
    return f"{side['seconds']:.1f} ({side['without_start']:.1f})" if "seconds" in side else "none"


def _ratio(slow: float | None, fast: float | None) -> str:
    return f"{slow / fast:.1f}" if slow and fast else ""
