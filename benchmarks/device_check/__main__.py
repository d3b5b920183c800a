"""A short check of one GPU, in at most 520 seconds; a dry run of it anywhere takes two minutes or less.

    python -m benchmarks.device_check --inputs DIR --out DIR                       on a machine with a card
    python -m benchmarks.device_check --inputs DIR --out DIR --device cpu --small  a dry run, anywhere

``--inputs`` is a folder made by ``python -m benchmarks.device_check.inputs``. Stages, in order of worth: facts (the
device's rates), tests (those marked ``gpu``), steps (the card against the processor), runs (a real checkpoint on
real texts), grid (20 runs against Trainer), speed, profile. Each is a process of its own with so many seconds, and may
use those that earlier ones left; one that fails or is cut leaves the others alone and keeps what it
found. ``--out`` gets device_check.json, log.txt, runs.tar.gz and tables of the profiler; of each stage the JSON has its
figures, exit status and time. ``python -m benchmarks.device_check.page`` makes a section of docs/performance.md of it.

The card is the first one that CUDA_VISIBLE_DEVICES names. Nothing needs to be installed but torch, transformers and
what else GPU images carry: wheels in the inputs folder are unpacked where their packages are missing. Without git the
commit is read from the file commit.json of the inputs folder, or from the one that ``--commit`` names.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .boxes import BOXES
from .check import check
from .provenance import COMMIT


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.device_check", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--inputs", type=Path, required=True, help="folder of benchmarks.device_check.inputs")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is kept")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument(
        "--small", action="store_true", help="a dry run: as little as shows that all stages work"
    )
    parser.add_argument("--only", nargs="+", choices=list(BOXES), metavar="STAGE", default=list(BOXES))
    parser.add_argument(
        "--commit", type=Path, help=f"file with the commit; {COMMIT} of the inputs if not given"
    )
    given = parser.parse_args()
    if not given.inputs.is_dir():
        parser.error(
            f"There is no folder {given.inputs}. Make it with python -m benchmarks.device_check.inputs, "
            "and give it as --inputs."
        )
    found = check(
        given.inputs.resolve(),
        given.out.resolve(),
        given.device,
        small=given.small,
        only=given.only,
        commit_file=given.commit or given.inputs / COMMIT,
        # How long a dry run takes says nothing, and the machine may be busy.
        boxes={name: 3 * seconds for name, seconds in BOXES.items()} if given.small else BOXES,
    )
    sys.exit(int(any(stage["rc"] != 0 for stage in found["stages"].values())))


if __name__ == "__main__":
    main()
