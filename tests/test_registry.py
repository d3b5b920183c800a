"""The one registry: collisions refused, unknown names answered with near ones, plug-ins read late."""

from __future__ import annotations

from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest

from multibench.errors import MultibenchError, NameTakenError, UnknownNameError
from multibench.registry import Registry, near_matches


@pytest.fixture
def fruit() -> Registry[int]:
    registry: Registry[int] = Registry("fruit")
    for number, name in enumerate(["pear", "apple", "Quince"]):
        registry.register(name, number)
    return registry


def test_names_are_sorted_and_lead_to_their_entries(fruit: Registry[int]) -> None:
    assert fruit.names() == ["Quince", "apple", "pear"]
    assert list(fruit) == [2, 1, 0]
    assert len(fruit) == 3
    assert "pear" in fruit
    assert "plum" not in fruit
    assert fruit.get("pear") == 0
    assert fruit.origin("pear") == "multibench"


def test_nothing_is_replaced_silently(fruit: Registry[int]) -> None:
    with pytest.raises(NameTakenError, match="by multibench and by the package other"):
        fruit.register("pear", 9, origin="the package other")
    assert fruit.get("pear") == 0


@pytest.mark.parametrize("name", ["peer", "APPLE", "quince"])
def test_an_unknown_name_brings_the_near_ones(fruit: Registry[int], name: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        fruit.get(name)
    text = str(caught.value)
    assert text.startswith(f"There is no fruit '{name}'. Did you mean ")
    assert text.endswith("Known: Quince, apple, pear.")
    assert isinstance(caught.value, MultibenchError)
    assert isinstance(caught.value, KeyError)


def test_an_unknown_name_like_no_other_brings_what_there_is() -> None:
    registry: Registry[int] = Registry("number")
    with pytest.raises(UnknownNameError, match=r"There is no number 'x'\. Known: none\."):
        registry.get("x")
    for i in range(30):
        registry.register(f"n{i:02}", i)
    with pytest.raises(UnknownNameError, match="n19 and 10 more"):
        registry.get("x")


def test_near_matches_are_the_best_first() -> None:
    assert near_matches("learning_rat", ["warmup", "learning_rate", "learn"])[0] == "learning_rate"
    assert near_matches("zzz", ["warmup"]) == []


class _Points:
    """Stands for ``importlib.metadata.entry_points``."""

    def __init__(self, **entries: Any) -> None:
        self.asked: list[str] = []
        self.entries = entries

    def __call__(self, group: str) -> list[SimpleNamespace]:
        self.asked.append(group)
        return [
            SimpleNamespace(
                name=name, value="x:y", dist=SimpleNamespace(name="other"), load=lambda entry=entry: entry
            )
            for name, entry in self.entries.items()
        ]


def test_other_packages_add_theirs_on_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    points = _Points(made=7, called=lambda: 8)
    monkeypatch.setattr(metadata, "entry_points", points)
    registry: Registry[int] = Registry("fruit", group="multibench.fruit")
    registry.register("pear", 0)
    assert points.asked == []
    assert registry.names() == ["called", "made", "pear"]
    assert (registry.get("made"), registry.get("called")) == (7, 8)
    assert registry.origin("made") == "the package other"
    assert points.asked == ["multibench.fruit"]


def test_other_packages_cannot_take_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "entry_points", _Points(pear=7))
    registry: Registry[int] = Registry("fruit", group="multibench.fruit")
    registry.register("pear", 0)
    with pytest.raises(NameTakenError, match="the package other"):
        registry.get("pear")


def test_a_package_that_fails_to_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> int:
        raise ImportError("no module named 'zzz'")

    monkeypatch.setattr(metadata, "entry_points", _Points(broken=broken))
    registry: Registry[int] = Registry("fruit", group="multibench.fruit")
    registry.register("pear", 0)
    with pytest.raises(MultibenchError, match=r"the package other.*no module named 'zzz'"):
        registry.get("pear")
