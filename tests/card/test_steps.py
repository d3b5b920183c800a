"""A step of training launches no more than it must and never waits; planted faults show that this would be seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from multibench.training import loop
from tests.card.steps import BATCH, LIMITS, Case, check, counts_of_a_step

pytestmark = pytest.mark.gpu

Fault = Callable[[torch.Tensor], torch.Tensor]


@pytest.mark.parametrize("case", LIMITS, ids=lambda case: "-".join(map(str, vars(case).values())))
def test_a_step_keeps_to_its_limit_and_waits_for_nothing(case: Case) -> None:
    check(case)


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fault], None]:
    """Let a fault work on the losses of each sequence, ``(n,)``, in every step."""
    own = loop.per_example_loss

    def planted(fault: Fault) -> None:
        monkeypatch.setattr(loop, "per_example_loss", lambda logits, labels: fault(own(logits, labels)))

    return planted


Plant = Callable[[Fault], None]


def test_nothing_planted_is_no_fault(plant: Plant) -> None:
    plant(lambda losses: losses)
    check(Case())


def test_a_generator_of_the_cpu_is_refused(plant: Plant) -> None:
    plant(lambda losses: losses * torch.rand(len(losses), device="cuda", generator=torch.Generator()))
    with pytest.raises(RuntimeError, match="generator"):
        check(Case())


def test_a_tensor_of_the_cpu_is_refused(plant: Plant) -> None:
    plant(lambda losses: losses + torch.zeros(len(losses)))
    with pytest.raises(RuntimeError, match="found at least two devices, cuda:0 and cpu"):
        check(Case())


def test_an_array_that_nobody_sent_to_the_card_is_refused(plant: Plant) -> None:
    plant(lambda losses: torch.where(torch.from_numpy(np.arange(len(losses)) >= 0), losses, 0.0))
    with pytest.raises(RuntimeError, match="found at least two devices, cuda:0 and cpu"):
        check(Case())


def test_a_tensor_of_another_card_is_refused(plant: Plant) -> None:
    plant(lambda losses: losses + torch.zeros(len(losses), device="cuda:1"))
    with pytest.raises(RuntimeError, match=r"found at least two devices, cuda:[01] and cuda:[01]"):
        check(Case())


def test_an_index_of_the_cpu_is_a_wait(plant: Plant) -> None:
    plant(lambda losses: losses[torch.arange(len(losses))])
    with pytest.raises(AssertionError, match="waits for the card"):
        check(Case())


def test_a_mask_as_index_is_a_wait(plant: Plant) -> None:
    plant(lambda losses: losses[losses > -1])
    with pytest.raises(AssertionError, match=r"waits for the card: .*nonzero"):
        check(Case())


def test_an_item_is_a_wait(plant: Plant) -> None:
    plant(lambda losses: losses if losses.detach().mean().item() > -1 else -losses)
    with pytest.raises(AssertionError, match=r"waits for the card: .*item"):
        check(Case())


def test_a_copy_to_the_host_is_a_wait(plant: Plant) -> None:
    def fault(losses: torch.Tensor) -> torch.Tensor:
        losses.detach().cpu()
        return losses

    plant(fault)
    with pytest.raises(AssertionError, match=r"waits for the card: .*copy to the host"):
        check(Case())


def test_a_copy_to_the_card_that_is_waited_for_is_a_wait(plant: Plant) -> None:
    plant(lambda losses: losses * torch.from_numpy(np.ones(len(losses), dtype=np.float32)).to("cuda"))
    with pytest.raises(AssertionError, match=r"waits for the card: .*copy to the card"):
        check(Case())


def test_a_copy_to_the_card_that_nobody_waits_for_is_none(plant: Plant) -> None:
    before, _ = counts_of_a_step(Case())
    ones = np.ones(BATCH, dtype=np.float32)
    plant(lambda losses: losses * torch.from_numpy(ones).to("cuda", non_blocking=True))
    launches, waits = counts_of_a_step(Case())
    assert not waits
    assert launches == before + 3  # the copy, the product, and its gradient


def test_synchronising_is_a_wait(plant: Plant) -> None:
    def fault(losses: torch.Tensor) -> torch.Tensor:
        torch.cuda.synchronize()
        return losses

    plant(fault)
    with pytest.raises(AssertionError, match=r"waits for the card: .*synchronize"):
        check(Case())


def test_memory_that_nobody_wrote_breaks_the_losses(plant: Plant) -> None:
    plant(lambda losses: losses + torch.empty_like(losses))
    with pytest.raises(AssertionError, match="the loss became nan in step 1"):
        check(Case())


def test_a_loop_over_sequences_launches_too_much(plant: Plant) -> None:
    plant(lambda losses: torch.stack([loss * 1.0 for loss in losses]))
    with pytest.raises(AssertionError, match=r"a step launches .*, more than"):
        check(Case())
