"""What files say, read and put into the task's classes: in one order for all runs that belong together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.exchange.items import Item
from multibench.metrics.squad import normalise_answer
from multibench.scoring.agreement import Doubt, disagreements, off_the_rest
from multibench.scoring.classes import Classes, classes_of
from multibench.scoring.fit import Fitted, counted, values_of
from multibench.scoring.order import ClassOrder, find_order, said, stated_order, tie_note
from multibench.scoring.score import odds_of
from multibench.tasks import Examples

__all__ = ["Read", "read_runs"]


@dataclass(frozen=True, eq=False)
class Read:
    """What one file says: ``outputs`` float32 ``(n, task.outputs)``, or the ``texts`` of answers with their odds.

    ``order`` is how its outputs became classes; ``taken`` which columns were taken as what; ``notes`` what was counted
    as 0, ignored or forced.
    """

    outputs: NDArray[np.float32] | None = None
    texts: tuple[str, ...] | None = None
    null_odds: NDArray[np.float64] | None = None
    order: ClassOrder | None = None
    taken: str = ""
    notes: tuple[str, ...] = ()


def read_runs(
    items: Sequence[Item],
    examples: Mapping[str, Examples],
    stated: Mapping[str, Sequence[str]],
    remarks: list[str],
    force: bool,
) -> list[Read]:
    """What each of ``items`` holds, in their order; ``stated`` are names of classes by task.

    Classes are brought into the task's order, which is found for each evaluation and family. What a reader should know
    is added to ``remarks``. Raises ``DataError`` for what cannot be read, for an order that is not clear, and, unless
    told to ``force``, for one that labels or other runs contradict.
    """
    fitted = [item.read(examples[item.evaluation]) for item in items]
    cells: dict[tuple[str, str], list[int]] = {}
    for k, item in enumerate(items):
        cells.setdefault((item.evaluation, item.origin.family), []).append(k)
    found: dict[int, Read] = {}
    used: set[str] = set()
    for members in cells.values():
        cell = _Cell([items[k] for k in members], [fitted[k] for k in members], stated, force)
        found |= zip(members, cell.read(examples[items[members[0]].evaluation], remarks), strict=True)
        used |= cell.used
    for k, item in enumerate(items):
        notes = fitted[k].notes(item.evaluation)
        remarks += [f"{item.place}: {note}" for note in notes]
        found[k] = replace(found[k], taken=fitted[k].file.taken, notes=(*found[k].notes, *notes))
    remarks += _taken(fitted)
    tasks = {item.task.name for item in items} | {item.trained_on.name for item in items}
    for name in tasks & set(stated) - used:
        raise DataError(
            f"The class order of {name} was stated, and its files say themselves which classes they mean; leave it out."
        )
    return [found[k] for k in range(len(items))]


def _taken(fitted: Iterable[Fitted]) -> list[str]:
    """Which columns were taken as what, each way once with a file that it is of."""
    ways = {each.file.taken: each.file.path.name for each in reversed(list(fitted)) if each.file.taken}
    return [
        f"{name}{'' if len(ways) == 1 else ' and others'}: {taken}." for taken, name in reversed(ways.items())
    ]


@dataclass(eq=False)
class _Cell:
    """The files of one evaluation and family."""

    items: Sequence[Item]
    fitted: Sequence[Fitted]
    stated: Mapping[str, Sequence[str]]
    force: bool

    def __post_init__(self) -> None:
        self.used: set[str] = set()
        self.task = self.items[0].task
        self.what = f"{self.items[0].evaluation} of {self.items[0].origin.family}"

    def read(self, examples: Examples, remarks: list[str]) -> list[Read]:
        """What each file says, in the task's classes."""
        if self.task.kind == "span":
            return [
                _answers(item, each, examples) for item, each in zip(self.items, self.fitted, strict=True)
            ]
        if self.task.kind == "regression":
            reads = [
                Read(values_of(self.task, each, item.place, self.force))
                for item, each in zip(self.items, self.fitted, strict=True)
            ]
        else:
            orders = self._orders(examples, remarks)
            reads = [
                Read(_classes(each, order, self.task.outputs), order=order)
                for each, order in zip(self.fitted, orders, strict=True)
            ]
        doubts = self._doubts(examples, reads)
        if doubts and not self.force:
            raise DataError(f"{doubts[0].sentence}.")
        for doubt in doubts:
            remarks.append(f"{doubt.sentence}.")
            reads[doubt.run] = replace(reads[doubt.run], notes=(f"{doubt.sentence}.",))
        return reads

    def _orders(self, examples: Examples, remarks: list[str]) -> list[ClassOrder | None]:
        """The class order of each file; None where it says classes itself."""
        orders: list[ClassOrder | None] = [None] * len(self.items)
        open_: dict[tuple[Classes, tuple[int, ...] | None], list[int]] = {}
        for k, (item, each) in enumerate(zip(self.items, self.fitted, strict=True)):
            if each.file.kind == "classes":
                continue
            classes = each.file.classes or classes_of(self.task)
            if item.class_order is not None:
                own = stated_order(self.task, item.class_order, classes)
                orders[k] = self._found([k], examples, own, classes)
            elif each.order is not None:
                order = self._found([k], examples, each.order, classes, known=True)
                orders[k] = replace(order, found="file", doubts=())
            else:
                open_.setdefault((classes, self._stated(item, classes)), []).append(k)
        for (classes, stated), those in open_.items():
            found = self._found(those, examples, stated, classes)
            remarks += [f"{doubt}." for doubt in found.doubts]
            for k in those:
                orders[k] = found
        given = [each.outputs for each, order in zip(self.fitted, orders, strict=True) if order is not None]
        remarks += tie_note(self.what, [each for each in given if each is not None])
        remarks += dict.fromkeys(f"{self.what}: {order.sentence()}." for order in orders if order is not None)
        return orders

    def _stated(self, item: Item, classes: Classes) -> tuple[int, ...] | None:
        for name in (self.task.name, item.trained_on.name):
            if name in self.stated:
                self.used.add(name)
                return stated_order(self.task, self.stated[name], classes)
        return None

    def _found(
        self,
        those: Sequence[int],
        examples: Examples,
        stated: tuple[int, ...] | None,
        classes: Classes,
        known: bool = False,
    ) -> ClassOrder:
        outputs = [self.fitted[k].outputs for k in those]
        return find_order(
            self.task,
            examples.labels,
            [each for each in outputs if each is not None],
            self.what,
            stated,
            classes=classes,
            places=[self.items[k].place for k in those],
            force=self.force or known,
        )

    def _doubts(self, examples: Examples, reads: Sequence[Read]) -> list[Doubt]:
        """What single runs do otherwise than the others, now that all are in the task's classes."""
        if examples.labels is None:
            return []
        places = [item.place for item in self.items]
        groups = [_alike(item) for item in self.items]
        outputs = [read.outputs for read in reads if read.outputs is not None]
        labels: NDArray[Any] = np.asarray(examples.labels)
        if self.task.kind == "regression":
            return off_the_rest([each[:, 0].astype(np.float64) for each in outputs], labels, places, groups)
        return disagreements([said(each) for each in outputs], labels, classes_of(self.task), places, groups)


def _alike(item: Item) -> str:
    """What runs are compared within: the same step, size and settings."""
    return repr((item.origin.step, item.origin.parameters, item.trained_on.name, dict(item.settings)))


def _classes(fitted: Fitted, order: ClassOrder | None, count: int) -> NDArray[np.float32]:
    outputs = fitted.outputs
    assert outputs is not None
    return np.eye(count, dtype=np.float32)[outputs] if order is None else order.apply(outputs)


def _answers(item: Item, fitted: Fitted, examples: Examples) -> Read:
    """Answers, and the odds of none if the index names them."""
    texts = fitted.texts
    if texts is None:
        raise DataError(
            f"{fitted.file.where} holds no answers for {item.task.name}; expected one object, {{question id: answer}}."
        )
    if item.null_odds is not None and not item.task.unanswerable:
        raise DataError(
            f"{item.place}: all questions of {item.task.name} have an answer, so 'null_odds' means nothing."
        )
    for name, given, gold in zip(
        examples.ids, fitted.given.tolist(), examples.gold_texts or (), strict=False
    ):
        if not given and not all(map(normalise_answer, gold)):
            raise DataError(
                f"{fitted.file.where} has no answer to {counted((name,), 'question')}, whose gold answer is nothing "
                f"but "
                'articles and punctuation: it would be right. Give "" or the answer that was meant.'
            )
    odds = None if item.null_odds is None else odds_of(examples, item.null_odds)
    if fitted.file.kind == "stored" and fitted.file.outputs is not None and item.task.unanswerable:
        odds = fitted.file.outputs[fitted.position, -1].astype(np.float64)
    return Read(texts=texts, null_odds=odds)
