"""All metrics of all groups, and all gaps, with a verdict for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from monitor.stats.bias import words
from monitor.stats.bias.compare import against_rest, each_level, false_discovery
from monitor.stats.bias.gaps import Found, GapKind, difference_gap, ratio_gap, worst_group_gap
from monitor.stats.bias.limits import student, wilson
from monitor.stats.bias.measures import Measure
from monitor.stats.bias.shrink import shrunk
from monitor.stats.bias.sums import Array, Bools
from monitor.stats.intervals import LEVEL

Verdict = Literal["alert", "within", "unclear", "insufficient"]

# Gaps that have a name of their own; equalised odds are the worse of the two rates.
NAMED: Final = {"selection_rate": "demographic_parity", "true_positive_rate": "equal_opportunity"}
EQUALIZED_ODDS: Final = ("true_positive_rate", "false_positive_rate")


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
        if any(len(measure.sums) != len(self.groups) for measure in self.measures):
            raise ValueError(
                f"each measure of `{self.by}` must have one entry for each of its {len(self.groups)} groups"
            )


def assess(families: Sequence[Family], options: Options | None = None) -> BiasReport:
    """Values with intervals of each metric and group, and gaps with verdicts.

    Parameters
    ----------
    families : sequence of Family
        Each is judged by itself; false discoveries are held down over all of them together.
    options : Options, optional

    Returns
    -------
    BiasReport
        Groups are in the order given. A group without rows of a metric (no positives, say) has no value, and is not
        sufficient; it is never 0. A gap is over the sufficient groups alone, and `insufficient` if these are fewer than two.
    """
    asked = options or Options()
    values = [value for family in families for measure in family.measures for value in _values(family, measure, asked)]
    q_values = false_discovery(np.array([math.nan if v.p_value is None else v.p_value for v in values]))
    kinds = {(f.by, m.name): m for f in families for m in f.measures}
    judged = [
        _directed(value, float(q), kinds[value.by, value.metric], asked)
        for value, q in zip(values, q_values, strict=True)
    ]
    return BiasReport(values=tuple(judged), gaps=tuple(gap for family in families for gap in _gaps(family, asked)))


def sufficient(measure: Measure, options: Options) -> Bools:
    """Which groups are large enough to be judged; a mean wants two rows whatever is asked."""
    least = max(options.min_n, 2 if measure.kind == "mean" else 1)
    # Rounding of weights must not cost a group its last row.
    return np.asarray((measure.sums.n >= least) & (measure.sums.kish_n >= least * (1 - 1e-9)))


def _values(family: Family, measure: Measure, options: Options) -> list[GroupValue]:
    value, n = measure.value, measure.sums.n
    low, high = (
        student(measure.sums, options.level)
        if measure.kind == "mean"
        else wilson(np.nan_to_num(value), measure.effective_n, options.level)
    )
    near, enough = shrunk(measure), sufficient(measure, options)
    other = against_rest(measure, level=options.level, tested=enough)
    found = []
    for i, group in enumerate(family.groups):
        there = n[i] > 0
        found.append(
            GroupValue(
                by=family.by,
                metric=measure.name,
                group=group,
                value=_number(value[i]),
                low=_number(low[i]) if there else None,
                high=_number(high[i]) if there else None,
                n=round(n[i]),
                sufficient=bool(enough[i]),
                shrunk=_number(near[i]),
                difference=_number(other.difference[i]),
                difference_low=_number(other.limits.low[i]),
                difference_high=_number(other.limits.high[i]),
                p_value=_number(other.p_value[i]),
                q_value=None,
                direction="",
                note="" if enough[i] else words.too_few(measure, round(n[i]), options.min_n),
            )
        )
    return found


def _directed(value: GroupValue, q: float, measure: Measure, options: Options) -> GroupValue:
    if math.isnan(q):
        return value
    sure = q <= 1 - options.level
    return replace(value, q_value=q, direction=words.direction(measure, value.group, value.difference, sure=sure))


def _gaps(family: Family, options: Options) -> list[Gap]:
    found = []
    for measure in family.measures:
        keep = sufficient(measure, options)
        index = np.flatnonzero(keep)
        kept = replace(measure, sums=measure.sums.take(index))
        names = [family.groups[i] for i in index]
        name = NAMED.get(measure.name, measure.name)
        if len(index) < 2:
            found += [
                _insufficient(family.by, name, measure.name, kind, names, options)
                for kind in ("difference", "ratio", "worst_group")
            ]
            continue
        found.append(
            _judged(family.by, name, measure, "difference", difference_gap(kept, level=options.level), names, options)
        )
        found.append(_judged(family.by, name, measure, "ratio", ratio_gap(kept, level=options.level), names, options))
        worst = worst_group_gap(measure, keep, level=options.level)
        found.append(_judged(family.by, name, measure, "worst_group", worst, list(family.groups), options, len(index)))
    return found + _equalized_odds(family, options)


def _equalized_odds(family: Family, options: Options) -> list[Gap]:
    """The worse of the gaps of both rates; each has half of the error that is allowed."""
    rates = [measure for measure in family.measures if measure.name in EQUALIZED_ODDS]
    if len(rates) < 2:
        return []
    halved = each_level(2, options.level)
    found: list[Gap] = []
    for kind, make, pick in (("difference", difference_gap, max), ("ratio", ratio_gap, min)):
        parts: list[tuple[Measure, Found, list[str]]] = []
        for measure in rates:
            index = np.flatnonzero(sufficient(measure, options))
            if len(index) >= 2:
                gap = make(replace(measure, sums=measure.sums.take(index)), level=halved)
                parts.append((measure, gap, [family.groups[i] for i in index]))
        whole = [part for part in parts if part[1].value is not None]
        if len(whole) < 2:
            found.append(_insufficient(family.by, "equalized_odds", "both rates", kind, [], options))  # type: ignore[arg-type]
            continue
        measure, worse, names = pick(whole, key=lambda part: part[1].value or 0.0)
        ends = [(part[1].low, part[1].high) for part in whole]
        lows, highs = ([end for end in side if end is not None] for side in zip(*ends, strict=True))
        both = replace(worse, low=pick(lows, default=None), high=pick(highs, default=None))
        found.append(_judged(family.by, "equalized_odds", measure, kind, both, names, options))  # type: ignore[arg-type]
    return found


def _insufficient(by: str, name: str, of: str, kind: GapKind, names: list[str], options: Options) -> Gap:
    return Gap(
        by=by,
        metric=name,
        of=of,
        gap=kind,
        value=None,
        low=None,
        high=None,
        corrected=None,
        worst="",
        best="",
        groups=len(names),
        tolerance=options.ratio_tolerance if kind == "ratio" else options.tolerance,
        verdict="insufficient",
        reason=f"insufficient: {len(names)} group(s) with {options.min_n} rows or more, two are wanted",
    )


def _judged(
    by: str,
    name: str,
    measure: Measure,
    kind: GapKind,
    found: Found,
    names: list[str],
    options: Options,
    groups: int | None = None,
) -> Gap:
    tolerance = options.ratio_tolerance if kind == "ratio" else options.tolerance
    low_is_worst = measure.better == "higher"
    worst, best = (found.lowest, found.highest) if low_is_worst else (found.highest, found.lowest)
    best_name = "the rest" if kind == "worst_group" else names[best]
    verdict = _verdict(found, kind, tolerance)
    return Gap(
        by=by,
        metric=name,
        of=measure.name,
        gap=kind,
        value=found.value,
        low=found.low,
        high=found.high,
        corrected=found.corrected,
        worst=names[worst],
        best=best_name,
        groups=len(names) if groups is None else groups,
        tolerance=tolerance,
        verdict=verdict,
        reason=words.reason(
            verdict, measure, kind, (found.value, found.low, found.high), (names[worst], best_name), tolerance
        ),
    )


def _verdict(found: Found, kind: GapKind, tolerance: float) -> Verdict:
    if found.value is None:
        return "insufficient"
    beyond, inside = (found.high, found.low) if kind == "ratio" else (found.low, found.high)
    if beyond is not None and (beyond < tolerance if kind == "ratio" else beyond > tolerance):
        return "alert"
    if inside is not None and (inside >= tolerance if kind == "ratio" else inside <= tolerance):
        return "within"
    return "unclear"


def _number(value: float | Array) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
