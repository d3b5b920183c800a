"""What was computed and how, in words, and what to cite for it."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from multibench.reports.cells import Name, Quantity, Sentence, level_text, say
from multibench.reports.findings import Findings
from multibench.reports.page.document import Section

__all__ = ["METHODS", "citations", "methods"]

METHODS = {
    "comparisons": (
        "Differences have intervals by the same method as scores, over the random factors of both sides. p-values are "
        "two-sided and come from the same inversion as the interval. Of several comparisons, simultaneous intervals "
        "and adjusted p-values come from the joint distribution of their errors (single-step minimum p).",
        ("surrogate", "min-p"),
    ),
    "variance": (
        "The parts of a mean's squared standard error equate mean squares to their expectations; bounds of shares and "
        "spreads are quantiles of the same surrogate distribution as the intervals.",
        ("surrogate",),
    ),
    "dynamics": (
        "Bands over steps hold jointly. A step is called settled by two one-sided tests against the last "
        "step, for it and for every later step (an intersection-union test).",
        ("equivalence",),
    ),
    "best_of_n": (
        "The expected best of n runs is the unbiased estimator over subsets; the median best has distribution-free "
        "bounds by order statistics.",
        ("best of n",),
    ),
    "agreement": (
        "Intervals of agreement are over pretraining seeds and examples; kappa corrects for the agreement "
        "that class shares bring by chance.",
        ("kappa",),
    ),
    "example_differences": (
        "Examples on which two groups differ are found by exact tests over exchanges of pretraining seeds, with a "
        "bound on the false discovery rate.",
        ("false discovery rate",),
    ),
    "trouble": ("Shares of collapsed runs have exact binomial intervals.", ("binomial",)),
}
"""For each analysis that a report may have: how it was done, and the subjects of ``citations.toml`` behind it."""


def methods(findings: Findings) -> Section:
    """Sentences on all that this report has, with BibTeX of methods, families and tasks."""
    had = [METHODS[name] for name in METHODS if getattr(findings, name)]
    said = (_scores(findings), *(say(text, _cited(subjects)) for text, subjects in had))
    used = {"multibootstrap", *(subject for _, subjects in had for subject in subjects)}
    used |= {str(run.fields["family"]) for run in findings.results.stored}
    used |= {evaluation.partition(".")[0] for evaluation in findings.results.evaluations()}
    entries = [entry["bibtex"].strip() for entry in citations().values() if used & set(entry["for"])]
    return Section("methods", "Methods, and what to cite", said, code=("\n\n".join(entries),))


def _scores(findings: Findings) -> Sentence:
    options = findings.options
    return say(
        "Scores are means over pretraining seeds, runs of one seed averaged first (medians where the "
        "selection rule says so). Their intervals (",
        Quantity(options.confidence, level_text(options.confidence), "confidence level"),
        ") are by surrogate mean squares over all random factors that the runs have: pretraining seeds, fine-tuning "
        "seeds where checkpoints share them, and examples or clusters of examples. Bounds of shares are score bounds, "
        "exact where fewer than five answers are right or wrong; correlations go through Fisher's z. Medians have the "
        "percentile multi-bootstrap. A setting that was chosen on the split it is reported for is scored on a seed and "
        "a fifth of the examples that the choice did not see, each in turn.",
        _cited(("surrogate", "multibootstrap")),
    )


def _cited(subjects: tuple[str, ...]) -> Name:
    found = [entry["short"] for entry in citations().values() if set(entry["for"]) & set(subjects)]
    return Name(f" ({'; '.join(found)})")


@cache
def citations() -> dict[str, dict[str, Any]]:
    """``citations.toml``: for each key ``short``, ``bibtex`` and what it is cited ``for``."""
    text = files("multibench.reports.page").joinpath("citations.toml").read_text("utf-8")
    return tomllib.loads(text)
