"""Storing finished runs in a thread of its own, while the next ones are trained."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

__all__ = ["Storing"]


class Storing:
    """Does one thing after the other in the background; what went wrong there is raised in the caller's thread.

    At the end of a ``with`` block everything is done, also if an error or an interruption ended it.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="storing")
        self._waiting: list[tuple[Future[None], Callable[[], None]]] = []

    def __enter__(self) -> Storing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            self.collect()

    def add(self, store: Callable[[], None], stored: Callable[[], None]) -> None:
        """Call ``store()`` in the background and, once it has succeeded, ``stored()`` in the caller's thread."""
        self._waiting.append((self._thread.submit(store), stored))
        self.collect(wait=False)

    def collect(self, wait: bool = True) -> None:
        """Tell what is stored by now, or with ``wait`` all; raises the first error that storing met."""
        while self._waiting and (wait or self._waiting[0][0].done()):
            future, stored = self._waiting.pop(0)
            future.result()
            stored()
