"""Plans and states as text."""

from __future__ import annotations

from collections import Counter
from typing import Any

from multibench.planning import Plan, PlanHours, PlannedRun, machine_speed, why_nested
from multibench.planning.cards import PRECISIONS
from multibench.planning.plan import State
from multibench.reports.tables import Cell, Table

__all__ = ["plan_summary", "plan_text", "status_text"]

_STATES: tuple[State, ...] = ("done", "collapsed", "diverged", "failed", "missing")
_STATUS = ("done", "collapsed", "diverged", "failed", "running", "missing")


def plan_summary(plan: Plan, hours: PlanHours | None = None) -> dict[str, Any]:
    """Counts, costs and every run, ready for JSON; ``hours`` are those on other devices than this machine's CPU."""
    hours = hours or PlanHours()
    settings = {id(run.settings): run.settings for run in plan.runs}  # few, which many runs share
    dumped = {key: setting.model_dump(mode="json") for key, setting in settings.items()}
    return {
        **_totals(plan),
        "hours_by_device": [device.to_dict() for device in hours.devices],
        "hours_remarks": list(hours.remarks),
        "remarks": list(plan.remarks),
        "list": [
            {
                "run_id": run.run_id,
                "state": run.state,
                **run.labels(),
                "settings": dumped[id(run.settings)],
                "evaluations": [f"{task.name}.{split}" for task, split in run.evaluations],
            }
            for run in plan.runs
        ],
    }


def _totals(plan: Plan) -> dict[str, Any]:
    """Counts of runs by state, and what the missing ones cost."""
    speed, origin = machine_speed(plan.manifests.values())
    cost = plan.cost()
    missing = {run.checkpoint.id: run.checkpoint for run in plan.runs if run.folder is None}
    weights = sum(4 * (checkpoint.parameters or 0) for checkpoint in missing.values())
    states = Counter(run.state for run in plan.runs)
    return {
        "suite": plan.suite.name,
        "finetuning_seed_design": None if plan.suite.evaluate_only else plan.suite.finetuning_seed_design,
        "runs": len(plan.runs),
        **{state: states[state] for state in _STATES},
        "missing_cost": {
            "tokens": cost.tokens,
            "flops": cost.flops,
            "hours": cost.hours(speed),
            "flops_per_second": speed,
            "flops_per_second_is": origin,
            "result_bytes": cost.result_bytes,
            "download_bytes": weights,
        },
    }


def plan_text(plan: Plan, hours: PlanHours | None = None) -> str:
    """A page for a person: counts by task, settings, cost of what is missing, hours on other devices."""
    summary, hours = _totals(plan), hours or PlanHours()
    by_task: dict[str, list[PlannedRun]] = {}
    for run in plan.runs:
        by_task.setdefault(run.task.name, []).append(run)
    rows: list[dict[str, Cell]] = []
    for task, runs in by_task.items():
        states = Counter(run.state for run in runs)
        rows.append(
            {
                "task": task,
                "checkpoints": len({run.checkpoint.id for run in runs}),
                "settings": len({run.settings for run in runs}),
                "seeds": len({run.finetuning_seed for run in runs}),
                "runs": len(runs),
                **{state: states[state] for state in _STATES},
            }
        )
    columns = tuple(rows[0]) if rows else ("task",)
    share = plan.suite.recipe.held_out
    held_out = "" if share is None else f"; {share:.3g} of train held out, to select on"
    design = summary["finetuning_seed_design"]
    seeds = "" if design is None else f"; {design} fine-tuning seeds"
    recipe = f"recipe {plan.suite.recipe.base}{held_out}{seeds}"
    head = f"{plan.suite.name}: {summary['runs']} runs, {summary['missing']} missing ({recipe})"
    lines = [Table(head, columns, tuple(rows)).render("text")]
    if summary["missing"]:
        lines += _cost_lines(summary["missing_cost"])
        if hours.devices:
            lines += ["", _hours_table(plan, hours)]
        if hours.remarks:
            lines += ["", *hours.remarks]
    if design == "shared" and summary["missing"] and _pretraining_seeds(plan) > 1:
        lines += ["", *why_nested(plan)]
    if plan.remarks:
        shown = list(plan.remarks[:5])
        more = [f"and {len(plan.remarks) - 5} more such remarks"] if len(plan.remarks) > 5 else []
        lines += ["", *shown, *more]
    return "\n".join(lines)


def _cost_lines(cost: dict[str, Any]) -> list[str]:
    return [
        "The missing runs cost about",
        f"  tokens    {cost['tokens']:.3g}",
        f"  FLOPs     {'unknown' if cost['flops'] is None else format(cost['flops'], '.3g')}",
        f"  hours     {_hours(cost['hours'])} on this machine's CPU"
        f" at {cost['flops_per_second'] / 1e9:.0f} GFLOP/s ({cost['flops_per_second_is']})",
        f"  disk      {_size(cost['result_bytes'])} of results"
        + (f", {_size(cost['download_bytes'])} of weights to fetch" if cost["download_bytes"] else ""),
    ]


def _hours_table(plan: Plan, hours: PlanHours) -> str:
    """Hours by device and precision; those that the suite does not ask for stand there for comparison."""
    rows: list[dict[str, Cell]] = []
    for device in hours.devices:
        by_precision: dict[str, Cell] = {
            p: _hours(device.hours[p]) if p in device.hours else "-" for p in PRECISIONS
        }
        together = "" if device.together is None else f"up to {device.together}"
        rows.append({"device": device.device, **by_precision, "together": together, "basis": device.basis})
    asked = sorted({str(run.settings.precision) for run in plan.todo()})
    notes = [
        f"The suite asks for {' and '.join(asked)}. Hours are those of one device, its runs one stack after another."
    ]
    if any(device.kind == "predicted" for device in hours.devices):
        notes.append(
            "Predictions follow from data sheets and sizes, without start-up, loading and storing; see "
            "docs/performance.md."
        )
    title = "Hours on other devices, by precision"
    return Table(title, tuple(rows[0]), tuple(rows), tuple(notes)).render("text").rstrip()


def _hours(hours: float | None) -> str:
    return "unknown" if hours is None else format(hours, ",.0f" if hours >= 10 else ".2g")


def _pretraining_seeds(plan: Plan) -> int:
    """The most pretraining seeds that runs of one origin have."""
    seeds: dict[str, set[int | None]] = {}
    for run in plan.runs:
        seeds.setdefault(run.origin, set()).add(run.checkpoint.pretraining_seed)
    return max(map(len, seeds.values()), default=0)


def status_text(found: dict[str, Any]) -> str:
    """A page for a person."""
    rows: list[dict[str, Cell]] = [
        {"task": task, "runs": sum(states.values()), **{state: states.get(state, 0) for state in _STATUS}}
        for task, states in found["tasks"].items()
    ]
    counts = {c: sum(int(str(row[c])) for row in rows) for c in ("runs", *_STATUS)}
    total: dict[str, Cell] = {"task": "all", **counts}
    columns = ("task", "runs", *_STATUS)
    table = Table(str(found["name"]), columns, (*rows, total)).render("text")
    return "\n".join(
        [table.rstrip(), *([""] if found["reasons"] else []), *found["reasons"], *found["remarks"]]
    )


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
