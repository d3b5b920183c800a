"""Suite files: YAML in, a validated ``Suite`` out."""

from multibench.suite.schema import CheckpointSelection, RecipeChoice, Suite, load_suite

__all__ = ["CheckpointSelection", "RecipeChoice", "Suite", "load_suite"]
