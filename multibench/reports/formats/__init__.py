"""Formats of one table, a module each with one function from ``Table`` to text."""

from multibench.reports.formats.comma import csv_text
from multibench.reports.formats.latex import latex_text
from multibench.reports.formats.markdown import markdown_text
from multibench.reports.formats.plain import json_text, plain_text

__all__ = ["csv_text", "json_text", "latex_text", "markdown_text", "plain_text"]
