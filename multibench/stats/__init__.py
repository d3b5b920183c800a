"""Statistics: arrays in, estimates out. No torch, no files, no printing."""

from __future__ import annotations

from multibench.stats.agreement import PairAgreement, pair_agreement
from multibench.stats.chosen import Choice, choice_of_runs, choice_of_settings
from multibench.stats.collapse import Collapse, collapse_rate, collapsed_runs, with_and_without_collapsed
from multibench.stats.compare import Comparison, compare_groups, estimate_group
from multibench.stats.components import Components, Source, variance_components
from multibench.stats.differences import ExampleDifferences, example_differences
from multibench.stats.dynamics import Dynamics, Settled, StepEstimates, dynamics, settled_from
from multibench.stats.equivalence import (
    EquivalenceTest,
    equivalence,
    non_inferiority,
    probability_of_improvement,
)
from multibench.stats.estimate import Estimate
from multibench.stats.groups import GroupsResult, compare_all
from multibench.stats.inference import Inference, difference_inference, group_inference
from multibench.stats.instances import Agreement, Difficulty, difficulty, seed_agreement
from multibench.stats.joint import Together, joint_of
from multibench.stats.macro import MacroScore, TaskRuns, macro_score
from multibench.stats.multibootstrap import MultibootstrapResult, multibootstrap, multibootstrap_group
from multibench.stats.multiplicity import Family, adjust
from multibench.stats.noise import Noise, comparison_noise
from multibench.stats.power import Design, Plan, plan_comparison, power_of
from multibench.stats.resample import CostWarning
from multibench.stats.selection import best_of_grid, best_of_n, expected_best
from multibench.stats.single import SingleRunTest, mcnemar, paired_permutation

__all__ = [
    "Agreement",
    "Choice",
    "Collapse",
    "Comparison",
    "Components",
    "CostWarning",
    "Design",
    "Difficulty",
    "Dynamics",
    "EquivalenceTest",
    "Estimate",
    "ExampleDifferences",
    "Family",
    "GroupsResult",
    "Inference",
    "MacroScore",
    "MultibootstrapResult",
    "Noise",
    "PairAgreement",
    "Plan",
    "Settled",
    "SingleRunTest",
    "Source",
    "StepEstimates",
    "TaskRuns",
    "Together",
    "adjust",
    "best_of_grid",
    "best_of_n",
    "choice_of_runs",
    "choice_of_settings",
    "collapse_rate",
    "collapsed_runs",
    "compare_all",
    "compare_groups",
    "comparison_noise",
    "difference_inference",
    "difficulty",
    "dynamics",
    "equivalence",
    "estimate_group",
    "example_differences",
    "expected_best",
    "group_inference",
    "joint_of",
    "macro_score",
    "mcnemar",
    "multibootstrap",
    "multibootstrap_group",
    "non_inferiority",
    "pair_agreement",
    "paired_permutation",
    "plan_comparison",
    "power_of",
    "probability_of_improvement",
    "seed_agreement",
    "settled_from",
    "variance_components",
    "with_and_without_collapsed",
]
