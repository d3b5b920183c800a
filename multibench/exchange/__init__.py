"""Predictions of other tools as stored runs, and stored runs in the layout of Google's example predictions."""

from multibench.exchange.google_export import export_google_predictions
from multibench.exchange.google_import import import_google_predictions
from multibench.exchange.importer import Imported
from multibench.exchange.matrix import import_predictions

__all__ = ["Imported", "export_google_predictions", "import_google_predictions", "import_predictions"]
