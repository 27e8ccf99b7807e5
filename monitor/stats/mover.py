"""Difference of two estimates from nothing but their own intervals: the method of variance estimates recovery.

References
----------
G. Y. Zou, A. Donner (2008), Construction of confidence limits about effect measures: a general approach (MOVER). Of two
Wilson intervals it is Newcombe's method 10.
"""

from __future__ import annotations

import math

from monitor.stats.intervals import Interval
from monitor.stats.result import Result, insufficient, within

METHOD = "mover"


def difference(a: Result, b: Result) -> Result:
    """b − a of two independent estimates, with the interval that theirs make.

    Parameters
    ----------
    a, b : Result
        With intervals of the same level; without one, or with an open end, the difference has no interval.

    Examples
    --------
    Newcombe's example of 56 of 70 against 48 of 80, from the two Wilson intervals:

    >>> found = difference(Result(value=0.6, low=0.4904, high=0.7004), Result(value=0.8, low=0.6918, high=0.8769))
    >>> round(found.low, 3), round(found.high, 3)
    (0.052, 0.334)
    """
    if a.value is None or b.value is None:
        return insufficient(_why(a, b), n=a.n + b.n, method=METHOD)
    value = b.value - a.value
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return within(value, None, n=a.n + b.n, method=METHOD, notes=["one side has no interval"])
    low = value - math.hypot(b.value - b.low, a.high - a.value)
    high = value + math.hypot(b.high - b.value, a.value - a.low)
    return within(value, Interval(low, high), n=a.n + b.n, method=METHOD)


def ratio(a: Result, b: Result) -> Result:
    """b / a of two independent estimates above 0, as a difference of logarithms."""
    if a.value is None or b.value is None:
        return insufficient(_why(a, b), n=a.n + b.n, method=METHOD)
    if a.value <= 0 or b.value <= 0:
        return insufficient("a ratio needs values above 0", n=a.n + b.n, method=METHOD)
    found = difference(_log(a), _log(b))
    assert found.value is not None
    ends = None
    if found.low is not None and found.high is not None:
        ends = Interval(math.exp(found.low), math.exp(found.high))
    return within(math.exp(found.value), ends, n=found.n, method=METHOD, notes=[found.note])


def _log(result: Result) -> Result:
    def log(value: float | None) -> float | None:
        return math.log(value) if value is not None and value > 0 else None

    return Result(value=log(result.value), low=log(result.low), high=log(result.high), n=result.n)


def _why(a: Result, b: Result) -> str:
    return next((each.note for each in (a, b) if each.value is None and each.note), "one side has no value")
