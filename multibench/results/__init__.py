"""Stored runs: identity, provenance, the atomic store, and reading them back as tables and arrays."""

from multibench.results.frame import PredictionTensor, Results, attach_clusters
from multibench.results.identity import RunIdentity
from multibench.results.selection import Chosen, select_settings
from multibench.results.store import Predictions, RunStore

__all__ = [
    "Chosen",
    "PredictionTensor",
    "Predictions",
    "Results",
    "RunIdentity",
    "RunStore",
    "attach_clusters",
    "select_settings",
]
