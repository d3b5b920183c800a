"""Modules of ``evaluate`` in local files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NUMBERS = '{"predictions": datasets.Value("float32"), "references": datasets.Value("float32")}'
"""Features of a module that compares numbers."""
EQUAL = (
    'return {"equal": sum(p == r for p, r in zip(predictions, references)) / len(predictions), "all": [1]}'
)
"""What it computes: the share of equal ones, and a list."""

_MODULE = """
import datasets
import evaluate


class Made(evaluate.Metric):
    def _info(self):
        features = datasets.Features({features})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        {compute}
"""


@contextmanager
def own_folders(folder: Path) -> Iterator[None]:
    """What ``evaluate`` copies and keeps stays out of the user's cache, and nothing is fetched."""
    import evaluate.config

    with pytest.MonkeyPatch.context() as patch:
        # The package of copies that Python has imported stays with the folder that it came from.
        for name in [name for name in sys.modules if name.partition(".")[0] == "evaluate_modules"]:
            patch.delitem(sys.modules, name)
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", folder / "modules")
        patch.setattr(evaluate.config, "HF_METRICS_CACHE", folder / "metrics")
        patch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
        patch.syspath_prepend(str(folder / "modules"))
        yield


def write_module(folder: Path, name: str, features: str, compute: str) -> Path:
    """``folder/name/name.py``: a module with these features whose ``_compute`` has that body."""
    path = folder / name / f"{name}.py"
    path.parent.mkdir(parents=True)
    path.write_text(_MODULE.replace("{features}", features).replace("{compute}", compute), "utf-8")
    return path
