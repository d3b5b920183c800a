from typing import Any

import pytest
from pydantic import ValidationError

from multibench.errors import SuiteError
from multibench.recipes import SPAN_ONLY, Hyperparameters, expand_grid

NEEDED = {"learning_rate": 2e-5, "batch_size": 32, "epochs": 3}


def test_defaults() -> None:
    setting = Hyperparameters(learning_rate=2e-5, batch_size=32, epochs=3)
    assert setting.model_dump() == {
        "learning_rate": 2e-5, "batch_size": 32, "epochs": 3.0, "max_length": 128, "optimizer": "adamw",
        "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0, "warmup": 0.0,
        "warmup_steps": None, "schedule": "linear", "clip_norm": 1.0, "dropout": None,
        "attention_dropout": None,
        "head_dropout": None, "head_init": "normal", "shuffle_window": None, "drop_last": False,
        "precision": "fp32", "batching": "exact", "doc_stride": 128, "window_overlap": None,
        "max_question_length": 64, "n_best": 20, "max_answer_length": 30, "null_threshold": 0.0,
    }  # fmt: skip


def test_epsilon_follows_the_optimizer_unless_given() -> None:
    assert expand_grid({**NEEDED, "optimizer": "bert_adam"})[0].epsilon == 1e-6
    assert expand_grid({**NEEDED, "optimizer": "bert_adam", "epsilon": 1e-7})[0].epsilon == 1e-7
    both = expand_grid({**NEEDED, "optimizer": ["adamw", "bert_adam"]})
    assert [setting.epsilon for setting in both] == [1e-8, 1e-6]


def test_windows_are_placed_by_their_distance_or_by_their_overlap() -> None:
    (setting,) = expand_grid({**NEEDED, "window_overlap": 128})
    assert (setting.doc_stride, setting.window_overlap) == (None, 128)
    assert Hyperparameters.model_validate(setting.model_dump()) == setting
    both = {**NEEDED, "window_overlap": 128, "doc_stride": 64}
    with pytest.raises(
        SuiteError, match=r"In my suite, doc_stride and window_overlap .* both are given; give"
    ):
        expand_grid(both, where="my suite")
    with pytest.raises(SuiteError, match="neither is given"):
        expand_grid({**NEEDED, "doc_stride": None})


@pytest.mark.parametrize("name", Hyperparameters.model_fields)
def test_every_hyperparameter_is_described_in_a_line(name: str) -> None:
    description = Hyperparameters.model_fields[name].description
    assert description
    assert "\n" not in description


def test_span_only_names_are_hyperparameters() -> None:
    assert set(SPAN_ONLY) < set(Hyperparameters.model_fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0), ("learning_rate", float("nan")), ("learning_rate", "fast"), ("batch_size", 0),
        ("batch_size", 1.5), ("epochs", 0), ("epochs", float("inf")), ("max_length", 3), ("warmup", 1.0),
        ("warmup", -0.1), ("clip_norm", 0), ("dropout", 1.0), ("optimizer", "lamb"), ("schedule", "cosine"),
        ("precision", "fp8"), ("shuffle_window", 0), ("beta2", 1.0), ("epsilon", 0), ("warmup_steps", -1),
    ],
)  # fmt: skip
def test_illegal_values_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(SuiteError, match=f"{name} in my suite: "):
        expand_grid({**NEEDED, name: value}, where="my suite")
    with pytest.raises(ValidationError):
        Hyperparameters.model_validate({**NEEDED, name: value})


def test_an_unknown_name_gets_the_nearest_legal_one() -> None:
    with pytest.raises(SuiteError, match=r"'learing_rate' in my suite.*did you mean 'learning_rate'\?"):
        expand_grid({**NEEDED, "learing_rate": 1e-5}, where="my suite")
    with pytest.raises(SuiteError, match="known: learning_rate, batch_size"):
        expand_grid({**NEEDED, "zzz": 1})


def test_a_missing_value_says_what_it_is() -> None:
    with pytest.raises(SuiteError, match=r"gives no epochs \(passes over"):
        expand_grid({"learning_rate": 1e-5, "batch_size": 8})


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    assert expand_grid({**NEEDED, "learning_rate": "2e-5"})[0].learning_rate == 2e-5


def test_a_grid_expands_in_the_order_of_the_fields_whatever_the_order_given() -> None:
    grid = expand_grid({"epochs": [2, 3], "batch_size": [8, 4], "learning_rate": 1e-5})
    assert [(setting.batch_size, setting.epochs) for setting in grid] == [(8, 2), (8, 3), (4, 2), (4, 3)]


@pytest.mark.parametrize(
    ("values", "message"),
    [({"epochs": []}, "epochs in the recipe is an empty list"), ({"epochs": [3, 3.0]}, "twice")],
)
def test_useless_lists_are_refused(values: Any, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        expand_grid({**NEEDED, **values})


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        expand_grid(NEEDED)[0].epochs = 4  # type: ignore[misc]
