"""Cells of other questions than a mean's or a difference's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from multibench.stats.factors import FINETUNING, PRETRAINING

from .cell import Cell
from .extremes import BestOf, BestOfGrid, Chosen, Parts, Wins
from .families import Bands, Family, Looks, Settling
from .limits import BALANCE, LEAST, LEAST_CHOSEN, TYPE_ONE, Limits
from .worlds import Seeds

__all__ = ["questions"]

BOTH = ("printed", "percentile")
TOGETHER = ("printed", "one by one")
CHOICES = ("printed", "uncorrected", "old crossed")
KEPT = Limits(LEAST)


def questions() -> Iterator[Cell]:
    """All of them."""
    for n, total in ((5, 5), (5, 10), (20, 25), (2, 25), (5, 25), (5, 50), (10, 100)):
        for kind in ("normal", "t3", "tied"):
            methods = BOTH if kind == "normal" else ("printed",)
            yield Cell("best of n", f"{n} of {total}, {kind}", BestOf(n, total, kind), methods, KEPT)
    yield Cell("best of n", "a grid of 6 settings, 5 runs each", BestOfGrid(6, 5), BOTH, KEPT)
    sides = ((2, 2), (3, 3), (5, 5), (10, 10), (25, 25), (3, 25), (5, 25))
    for (first, second), effect, kind in product(sides, (0.0, 1.0, 2.0), ("normal", "t3")):
        if kind == "t3" and first not in (3, 10):
            continue
        name = f"{first} v {second}, {effect} sds apart, {kind}"
        yield Cell("wins", name, Wins(first, second, effect, kind), BOTH, KEPT)
    for (first, second), effect in product(((3, 3), (10, 10), (5, 25)), (0.0, 2.0)):
        wide = Wins(first, second, effect, ratio=4.0)
        yield Cell("wins", f"{first} v {second}, {effect} sds apart, four times the sd", wide, BOTH, KEPT)
    choices = product((2, 4, 20), (3, 5, 10), (0.0, 0.2, 1.0))
    for settings, seeds, apart in choices:
        choice = Chosen(settings, seeds, 277, apart)
        limits = Limits(LEAST_CHOSEN, balance=BALANCE)
        yield Cell(
            "chosen settings", f"best of {settings}, {seeds} seeds, {apart} apart", choice, CHOICES, limits
        )
    groups_of = [(3, seeds, paired) for seeds, paired in product((3, 5, 10), (True, False))]
    for groups, seeds, paired in (*groups_of, (6, 3, True), (6, 5, True), (6, 5, False)):
        name = f"{groups} groups, {seeds} seeds, {'paired' if paired else 'unpaired'}"
        world = Family(groups, seeds, 277, paired)
        yield Cell("families", name, world, TOGETHER, Limits(LEAST, type_one=TYPE_ONE))
    for steps, seeds in ((5, 3), (5, 5), (5, 10), (15, 5), (15, 10)):
        yield Cell(
            "families", f"band of {steps} steps, {seeds} seeds", Bands(steps, seeds, 277), TOGETHER, KEPT
        )
    for steps, seeds, examples in ((5, 5, 1043), (5, 10, 277), (5, 10, 1043), (15, 5, 277)):
        settling = Settling(steps, seeds, examples)
        name = f"a step named too early, {steps} steps, {seeds} seeds, {examples:,} examples"
        yield Cell("families", name, settling, ("printed",), Limits(type_one=TYPE_ONE))
    looks = Looks(12, 277)
    yield Cell("families", "a look after each of 12 seeds", looks, TOGETHER, Limits(LEAST, type_one=TYPE_ONE))
    for n, sd in product((3, 5, 10, 25), (0.05, 0.3)):
        seeds_of = Seeds(n, 1, (sd, 0.0, 0.0))
        yield Cell(
            "parts",
            f"sd of {n} pretraining seeds, logit sd {sd}",
            Parts(seeds_of, 277),
            ("printed",),
            Limits(LEAST),
        )
    for n, runs, shared in ((5, 2, False), (5, 5, False), (5, 5, True), (10, 3, False), (5, 3, True)):
        both = Seeds(n, runs, (0.2, 0.3, 0.0), shared=shared)
        for factor in (PRETRAINING, FINETUNING):
            name = f"sd of {factor}, {n} x {runs} {'shared' if shared else 'nested'}"
            yield Cell("parts", name, Parts(both, 277, factor), ("printed",), KEPT)
