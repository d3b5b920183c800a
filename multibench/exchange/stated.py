"""Class orders that the user states by task, and whether anything imported is of these tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from multibench.errors import DataError
from multibench.exchange.items import Item
from multibench.registry import nearest_or_all
from multibench.tasks import find_task

__all__ = ["stated_orders"]


def stated_orders(
    class_order: Mapping[str, Sequence[str]] | None, items: Sequence[Item], source: Path
) -> dict[str, tuple[str, ...]]:
    """The names of the classes in the order of the outputs, by the task's own name.

    A task may be stated by its name or the path of its file. Raises ``DataError`` for one that nothing in ``source`` is
    of, for labels that are none of its, and for two orders of one task.
    """
    tasks = {task.name: task for item in items for task in (item.task, item.trained_on)}
    found: dict[str, tuple[str, ...]] = {}
    for key, names in (class_order or {}).items():
        name = find_task(key).name if key.endswith(".toml") else key
        if name not in tasks:
            raise DataError(
                f"The class order of {key} was stated, and nothing in {source} is of that task; "
                f"{nearest_or_all(name, tasks)}"
            )
        if found.setdefault(name, tuple(names)) != tuple(names):
            raise DataError(f"Two class orders were stated for {name}; expected one.")
    return found
