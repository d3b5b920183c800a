"""Hours of a plan's missing runs on each device that was asked for: measured, or predicted and called so."""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from multibench.planning.cards import PRECISIONS, Card, Precision, find_card, named_by_torch
from multibench.planning.machine import Device
from multibench.planning.measured import MeasuredRates, read_rate
from multibench.planning.plan import Plan, PlannedRun
from multibench.planning.prediction import card_hours
from multibench.planning.together import groups_left

__all__ = ["DeviceHours", "PlanHours", "hours_of"]


@dataclass(frozen=True)
class DeviceHours:
    """Hours of the missing runs on one ``device``, by precision.

    None is unknown, and a precision that a card has no units for is left out. ``basis`` says in a few words where
    the hours are from. ``together`` are the most runs that are trained together; None where that plays no part.
    """

    device: str
    hours: dict[Precision, float | None]
    kind: Literal["measured", "predicted", "given"]
    basis: str
    together: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "device": self.device,
            "hours": dict(self.hours),
            "kind": self.kind,
            "basis": self.basis,
            "together": self.together,
        }


@dataclass(frozen=True)
class PlanHours:
    """Hours of the missing runs on ``devices`` beside this machine's CPU, and sentences about those without figures."""

    devices: tuple[DeviceHours, ...] = ()
    remarks: tuple[str, ...] = ()


def hours_of(
    plan: Plan, gpus: Sequence[str] = (), rate: str | None = None, found: Sequence[str] = ()
) -> PlanHours:
    """Hours on the cards named ``gpus``, at a measured ``rate`` (see ``read_rate``), and on cards of this machine.

    ``found`` are the names that torch gives those. Of one without figures a remark says how to measure it. A plan
    with nothing left to do has no hours. Raises ``UnknownNameError`` for a name of ``gpus`` that is not known, and
    ``OptionError`` for a rate that cannot be used.
    """
    cards = [find_card(name) for name in gpus]
    measured = None if rate is None else read_rate(rate)
    if not plan.todo():
        return PlanHours()
    devices = _stored_hours(plan)
    if isinstance(measured, float):
        devices.append(_given_hours(plan, measured))
    elif measured is not None:
        devices.append(_measured_hours(plan, measured))
    known = {device.device for device in devices}
    remarks = []
    for name in dict.fromkeys(found):
        card = named_by_torch(name)
        if card is not None:
            cards.append(card)
        elif name not in known:
            remarks.append(_no_figures(name))
    devices += [_predicted_hours(plan, card) for card in {card.name: card for card in cards}.values()]
    return PlanHours(tuple(devices), tuple(remarks))


def _no_figures(name: str) -> str:
    return (
        f"This machine has the card {name!r}, whose figures are not known here, so no hours are predicted for it. "
        "To measure it: `multibench bench --device cuda --format json > rates.json`, with the --size that is most "
        "like the suite's models, then `multibench plan SUITE --rate rates.json`."
    )


def _predicted_hours(plan: Plan, card: Card) -> DeviceHours:
    """Predicted hours on one ``card``: stacks are those that its memory holds."""
    groups = groups_left(plan, "auto", Device("cuda", int(card.memory)))
    hours = {p: card_hours(groups, card, p) for p in PRECISIONS if p in card.products}
    return DeviceHours(card.name, hours, "predicted", "predicted, not measured", _most(groups))


def _measured_hours(plan: Plan, rates: MeasuredRates) -> DeviceHours:
    """Hours at the rates that ``bench`` measured on a device."""
    groups = groups_left(plan, "auto", Device("cpu" if rates.kind == "cpu" else "cuda", rates.memory))
    hours: dict[Precision, float | None] = {p: rates.hours(groups, p) for p in rates.precisions}
    basis = "at rates measured by `bench`"
    if None in hours.values():
        basis += "; unknown: measure sizes that are like the suite's models, with `bench --size`"
    return DeviceHours(rates.name, hours, "measured", basis, _most(groups))


def _given_hours(plan: Plan, flops_per_second: float) -> DeviceHours:
    """Hours at a rate that the user gives, in the precisions that the missing runs ask for."""
    hours = plan.cost().hours(flops_per_second)
    asked = {str(run.settings.precision) for run in plan.todo()}
    basis = f"at the rate given, {flops_per_second / 1e12:.3g} TFLOP/s"
    return DeviceHours("given rate", {p: hours for p in PRECISIONS if p in asked}, "given", basis)


def _stored_hours(plan: Plan) -> list[DeviceHours]:
    """Hours at the median rates of the finished runs that were made on cards of this machine, card by card."""
    rates: dict[str, dict[Precision, list[float]]] = defaultdict(lambda: defaultdict(list))
    for card, precision, rate in _rates_on_cards(plan.manifests.values()):
        rates[card][precision].append(rate)
    cost = plan.cost()
    return [
        DeviceHours(
            card,
            {p: cost.hours(median(found)) for p, found in by_precision.items()},
            "measured",
            f"measured in {sum(map(len, by_precision.values()))} finished runs on this machine",
        )
        for card, by_precision in rates.items()
    ]


def _rates_on_cards(manifests: Iterable[dict[str, Any]]) -> Iterable[tuple[str, Precision, float]]:
    here = socket.gethostname()
    for manifest in manifests:
        made = manifest.get("provenance", {})
        rate = manifest.get("training", {}).get("flops_per_second")
        if not rate or made.get("host") != here or made.get("device") in (None, "cpu"):
            continue
        precision = next((p for p in PRECISIONS if p == made.get("precision")), None)
        if precision is not None:
            yield str(made.get("accelerator") or made["device"]), precision, rate


def _most(groups: Sequence[Sequence[PlannedRun]]) -> int | None:
    return max(map(len, groups), default=None)
