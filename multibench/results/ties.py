"""Which of several equal scores is the prediction, where columns change places."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["keep_winners"]


def keep_winners(outputs: NDArray[np.float32], winners: NDArray[np.int64]) -> NDArray[np.float32]:
    """``outputs`` ``(n, classes)`` whose highest score, the first among equals, is that of ``winners`` ``(n,)``.

    Where another class has the same score and comes first in this order, that of the winner is raised by the least
    that float32 knows. Everything else stays as it is, to the bit.
    """
    other = np.flatnonzero(outputs.argmax(axis=1) != winners)
    if len(other):
        outputs = outputs.copy()
        top = outputs[other].max(axis=1)
        outputs[other, winners[other]] = np.nextafter(top, np.float32(np.inf))
    return outputs
