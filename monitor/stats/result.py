"""What a statistic answers: a number, its interval, how many rows it is from, how, and what to know about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from monitor.stats.intervals import Interval


@dataclass(frozen=True, kw_only=True)
class Result:
    """A number with its interval; None is what the data cannot give, and `note` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    method: str = ""
    note: str = ""


def insufficient(why: str, *, n: int = 0, method: str = "") -> Result:
    """No value, and the reason; never a 0 that nobody measured."""
    return Result(value=None, n=n, method=method, note=f"insufficient: {why}")


def within(value: float, interval: Interval | None, *, n: int, method: str, notes: Iterable[str] = ()) -> Result:
    """A value with its interval, and what of the notes is not empty."""
    low, high = interval if interval is not None else (None, None)
    return Result(value=value, low=low, high=high, n=n, method=method, note="; ".join(note for note in notes if note))
