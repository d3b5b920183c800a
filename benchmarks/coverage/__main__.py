"""How often each interval holds the truth, and how wide it is, in worlds of known truth.

    nice -n 19 python -m benchmarks.coverage                       the whole grid, or what is left of it
    python -m benchmarks.coverage --write                          docs/coverage.md, and tables of docs/statistics.md
    python -m benchmarks.coverage --only "k 0, 25 seeds" --repetitions 20000 --out /tmp/c.csv
    python -m benchmarks.coverage --misses                         what misses the acceptance

Finished cells are appended to benchmarks/coverage/results.csv. Cells within two Monte Carlo errors of a limit are
simulated again, with 10,000 repetitions in the place of 2,000.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .cells import cells
from .study import FEW, OUT, due, recorded, timed, write
from .table import all_misses, page, with_summary

DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=FEW)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--only", default="", help="part of a cell's name")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/")
    parser.add_argument("--misses", action="store_true", help="print what misses its limits")
    chosen = parser.parse_args()
    known = cells()
    if chosen.write or chosen.misses:
        found = recorded(chosen.out, known)
        if chosen.misses:
            print("\n".join(all_misses(known, found)))
        else:
            (DOCS / "coverage.md").write_text(page(known, found) + "\n")
            text = (DOCS / "statistics.md").read_text()
            (DOCS / "statistics.md").write_text(with_summary(text, known, found))
        return
    for stage in (1, 2):
        for name, cell in known.items():
            if chosen.only not in name:
                continue
            # Looked up anew each time, so that two processes may share the work.
            repetitions = due(cell, recorded(chosen.out, known).get(name), chosen.repetitions)
            if not repetitions or (stage == 1 and repetitions > chosen.repetitions):
                continue
            rows, seconds = timed(cell, repetitions)
            write(chosen.out, name, cell, rows, seconds)
            row = rows["printed"]
            print(
                f"{name}: {row.coverage:.3f} ({row.relative:.2f}), {seconds:.0f} s",
                file=sys.stderr,
                flush=True,
            )


if __name__ == "__main__":
    main()
