"""Score against size: the groups of checkpoints by their number of parameters."""

from __future__ import annotations

from collections.abc import Sequence

from multibench.reports.cells import Cell
from multibench.reports.groups import CheckpointGroup
from multibench.reports.tables import Table
from multibench.stats import Estimate

__all__ = ["size_table"]


def size_table(scores: Table, groups: Sequence[CheckpointGroup]) -> Table | None:
    """The rows of the score table by number of parameters; None if fewer than three sizes are known.

    Of groups that differ in their step only, the last step counts.
    """
    last: dict[tuple[str, int | None, str], CheckpointGroup] = {}
    for group in groups:
        stepped = group.step is not None
        key = (group.family, group.parameters, "" if stepped else group.title)
        if key not in last or (group.step or 0) > (last[key].step or 0):
            last[key] = group
    kept = {group.title: group for group in last.values() if group.parameters is not None}
    if len({group.parameters for group in kept.values()}) < 3:
        return None
    rows: list[dict[str, Cell]] = []
    for row in scores.rows:
        group_of = kept.get(str(row["checkpoints"]))
        score = next((cell for cell in row.values() if isinstance(cell, Estimate)), None)
        if group_of is None or score is None:
            continue
        rows.append(
            {
                "evaluation": row["evaluation"],
                "family": group_of.family,
                "checkpoints": group_of.title,
                "parameters": group_of.parameters,
                "setting": row["setting"],
                "score": score,
                "pretraining seeds": row["pretraining seeds"],
                "runs": row["runs"],
            }
        )
    rows.sort(key=lambda row: (str(row["evaluation"]), int(str(row["parameters"])), str(row["checkpoints"])))
    note = "Sizes differ in more than their number of parameters, and single checkpoints carry their seed's luck."
    return Table("Score against size", tuple(rows[0]), tuple(rows), (note,), units="Scores in percent.")
