"""Which cards a command uses, and which of them each of its processes sees."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from multibench.errors import OptionError, UnavailableError
from multibench.execution.devices import (
    SHARERS,
    Card,
    choose_device,
    device_of,
    find_cards,
    planning_device,
    posts,
    use_device,
)
from multibench.planning import Device
from tests.support.cards import MEMORY, pretend_cards
from tests.support.command import REPOSITORY, environment


def _entries(name: str) -> list[str]:
    return [card.entry for card in find_cards(name)]


@pytest.mark.parametrize(
    ("visible", "found", "entries"),
    [
        (None, 3, ["0", "1", "2"]),
        ("2,0", 2, ["2", "0"]),
        (" 5 , 7 ", 2, ["5", "7"]),
        ("GPU-8932f937,GPU-1a2b3c4d", 2, ["GPU-8932f937", "GPU-1a2b3c4d"]),
        ("1,9,0", 1, ["1"]),  # CUDA leaves out what follows the first that is not there
        ("3,-1,0", 1, ["3"]),
        ("", 1, ["0"]),  # said by whoever pretends that there is one
        ("MIG-41f1", 1, ["MIG-41f1"]),
        ("MIG-41f1,MIG-52e2,MIG-63d3", 1, ["MIG-41f1", "MIG-52e2", "MIG-63d3"]),
        ("MIG-GPU-8932f937/1/0, MIG-GPU-8932f937/2/0", 1, ["MIG-GPU-8932f937/1/0", "MIG-GPU-8932f937/2/0"]),
        ("MIG-41f1,MIG-41f1", 1, ["MIG-41f1"]),
    ],
)
def test_each_visible_card_has_its_entry(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, found: int, entries: list[str]
) -> None:
    pretend_cards(monkeypatch, found, visible)
    assert _entries("cuda") == _entries("auto") == entries
    assert [card.name for card in find_cards("cuda")] == [f"cuda:{k}" for k in range(len(entries))]
    for k, entry in enumerate(entries):
        assert _entries(f"cuda:{k}") == [entry]


def test_a_worker_sees_its_own_card_as_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for entry in ("3", "GPU-8932f937", "MIG-41f1"):
        pretend_cards(monkeypatch, 1, entry)
        assert find_cards("cuda") == (Card(0, entry, here=True),)
        assert choose_device("cuda") == torch.device("cuda", 0)


def test_of_several_instances_this_process_sees_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cards(monkeypatch, 1, "MIG-41f1,MIG-52e2")
    assert [card.here for card in find_cards("auto")] == [True, False]
    assert device_of(find_cards("cuda:1")) == torch.device("cuda", 0)  # in that worker
    with pytest.raises(UnavailableError, match=r"set CUDA_VISIBLE_DEVICES to MIG-52e2\."):
        choose_device("cuda:1")


def test_the_cpu_is_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cards(monkeypatch, 2)
    assert find_cards("cpu") == ()
    assert choose_device("cpu") == device_of(()) == torch.device("cpu")
    pretend_cards(monkeypatch, 0)
    assert find_cards("auto") == ()
    assert choose_device("auto") == torch.device("cpu")


def test_one_card_is_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cards(monkeypatch, 3, "4,5,6")
    assert choose_device("cuda:2") == torch.device("cuda", 2)
    assert choose_device("cuda") == choose_device("auto") == torch.device("cuda", 0)
    used: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    for device in (
        torch.device("cpu"),
        torch.device("cuda"),
        torch.device("cuda", 0),
        torch.device("cuda", 2),
    ):
        use_device(device)
    assert used == [torch.device("cuda", 2)]


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CUDA", "cuda:0,1", "", "cuda:0 "])
def test_what_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match="give auto, cpu, cuda for every visible GPU"):
        find_cards(name)


@pytest.mark.parametrize(
    ("found", "name", "said"),
    [
        (0, "cuda", "torch finds no CUDA device. Use --device cpu."),
        (0, "cuda:1", "--device cuda:1 was given, but torch finds no CUDA device."),
        (1, "cuda:1", "what torch finds is cuda:0."),
        (2, "cuda:2", "what torch finds are cuda:0 to cuda:1."),
        (4, "cuda:999", "what torch finds are cuda:0 to cuda:3."),
    ],
)
def test_a_card_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, found: int, name: str, said: str
) -> None:
    pretend_cards(monkeypatch, found)
    with pytest.raises(UnavailableError) as error:
        find_cards(name)
    assert said in str(error.value)


def test_processes_are_spread_over_cards() -> None:
    cards = [Card(k, str(k)) for k in range(3)]
    assert [card.index for card in posts(cards, 3)] == [0, 1, 2]
    assert [card.index for card in posts(cards, 7)] == [0, 1, 2, 0, 1, 2, 0]
    assert [card.index for card in posts(cards, 2)] == [0, 1]
    assert [card.index for card in posts(cards[:1], 2)] == [0, 0]


def test_planning_knows_the_memory_of_a_card_and_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cards(monkeypatch, 4)
    assert planning_device(torch.device("cuda", 0), 4) == Device("cuda", MEMORY, 4)
    assert planning_device(torch.device("cuda", 0)) == Device("cuda", MEMORY)
    assert planning_device(torch.device("cpu")).kind == "cpu"
    # What is free, in twentieths of all; of several processes on the card each has its share.
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(0.62 * MEMORY), MEMORY))
    assert planning_device(torch.device("cuda", 0)).memory == MEMORY // 20 * 12
    monkeypatch.setenv(SHARERS, "2")
    assert planning_device(torch.device("cuda", 0)).memory == MEMORY // 2


def test_a_name_is_looked_at_without_torch() -> None:
    code = (
        "import sys; from multibench.execution.breakage import usable_cards; usable_cards('cpu', 'auto', print); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
