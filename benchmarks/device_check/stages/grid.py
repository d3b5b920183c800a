"""20 runs of MRPC, three epochs: one command against Trainer in a process each.

Of Trainer two processes run, and their time is scaled to 20. Base and tiny come first, the other sizes while there is
time for one more pair.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.grid import Grid, Measured, multibench, random_weights, trainer
from multibench.bench import SIZES

from ..inputs import MODEL, beginning
from ..options import Given
from ..weights import rebuild
from . import Say

_RATES = (2e-5, 3e-5, 5e-5, 1e-4)
_SEEDS = 5
_SIZES = ("base", "tiny", "medium", "mini", "minilm")
_ALWAYS = 2
_SPARE = 1.1  # a pair of a smaller size takes no longer than the longest one yet, but for noise
_FEW_ROWS = 32


def run(given: Given, say: Say) -> int:
    """Returns 1 if a command failed; the others were tried all the same."""
    vocabulary = rebuild(given.inputs / MODEL, given.scratch / "checkpoints" / MODEL)
    longest, failed = 0.0, False
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        scratch = Path(folder)
        data = beginning(given.inputs, scratch, "MRPC", _FEW_ROWS) if given.small else given.inputs
        for number, size in enumerate(("tiny",) if given.small else _SIZES):
            if number >= _ALWAYS and given.left < _SPARE * longest:
                say(
                    size=size, left_out=f"{given.left:.0f} s were left, and a pair took up to {longest:.0f} s"
                )
                break
            clock = time.perf_counter()
            model = random_weights(SIZES[size], vocabulary, scratch / size)
            failed |= not _pair(model, data, size, given.small, say)
            longest = max(longest, time.perf_counter() - clock)
    return int(failed)


def _pair(model: Path, data: Path, size: str, small: bool, say: Say) -> bool:
    """Ours first: without it nothing can be said, and without the other the time alone. Whether both went well."""
    rates, seeds = ((_RATES[0],), 1) if small else (_RATES, _SEEDS)
    epochs = 1 if small else 3
    whole = Grid(model, "mrpc", rates, seeds, epochs, data)
    few = Grid(model, "mrpc", rates[:1], min(2, seeds), epochs, data)
    well = True
    for who, grid, measure in (("multibench", whole, multibench), ("Trainer", few, trainer)):
        try:
            found = measure(grid, "bf16", "auto" if who == "multibench" else "longest")
        except subprocess.CalledProcessError as error:
            well = False
            say(size=size, who=who, error=f"exit code {error.returncode}: {str(error.stderr)[-600:]}")
        else:
            say(size=size, who=who, **figures(found, grid.runs, whole.runs))
    return well


def figures(found: Measured, made: int, runs: int) -> dict[str, float | int | None]:
    """Seconds for ``runs`` runs, scaled from the ``made`` ones; start-up grows with them, one process each."""
    scale = runs / made
    return {
        "made": made,
        "runs": runs,
        "seconds": round(found.whole * scale, 2),
        "without_start": round(found.bare * scale, 2),
        "tokens": found.tokens,
    }
