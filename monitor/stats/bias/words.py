"""Sentences for people: which way a group differs, and why a verdict is what it is."""

from __future__ import annotations

from monitor.stats.bias.measures import Measure


def direction(measure: Measure, group: str, difference: float | None, *, sure: bool) -> str:
    """`de` is refused more often than the rest; or that nothing is shown."""
    if difference is None:
        return ""
    if not sure or difference == 0:
        return f"no difference of `{group}` from the rest is shown"
    if measure.kind == "share":
        return f"`{group}` {measure.verb} {'more' if difference > 0 else 'less'} often than the rest"
    return f"`{group}` has a {'higher' if difference > 0 else 'lower'} mean {measure.name} than the rest"


def too_few(measure: Measure, n: int, effective_n: float, wanted: int) -> str:
    """Why a group is not judged: it has too few rows, or these are worth too few, as their weights differ."""
    needed = {
        "true_positive_rate": "positive labels",
        "false_positive_rate": "negative labels",
        "precision": "positive predictions",
    }.get(measure.name, "rows")
    worth = f" that are worth {effective_n:.1f}" if n >= wanted else ""
    return f"insufficient: {n} {needed}{worth}, {wanted} wanted"


def reason(
    verdict: str,
    measure: Measure,
    kind: str,
    ends: tuple[float | None, float | None, float | None],
    groups: tuple[str, str],
    tolerance: float,
) -> str:
    """Why the verdict is what it is, with the groups and the end of the interval that decided."""
    value, low, high = ends
    worst, best = f"`{groups[0]}`", "the rest" if groups[1] == "the rest" else f"`{groups[1]}`"
    if verdict == "insufficient":
        return f"insufficient: {measure.name} has no ratio where it is 0 or negative in the groups"
    what, within = measure.name, f"from {_n(low)} to {_n(high)}; {tolerance:g} lies between"
    if verdict == "unclear":
        return (
            f"interval_spans_tolerance: the {'ratio' if kind == 'ratio' else 'gap'} of {what} is {_n(value)}, {within}"
        )
    if kind == "ratio":
        if verdict == "alert":
            return (
                f"ratio_below_tolerance: {what} of {worst} is at most {_n(high)} of that of {best}, below {tolerance:g}"
            )
        return f"within_tolerance: the ratio of {what} is at least {_n(low)}, not below {tolerance:g}"
    if verdict == "alert":
        return f"gap_above_tolerance: {what} of {worst} and {best} differ by at least {_n(low)}, above {tolerance:g}"
    return f"within_tolerance: no gap of {what} is larger than {_n(high)}, not above {tolerance:g}"


def _n(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
