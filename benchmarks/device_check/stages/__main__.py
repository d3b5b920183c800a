"""One stage in this process: ``python -m benchmarks.device_check.stages NAME OPTIONS``; the check starts it."""

from __future__ import annotations

import importlib
import json
import math
import sys
from typing import Any

from ..options import read_words
from . import STAGES


def _finite(value: Any) -> Any:
    """JSON has no word for what is no number: None stands for it."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main() -> int:
    """Run the stage. Each line of figures is on the disk once it is said: a stage that is cut keeps them."""
    name, given = read_words(sys.argv[1:])
    if name not in STAGES:
        sys.exit(f"There is no stage {name!r}; there are {', '.join(STAGES)}.")
    with (given.scratch / f"{name}.jsonl").open("a", encoding="utf-8") as out:

        def say(**figures: Any) -> None:
            line = json.dumps(_finite(figures))
            print(line, flush=True)
            out.write(line + "\n")
            out.flush()

        done = importlib.import_module(f"{__package__}.{name}").run(given, say)
    return done if isinstance(done, int) else 0


if __name__ == "__main__":
    sys.exit(main())
