"""What people read: tables of scores and comparisons, in the formats that they paste."""

from multibench.reports.alone import scores_alone
from multibench.reports.benchmark import benchmark_scores as _benchmark_scores
from multibench.reports.bias import bias_scores as _bias_scores
from multibench.reports.comparison import compare as _compare
from multibench.reports.dynamics import dynamics as _dynamics
from multibench.reports.instances import instances as _instances
from multibench.reports.left_out import naming_left_out
from multibench.reports.power import power as _power
from multibench.reports.reproduction import reproduce
from multibench.reports.scores import scores as _scores
from multibench.reports.tables import FORMATS, Table
from multibench.reports.variance import variance as _variance

__all__ = [
    "FORMATS",
    "Table",
    "benchmark_scores",
    "bias_scores",
    "compare",
    "dynamics",
    "instances",
    "power",
    "reproduce",
    "scores",
    "scores_alone",
    "variance",
]

benchmark_scores = naming_left_out(_benchmark_scores)
bias_scores = naming_left_out(_bias_scores)
compare = naming_left_out(_compare)
dynamics = naming_left_out(_dynamics)
instances = naming_left_out(_instances)
power = naming_left_out(_power)
scores = naming_left_out(_scores)
variance = naming_left_out(_variance)
