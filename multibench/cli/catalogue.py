"""``list``, ``show`` and ``init``: what there is to choose from, and a suite to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from multibench.cli.common import JsonOption, echo, print_json

__all__ = ["add_verbs"]

Kind = Literal["families", "checkpoints", "tasks", "recipes", "suites", "references"]
One = Literal["family", "checkpoint", "task", "recipe", "suite", "reference"]


def add_verbs(app: typer.Typer) -> None:
    """Add this module's verbs."""
    app.command("list")(list_)
    app.command()(show)
    app.command()(init)


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    family: Annotated[str | None, typer.Option("--family", help="Only checkpoints of this family.")] = None,
    json: JsonOption = False,
) -> None:
    """What multibench knows: families, checkpoints, tasks, recipes, suites, references."""
    entries, columns = _entries(kind, family)
    if json:
        print_json(entries)
        return
    from multibench.reports.tables import Table

    rows = tuple({name: _short(entry.get(name)) for name in columns} for entry in entries)
    table = Table(f"{len(rows)} {kind}", columns, rows, _notes(kind, family))
    echo(table.render("text"), nl=False)


def show(
    kind: Annotated[One, typer.Argument(help="What kind of thing.")],
    name: Annotated[str, typer.Argument(help="Its name; for a checkpoint any of its ids.")],
    json: JsonOption = False,
) -> None:
    """Everything known about one family, checkpoint, task, recipe, suite or reference, with sources."""
    entry = _entry(kind, name)
    if json:
        print_json(entry)
        return
    import yaml

    echo(yaml.safe_dump(entry, sort_keys=False, allow_unicode=True, width=110), nl=False)


def init(
    family: Annotated[str, typer.Argument(help="A family; `multibench list families` has them.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="A new file to write; standard output if not given.")
    ] = None,
) -> None:
    """A commented suite file to start from."""
    from multibench import api

    text = api.init(family, out)
    if out is None:
        echo(text, nl=False)
    else:
        echo(f"{out} is written; `multibench plan {out}` says what it would run.", err=True)


def _entries(kind: Kind, family: str | None) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    if kind == "families":
        from multibench.checkpoints import FAMILIES

        return [f.to_dict() for f in FAMILIES], ("name", "checkpoints", "licence", "title")
    if kind == "checkpoints":
        from multibench.checkpoints import FAMILIES, all_checkpoints

        found = FAMILIES.get(family).checkpoints if family else all_checkpoints()
        columns = ("id", "family", "pretraining_seed", "step", "parameters", "status", "alias_of")
        return [c.to_dict() for c in found], columns
    if kind == "tasks":
        from multibench.tasks import TASKS

        tasks = [{**t.model_dump(mode="json"), "rows": sum(s.rows for s in t.splits.values())} for t in TASKS]
        return tasks, ("name", "kind", "rows", "headline", "title")
    if kind == "suites":
        from multibench.suite import load_suite, shipped_suites

        suites = [load_suite(path) for path in shipped_suites().values()]
        return [s.model_dump(mode="json") for s in suites], ("name", "description")
    if kind == "references":
        from multibench.reference import REFERENCES

        tables = [{**r.to_dict(), "figures": len(list(r.cells()))} for r in REFERENCES]
        return tables, ("name", "figures", "title", "paper")
    from multibench.recipes import RECIPES

    return [r.to_dict() for r in RECIPES], ("name", "title", "paper")


def _notes(kind: Kind, family: str | None) -> tuple[str, ...]:
    """What readers of a list should know before they choose from it."""
    from multibench.checkpoints import FAMILIES

    if kind == "checkpoints" and family:
        return FAMILIES.get(family).notes
    if kind == "families":
        return ("What should be known of each before it is used: `multibench show family NAME`.",)
    return ()


def _entry(kind: One, name: str) -> dict[str, Any]:
    if kind == "checkpoint":
        from multibench.checkpoints import FAMILIES, find

        checkpoint = find(name)
        return {**checkpoint.to_dict(), "family_notes": list(FAMILIES.get(checkpoint.family).notes)}
    if kind == "family":
        from multibench.checkpoints import FAMILIES

        return FAMILIES.get(name).to_dict()
    if kind == "task":
        from multibench.tasks import find_task

        return find_task(name).model_dump(mode="json")
    if kind == "suite":
        from multibench.suite import find_suite, load_suite

        return load_suite(find_suite(name)).model_dump(mode="json")
    if kind == "reference":
        from multibench.reference import REFERENCES

        return REFERENCES.get(name).to_dict()
    from multibench.recipes import RECIPES

    recipe = RECIPES.get(name)
    return {**recipe.to_dict(), "in_full": recipe.in_full()}


def _short(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return value
