"""Storing in the background: nothing is left half done, whenever an interruption comes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from multibench.execution.storing import Storing


def _interrupted(moment: float, work: Callable[[Storing], None]) -> None:
    """``work`` within ``Storing``, interrupted ``moment`` seconds after its start."""

    def interrupt() -> None:
        time.sleep(moment)
        os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupted = False
    try:
        with Storing() as storing:
            other.start()
            work(storing)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        signal.signal(signal.SIGINT, before)
    assert interrupted


@pytest.mark.parametrize("moment", [k / 1000 for k in range(0, 24, 2)])
def test_what_was_begun_is_finished(moment: float) -> None:
    begun: list[int] = []
    done: list[int] = []

    def store() -> None:
        begun.append(1)
        time.sleep(0.002)
        done.append(1)

    def work(storing: Storing) -> None:
        while True:
            storing.add(store, lambda: None)
            time.sleep(0.003)

    _interrupted(moment, work)
    assert len(begun) == len(done)


def test_an_interruption_of_the_wait_leaves_nothing_out() -> None:
    """All is trained, and three are still to be stored: they are stored before the interruption goes on."""
    done: list[float] = []

    def store() -> None:
        time.sleep(0.1)
        done.append(time.monotonic())

    def work(storing: Storing) -> None:
        for _ in range(3):
            storing.add(store, lambda: None)

    _interrupted(0.05, work)
    assert len(done) == 3


def test_it_tells_in_order() -> None:
    told: list[int] = []
    done: list[int] = []

    def slow(number: int) -> None:
        time.sleep(0.01 * (3 - number))
        done.append(number)

    with Storing() as storing:
        for number in range(3):
            storing.add(lambda n=number: slow(n), lambda n=number: told.append(n))  # type: ignore[misc]
    assert told == done == [0, 1, 2]

    def stop(storing: Storing) -> None:
        storing.add(lambda: slow(2), lambda: None)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Storing() as storing:
        stop(storing)
    assert done == [0, 1, 2, 2]
