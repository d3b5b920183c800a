"""A process for each card, each a ``multibench run`` of its own, looked after by this one, which uses no card itself.

An error that leaves a card without an answer ends the process that met it, for nothing else gives the card back: it is
started anew, a few times. A card that goes on failing is left out, and the others make its runs.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence

from multibench.errors import BrokenDeviceError, MultibenchError
from multibench.execution.devices import SHARERS, VISIBLE, Card
from multibench.execution.evaluation import check_inputs
from multibench.execution.outcome import SuiteOutcome, count_failed
from multibench.execution.progress import ProgressReport
from multibench.execution.watching import Watching
from multibench.execution.workers import start_python, stop_all, threads_variable
from multibench.planning import Plan, PlannedRun
from multibench.results.store import RunStore

__all__ = ["RESTARTS", "Crew", "supervise"]

RESTARTS = 3
"""How often a worker is started anew on a card."""

_POLL_SECONDS = 0.5
# Of a worker: all well; some runs failed; what it was given cannot be used; it was told to stop.
_WELL, _SOME_FAILED, _REFUSED, _STOPPED = 0, 1, 2, 130

Say = Callable[[str], None]
Start = Callable[[Card], "subprocess.Popen[bytes]"]


def supervise(
    plan: Plan,
    store: RunStore,
    progress: ProgressReport,
    cards: Sequence[Card],
    arguments: Sequence[str],
    threads: int | None,
) -> SuiteOutcome:
    """Have the missing runs of ``plan`` made by a worker on each of ``cards``, which may name a card more than once.

    ``arguments`` are those of a worker's ``multibench``. Raises ``BrokenDeviceError`` if runs are left and no card is,
    and ``MultibenchError`` if workers ended for another reason and left runs.
    """
    todo = plan.todo()
    for run in todo:
        check_inputs(run, "cuda")
    watching = Watching(plan, store, progress)
    left = [todo]
    started = time.perf_counter()
    sharers = Counter(card.entry for card in cards)

    def start(card: Card) -> subprocess.Popen[bytes]:
        changes = {VISIBLE: card.entry, SHARERS: str(sharers[card.entry]), **threads_variable(threads)}
        return start_python(["-m", "multibench", *arguments], changes)

    with progress:
        progress.open_suite(plan, len(todo))
        with Crew(cards, start, progress.say) as crew:
            while crew.look(bool(left)):
                time.sleep(_POLL_SECONDS)
                left = watching.without_stored(left)
            left = watching.without_stored(left)
    kept = _kept([run for group in left for run in group], crew)
    failed = count_failed(plan, store) + kept
    made = {**watching.made, **({"kept": kept} if kept else {})}
    return SuiteOutcome(made, failed, time.perf_counter() - started)


def _kept(left: Sequence[PlannedRun], crew: Crew) -> int:
    """How many runs were tried again in vain, so that what is stored stays; raises for any other run that is left."""
    if not left:
        return 0
    tried = all(run.stored is not None and run.stored["status"] != "failed" for run in left)
    if tried and {_WELL, _SOME_FAILED} & crew.codes:
        return len(left)
    runs = "1 run is" if len(left) == 1 else f"{len(left)} runs are"
    if _REFUSED in crew.codes:
        raise MultibenchError(
            f"{runs} left, as a worker met what it cannot use: its own sentence, above, says what to do."
        )
    if crew.left_out:
        names = ", ".join(dict.fromkeys(card.name for card in crew.left_out))
        raise BrokenDeviceError(
            f"{runs} left, and no card: the workers on {names} went on failing. Look at nvidia-smi and the system's "
            "log; the same command goes on where this one ended."
        )
    raise MultibenchError(
        f"{runs} left, though every worker has ended; the same command goes on where this one ended."
    )


class Crew:
    """The workers at work, in a ``with`` block, at the end of which none is left.

    One that ended because its card no longer answers, or that was killed, is started anew, ``RESTARTS`` times a card;
    then the card is in ``left_out``. ``codes`` are those of all that ended.
    """

    def __init__(self, cards: Sequence[Card], start: Start, say: Say) -> None:
        self._cards, self._start, self._say = cards, start, say
        self._at_work: list[tuple[Card, subprocess.Popen[bytes]]] = []
        self._ended: Counter[Card] = Counter()
        self.left_out: list[Card] = []
        self.codes: set[int] = set()

    def __enter__(self) -> Crew:
        try:
            for card in self._cards:
                self._at_work.append((card, self._start(card)))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        stop_all([worker for _, worker in self._at_work])

    def look(self, more: bool) -> bool:
        """Deal with the workers that have ended; whether any is at work. Without ``more`` runs none is started anew."""
        for place in list(self._at_work):
            card, worker = place
            code = worker.poll()
            if code is None:
                continue
            self._at_work.remove(place)
            self.codes.add(code)
            if code == _STOPPED:
                self._say(f"The worker on {card.name} was told to stop.")
            elif code not in (_WELL, _SOME_FAILED, _REFUSED):
                self._replace(card, code, more)
        return bool(self._at_work)

    def _replace(self, card: Card, code: int, more: bool) -> None:
        """Start another worker on ``card``, whose last one ended with ``code``, or leave the card out."""
        broken = code == BrokenDeviceError.exit_code
        why = "the card no longer answers" if broken else f"its exit code is {code}"
        said = f"A worker on {card.name} ended, as {why}"
        self._ended[card] += 1
        if not more:
            self._say(f"{said}; no run is left.")
        elif self._ended[card] <= RESTARTS:
            self._say(f"{said}; it is started anew ({self._ended[card]} of {RESTARTS} times).")
            self._at_work.append((card, self._start(card)))
        else:
            self._say(f"{said}, for the {self._ended[card]}th time; the card is left out.")
            self.left_out.append(card)
