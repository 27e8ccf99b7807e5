"""All metrics of all groups with their intervals; the gaps between groups are in `monitor.stats.bias.verdicts`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from monitor.stats.bias import words
from monitor.stats.bias.compare import against_rest, false_discovery
from monitor.stats.bias.limits import student, wilson
from monitor.stats.bias.measures import Measure
from monitor.stats.bias.records import BiasReport, Family, GroupValue, Options, sufficient
from monitor.stats.bias.shrink import shrunk
from monitor.stats.bias.sums import Array
from monitor.stats.bias.verdicts import judged_gaps


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
    return BiasReport(
        values=tuple(judged), gaps=tuple(gap for family in families for gap in judged_gaps(family, asked))
    )


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
                note=""
                if enough[i]
                else words.too_few(measure, round(n[i]), float(measure.sums.kish_n[i]), options.min_n),
            )
        )
    return found


def _directed(value: GroupValue, q: float, measure: Measure, options: Options) -> GroupValue:
    if math.isnan(q):
        return value
    sure = q <= 1 - options.level
    return replace(value, q_value=q, direction=words.direction(measure, value.group, value.difference, sure=sure))


def _number(value: float | Array) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
