"""Study of the verdicts of ``multibench reproduce``: how often each is given, when the truth is known.

    python benchmarks/verdicts.py                            the tables of docs/references.md, a minute
    python benchmarks/verdicts.py --repetitions 2000         a quick look

The world: ``checkpoints`` pretrained models are fine-tuned by the published and by the measured procedure, and both are
scored on the same examples. Checkpoint c has its own quality, the same for both (so it cancels). Run f of
checkpoint c deviates by ``shared_f + own_cf``; the shared part is what one fine-tuning seed does to all checkpoints
alike. Of the variance of a run ``crossed`` is shared, on the measured side always and on the published side as well
where ``published_crossed``. With ``examples`` a run's score is a share of that many right answers, rounded as
printed. ``ratio`` is the published spread over the measured one, which the interval takes to be 1 unless
``known``. With several ``settings`` of equal worth both sides report the one with the best mean. A run collapses with
probability ``collapse``, on both sides, to a score that lies ``fall`` below; whoever judges knows that score. A single
published run is the best of ``tried``, and ``perhaps_chosen`` says whether it is judged as such.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs
from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from multibench.reference.collapse import ConstantAnswer
from multibench.reference.verdict import Best, decisions, may_have_collapsed, standard_error

MARGIN = 0.01
TRUTHS = (0.0, 0.5, 1.0, 2.0)
"""True differences in margins."""
SIGNED = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""The same where the sides are not alike: below 0 the published score is the higher one."""


@dataclass(frozen=True)
class Design:
    """One cell of the study; ``sd`` of a run, a fraction."""

    measured: int
    published: int
    sd: float
    checkpoints: int = 1
    crossed: float = 0.0
    published_crossed: bool = False
    known: bool = False
    ratio: float = 1.0
    settings: int = 1
    examples: int = 0
    decimals: int = 3
    """Decimals of the printed fraction, where there are examples."""
    collapse: float = 0.0
    fall: float = 0.3
    tried: int = 1
    perhaps_chosen: bool = False


def _scores(design, seeds, sd, crossed, repetitions, rng):
    """Fine-tuning seeds' means over checkpoints, (repetitions, seeds), around 0."""
    shared = rng.normal(0, sd * np.sqrt(crossed), (repetitions, design.settings, 1, seeds))
    own = rng.normal(0, sd * np.sqrt(1 - crossed), (repetitions, design.settings, design.checkpoints, seeds))
    scores = shared + own
    if design.examples:
        scores = np.round(scores * design.examples) / design.examples
    means = scores.mean(axis=2)
    return means[np.arange(repetitions), means.mean(axis=2).argmax(axis=1)]


def _collapsed(design, scores, rng):
    """The scores, some of which have fallen; ``collapse`` is of a run of one checkpoint."""
    if not design.collapse:
        return scores
    return np.where(rng.random(scores.shape) < design.collapse, -design.fall, scores)


def _withheld(design, measured, published, published_sd):
    """Where *differs* is not said, because a collapse is seen or would explain the gap."""
    constant = ConstantAnswer(-design.fall, -design.fall - 0.005, -design.fall + 0.005)
    seen = (measured.min(axis=1) <= constant.high) | (published <= constant.high)
    explained = may_have_collapsed(
        measured.mean(axis=1) - published,
        measured.std(axis=1, ddof=1),
        design.measured,
        [(published, 1.0)],
        design.published,
        constant,
        MARGIN,
        published_sd=published_sd,
    )
    return seen | (explained > 0)


def rates(design: Design, truth: float, repetitions: int, rng, withhold: bool = True) -> dict[str, float]:
    """Share of repetitions with each verdict when the true difference is ``truth`` margins."""
    measured = truth * MARGIN + _scores(design, design.measured, design.sd, design.crossed, repetitions, rng)
    crossed = design.crossed if design.published_crossed else 0.0
    drawn = design.published * design.tried
    published = _scores(design, drawn, design.sd * design.ratio, crossed, repetitions, rng)
    measured, published = _collapsed(design, measured, rng), _collapsed(design, published, rng)
    if design.tried > 1:
        published = published.max(axis=1, keepdims=True)
    centre, rounding = published.mean(axis=1), 0.0
    if design.examples:
        centre, rounding = np.round(centre, design.decimals), 0.5 * 10.0**-design.decimals
    published_sd = published.std(axis=1, ddof=1) if design.known else np.full(repetitions, np.nan)
    sd = measured.std(axis=1, ddof=1)
    error, df = standard_error(sd, design.measured, published_sd, design.published)
    best = Best(sd, design.measured) if design.perhaps_chosen else None
    words = decisions(measured.mean(axis=1) - centre, error, df, rounding, MARGIN, best)
    withheld = withhold & _withheld(design, measured, centre, published_sd)
    words = np.where((words == "differs") & withheld, "cannot tell", words)
    return {word: float(np.mean(words == word)) for word in ("match", "differs", "cannot tell")}


SIZES = [
    *(
        Design(measured, published, sd)
        for sd in (0.0015, 0.003, 0.01)
        for measured, published in ((3, 1), (5, 1), (10, 1), (5, 5), (10, 10))
    ),
    Design(5, 5, 0.1, fall=10.0),
]
ASSUMPTIONS = {
    "five seeds of five checkpoints, nested": Design(5, 5, 0.006, checkpoints=5),
    "the same, half of the variance shared by checkpoints": Design(
        5, 5, 0.006, 5, crossed=0.5, published_crossed=True
    ),
    "the same, shared on the measured side only": Design(5, 5, 0.006, 5, crossed=0.5),
    "the best of four equal settings on both sides": Design(5, 5, 0.006, settings=4),
    "published spread known, the same": Design(5, 10, 0.006, known=True),
    "published spread known, twice ours": Design(5, 10, 0.006, known=True, ratio=2),
    "one published run, 277 examples, printed to a tenth": Design(5, 1, 0.006, examples=277),
    "one published run, spread half of ours": Design(5, 1, 0.006, ratio=0.5),
    "one published run, spread one and a half of ours": Design(5, 1, 0.006, ratio=1.5),
    "five published runs, spread one and a half of ours": Design(5, 5, 0.006, ratio=1.5),
}


COLLAPSES = {
    f"{measured} measured, {published} published runs, {text}": Design(
        measured, published, sd, collapse=0.1, known=known, perhaps_chosen=published == 1
    )
    for sd, text, known in (
        (0.003, "sd 0.3", False),
        (0.006, "sd 0.6", False),
        (0.006, "sd 0.6, published spread known", True),
    )
    for measured, published in ((3, 1), (5, 1), (3, 5), (5, 5), (5, 10), (10, 10), (5, 25))
    if published > 1 or not known
}
"""One run in ten collapses, on either side; it falls by 30 points."""

CHOSEN = {
    f"{measured} measured runs, sd {100 * sd:g}, best of {tried}": Design(
        measured, 1, sd, tried=tried, perhaps_chosen=True
    )
    for sd in (0.0015, 0.003)
    for measured in (3, 5, 10)
    for tried in (1, 3, 10)
}
"""One published score, which is judged as perhaps the best of ten."""


def _line(name: str, design: Design, repetitions: int, truths=TRUTHS) -> str:
    cells = []
    for truth in truths:
        found = rates(
            design, truth, repetitions, np.random.default_rng([int(100 * abs(truth)), int(truth < 0)])
        )
        cells.append(f"{found['match']:.3f} / {found['differs']:.3f}")
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=100_000)
    repetitions = parser.parse_args().repetitions
    for title, rows, truths in (
        (
            "sd of a run [points], measured runs, published runs",
            [(f"{100 * d.sd:g}, {d.measured}, {d.published}", d) for d in SIZES],
            TRUTHS,
        ),
        ("assumption", list(ASSUMPTIONS.items()), TRUTHS),
        ("one run in ten collapses", list(COLLAPSES.items()), SIGNED),
        ("one published score", list(CHOSEN.items()), SIGNED),
    ):
        print(f"| {title} | " + " | ".join(f"{t:g}" for t in truths) + " |\n|" + "---|" * (len(truths) + 1))
        for name, design in rows:
            print(_line(name, design, repetitions, truths))
        print()


if __name__ == "__main__":
    main()
