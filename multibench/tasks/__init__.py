"""Tasks: their facts (``facts/*.toml``), where their examples come from, and their encoding."""

from multibench.tasks.data import Examples, clusters
from multibench.tasks.held_out import HELD_OUT, with_held_out
from multibench.tasks.sources import DataSources, load_split
from multibench.tasks.task import TASKS, Task, find_task

__all__ = [
    "HELD_OUT",
    "TASKS",
    "DataSources",
    "Examples",
    "Task",
    "clusters",
    "find_task",
    "load_split",
    "with_held_out",
]
