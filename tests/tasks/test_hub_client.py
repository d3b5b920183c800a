"""Data through the real clients, ``datasets`` and ``huggingface_hub``, from a Hub on this machine."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.command import REPOSITORY, environment
from tests.support.hub import Hub, Repository, serving
from tests.support.tiny import make_classification

_CARD = b"""---
configs:
- config_name: tiny
  data_files:
  - split: train
    path: tiny/train-*
---
"""

_LOAD = """
import json, sys
from pathlib import Path
from multibench import network
from multibench.tasks import DataSources, find_task, load_split
from multibench.tasks.fetched import keep_split, read_fetched
from multibench.tasks.layouts import HubLayout

network.look_for_hub()
task = find_task(sys.argv[1])
hub = HubLayout(id="nobody/tiny", config="tiny", label="label", splits={"train": "train"}, inputs=("text", "text"))
task = task.model_copy(update={"hub": hub})
sources = DataSources(None, frozenset([task.name]))
examples = load_split(task, "train", sources)
keep_split(task, examples, Path(sys.argv[2]))
kept = read_fetched(task, "train", Path(sys.argv[2]))
print(json.dumps([examples.texts[0], examples.labels.tolist(), examples.origin, kept.origin]))
"""


def _load(task: Path, folder: Path, hub: Hub, offline: bool) -> Any:
    told = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
    told |= dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"), "01"[offline])
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, str(task), str(folder / "kept")],
        env={**environment(), **told, "PATH": os.environ["PATH"]},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_commit_of_the_data_is_known_online_and_offline(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    content = io.BytesIO()
    pq.write_table(pa.table({"text": ["good", "NA"], "label": [1, 0]}), content)
    repository = Repository({"README.md": _CARD, "tiny/train-00000-of-00001.parquet": content.getvalue()})
    task = make_classification(tmp_path)
    origin = f"the Hub data set nobody/tiny (tiny) at commit {repository.commit}"
    with serving(Hub({"datasets/nobody/tiny": repository})) as hub:
        loaded = _load(task, tmp_path, hub, offline=False)
        assert loaded == [["good", "NA"], [1, 0], origin, origin]
        asked = sum(hub.asked.values())
        assert asked
        assert _load(task, tmp_path, hub, offline=True) == loaded
        assert sum(hub.asked.values()) == asked
