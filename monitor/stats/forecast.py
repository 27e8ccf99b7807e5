"""What a month will have cost at its end: spent so far, and the hours that are left as the past ones were.

Method, by how long the hourly costs are known (h hours without a gap, R hours left):

- `seasonal`, from three whole weeks on: each hour left costs what that hour of the week cost on average over the last n
  whole weeks (eight at most). Residuals are summed by day, so that a bad hour may drag on through its day; with σ² their
  pooled variance (7(n − 1) degrees of freedom) and c_j the days left of weekday j, the variance of the forecast is
  σ²·Σ(c_j + c_j²/n): what the days to come vary by, and what the averages are unsure of.
- `daily-rate`, from three whole days on: the mean day. Variance s²·(r + r²/d) for r days left and d days known.
- `hourly-rate`, from six hours on: the mean hour, likewise; it has not seen a whole day yet, which its note says.

The interval is Student's t. It assumes that days vary independently around their weekday's mean, by alike amounts, and that
nothing new comes: a launch, a price change or steady growth is not foreseen. It never falls below what is spent.

References
----------
Hyndman & Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 5.2 seasonal means, 5.5 prediction intervals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

HOUR_S: Final = 3600
DAY: Final = 24
WEEK: Final = 168
WEEKS_MIN: Final = 3
WEEKS_MAX: Final = 8
DAYS_MIN: Final = 3
HOURS_MIN: Final = 6
LEVEL: Final = 0.95

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A sum at the end; `low` and `high` bound it with 95 % confidence. `n`: hours that it is computed from.

    `value` is None where fewer than six hours are known and some are left; `method` is `exact` where none is left.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str
    note: str = ""


def month_end(spent: float, hourly: Floats, hours_left: int, *, level: float = LEVEL) -> Forecast:
    """Cost at the end of a period.

    Parameters
    ----------
    spent : float
        Cost of the period so far.
    hourly : array of shape (h,)
        Cost of each of the last h hours, the newest last; hours of before the period help as well. No NaN: an hour
        without cost is 0.
    hours_left : int
        Hours after the last known one until the period ends.
    level : float
        Confidence of the interval.

    Raises
    ------
    ValueError
        If a number is not finite, or `hours_left` is negative.

    Examples
    --------
    >>> month_end(100.0, np.full(48, 2.0), 10).value
    120.0
    """
    history = np.asarray(hourly, dtype=np.float64)
    if hours_left < 0 or not math.isfinite(spent) or not np.isfinite(history).all():
        raise ValueError("a forecast needs finite costs and at least 0 hours left")
    if hours_left == 0:
        return Forecast(value=spent, low=None, high=None, n=len(history), method="exact")
    if len(history) < HOURS_MIN:
        note = f"{len(history)} hours of cost are known; a forecast needs {HOURS_MIN}"
        return Forecast(value=None, low=None, high=None, n=len(history), method="hourly-rate", note=note)
    weeks = min(len(history) // WEEK, WEEKS_MAX)
    if weeks >= WEEKS_MIN:
        return _answer(spent, *_seasonal(history[-weeks * WEEK :], hours_left), method="seasonal", level=level)
    if len(history) >= DAYS_MIN * DAY:
        days = len(history) // DAY
        return _answer(
            spent, *_rate(history[-days * DAY :].reshape(days, DAY).sum(axis=1), hours_left / DAY, DAY),
            method="daily-rate", level=level,
        )  # fmt: skip
    found = _answer(spent, *_rate(history, hours_left, 1), method="hourly-rate", level=level)
    note = f"from {len(history)} hours, which hold no whole cycle of {DAYS_MIN} days yet"
    return Forecast(value=found.value, low=found.low, high=found.high, n=found.n, method=found.method, note=note)


def month_end_of(
    costs: Iterable[tuple[int, float]], *, month_start_s: int, month_end_s: int, known_until_s: int
) -> tuple[float, Forecast]:
    """What a month has cost so far, and its forecast, from hourly costs.

    Parameters
    ----------
    costs : iterable of (int, float)
        Begin of an hour in seconds since 1970, and its cost. Hours that are not there cost nothing, from the first one on.
    month_start_s, month_end_s : int
        The month, half-open.
    known_until_s : int
        End of the last hour whose cost is known in full; later ones are left out.

    Returns
    -------
    (float, Forecast)
    """
    known = {hour: cost for hour, cost in costs if hour < known_until_s}
    spent = math.fsum(cost for hour, cost in known.items() if month_start_s <= hour < month_end_s)
    first = min(known, default=known_until_s)
    until = min(known_until_s, month_end_s)
    hourly = np.array([known.get(hour, 0.0) for hour in range(first, until, HOUR_S)], dtype=np.float64)
    left = max(0, month_end_s - max(until, month_start_s)) // HOUR_S
    return spent, month_end(spent, hourly, left)


def _seasonal(history: Floats, hours_left: int) -> tuple[float, float, float, int]:
    """Sum of the hours left, its variance, degrees of freedom, and hours used."""
    weeks = len(history) // WEEK
    table = history.reshape(weeks, WEEK)
    means = table.mean(axis=0)
    full, rest = divmod(hours_left, WEEK)
    ahead = full * means.sum() + means[:rest].sum()
    # The hour after the last known one is the first of a week as it is cut here, and of a day.
    by_day = (table - means).reshape(weeks, 7, DAY).sum(axis=2)
    freedom = 7 * (weeks - 1)
    variance = float((by_day**2).sum()) / freedom
    left = np.full(7, float(full))
    left[: rest // DAY] += 1
    if rest % DAY:
        left[rest // DAY] += rest % DAY / DAY
    return float(ahead), variance * float((left + left**2 / weeks).sum()), freedom, len(history)


def _rate(blocks: Floats, left: float, hours: int) -> tuple[float, float, float, int]:
    n = len(blocks)
    return float(blocks.mean()) * left, float(blocks.var(ddof=1)) * (left + left**2 / n), n - 1, n * hours


def _answer(
    spent: float, ahead: float, variance: float, freedom: float, n: int, *, method: str, level: float
) -> Forecast:
    value = spent + ahead
    reach = float(special.stdtrit(freedom, (1 + level) / 2)) * math.sqrt(variance)
    return Forecast(value=value, low=max(spent, value - reach), high=value + reach, n=n, method=method)
