"""What people read: tables of scores and comparisons, in the formats that they paste."""

from multibench.reports.comparison import compare
from multibench.reports.dynamics import dynamics
from multibench.reports.instances import instances
from multibench.reports.power import power
from multibench.reports.reproduction import reproduce
from multibench.reports.scores import scores
from multibench.reports.tables import FORMATS, Table
from multibench.reports.variance import variance

__all__ = ["FORMATS", "Table", "compare", "dynamics", "instances", "power", "reproduce", "scores", "variance"]
