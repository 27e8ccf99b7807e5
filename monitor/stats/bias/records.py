"""The records of a bias report: what is asked, what is compared, and what comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from monitor.stats.bias.gaps import GapKind
from monitor.stats.bias.measures import Measure
from monitor.stats.bias.sums import Bools
from monitor.stats.intervals import LEVEL

Verdict = Literal["alert", "within", "unclear", "insufficient"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What counts as a gap, and what as enough rows.

    Parameters
    ----------
    tolerance : float
        Largest difference that is no cause for alarm: in points of a share, or in the unit of a mean.
    ratio_tolerance : float
        Smallest ratio of lowest to highest that is none; 0.8 is the four-fifths rule.
    min_n : int
        Rows (of effective number, if weighted) below which a group is shown and not judged.
    level : float
        Confidence of intervals; false alarms and false discoveries are held to 1 - level.
    """

    tolerance: float = 0.05
    ratio_tolerance: float = 0.8
    min_n: int = 30
    level: float = LEVEL

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < math.inf:
            raise ValueError(f"the tolerance must be a number >= 0, not {self.tolerance}")
        if not 0 <= self.ratio_tolerance <= 1:
            raise ValueError(f"the tolerance of ratios must lie in [0, 1], not {self.ratio_tolerance}")
        if self.min_n < 1 or not 0 < self.level < 1:
            raise ValueError("min_n must be at least 1, and level lie in (0, 1)")


@dataclass(frozen=True, kw_only=True)
class GroupValue:
    """One metric of one group; None is what the rows cannot give.

    `shrunk` is the value drawn towards the others by as much as chance may have moved it. `difference` is that to all
    other rows, with interval, p-value, and `q_value`: p adjusted for all groups and metrics of the report.
    """

    by: str
    metric: str
    group: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    sufficient: bool
    shrunk: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p_value: float | None
    q_value: float | None
    direction: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The largest gap of a metric over the groups that are large enough.

    `value` is as measured; `corrected` is it without the luck that picking the extremes of many groups adds.
    """

    by: str
    metric: str
    of: str
    gap: GapKind
    value: float | None
    low: float | None
    high: float | None
    corrected: float | None
    worst: str
    best: str
    groups: int
    tolerance: float
    verdict: Verdict
    reason: str


@dataclass(frozen=True, kw_only=True)
class BiasReport:
    """Values by group, then gaps, in the order of the measures."""

    values: tuple[GroupValue, ...]
    gaps: tuple[Gap, ...]

    @property
    def alerts(self) -> tuple[Gap, ...]:
        """Gaps whose interval clears the tolerance."""
        return tuple(gap for gap in self.gaps if gap.verdict == "alert")


@dataclass(frozen=True, kw_only=True)
class Family:
    """Groups that are compared with each other: the values of one column, or of several together."""

    by: str
    groups: tuple[str, ...]
    measures: tuple[Measure, ...]

    def __post_init__(self) -> None:
        if len(set(self.groups)) != len(self.groups):
            raise ValueError(f"a group of `{self.by}` is given twice")
        if len({measure.name for measure in self.measures}) != len(self.measures):
            raise ValueError(f"two measures of `{self.by}` have one name; give each once, and a name of its own")
        if any(len(measure.sums) != len(self.groups) for measure in self.measures):
            raise ValueError(
                f"each measure of `{self.by}` must have one entry for each of its {len(self.groups)} groups"
            )


def sufficient(measure: Measure, options: Options) -> Bools:
    """Which groups are large enough to be judged; a mean wants two rows whatever is asked."""
    least = max(options.min_n, 2 if measure.kind == "mean" else 1)
    # Rounding of weights must not cost a group its last row.
    return np.asarray((measure.sums.n >= least) & (measure.sums.kish_n >= least * (1 - 1e-9)))
