"""Cards that are not there: what ``torch.cuda`` says of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from multibench.execution import breakage

MEMORY = 80 * 10**9


def pretend_cards(monkeypatch: pytest.MonkeyPatch, count: int, visible: str | None = None) -> None:
    """Let torch find ``count`` cards, and the environment say that ``visible`` are."""
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    def properties(device: torch.device | int) -> SimpleNamespace:
        device = torch.device("cuda", device) if isinstance(device, int) else device
        return SimpleNamespace(total_memory=MEMORY, name="Pretended", uuid=f"0000-{device.index}")

    monkeypatch.setattr(breakage, "_names", {})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: properties(device).name)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (MEMORY, MEMORY))
