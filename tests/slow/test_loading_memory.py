"""No format takes much more memory to load than the weights themselves."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.command import REPOSITORY, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def test_the_peak_of_loading_is_at_most_1_3_times_the_weights() -> None:
    # Of a size at which what is not weights (vocabulary, buffers) weighs as little as with BERT-base.
    sizes = ("--layers", "8", "--hidden", "768", "--vocabulary", "12000")
    command = [sys.executable, "benchmarks/loading.py", *sizes, "--format", "json"]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stderr
    ratios = {row["format"]: row["ratio"] for row in json.loads(done.stdout)}
    assert len(ratios) == 10
    ours = {name: ratio for name, ratio in ratios.items() if "from_pretrained" not in name}
    assert len(ours) == 8
    # Less than all of the weights cannot be: then nothing was measured.
    assert all(0.95 < ratio <= 1.3 for ratio in ours.values()), ours
