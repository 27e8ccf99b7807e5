"""Does one group of users fare worse than another: rates, means and gaps with intervals, and verdicts that hold."""

from monitor.stats.bias.groups import families, families_of_rows, names
from monitor.stats.bias.measures import Measure, confusion_measures, outcome
from monitor.stats.bias.records import BiasReport, Family, Gap, GroupValue, Options
from monitor.stats.bias.report import assess
from monitor.stats.bias.sums import Sums

__all__ = [
    "BiasReport",
    "Family",
    "Gap",
    "GroupValue",
    "Measure",
    "Options",
    "Sums",
    "assess",
    "confusion_measures",
    "families",
    "families_of_rows",
    "names",
    "outcome",
]
