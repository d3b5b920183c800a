"""Storing finished runs in a thread of its own, while the next ones are trained."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from types import TracebackType

__all__ = ["Storing"]

_LAST_SECONDS = 5.0


class Storing:
    """Does one thing after the other in the background; what went wrong there is raised in the caller's thread.

    At the end of a ``with`` block everything is done, also if an error or an interruption ended it, or came while it
    was waited for (a second one ends the wait).
    """

    def __init__(self) -> None:
        self._given: SimpleQueue[tuple[Future[None], Callable[[], None]] | None] = SimpleQueue()
        self._waiting: list[tuple[Future[None], Callable[[], None]]] = []
        # An executor's threads are lost sight of when an interruption meets their start or their end.
        self._thread = threading.Thread(target=self._work, name="storing", daemon=True)
        self._ended = threading.Event()

    def __enter__(self) -> Storing:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._given.put(None)
        try:
            self._ended.wait()
        except KeyboardInterrupt:
            self._ended.wait()
            raise
        # What the thread still lets go of must not meet the end of the process.
        self._thread.join(_LAST_SECONDS)
        if error is None:
            self.collect()

    def add(self, store: Callable[[], None], stored: Callable[[], None]) -> None:
        """Call ``store()`` in the background and, once it has succeeded, ``stored()`` in the caller's thread."""
        future: Future[None] = Future()
        self._waiting.append((future, stored))
        self._given.put((future, store))
        self.collect(wait=False)

    def collect(self, wait: bool = True) -> None:
        """Tell what is stored by now, or with ``wait`` all; raises the first error that storing met."""
        while self._waiting and (wait or self._waiting[0][0].done()):
            future, stored = self._waiting.pop(0)
            future.result()
            stored()

    def _work(self) -> None:
        try:
            while (given := self._given.get()) is not None:
                future, store = given
                try:
                    store()
                except BaseException as error:  # raised again by ``collect``
                    future.set_exception(error)
                else:
                    future.set_result(None)
        finally:
            self._ended.set()
