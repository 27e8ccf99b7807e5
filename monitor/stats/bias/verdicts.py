"""The gaps between groups, each with a verdict and its reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

import numpy as np

from monitor.stats.bias import words
from monitor.stats.bias.compare import each_level
from monitor.stats.bias.gaps import Found, GapKind, difference_gap, ratio_gap, worst_group_gap
from monitor.stats.bias.measures import Measure
from monitor.stats.bias.records import Family, Gap, Options, Verdict, sufficient

# Gaps that have a name of their own; equalised odds are the worse of the two rates.
NAMED: Final = {"selection_rate": "demographic_parity", "true_positive_rate": "equal_opportunity"}
EQUALIZED_ODDS: Final = ("true_positive_rate", "false_positive_rate")
KINDS: Final[tuple[GapKind, ...]] = ("difference", "ratio", "worst_group")


def judged_gaps(family: Family, options: Options) -> list[Gap]:
    """Difference, ratio and worst group of each measure, and the equalised odds, over the groups that are large enough."""
    found = []
    for measure in family.measures:
        keep = sufficient(measure, options)
        index = np.flatnonzero(keep)
        kept = replace(measure, sums=measure.sums.take(index))
        names = [family.groups[i] for i in index]
        name = NAMED.get(measure.name, measure.name)
        if len(index) < 2:
            found += [_insufficient(family.by, name, measure.name, kind, names, options) for kind in KINDS]
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
    return [_worse_of(rates, family, kind, options) for kind in ("difference", "ratio")]


def _worse_of(rates: list[Measure], family: Family, kind: Literal["difference", "ratio"], options: Options) -> Gap:
    make, pick = (difference_gap, max) if kind == "difference" else (ratio_gap, min)
    parts: list[tuple[Measure, Found, list[str]]] = []
    for measure in rates:
        index = np.flatnonzero(sufficient(measure, options))
        names = [family.groups[i] for i in index]
        if len(index) < 2:
            return _insufficient(family.by, "equalized_odds", measure.name, kind, names, options)
        gap = make(replace(measure, sums=measure.sums.take(index)), level=each_level(2, options.level))
        if gap.value is None:
            return _judged(family.by, "equalized_odds", measure, kind, gap, names, options)
        parts.append((measure, gap, names))
    measure, worse, names = pick(parts, key=lambda part: part[1].value or 0.0)
    lows, highs = (
        [end for end in side if end is not None] for side in zip(*((p[1].low, p[1].high) for p in parts), strict=True)
    )
    both = replace(worse, low=pick(lows, default=None), high=pick(highs, default=None))
    return _judged(family.by, "equalized_odds", measure, kind, both, names, options)


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
