"""A suite file to start from, for any family of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from multibench.checkpoints import FAMILIES, select
from multibench.errors import StorageError
from multibench.recipes import RECIPES, SELECTION_RULES, Recipe
from multibench.suite.schema import RecipeChoice
from multibench.tasks import TASKS

__all__ = ["starter_suite", "write_starter_suite"]

_SHOWN_IDS = 8
_OFTEN_CHANGED = ("learning_rate", "batch_size", "epochs")


def starter_suite(family: str) -> str:
    """A commented suite file: the checkpoints of ``family`` with a recipe that was made for them.

    What can be chosen besides stands in comments. Raises ``UnknownNameError`` for an unknown family.
    """
    facts = FAMILIES.get(family)
    recipe = _recipe_for(family)
    lines = [
        f"# {facts.title}: {facts.description}.",
        "# What would run, and what it costs: multibench plan FILE",
        f"name: my_{family}",
        "checkpoints:",
        *_checkpoints(family),
        _tasks(recipe),
        *_recipe(recipe),
        _seeds(recipe),
        "# finetuning_seed_design: shared   # all checkpoints have the same; by default each pretraining seed its own",
        "# keep_weights: last   # keeps the fine-tuned models, for evaluations to come, and for transformers",
        "# Checkpoints that were fine-tuned elsewhere are applied as they are, and nothing is trained, with",
        "#   evaluate_only: true",
        "# Where they do not name the classes, the order of the outputs is found by accuracy, or stated:",
        "#   class_order: {sst2: [negative, positive]}",
    ]
    return "\n".join(lines) + "\n"


def write_starter_suite(family: str, path: Path) -> None:
    """Write ``starter_suite(family)`` to ``path``, a new file. Raises ``StorageError`` if that cannot be."""
    text = starter_suite(family)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise StorageError(f"{path} exists already, and is left as it is; give another name.") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}; give another place.") from error


def _recipe_for(family: str) -> Recipe:
    made_for_it = (recipe for recipe in RECIPES if family in recipe.families)
    return next(made_for_it, RECIPES.get(RecipeChoice().base))


def _checkpoints(family: str) -> Iterator[str]:
    chosen = select(family)
    every = select(family, steps="all")
    seeds = sorted({c.pretraining_seed for c in every if c.pretraining_seed is not None})
    steps = sorted({c.step for c in every if c.step is not None})
    yield f"  - family: {family}   # {len(chosen)} checkpoints{', each at its last step' if len(steps) > 1 else ''}"
    if len(seeds) > 1:
        yield f"    # pretraining_seeds: {seeds[0]}-{seeds[1]}   # of {seeds[0]}-{seeds[-1]}"
    if len(steps) > 1:
        yield f"    # steps: [{steps[0]}, {steps[-1]}]   # of {len(steps)}; or all"
    yield f"  # - ids:   # or single ones; see multibench list checkpoints --family {family}"
    yield from (f"  #     - {checkpoint.id}" for checkpoint in chosen[:_SHOWN_IDS])
    yield "  # - path: my/own/folder   # or weights of your own"


def _tasks(recipe: Recipe) -> str:
    known = [name for name in recipe.tasks if name in TASKS]
    return f"tasks: [{', '.join(known)}]   # those that the recipe speaks of; see multibench list tasks"


def _recipe(recipe: Recipe) -> Iterator[str]:
    yield "recipe:"
    yield f"  base: {recipe.name}   # {recipe.title}; see multibench show recipe {recipe.name}"
    for name in _OFTEN_CHANGED:
        of_tasks = list(dict.fromkeys(recipe.facts(task)[name].value for task in recipe.tasks))
        values = of_tasks[0] if isinstance(of_tasks[0], tuple) else (of_tasks[0],)
        said = "one for each task" if len(of_tasks) > 1 else ", ".join(map(_number, values))
        yield f"  # {name}: {_number(values[0])}   # instead of the recipe's: {said}"
    others = [rule for rule in SELECTION_RULES if rule != recipe.selection.rule]
    yield f"  # selection: {recipe.selection.rule}   # or {', '.join(others)}"
    yield "  # held_out: 0.1   # choose on a tenth of train, kept out of training, instead of on dev"


def _number(value: float) -> str:
    return f"{value:g}".replace("e-0", "e-")


def _seeds(recipe: Recipe) -> str:
    published = recipe.finetuning_seeds.value
    text = "how many were published is not known" if published is None else f"published: {published}"
    return f"finetuning_seeds: 0-4   # {text}"
