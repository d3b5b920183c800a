"""Published tables, what is known about each of their figures, and whether measurements agree with them."""

from multibench.reference.catalogue import REFERENCES
from multibench.reference.obstacles import obstacle
from multibench.reference.table import Figure, PublishedCell, Reference, Row, read_reference
from multibench.reference.verdict import (
    ALPHA,
    DEFAULT_MARGIN,
    MATCH_LEVEL,
    Published,
    Verdict,
    in_points,
    judge,
)

__all__ = [
    "ALPHA",
    "DEFAULT_MARGIN",
    "MATCH_LEVEL",
    "REFERENCES",
    "Figure",
    "Published",
    "PublishedCell",
    "Reference",
    "Row",
    "Verdict",
    "in_points",
    "judge",
    "obstacle",
    "read_reference",
]
