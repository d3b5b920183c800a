"""The cells of the study: worlds by name, a line or two each, section by section."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any

from .answers import Answers
from .cell import PLAIN, WITH_BOOTSTRAP, Cell
from .normal import Correlations, Numbers
from .questions import questions
from .worlds import Seeds, with_other

__all__ = ["cells"]


def answers(
    n: int, examples: int, sd: float = 0.3, runs: Any = 1, metric: str = "accuracy", **more: Any
) -> Answers:
    """A world of answers whose pretraining seeds have this sd; ``kind`` and ``points`` are those of ``Seeds``."""
    own = {key: more.pop(key) for key in ("kind", "points", "shared") if key in more}
    seeds = Seeds(n, runs, more.pop("sds", (sd, 0.0, 0.0)), **own)
    return Answers(metric, seeds, examples, **more)


def how(paired: bool | None) -> str:
    """Paired, unpaired, or one mean."""
    return {None: "mean", True: "paired", False: "unpaired"}[paired]


DESIGNS = (
    (5, 2, (0.15, 0.0, 0.1)),
    (5, 2, (0.15, 0.1, 0.1)),
    (5, 2, (0.15, 0.2, 0.1)),
    (5, 2, (0.25, 0.45, 0.45)),
    (5, 5, (0.15, 0.15, 0.1)),
    (25, 5, (0.15, 0.15, 0.1)),
    (10, 5, (0.15, 0.3, 0.1)),
)
MORE_DESIGNS = (
    (2, 2, (0.15, 0.2, 0.1)),
    (3, 3, (0.15, 0.2, 0.1)),
    (2, 5, (0.15, 0.2, 0.1)),
    (10, 10, (0.15, 0.2, 0.1)),
    (5, 5, (0.15, 0.0, 0.6)),
    (5, 5, (0.0, 0.3, 0.0)),
)


def shared_seeds() -> Iterator[Cell]:
    """Fine-tuning seeds shared by all checkpoints, or nested; the sides have other effects of them."""
    for paired, (n, runs, sds), shared in product((None, True, False), DESIGNS + MORE_DESIGNS, (True, False)):
        if paired is False and (sds[1:] != (0.2, 0.1) or not shared) and (n, runs) != (5, 5):
            continue
        name = f"{how(paired)}, {'shared' if shared else 'nested'} {n} x {runs}, sds {sds}"
        world = answers(
            n,
            1000,
            runs=runs,
            sds=sds,
            shared=shared,
            level=0.5,
            difficulty=1.0,
            paired=paired,
            common=(0.5, 0.0),
        )
        yield Cell("fine-tuning seeds", name, world)
    for paired, sds in product((None, True), ((0.15, 0.2, 0.1), (0.25, 0.45, 0.45))):
        name = f"{how(paired)}, shared 5 x 3 with gaps, sds {sds}"
        world = answers(
            5, 1000, runs=(3, 3, 2, 3, 1), sds=sds, shared=True, level=0.7, paired=paired, difficulty=1.0
        )
        yield Cell("fine-tuning seeds", name, world)
    yield Cell(
        "fine-tuning seeds",
        "mean, one shared seed for 5",
        answers(5, 1000, runs=1, sds=(0.15, 0.2, 0.1), shared=True),
    )
    yield Cell("fine-tuning seeds", "mean, 1 x 5", answers(1, 1000, runs=5, sds=(0.15, 0.2, 0.1)))
    world = answers(
        5,
        1000,
        runs=2,
        sds=(0.15, 0.2, 0.1),
        shared=True,
        paired=True,
        common=(0.5, 1.0),
        level=0.5,
        difficulty=1.0,
    )
    yield Cell("fine-tuning seeds", "paired, shared 5 x 2, the same effects on both sides", world)


def normal_theory() -> Iterator[Cell]:
    """Normal scores, where examples add little, some or much to a paired difference, and unpaired."""
    for n, k, r in product((2, 3, 4, 5, 10, 25), (0, 5, 50), (0, 3, 30, 300)):
        if n == 2 and k == 50:
            continue
        yield Cell(
            "normal theory",
            f"paired, {n} seeds, k {k}, r {r}",
            Numbers("mean", Seeds(n), 400, paired=True, k=k, r=r),
        )
    for n, r in product((2, 3, 5, 10), (3, 30)):
        yield Cell(
            "normal theory",
            f"unpaired, {n} seeds, k 0, r {r}",
            Numbers("mean", Seeds(n), 400, paired=False, r=r),
        )
    for n, r in product((2, 3, 4), (3, 30)):
        yield Cell(
            "normal theory",
            f"mean, {n} seeds, k 5, r {r}",
            Numbers("mean", Seeds(n), 400, k=5, r=r),
            WITH_BOOTSTRAP,
        )


def plain_differences() -> Iterator[Cell]:
    """Accuracies of the same procedure twice: sizes and seeds from few to many."""
    sizes = [*product((277, 1043), (2, 3, 5, 10, 25)), *product((71,), (2, 3, 5, 10)), (9815, 3), (9815, 10)]
    for paired, (examples, n), sd in product((True, False), sizes, (0.05, 0.3)):
        methods = WITH_BOOTSTRAP if examples == 277 else PLAIN
        world = answers(n, examples, sd, paired=paired, own=1.0)
        yield Cell("differences", f"{how(paired)}, {n} seeds, {examples:,} examples, sd {sd}", world, methods)
    for n, examples, sd in product((2, 3, 5, 10, 25), (277, 1043), (0.0, 0.3)):
        world = answers(n, examples, sd, paired=True)
        yield Cell("differences", f"paired, k 0, {n} seeds, {examples:,} examples, sd {sd}", world)
    for paired, (n, examples) in product((True, False), ((3, 1043), (5, 1043), (10, 1043), (10, 277))):
        world = answers(n, examples, paired=paired, kind="t3", own=0.5)
        yield Cell("differences", f"{how(paired)}, t3, {n} seeds, {examples:,} examples", world)
    ends = (
        (5, 277, 0.99, 0.0),
        (10, 277, 0.98, 0.01),
        (2, 277, 0.99, 0.0),
        (5, 71, 0.94, 0.03),
        (5, 277, 0.9, 0.09),
    )
    for paired, (n, examples, level, effect) in product((True, False), ends):
        world = answers(n, examples, paired=paired, level=level, effect=effect, own=0.5)
        yield Cell(
            "differences",
            f"{how(paired)}, {n} seeds, {examples} examples, {level} to {level + effect:.2f}",
            world,
        )


def unequal_sides() -> Iterator[Cell]:
    """Unequal numbers of seeds and runs, unequal variances, and one run against one or several."""
    numbers = ((1, 1), (1, 5), (2, 2), (2, 5), (3, 25), (5, 25), (10, 25))
    spreads = ((0.3, 0.3, 277), (0.6, 0.1, 1043), (0.1, 0.6, 1043))
    for (first, second), (sd, other, examples) in product(numbers, spreads):
        base = answers(first, examples, sd, paired=False, own=0.5)
        world = with_other(base, n=second, sds=(other, 0.0, 0.0))
        yield Cell("unequal sides", f"{first} v {second}, {examples:,} examples, sds {sd} and {other}", world)
    for runs in ((5, 1, 1, 1, 1), (3, 2, 1, 2, 3), (10, 1, 1)):
        for paired in (None, True, False):
            world = answers(
                len(runs),
                1043,
                runs=runs,
                sds=(0.2, 0.3, 0.0),
                paired=paired,
                own=0.5 if paired is not None else 0.0,
            )
            yield Cell("unequal sides", f"{how(paired)}, runs {runs}", world)
    world = with_other(answers(1, 277, runs=1, sds=(0.3, 0.2, 0.0), paired=False), runs=5)
    yield Cell("unequal sides", "1 run v 5 runs of another checkpoint, 277 examples", world)


def single_means() -> Iterator[Cell]:
    """Accuracies from floor to ceiling."""
    for examples, n, level in product((71, 277, 1043), (1, 2, 3, 5, 10, 25), (0.01, 0.5, 0.84, 0.94, 0.99)):
        if level in (0.01, 0.99) and examples == 71:
            continue
        methods = WITH_BOOTSTRAP if n in (1, 5) and examples < 1000 else PLAIN
        yield Cell(
            "means",
            f"{n} seeds, {examples:,} examples, accuracy {level}",
            answers(n, examples, level=level),
            methods,
        )
    for n, examples, sd in product((2, 5, 10, 25), (277, 1043, 9815), (0.8,)):
        if examples == 9815 and n == 10:
            continue
        yield Cell("means", f"{n} far seeds, {examples:,} examples", answers(n, examples, sd))
    for n, examples in product((2, 3, 5, 10, 25), (277, 1043)):
        yield Cell("means", f"t3, {n} seeds, {examples:,} examples", answers(n, examples, 0.4, kind="t3"))
    # Little more than five errors.
    for n, (examples, level) in product((1, 5, 10), ((71, 0.92), (277, 0.98), (1043, 0.995))):
        world = answers(n, examples, level=level)
        yield Cell("means", f"{n} seeds, {examples:,} examples, accuracy {level}", world)
    for n, level in product((5, 10), (0.94, 0.99)):
        yield Cell(
            "means", f"far seeds, {n}, 277 examples, accuracy {level}", answers(n, 277, 1.0, level=level)
        )


def other_metrics() -> Iterator[Cell]:
    """F1, MCC, correlations, and partly right answers."""
    shapes = (
        (5, 277, 0.84, 0.5, 0.0),
        (5, 100, 0.94, 0.3, 0.0),
        (10, 408, 0.88, 0.68, 0.5),
        (3, 1043, 0.84, 0.7, 0.7),
        (10, 277, 0.9, 0.15, 1.0),
        (1, 277, 0.9, 0.3, 0.0),
        (2, 277, 0.84, 0.5, 0.0),
    )
    for metric, (n, examples, level, positive, bias), paired in product(
        ("f1", "mcc"), shapes, (None, True, False)
    ):
        name = f"{metric}, {how(paired)}, {n} seeds, {examples:,} examples, accuracy {level}, positive {positive}"
        own = 0.0 if paired is None else 0.5
        world = answers(
            n, examples, metric=metric, level=level, positive=positive, bias=bias, paired=paired, own=own
        )
        yield Cell("other metrics", name, world)
    for n, examples, level in (
        (5, 277, 0.84),
        (5, 71, 0.9),
        (1, 277, 0.97),
        (2, 1043, 0.84),
        (10, 1043, 0.6),
    ):
        for paired in (None, True):
            name = f"partly right, {how(paired)}, {n} seeds, {examples:,} examples, accuracy {level}"
            yield Cell("other metrics", name, answers(n, examples, metric="mean", level=level, paired=paired))
    shapes_r = (
        (5, 100, 0.97, 0.1),
        (1, 277, 0.9, 0.1),
        (5, 1500, 0.9, 0.1),
        (10, 100, 0.9, 0.1),
        (5, 71, 0.5, 0.1),
        (2, 277, 0.9, 0.1),
    )
    for metric, (n, examples, level, sd), paired in product(
        ("pearson", "spearman"), shapes_r, (None, True, False)
    ):
        if n == 1 and paired is not None:
            continue
        name = f"{metric}, {how(paired)}, {n} seeds, {examples:,} examples, correlation {level}"
        numbers = Correlations(metric, Seeds(n, 1, (sd, 0.0, 0.0)), examples, level=level, paired=paired)
        yield Cell(
            "other metrics",
            name,
            numbers,
            WITH_BOOTSTRAP if (n, examples) == (5, 100) and metric == "pearson" else PLAIN,
        )


def articles() -> Iterator[Cell]:
    """Clusters: articles of equal or very unequal length, on the scales of SQuAD's sets, and premises."""
    shapes = ((35, 10, 60, 1.0), (48, 10, 60, 1.0), (48, 100, 350, 0.5), (35, 3, 300, 1.0))
    for n, shape, level, paired in product((1, 2, 5, 25), shapes, (0.84, 0.94), (None, True)):
        if n == 25 and shape[1] != 10:
            continue
        if n in (2, 25) and level != 0.84:
            continue
        count, low, high, sd = shape
        name = f"{how(paired)}, {n} seeds, {count} articles of {low} to {high}, sd {sd}, accuracy {level}"
        world = answers(
            n,
            0,
            0.2,
            level=level,
            paired=paired,
            articles=(count, low, high),
            article_sd=sd,
            difficulty=1.0,
            own=0.0 if paired is None else 0.7,
        )
        yield Cell("articles", name, world)
    for n, paired in product((1, 5), (None, True)):
        own = 0.0 if paired is None else 0.5
        world = answers(n, 0, paired=paired, articles=(400, 3, 3), difficulty=2.0, own=own)
        yield Cell("articles", f"{how(paired)}, {n} seeds, 400 premises of 3", world)


def strata() -> Iterator[Cell]:
    """Fixed parts of the test set, as HANS has them, that runs may be good at or not."""
    for n, uneven, paired in product((1, 2, 5, 10), (0.0, 0.7), (None, True)):
        if n == 1 and uneven:
            continue
        name = f"{how(paired)}, {n} seeds, 30 strata of 40, uneven by {uneven}"
        world = answers(
            n, 1200, level=0.7, paired=paired, difficulty=1.0, strata=30, strata_sd=2.0, uneven=uneven,
            own=0.0 if paired is None else 0.5,
        )  # fmt: skip
        yield Cell("strata", name, world)


def hopeless() -> Iterator[Cell]:
    """Seeds whose variety the data need not show: two values 10 points up or down, or a collapse in ten.

    What fine-tuning seeds add is little beside that.
    """
    own = (0.0, 0.15, 0.0)
    for n in (2, 3, 4, 5, 6, 10):
        world = answers(n, 1000, kind="two", points=0.1, level=0.8, sds=own)
        yield Cell("few values", f"mean, two values, {n} seeds", world)
    for points, n in product((0.3, 0.15), (3, 5, 10, 25)):
        world = answers(n, 1000, kind="collapse", points=points, level=0.8, sds=own)
        yield Cell("few values", f"mean, collapse of {points:.2f} in ten, {n} seeds", world)
        yield Cell(
            "few values",
            f"unpaired, collapse of {points:.2f} in ten, {n} seeds",
            replace(world, paired=False),
        )


@lru_cache(maxsize=1)
def cells() -> dict[str, Cell]:
    """All cells by ``section: name``."""
    parts = (
        shared_seeds,
        normal_theory,
        plain_differences,
        unequal_sides,
        single_means,
        other_metrics,
        articles,
    )
    found = [cell for part in (*parts, strata, hopeless, questions) for cell in part()]
    named = {f"{cell.section}: {cell.name}": cell for cell in found}
    assert len(named) == len(found), "Two cells have one name."
    return named
