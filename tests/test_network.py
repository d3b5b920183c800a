"""Whether the Hub can be reached is known at once, and staying offline leaves no trace."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from multibench import network

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if nobody had asked for offline, and every endpoint were new."""
    from huggingface_hub import constants

    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    network._attempt.cache_clear()
    yield
    network._attempt.cache_clear()


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_host_that_answers_is_reachable(listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listening}")
    assert network.hub_is_reachable()


def test_a_host_that_refuses_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    assert not network.hub_is_reachable()


@pytest.mark.parametrize("where", ["lookup", "connect"])
def test_silence_is_given_up_on_in_time(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def silence(*_: object, **__: object) -> None:
        time.sleep(30)

    if where == "lookup":
        monkeypatch.setattr(socket, "getaddrinfo", silence)
    monkeypatch.setattr(socket, "create_connection", silence)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    network.look_for_hub()
    time.sleep(0.5)
    started = time.monotonic()
    assert not network.hub_is_reachable()
    assert time.monotonic() - started < 1.6  # 1.5 seconds since it was begun, with room for a busy machine
    started = time.monotonic()
    assert not network.hub_is_reachable()
    assert time.monotonic() - started < 0.1


@pytest.mark.parametrize("value", ["1", "on", "YES", "true"])
def test_offline_asks_nobody(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket, "create_connection", fail)
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert network.is_offline()
    assert not network.hub_is_reachable()
    network.look_for_hub()


def test_staying_offline_ends_where_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with network.staying_offline():
        assert network.is_offline()
        assert constants.HF_HUB_OFFLINE
        with network.staying_offline():
            pass
        assert network.is_offline()
        assert constants.HF_HUB_OFFLINE
    assert not network.is_offline()
    assert not constants.HF_HUB_OFFLINE
    with pytest.raises(ZeroDivisionError), network.staying_offline():
        _ = 1 / 0
    assert "HF_DATASETS_OFFLINE" not in os.environ


def test_going_offline_tells_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # so that it is put back afterwards
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "0")
    network.go_offline()
    assert constants.HF_HUB_OFFLINE
    assert os.environ["HF_DATASETS_OFFLINE"] == "1"
    assert network.is_offline()
    assert "huggingface_hub.constants" in sys.modules


def test_whoever_is_about_to_fetch_is_stopped_first(listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[bool] = []

    def refuse() -> None:
        looks.append(True)
        raise ValueError("not on this device")

    with network.before_fetching(refuse):
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listening}")
        with pytest.raises(ValueError, match="not on this device"):
            network.hub_is_reachable()
        assert looks == [True]
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert not network.hub_is_reachable()  # then nothing is fetched
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert network.hub_is_reachable()
    assert looks == [True]
