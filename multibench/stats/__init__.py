"""Statistics: arrays in, estimates out. No torch, no files, no printing."""

from __future__ import annotations

from multibench.stats.estimate import Estimate
from multibench.stats.multibootstrap import MultibootstrapResult, multibootstrap, multibootstrap_group
from multibench.stats.resample import CostWarning

__all__ = ["CostWarning", "Estimate", "MultibootstrapResult", "multibootstrap", "multibootstrap_group"]
