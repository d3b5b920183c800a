"""Suite files: YAML in, a validated ``Suite`` out."""

from multibench.suite.modules import ModuleChoice
from multibench.suite.schema import CheckpointSelection, RecipeChoice, Suite, load_suite
from multibench.suite.shipped import find_suite, is_suite, shipped_suites
from multibench.suite.starter import starter_suite, write_starter_suite

__all__ = [
    "CheckpointSelection",
    "ModuleChoice",
    "RecipeChoice",
    "Suite",
    "find_suite",
    "is_suite",
    "load_suite",
    "shipped_suites",
    "starter_suite",
    "write_starter_suite",
]
