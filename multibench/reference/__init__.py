"""Published tables, what is known about each of their figures, and whether measurements agree with them."""

from multibench.reference.catalogue import REFERENCES
from multibench.reference.collapse import ConstantAnswer, constant_answer
from multibench.reference.margins import DEFAULT_MARGIN, MARGINS, margin_of
from multibench.reference.obstacles import obstacle
from multibench.reference.table import Figure, PublishedCell, Reference, Row, read_reference
from multibench.reference.verdict import (
    ALPHA,
    MATCH_LEVEL,
    TRIED,
    Measured,
    Published,
    Verdict,
    in_points,
    judge,
)

__all__ = [
    "ALPHA",
    "DEFAULT_MARGIN",
    "MARGINS",
    "MATCH_LEVEL",
    "REFERENCES",
    "TRIED",
    "ConstantAnswer",
    "Figure",
    "Measured",
    "Published",
    "PublishedCell",
    "Reference",
    "Row",
    "Verdict",
    "constant_answer",
    "in_points",
    "judge",
    "margin_of",
    "obstacle",
    "read_reference",
]
