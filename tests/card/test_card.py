"""The emulated card refuses what a card refuses, and says what happened to it."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.card import environment

pytestmark = pytest.mark.gpu

# What is broken stays broken, so it is not a card that another test uses.
SPARE = 2


def test_cards_are_told_apart_and_described() -> None:
    assert torch.cuda.is_available()
    assert torch.cuda.device_count() == 3
    properties = [torch.cuda.get_device_properties(k) for k in range(3)]
    assert len({str(one.uuid) for one in properties}) == 3
    assert {(one.major, one.minor) for one in properties} == {torch.cuda.get_device_capability(0)}
    assert torch.cuda.get_device_name("cuda:1") == properties[1].name
    with torch.cuda.device(1):
        assert torch.empty(1, device="cuda").device == torch.device("cuda:1")
        assert torch.cuda.current_device() == 1
    assert torch.cuda.current_device() == 0
    with pytest.raises(AssertionError, match="Invalid device"):
        torch.cuda.get_device_properties(3)
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.zeros(1, device="cuda:3")


@pytest.mark.parametrize("other", ["cpu", "cuda:1"])
@pytest.mark.parametrize("first", [True, False])
def test_devices_do_not_mix(other: str, first: bool) -> None:
    pair = (torch.ones(2, device=other), torch.ones(2, device="cuda:0"))
    a, b = pair if first else pair[::-1]
    for operation in (torch.add, torch.dot, lambda x, y: torch.stack([x, y]), lambda x, y: x.clone().mul_(y)):
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            operation(a, b)
    assert float((b + torch.tensor(1.0)).sum()) == 4  # single numbers of the CPU are taken by any device


def test_tensors_go_from_card_to_card() -> None:
    from tests.support.card import emulation

    moved = torch.arange(3, device="cuda:0").to("cuda:1")
    assert moved.device == torch.device("cuda:1")
    assert emulation.launches(1) == {"copy between cards": 1}
    assert emulation.waits(1) == {}
    assert moved.tolist() == [0, 1, 2]


@pytest.mark.parametrize("card", [0, 1])
def test_gradients_are_computed_on_their_card(card: int) -> None:
    weight = torch.ones(3, 3, device=f"cuda:{card}", requires_grad=True)
    (weight @ weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.device.index == card
    assert weight.grad.tolist() == [[6.0] * 3] * 3


def test_random_numbers_follow_the_seed_and_the_card() -> None:
    def draw(card: int, seed: int) -> list[float]:
        generator = torch.Generator(f"cuda:{card}").manual_seed(seed)
        return torch.rand(4, device=f"cuda:{card}", generator=generator).tolist()

    assert draw(0, 1) == draw(0, 1) == draw(1, 1)
    assert draw(0, 1) != draw(0, 2)
    on_cpu = torch.rand(4, generator=torch.Generator().manual_seed(1))
    assert draw(0, 1) != on_cpu.tolist()
    torch.manual_seed(5)
    first = torch.rand(4, device="cuda")
    torch.manual_seed(5)
    assert torch.equal(first, torch.rand(4, device="cuda"))
    with pytest.raises(RuntimeError, match="Expected a 'cuda:1' generator"):
        torch.rand(4, device="cuda:1", generator=torch.Generator("cuda:0"))


def test_fresh_memory_is_poisoned() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        assert torch.empty(3, device="cuda", dtype=dtype).isnan().all()
    rows = torch.empty(1, device="cuda", dtype=torch.int64)
    with pytest.raises(IndexError):
        torch.zeros(3, device="cuda")[rows]


def test_memory_ends_where_it_is_said_to() -> None:
    from tests.support.card import emulation

    total = torch.cuda.get_device_properties(1).total_memory
    emulation.limit_memory(2**20, card=1)
    try:
        torch.cuda.reset_peak_memory_stats(1)
        kept = torch.zeros(2**18 - 2**10, dtype=torch.int8, device="cuda:1")
        free, of = torch.cuda.mem_get_info(1)
        assert (free, of) == (2**20 - 2**18 + 2**10, 2**20)
        with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
            torch.zeros(2**20, dtype=torch.int8, device="cuda:1")
        assert torch.cuda.memory_allocated(1) == kept.numel()
        del kept
        assert torch.cuda.memory_allocated(1) == 0
        assert torch.cuda.max_memory_allocated(1) == 2**18 - 2**10
        torch.zeros(2**20, dtype=torch.int8, device="cuda:1")
    finally:
        emulation.limit_memory(total, card=1)


def test_waits_are_counted_by_what_is_waited_for() -> None:
    from tests.support.card import emulation

    tensor = torch.arange(6, device="cuda")
    for wait, name in (
        (lambda: tensor.sum().item(), "item"),
        (lambda: bool(tensor[0] == 0), "item"),
        (lambda: tensor.cpu(), "copy to the host"),
        (lambda: torch.empty(6).copy_(tensor, non_blocking=True), "copy to the host"),
        (lambda: torch.ones(1).to("cuda"), "copy to the card"),
        (lambda: torch.tensor([1, 2], device="cuda"), "copy to the card"),
        (lambda: tensor.nonzero(), "aten::nonzero"),
        (lambda: tensor.unique(), "aten::_unique2"),
        (lambda: torch.equal(tensor, tensor), "aten::equal"),
        (lambda: tensor[[0, 1]], "copy to the card"),
        (lambda: tensor[torch.tensor([0, 1])], "aten::index with an index of the CPU"),
        (lambda: torch.cuda.synchronize(), "synchronize"),
    ):
        emulation.reset()
        wait()
        assert name in emulation.waits(), (name, emulation.waits())


def test_pinned_memory_is_not_waited_for() -> None:
    from tests.support.card import emulation

    pinned = torch.arange(4.0).pin_memory()
    assert pinned.is_pinned()
    assert pinned[1:].is_pinned()
    assert not torch.arange(4.0).is_pinned()
    emulation.reset()
    on_card = pinned.to("cuda", non_blocking=True)
    back = torch.empty(4, pin_memory=True).copy_(on_card + 1, non_blocking=True)
    also = on_card.to("cpu", non_blocking=True)  # torch pins what it makes then
    assert emulation.waits() == {}
    torch.cuda.synchronize()
    assert also.tolist() == [0, 1, 2, 3]
    assert back.tolist() == [1, 2, 3, 4]


@pytest.fixture
def _default_mode() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.usefixtures("_default_mode")
def test_torch_reports_waits_by_its_own_mode() -> None:
    tensor = torch.ones(2, device="cuda")
    torch.cuda.set_sync_debug_mode("warn")
    assert torch.cuda.get_sync_debug_mode() == 1
    with pytest.warns(UserWarning, match="called a synchronizing CUDA operation"):
        tensor.cpu()
    torch.cuda.set_sync_debug_mode("error")
    with pytest.raises(RuntimeError, match="called a synchronizing CUDA operation"):
        tensor.cpu()
    torch.cuda.set_sync_debug_mode("default")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor.cpu()


def test_what_views_memory_or_reads_its_shape_launches_nothing() -> None:
    from tests.support.card import emulation

    tensor = torch.empty(4, 6, device="cuda")
    tensor.view(3, 8).transpose(0, 1)[1:].unsqueeze(0).expand(2, -1, -1).detach().unbind(2)
    assert emulation.launches() == {}


def test_a_forked_process_has_no_card() -> None:
    torch.ones(1, device="cuda")
    child = os.fork()
    if child == 0:  # no test goes on here, whatever happens
        try:
            torch.ones(1, device="cuda")
        except RuntimeError as error:
            os._exit(0 if "forked subprocess" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_card_that_breaks_stays_broken() -> None:
    from tests.support.card import emulation

    tensor, elsewhere = torch.ones(2, device=f"cuda:{SPARE}"), torch.ones(2, device="cuda:0")
    emulation.break_now(SPARE)
    for call in (
        lambda: tensor + 1,
        lambda: tensor.cpu(),
        lambda: tensor.sum().item(),
        lambda: torch.zeros(1, device=f"cuda:{SPARE}"),
        lambda: torch.cuda.synchronize(SPARE),
        lambda: torch.cuda.mem_get_info(SPARE),
        lambda: tensor.to("cuda:0"),
    ):
        with pytest.raises(RuntimeError, match="CUDA error: device-side assert triggered") as caught:
            call()
        assert not isinstance(caught.value, torch.OutOfMemoryError)
        if hasattr(torch, "AcceleratorError"):
            assert isinstance(caught.value, torch.AcceleratorError)
    assert float((elsewhere + 1).sum()) == 4
    tensor = elsewhere  # giving memory back raises nothing


BREAKING = """
import torch
for card in ("cuda:0", "cuda:1"):
    try:
        tensor = torch.zeros(1, device=card)  # the first launch
        for _ in range(20):
            tensor += 1
        print(card, "held:", int(tensor))
    except RuntimeError as error:
        print(card, type(error).__name__, str(error).splitlines()[0])
"""


def test_one_card_of_a_new_process_breaks_after_so_many_launches(tmp_path: Path) -> None:
    said = environment(cards=3, break_after=10, break_once=tmp_path / "broken") | {
        "CUDA_VISIBLE_DEVICES": "2,0"
    }
    done = subprocess.run(
        [sys.executable, "-c", BREAKING], env=said, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.endswith("Error CUDA error: device-side assert triggered")
    assert second == "cuda:1 held: 20"
    assert (tmp_path / "broken").exists()
