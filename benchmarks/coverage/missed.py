"""The cells that miss a limit, each with the reason: named here and nowhere else. Any other miss is a fault."""

from __future__ import annotations

__all__ = ["MISSED", "REASONS", "reasoned"]

REASONS = {
    "narrower before": (
        "The interval before was narrower where seeds hardly vary, and too short where they vary a little: in "
        "normal theory it then covers .931 with 10 seeds. The data hardly tell these cases apart, so that the "
        "level in the second costs width in the first: 14 % with 10 seeds and 7 % with 25 where seeds do not "
        "vary at all, 5 % and 2 % where they vary a little. By this method no limit of 5 % can be kept there."
    ),
    "five seeds": (
        "With five seeds that hardly vary the interval is about 1.33 times as wide as an oracle's in every "
        "metric. The noise of examples is more uncertain in a correlation on 71 examples than in a mean; that "
        "adds the rest."
    ),
}
"""What is behind a miss."""

MISSED: dict[str, str] = {
    "differences: paired, 10 seeds, 277 examples, sd 0.05": "narrower before",
    "differences: paired, 10 seeds, 277 examples, sd 0.3": "narrower before",
    "unequal sides: 10 v 25, 277 examples, sds 0.3 and 0.3": "narrower before",
    "other metrics: f1, unpaired, 10 seeds, 277 examples, accuracy 0.9, positive 0.15": "narrower before",
    "other metrics: spearman, paired, 10 seeds, 100 examples, correlation 0.9": "narrower before",
    "other metrics: spearman, unpaired, 10 seeds, 100 examples, correlation 0.9": "narrower before",
    "other metrics: pearson, paired, 5 seeds, 71 examples, correlation 0.5": "five seeds",
    "other metrics: spearman, paired, 5 seeds, 71 examples, correlation 0.5": "five seeds",
}
"""The reason of each cell that misses, by its name."""


def reasoned(lines: list[str]) -> list[str]:
    """Sentences about misses (name, colon, what is missed) below their reasons; those without one first."""
    found: list[str] = []
    for key, text in {"": "", **REASONS}.items():
        own = [f"- {line}" for line in lines if MISSED.get(line.rsplit(": ", 1)[0], "") == key]
        if own:
            found += [*([text, ""] if text else []), *own, ""]
    return found[:-1]
