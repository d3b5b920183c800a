"""A report's document: its sections in order. A section that has nothing to say is left out."""

from __future__ import annotations

from multibench.reports.findings import Findings
from multibench.reports.page import compared, measured, methods, origin, overview
from multibench.reports.page.document import Document

__all__ = ["SECTIONS", "build_document"]

SECTIONS = (
    overview.summary,
    measured.scores,
    measured.seeds,
    measured.noise,
    compared.comparisons,
    measured.dynamics,
    measured.size,
    compared.selection,
    measured.agreement,
    measured.trouble,
    compared.more_seeds,
    origin.provenance,
    methods.methods,
)


def build_document(findings: Findings, title: str) -> Document:
    """Every section of ``SECTIONS`` that the findings have something for."""
    made = (make(findings) for make in SECTIONS)
    return Document(title, tuple(section for section in made if section is not None))
