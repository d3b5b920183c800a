import json
from pathlib import Path

import pytest

from multibench.checkpoints import FAMILIES
from multibench.errors import SuiteError, UnknownNameError
from multibench.recipes import (
    RECIPES,
    SELECTION_RULES,
    STATUSES,
    Hyperparameters,
    Recipe,
    read_recipe,
    recipe,
)
from multibench.registry import Registry
from tests.support.command import multibench

NAMES = {
    "bert_glue",
    "bert_glue_a3",
    "bert_squad_v1",
    "bert_squad_v2",
    "bert_readme_mrpc",
    "bert_readme_squad",
    "bert_readme_squad_large",
    "miniatures_glue",
    "multiberts_glue",
    "multiberts_squad",
    "distilbert_glue",
    "distilbert_squad",
    "distilbert_sst2_card",
    "nemo_glue",
    "nemo_squad",
    "megatron_nemo_glue",
    "megatron_glue",
    "megatron_squad",
    "dle_squad",
    "dle_squad_dgx",
    "dle_glue",
    "hf_glue",
    "hf_squad",
    "wwm_squad",
    "modern_glue",
}


def test_the_recipes_are_there() -> None:
    assert set(RECIPES.names()) >= NAMES


@pytest.mark.parametrize("entry", RECIPES, ids=lambda r: r.name)
def test_every_recipe(entry: Recipe) -> None:
    assert RECIPES.get(entry.name) is entry
    assert all(text.strip() for text in (entry.title, entry.description, entry.paper, *entry.notes))
    assert entry.selection.rule in SELECTION_RULES
    assert entry.selection.source.strip()
    seeds = entry.finetuning_seeds
    assert (seeds.value is None) == (seeds.status == "unknown")
    assert seeds.source.strip()
    assert set(entry.families) <= set(FAMILIES.names())
    if entry.base is not None:
        assert entry.base.recipe in RECIPES
    for task in entry.tasks:
        facts = entry.facts(task)
        settings = entry.settings(task)
        grid = 1
        for name, fact in facts.items():
            assert fact.status in STATUSES
            assert fact.source.strip()
            values = fact.value if isinstance(fact.value, tuple) else (fact.value,)
            grid *= len(values)
            seen = list(dict.fromkeys(getattr(setting, name) for setting in settings))
            assert seen == list(values)
        assert len(settings) == len(set(settings)) == grid
        assert list(facts) == [name for name in Hyperparameters.model_fields if name in facts]
        assert set(entry.not_stated(task)) == {
            name for name, fact in facts.items() if fact.status != "stated"
        }
    json.dumps(entry.to_dict())


def only(name: str, task: str) -> Hyperparameters:
    (setting,) = RECIPES.get(name).settings(task)
    return setting


# Figures written out from the papers' tables: recipe, task, batch, learning rate, epochs, length.
SINGLE = [
    ("bert_squad_v1", "squad_v1", 32, 5e-5, 3, 384),
    ("bert_squad_v2", "squad_v2", 48, 5e-5, 2, 384),
    ("bert_readme_mrpc", "mrpc", 32, 2e-5, 3, 128),
    ("bert_readme_squad", "squad_v1", 12, 3e-5, 2, 384),
    ("bert_readme_squad_large", "squad_v1", 24, 3e-5, 2, 384),
    ("bert_readme_squad_large", "squad_v2", 24, 3e-5, 2, 384),
    ("multiberts_squad", "squad_v1", 48, 5e-5, 2, 384),
    ("multiberts_squad", "squad_v2", 48, 5e-5, 2, 384),
    ("distilbert_squad", "squad_v1", 8, 5e-5, 3, 384),
    ("distilbert_sst2_card", "sst2", 32, 1e-5, 3, 128),
    ("nemo_glue", "mnli", 32, 5e-5, 3, 128),
    ("nemo_squad", "squad_v2", 24, 3e-5, 2, 384),
    ("megatron_nemo_glue", "cola", 64, 2e-5, 12, 128),
    ("megatron_nemo_glue", "sst2", 64, 2e-5, 12, 128),
    ("megatron_nemo_glue", "mrpc", 16, 2e-5, 10, 128),
    ("megatron_nemo_glue", "stsb", 64, 3e-5, 12, 128),
    ("megatron_nemo_glue", "qqp", 64, 1e-5, 12, 128),
    ("megatron_nemo_glue", "mnli", 128, 1e-5, 5, 128),
    ("megatron_nemo_glue", "qnli", 64, 2e-5, 5, 128),
    ("megatron_nemo_glue", "rte", 64, 3e-5, 12, 128),
    ("megatron_glue", "mnli", 128, 1e-5, 10, 512),
    ("megatron_glue", "qqp", 128, 5e-5, 12, 512),
    ("megatron_squad", "squad_v1", 64, 3e-5, 2, 384),
    ("megatron_squad", "squad_v2", 48, 3e-5, 2, 384),
    ("dle_squad", "squad_v1", 32, 3e-5, 2, 384),
    ("dle_squad_dgx", "squad_v1", 256, 4.6e-5, 2, 384),
    ("dle_glue", "mrpc", 128, 1.8e-5, 3, 128),
    ("dle_glue", "sst2", 1024, 1e-5, 3, 128),
    ("hf_glue", "cola", 32, 2e-5, 3, 128),
    ("hf_glue", "mrpc", 32, 2e-5, 5, 128),
    ("hf_glue", "wnli", 32, 2e-5, 5, 128),
    ("hf_squad", "squad_v1", 12, 3e-5, 2, 384),
    ("wwm_squad", "squad_v1", 24, 3e-5, 2, 384),
    ("modern_glue", "rte", 32, 2e-5, 3, 128),
]


@pytest.mark.parametrize(("name", "task", "batch", "rate", "epochs", "length"), SINGLE)
def test_single_settings(name: str, task: str, batch: int, rate: float, epochs: int, length: int) -> None:
    setting = only(name, task)
    assert (setting.batch_size, setting.learning_rate) == (batch, rate)
    assert (setting.epochs, setting.max_length) == (epochs, length)


@pytest.mark.parametrize(
    ("name", "batches", "rates", "epochs"),
    [
        ("bert_glue", [32], [5e-5, 4e-5, 3e-5, 2e-5], [3]),
        ("bert_glue_a3", [16, 32], [5e-5, 3e-5, 2e-5], [2, 3, 4]),
        ("miniatures_glue", [8, 16, 32, 64, 128], [3e-4, 1e-4, 5e-5, 3e-5], [4]),
        ("multiberts_glue", [32], [2e-5, 3e-5, 4e-5, 5e-5], [3]),
    ],
)
@pytest.mark.parametrize("task", ["mnli", "rte"])
def test_grids(name: str, task: str, batches: list[int], rates: list[float], epochs: list[int]) -> None:
    settings = RECIPES.get(name).settings(task)
    wanted = [(rate, batch, epoch) for rate in rates for batch in batches for epoch in epochs]
    assert [(s.learning_rate, s.batch_size, s.epochs) for s in settings] == wanted


@pytest.mark.parametrize("name", ["bert_glue", "bert_glue_a3", "miniatures_glue", "multiberts_glue"])
def test_googles_code(name: str) -> None:
    for s in RECIPES.get(name).settings("mrpc"):
        assert (s.optimizer, s.epsilon, s.weight_decay, s.warmup, s.clip_norm) == (
            "bert_adam",
            1e-6,
            0.01,
            0.1,
            1.0,
        )
        assert (s.head_init, s.shuffle_window, s.drop_last, s.dropout) == ("truncated_normal", 100, True, 0.1)


def test_hugging_face_differs_from_google() -> None:
    s = only("hf_glue", "mrpc")
    assert (s.optimizer, s.epsilon, s.weight_decay, s.warmup, s.clip_norm) == ("adamw", 1e-8, 0.0, 0.0, 1.0)
    assert (s.shuffle_window, s.drop_last) == (None, False)


# Recipe -> distance of windows, overlap, longest question. run_qa.py alone counts the overlap, and cuts no question.
WINDOWS = {
    "bert_squad_v1": (128, None, 64),
    "bert_squad_v2": (128, None, 64),
    "bert_readme_squad": (128, None, 64),
    "multiberts_squad": (128, None, 64),
    "megatron_squad": (128, None, 64),
    "nemo_squad": (128, None, 64),
    "dle_squad": (128, None, 64),
    "distilbert_squad": (128, None, 64),
    "wwm_squad": (128, None, 64),
    "hf_squad": (None, 128, 384),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_and_answers_of_span_recipes(name: str) -> None:
    for task in RECIPES.get(name).tasks:
        s = only(name, task)
        assert (s.doc_stride, s.window_overlap, s.max_question_length) == WINDOWS[name]
        assert (s.n_best, s.max_answer_length, s.null_threshold) == (20, 30, 0.0)


def test_googles_code_on_spans_is_the_same_but_for_the_shuffle_and_the_head() -> None:
    for name in ("bert_squad_v1", "bert_squad_v2", "multiberts_squad"):
        facts = RECIPES.get(name).facts("squad_v2")
        glue = RECIPES.get("bert_glue").facts("mrpc")
        common = set(glue) - {"learning_rate", "batch_size", "epochs", "max_length"}
        differ = {n for n in common if facts[n].value != glue[n].value}
        assert differ == {"shuffle_window", "head_dropout"}
        assert "12345" in str(facts["shuffle_window"].published)


def test_nemo_anneals_by_the_root_on_spans_and_linearly_on_glue() -> None:
    spans, glue = only("nemo_squad", "squad_v1"), only("nemo_glue", "cola")
    assert (spans.schedule, spans.warmup, spans.optimizer) == ("square_root", 0.0, "adamw")
    assert (glue.schedule, glue.warmup, glue.optimizer) == ("linear", 0.1, "adamw")


def test_other_figures() -> None:
    assert only("dle_squad", "squad_v1").warmup == 0.1
    assert only("dle_squad_dgx", "squad_v1").warmup == 0.2
    assert only("distilbert_sst2_card", "sst2").warmup_steps == 600
    assert only("dle_glue", "mrpc").warmup == 0.3
    assert only("megatron_glue", "mnli").warmup == 0.065
    assert only("megatron_glue", "mnli").weight_decay == 0.1
    assert only("nemo_glue", "cola").clip_norm is None
    ours = only("modern_glue", "cola")
    assert (ours.optimizer, ours.weight_decay, ours.warmup, ours.clip_norm) == ("adamw", 0.01, 0.1, 1.0)
    assert RECIPES.get("modern_glue").not_stated("cola") == {}
    assert "no published" in RECIPES.get("modern_glue").notes[0]


@pytest.mark.parametrize(
    ("name", "rule", "seeds"),
    [
        ("bert_glue", "best_dev", None),
        ("multiberts_glue", "best_mean_dev", 5),
        ("multiberts_squad", "none", 5),
        ("distilbert_glue", "median", 5),
        ("megatron_nemo_glue", "mean", 3),
        ("megatron_glue", "median", 5),
        ("dle_glue", "best_dev", 10),
        ("hf_glue", "none", 1),
    ],
)
def test_selection_and_seeds(name: str, rule: str, seeds: int | None) -> None:
    entry = RECIPES.get(name)
    assert (entry.selection.rule, entry.finetuning_seeds.value) == (rule, seeds)


def test_statuses_say_what_is_not_the_papers_own() -> None:
    bert = RECIPES.get("bert_glue").facts("mnli")
    assert bert["learning_rate"].status == "stated"
    assert bert["optimizer"].status == "code_default"
    assert bert["precision"].status == "unknown"
    multiberts = RECIPES.get("multiberts_glue")
    assert multiberts.facts("mnli")["learning_rate"].status == "stated"
    assert multiberts.facts("rte")["learning_rate"].status == "inferred"
    assert multiberts.facts("mnli")["batch_size"].status == "inferred"
    assert multiberts.facts("mnli")["weight_decay"].status == "inferred"
    distilbert = RECIPES.get("distilbert_glue")
    assert {fact.status for fact in distilbert.facts("mrpc").values()} == {"unknown"}
    assert distilbert.facts("mrpc")["epochs"].value == 5


def test_what_cannot_be_run_here_says_what_was_published() -> None:
    assert RECIPES.get("nemo_squad").facts("squad_v1")["precision"].published == "16 bit, amp level O1"
    for entry in RECIPES:
        for task in entry.tasks:
            assert all(
                f.status != "stated" or "GPU" in f.published
                for f in entry.facts(task).values()
                if f.published
            )


def test_span_hyperparameters_are_left_out_where_nobody_speaks_of_them() -> None:
    assert "doc_stride" not in RECIPES.get("bert_glue").facts("rte")
    assert RECIPES.get("bert_squad_v2").facts("squad_v2")["doc_stride"].value == 128


def test_in_full_each_task_has_every_value_with_its_status() -> None:
    full = RECIPES.get("hf_glue").in_full()
    assert list(full) == ["cola, sst2, stsb, qqp, mnli, qnli, rte", "mrpc, wnli"]
    assert {key: entry["epochs"]["value"] for key, entry in full.items()} == dict(
        zip(full, (3, 5), strict=True)
    )
    squad = RECIPES.get("multiberts_squad").in_full()["squad_v2"]
    assert squad["learning_rate"]["status"] == "stated"
    assert squad["optimizer"] == RECIPES.get("multiberts_squad").facts("squad_v2")["optimizer"].to_dict()
    shown = json.loads(multibench("show", "recipe", "multiberts_squad", "--json").out)
    assert shown["in_full"]["squad_v2"] == squad


# --- changes ---


def test_changes_replace_values_and_grids() -> None:
    entry = RECIPES.get("bert_glue")
    settings = entry.settings("rte", {"learning_rate": 1e-5, "epochs": [1, 2]})
    assert [(s.learning_rate, s.epochs) for s in settings] == [(1e-5, 1), (1e-5, 2)]
    assert settings[0].optimizer == "bert_adam"


def test_changes_may_fill_what_the_recipe_lacks() -> None:
    entry = RECIPES.get("dle_glue")
    with pytest.raises(
        SuiteError, match="gives no learning_rate for the task 'rte'; it speaks of mrpc, sst2"
    ):
        entry.settings("rte")
    (setting,) = entry.settings("rte", {"learning_rate": 1e-5, "batch_size": 16})
    assert (setting.learning_rate, setting.batch_size, setting.epochs) == (1e-5, 16, 3)


def test_epsilon_follows_a_changed_optimizer_where_the_recipe_says_nothing() -> None:
    (setting,) = RECIPES.get("megatron_nemo_glue").settings("rte", {"optimizer": "bert_adam"})
    assert setting.epsilon == 1e-6


def test_unknown_changes_and_recipes() -> None:
    with pytest.raises(SuiteError, match="did you mean 'epochs'"):
        RECIPES.get("bert_glue").settings("rte", {"epoch": 3})
    with pytest.raises(UnknownNameError, match="multiberts_glue"):
        RECIPES.get("multibert_glue")


# --- recipe files ---

FILE = """
name = "mine"
title = "T"
description = "D"
paper = "P"
tasks = ["rte"]
selection = { rule = "none", status = "stated", source = "S" }
finetuning_seeds = { value = 3, status = "stated", source = "S" }
[hyperparameters]
learning_rate = { value = [1e-5, 2e-5], status = "stated", source = "S" }
batch_size = { value = 8, status = "stated", source = "S" }
epochs = { value = 2, status = "stated", source = "S" }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    entry = read_recipe(write(tmp_path, FILE))
    assert [s.learning_rate for s in entry.settings("rte")] == [1e-5, 2e-5]
    assert len(entry.settings("cola")) == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs", "epoch", "'epoch' is no hyperparameter; did you mean 'epochs'"),
        ('source = "S" }\n[', 'source = "" }\n[', "finetuning_seeds.source"),
        ('batch_size = { value = 8, status = "stated", ', "batch_size = { value = 8, ", "batch_size.status"),
        ('rule = "none"', 'rule = "luck"', "selection.rule"),
        ('status = "stated"', 'status = "sure"', "status"),
        ('title = "T"', 'titel = "T"', "title"),
        ('tasks = ["rte"]', "tasks = []", "tasks"),
        ("name =", "name", "not valid TOML"),
    ],
)
def test_a_bad_recipe_file_is_refused_with_a_reason(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in FILE
    with pytest.raises(SuiteError, match=message) as error:
        read_recipe(write(tmp_path, FILE.replace(old, new)))
    assert "mine.toml" in str(error.value)


def test_overrides_of_tasks_that_are_not_listed_are_refused(tmp_path: Path) -> None:
    text = FILE + '[overrides.cola]\nepochs = { value = 1, status = "stated", source = "S" }\n'
    with pytest.raises(SuiteError, match="overrides speaks of cola"):
        read_recipe(write(tmp_path, text))


def test_a_circle_of_bases_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry("recipe", built_in=recipe._built_in)
    based = 'base = { recipe = "mine", reason = "R" }\n[hyperparameters]'
    registry.register("mine", read_recipe(write(tmp_path, FILE.replace("[hyperparameters]", based))))
    monkeypatch.setattr(recipe, "RECIPES", registry)
    with pytest.raises(SuiteError, match="its own base"):
        registry.get("mine").settings("rte")


def test_a_missing_recipe_file(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="cannot be read"):
        read_recipe(tmp_path / "none.toml")
