"""The hyperparameters of fine-tuning: every name, legal value and default, in one place."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from multibench.errors import SuiteError
from multibench.registry import nearest_or_all

__all__ = ["SPAN_ONLY", "Hyperparameters", "Precision", "expand_grid"]

Precision: TypeAlias = Literal["fp32", "tf32", "bf16", "fp16"]

# Hyperparameters that only tasks with answer spans (SQuAD) have a use for.
SPAN_ONLY = (
    "doc_stride",
    "window_overlap",
    "max_question_length",
    "n_best",
    "max_answer_length",
    "null_threshold",
)


class Hyperparameters(BaseModel):
    """One setting of everything that a recipe may decide. Frozen; an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    learning_rate: float = Field(gt=0, description="peak learning rate")
    batch_size: int = Field(ge=1, description="training examples per optimisation step, over all devices")
    epochs: float = Field(gt=0, description="passes over the training data; a fraction ends inside a pass")
    max_length: int = Field(
        default=128, ge=4, description="longest input in WordPieces, special tokens included; the rest is cut"
    )
    optimizer: Literal["adamw", "bert_adam"] = Field(
        default="adamw",
        description="adamw: Adam with decoupled weight decay; bert_adam: the same without bias correction",
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="decay of the mean of the gradients")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="decay of the mean of the squared gradients")
    epsilon: float = Field(
        default=1e-8, gt=0, description="added to the denominator of Adam; 1e-6 if not given for bert_adam"
    )
    weight_decay: float = Field(
        default=0.0, ge=0, description="decoupled weight decay, not applied to biases and LayerNorm"
    )
    warmup: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of all steps in which the learning rate rises linearly from 0",
    )
    warmup_steps: int | None = Field(
        default=None, ge=0, description="number of warm-up steps; if given, it overrides warmup"
    )
    schedule: Literal["linear", "linear_from_start", "square_root", "constant"] = Field(
        default="linear",
        description="learning rate after the warm-up: linear from the peak to 0 at the last step; linear_from_start: "
        "the line that fell from the peak at step 0, as in Google's code; square_root: the peak times the root of "
        "the share of steps left, as in NeMo; or constant",
    )
    clip_norm: float | None = Field(
        default=1.0, gt=0, description="largest global norm of the gradients; null: no clipping"
    )
    dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="dropout of hidden states; null: as in the checkpoint's configuration",
    )
    attention_dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="dropout of attention weights; null: as in the checkpoint's configuration",
    )
    head_dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="dropout before the task head; null: as in the checkpoint's configuration",
    )
    head_init: Literal["normal", "truncated_normal"] = Field(
        default="normal",
        description="distribution of the new head's weights, with the configuration's initializer_range as "
        "standard deviation; biases are 0",
    )
    shuffle_window: int | None = Field(
        default=None,
        ge=1,
        description="records in the buffer that examples are drawn from (Google's code: 100); null: a full "
        "permutation each epoch",
    )
    drop_last: bool = Field(default=False, description="leave out an incomplete last batch")
    precision: Precision = Field(
        default="fp32",
        description="arithmetic of forward and backward pass; weights, their gradients and the optimizer are fp32. "
        "fp16 scales losses; tf32 needs a GPU",
    )
    batching: Literal["exact", "bucketed"] = Field(
        default="exact",
        description="exact: each step holds the examples that the shuffle gives it, and their mean loss; bucketed: "
        "examples of like lengths make up a step, which saves padding and changes what a step sees",
    )
    doc_stride: int | None = Field(
        default=128,
        ge=1,
        description="WordPieces between the starts of two windows of a context; null if window_overlap is given",
    )
    window_overlap: int | None = Field(
        default=None,
        ge=0,
        description="WordPieces that two windows of a context share (run_qa.py's doc_stride), instead of doc_stride",
    )
    max_question_length: int = Field(
        default=64, ge=1, description="longest question in WordPieces; the rest is cut"
    )
    n_best: int = Field(default=20, ge=1, description="start and end positions considered for an answer")
    max_answer_length: int = Field(default=30, ge=1, description="longest answer in WordPieces")
    null_threshold: float = Field(
        default=0.0, description="no answer, if its score exceeds that of the best answer by more than this"
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_that_follow_others(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        follow: dict[str, Any] = {}
        if data.get("optimizer") == "bert_adam":
            follow["epsilon"] = 1e-6
        if data.get("window_overlap") is not None:
            follow["doc_stride"] = None
        return {**follow, **data}

    @model_validator(mode="after")
    def _buckets_are_filled_by_whole_epochs(self) -> Hyperparameters:
        if self.batching == "bucketed" and self.shuffle_window is not None:
            raise ValueError(
                "batching: bucketed sorts whole epochs, and shuffle_window streams examples across them; "
                "give one of the two"
            )
        return self

    @model_validator(mode="after")
    def _windows_are_placed_in_one_way(self) -> Hyperparameters:
        if (self.doc_stride is None) == (self.window_overlap is None):
            given = "neither is given" if self.doc_stride is None else "both are given"
            raise ValueError(
                f"doc_stride and window_overlap both say where windows start, and {given}; "
                "give one of them, and null for the other"
            )
        return self


MOST_SETTINGS = 10_000
"""How many settings a grid may have."""


def expand_grid(values: Mapping[str, Any], where: str = "the recipe") -> tuple[Hyperparameters, ...]:
    """Every combination of ``values``, each of which is one value or a list of them.

    The order is that of the fields of ``Hyperparameters`` (the first varies slowest), and inside a
    list that of the list. Raises ``SuiteError``, naming ``where``, for an unknown name (with the
    nearest legal one), an illegal value, an empty list or a value that is listed twice.
    """
    legal = list(Hyperparameters.model_fields)
    for name, value in values.items():
        if name not in legal:
            hint = nearest_or_all(str(name), legal)
            raise SuiteError(f"'{name}' in {where} is no hyperparameter; {hint}")
        if value == []:
            raise SuiteError(f"{name} in {where} is an empty list; give one value or several.")
    names = [name for name in legal if name in values]
    grid = [
        list(values[name]) if isinstance(values[name], list | tuple) else [values[name]] for name in names
    ]
    count = math.prod(len(values) for values in grid)
    if count > MOST_SETTINGS:
        raise SuiteError(
            f"The grid of {where} has {count:,} settings, and up to {MOST_SETTINGS:,} are planned; give fewer "
            "values, or several suites."
        )
    settings = []
    for combination in itertools.product(*grid):
        try:
            settings.append(Hyperparameters.model_validate(dict(zip(names, combination, strict=True))))
        except ValidationError as error:
            raise SuiteError(_sentence(error, where)) from error
    if len(set(settings)) < len(settings):
        raise SuiteError(f"{where} lists a value twice; each setting would be run twice.")
    return tuple(settings)


def _sentence(error: ValidationError, where: str) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{where} gives no {name} ({Hyperparameters.model_fields[name].description}); add it."
    if not name:  # no single value is wrong, but how several go together
        return f"In {where}, {first['msg'].removeprefix('Value error, ')}."
    return f"{name} in {where}: {first['msg'][0].lower()}{first['msg'][1:]}, not {first['input']!r}."
