"""From a suite to the list of its runs, what is done of them, and what the rest costs."""

from multibench.planning.cards import cards
from multibench.planning.cost import Cost, machine_speed
from multibench.planning.explanation import explain, why_nested
from multibench.planning.hours import DeviceHours, PlanHours, hours_of
from multibench.planning.machine import Device, memory
from multibench.planning.plan import Plan, PlannedRun, make_plan
from multibench.planning.together import Replicas, groups_left, groups_of
from multibench.planning.workers import WorkerChoice, Workers, choose_workers

__all__ = [
    "Cost",
    "Device",
    "DeviceHours",
    "Plan",
    "PlanHours",
    "PlannedRun",
    "Replicas",
    "WorkerChoice",
    "Workers",
    "cards",
    "choose_workers",
    "explain",
    "groups_left",
    "groups_of",
    "hours_of",
    "machine_speed",
    "make_plan",
    "memory",
    "why_nested",
]
