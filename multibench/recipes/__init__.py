"""Recipes: published fine-tuning hyperparameters as data, each value with its status and source."""

from multibench.recipes.hyperparameters import SPAN_ONLY, Hyperparameters, Precision, expand_grid
from multibench.recipes.recipe import (
    RECIPES,
    SELECTION_RULES,
    STATUSES,
    Base,
    Fact,
    Recipe,
    Selection,
    read_recipe,
)

__all__ = [
    "RECIPES",
    "SELECTION_RULES",
    "SPAN_ONLY",
    "STATUSES",
    "Base",
    "Fact",
    "Hyperparameters",
    "Precision",
    "Recipe",
    "Selection",
    "expand_grid",
    "read_recipe",
]
