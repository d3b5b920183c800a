"""What a prediction file says, whatever its layout: the one form that all of them are read into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from multibench.scoring.classes import Classes

__all__ = ["Kind", "PredictionFile", "classes_of_width"]

Kind = Literal["classes", "numbers", "scores", "values", "answers", "stored"]


@dataclass(frozen=True, eq=False)
class PredictionFile:
    """What a file says about each of the ``n`` examples that it names, or of which it has a row.

    ``kind`` says what ``outputs`` are: ``classes`` of the task, int64 ``(n,)``; class ``numbers`` of the source, int64
    ``(n,)``; ``scores`` float64 ``(n, k)``, of classes in an order that is not known unless ``order`` gives the task's
    class of each; ``values`` float64 ``(n,)``; or as ``stored`` here (``multibench.results.Predictions``), float32
    ``(n, outputs)``. None for ``answers``, whose ``texts`` stand alone, perhaps with ``null_odds`` ``(n,)``.
    ``classes`` are what the outputs may be of. ``ids`` is None where rows are in the order of the split. ``labels``
    ``(n,)`` are those that the file itself carries. ``prefix`` stands before an example's id in this layout.
    ``ignores_unknown``: whether the layout's official reader passes over ids that the split has not. ``numbered``:
    whether the first row, which is 0, 1, ..., may be a header. ``taken`` says which column was taken as what.
    """

    path: Path
    kind: Kind
    ids: tuple[str, ...] | None
    outputs: NDArray[Any] | None
    texts: tuple[str, ...] | None = None
    labels: NDArray[Any] | None = None
    prefix: str = ""
    ignores_unknown: bool = False
    classes: Classes | None = None
    order: tuple[int, ...] | None = None
    null_odds: NDArray[np.float64] | None = None
    numbered: bool = False
    taken: str = ""
    place: str = ""
    """What messages call it."""

    @property
    def where(self) -> str:
        """What messages call it: the file, or an entry of it."""
        return self.place or str(self.path)


def classes_of_width(possible: Sequence[Classes], outputs: NDArray[Any]) -> Classes | None:
    """The classes that so many scores, or class numbers so large, are of; the task's own if both would do."""
    if not possible:
        return None
    width = outputs.shape[1] if outputs.ndim == 2 else int(outputs.max(initial=0)) + 1
    fitting = [each for each in possible if (len(each) == width if outputs.ndim == 2 else len(each) >= width)]
    return fitting[0] if fitting else possible[0]
