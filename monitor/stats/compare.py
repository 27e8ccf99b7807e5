"""One variant against another: not worse in quality, and what is gained in latency and cost.

`b` (quantised, say) is compared with `a` (full precision). Quality is a share of right answers; b is *non-inferior* if its
interval leaves no room for being worse by more than a margin that was agreed on beforehand. No difference shown is not
the same: few labels show no difference of anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal

from scipy import special

from monitor.stats.anytime import always_valid
from monitor.stats.hot_nodes import LogSums
from monitor.stats.intervals import LEVEL, Interval, share_effective_n, wilson
from monitor.stats.result import Result, insufficient, within

Quality = Literal["non-inferior", "inferior", "inconclusive", "insufficient"]
MARGIN: Final = 0.02
VALUES_MIN: Final = 10
# Intervals for all looks are narrowest while errors are a third of this; later they are a fifth wider than need be.
SHARE_SCALE: Final = 0.1
RATIO_SCALE: Final = math.log(1.1)


@dataclass(frozen=True, kw_only=True)
class ShareSums:
    """Sums over the judged calls of one arm: how many, Σw, Σw², and both of the right ones."""

    n: int = 0
    w: float = 0.0
    ww: float = 0.0
    hits: float = 0.0
    hits_ww: float = 0.0

    @property
    def share(self) -> float:
        return min(1.0, self.hits / self.w)

    @property
    def effective_n(self) -> float:
        return share_effective_n(self.w, self.ww, self.hits, self.hits_ww)


@dataclass(frozen=True, kw_only=True)
class ValueSums:
    """Weighted sums of a number over calls: of x and its squares, by weights and by their squares."""

    n: int = 0
    w: float = 0.0
    ww: float = 0.0
    wx: float = 0.0
    wwx: float = 0.0
    wwxx: float = 0.0

    @property
    def mean(self) -> float:
        return self.wx / self.w

    @property
    def variance_of_mean(self) -> float:
        deviations = self.wwxx - 2 * self.mean * self.wwx + self.mean**2 * self.ww
        return max(0.0, deviations) * self.n / (self.n - 1) / self.w**2


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What is known of one side."""

    name: str
    quality: ShareSums = ShareSums()
    latency: LogSums = field(default_factory=LogSums)
    cost: ValueSums = ValueSums()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The verdict as a named reason, and the three numbers behind it.

    Parameters
    ----------
    verdict : str
        Such as `non-inferior and faster`, `inferior`, `inconclusive: needs about 800 more labels`.
    quality : Quality
        The first part of it, for programs.
    quality_difference : Result
        Share right of b − that of a; in shares, so −0.02 is two points less.
    latency_ratio, cost_ratio : Result
        b / a; below 1 is a gain.
    more : int, optional
        Judged calls, of both arms together, that would settle an inconclusive comparison if it stays as it is.
    always : Always
        The same with intervals that hold however often one looks while data comes in; wider.
    """

    verdict: str
    quality: Quality
    quality_difference: Result
    latency_ratio: Result
    cost_ratio: Result
    margin: float
    always: Always
    more: int | None = None


@dataclass(frozen=True, kw_only=True)
class Always:
    """Verdict and numbers from intervals of `monitor.stats.anytime`."""

    verdict: str
    quality: Quality
    quality_difference: Result
    latency_ratio: Result
    cost_ratio: Result


def compare_arms(a: Arm, b: Arm, *, margin: float = MARGIN, level: float = LEVEL) -> Comparison:
    """Is b not worse than a by more than the margin, and is it faster or cheaper?

    Parameters
    ----------
    a, b : Arm
        The accepted one, and the candidate.
    margin : float
        Loss in the share of right answers that would be accepted, in (0, 1); to be chosen before looking.
    level : float
        Confidence of all intervals; an end of the two-sided interval is judged, so an inferior b passes in at most
        (1 − level) / 2 of comparisons.

    Raises
    ------
    ValueError
        If the margin is out of range.

    References
    ----------
    FDA (2016), Non-Inferiority Clinical Trials to Establish Effectiveness.
    """
    if not 0 < margin < 1:
        raise ValueError(f"the margin must lie between 0 and 1, not {margin}")
    once = (
        share_difference(a.quality, b.quality, level=level),
        log_ratio(a.latency, b.latency, level=level),
        mean_ratio(a.cost, b.cost, level=level),
    )
    # At all looks together, each end errs with half of what is left of the level, as with a single one.
    always = (
        _always(once[0], _share_variance(a.quality, b.quality), scale=SHARE_SCALE, level=level, ratio=False),
        _always(once[1], _log_variance(a.latency, b.latency), scale=RATIO_SCALE, level=level, ratio=True),
        _always(once[2], _mean_variance(a.cost, b.cost), scale=RATIO_SCALE, level=level, ratio=True),
    )
    verdict, quality, more = _verdict(a, b, *once, margin)
    lasting, lasting_quality, _ = _verdict(a, b, *always, margin)
    return Comparison(
        verdict=verdict,
        quality=quality,
        quality_difference=once[0],
        latency_ratio=once[1],
        cost_ratio=once[2],
        margin=margin,
        more=more,
        always=Always(
            verdict=lasting,
            quality=lasting_quality,
            quality_difference=always[0],
            latency_ratio=always[1],
            cost_ratio=always[2],
        ),
    )


def _verdict(
    a: Arm, b: Arm, difference: Result, latency: Result, cost: Result, margin: float
) -> tuple[str, Quality, int | None]:
    quality, more = _judge(a.quality, b.quality, difference, margin)
    if quality == "non-inferior":
        verdict = f"non-inferior{_gains(latency, cost)}"
    elif quality == "inconclusive":
        verdict = (
            "inconclusive: the difference is just the margin"
            if more is None
            else f"inconclusive: needs about {more:,} more labels"
        )
    elif quality == "insufficient":
        verdict = difference.note
    else:
        verdict = f"inferior by {-(difference.value or 0.0):.1%}, more than the margin of {margin:.1%}"
    return verdict, quality, more


def _always(found: Result, variance: float, *, scale: float, level: float, ratio: bool) -> Result:
    """The result with an interval for all looks; without one where there is none for a single look."""
    if found.value is None or found.low is None or not variance > 0:
        return found
    centre = math.log(found.value) if ratio else found.value
    low, high = always_valid(centre, variance, scale=scale, level=level)
    assert low is not None
    assert high is not None
    ends = Interval(math.exp(low), math.exp(high)) if ratio else Interval(max(-1.0, low), min(1.0, high))
    return within(found.value, ends, n=found.n, method="normal-mixture")


def _share_variance(a: ShareSums, b: ShareSums) -> float:
    """Of the difference of shares; with half a right and half a wrong answer more, as none is certain."""
    total = 0.0
    for side in (a, b):
        if side.n < VALUES_MIN:
            return math.nan
        n = side.effective_n
        share = (side.share * n + 0.5) / (n + 1)
        total += share * (1 - share) / n
    return total


def _log_variance(a: LogSums, b: LogSums) -> float:
    if min(a.n, b.n) < VALUES_MIN or min(a.effective_n, b.effective_n) < 2:
        return math.nan
    return a.variance / a.effective_n + b.variance / b.effective_n


def _mean_variance(a: ValueSums, b: ValueSums) -> float:
    if min(a.n, b.n) < VALUES_MIN or a.wx <= 0 or b.wx <= 0:
        return math.nan
    return a.variance_of_mean / a.mean**2 + b.variance_of_mean / b.mean**2


def share_difference(a: ShareSums, b: ShareSums, *, level: float = LEVEL) -> Result:
    """Difference of two shares, b − a, with Newcombe's interval from the two Wilson intervals.

    References
    ----------
    R. G. Newcombe (1998), Interval estimation for the difference between independent proportions, method 10.

    Examples
    --------
    His example of 56 of 70 against 48 of 80:

    >>> found = share_difference(ShareSums(n=80, w=80, ww=80, hits=48, hits_ww=48),
    ...                          ShareSums(n=70, w=70, ww=70, hits=56, hits_ww=56))
    >>> round(found.value, 4), round(found.low, 4), round(found.high, 4)
    (0.2, 0.0524, 0.3339)
    """
    method = "newcombe"
    if min(a.n, b.n) < VALUES_MIN:
        why = f"each side needs {VALUES_MIN} judged calls; there are {a.n} and {b.n}"
        return insufficient(why, n=a.n + b.n, method=method)
    (la, ha), (lb, hb) = _wilson(a, level), _wilson(b, level)
    value = b.share - a.share
    low = value - math.hypot(b.share - lb, ha - a.share)
    high = value + math.hypot(hb - b.share, a.share - la)
    return within(value, Interval(max(-1.0, low), min(1.0, high)), n=a.n + b.n, method=method)


def log_ratio(a: LogSums, b: LogSums, *, level: float = LEVEL) -> Result:
    """Ratio b / a of geometric means, with Welch's interval of the difference of logarithms."""
    method = "welch-log"
    if min(a.n, b.n) < VALUES_MIN or min(a.effective_n, b.effective_n) < 2:
        why = f"each side needs {VALUES_MIN} measured calls; there are {a.n} and {b.n}"
        return insufficient(why, n=a.n + b.n, method=method)
    va, vb = a.variance / a.effective_n, b.variance / b.effective_n
    value = b.mean - a.mean
    if va + vb <= 0:
        return within(math.exp(value), None, n=a.n + b.n, method=method, notes=["all values are alike"])
    df = (va + vb) ** 2 / (va**2 / (a.effective_n - 1) + vb**2 / (b.effective_n - 1))
    half = float(special.stdtrit(df, (1 + level) / 2)) * math.sqrt(va + vb)
    return within(math.exp(value), Interval(math.exp(value - half), math.exp(value + half)), n=a.n + b.n, method=method)


def mean_ratio(a: ValueSums, b: ValueSums, *, level: float = LEVEL) -> Result:
    """Ratio b / a of means of numbers above 0, with the interval of its logarithm by linearisation."""
    method = "log-delta"
    if min(a.n, b.n) < VALUES_MIN or a.wx <= 0 or b.wx <= 0:
        why = f"each side needs {VALUES_MIN} calls with a price; there are {a.n} and {b.n}"
        return insufficient(why, n=a.n + b.n, method=method)
    value = math.log(b.mean / a.mean)
    error = math.sqrt(a.variance_of_mean / a.mean**2 + b.variance_of_mean / b.mean**2)
    half = float(special.ndtri((1 + level) / 2)) * error
    return within(math.exp(value), Interval(math.exp(value - half), math.exp(value + half)), n=a.n + b.n, method=method)


def _judge(a: ShareSums, b: ShareSums, difference: Result, margin: float) -> tuple[Quality, int | None]:
    if difference.value is None or difference.low is None or difference.high is None:
        return "insufficient", None
    if difference.low > -margin:
        return "non-inferior", None
    if difference.high < -margin:
        return "inferior", None
    room = difference.value + margin
    if abs(room) < 1e-9:
        return "inconclusive", None
    # The end on the side of the margin has to come as near as `room`; its distance falls with the root of n.
    reach = difference.value - difference.low if room > 0 else difference.high - difference.value
    return "inconclusive", max(1, math.ceil((a.n + b.n) * ((reach / abs(room)) ** 2 - 1)))


def _gains(latency: Result, cost: Result) -> str:
    gains = [word for word, ratio in (("faster", latency), ("cheaper", cost)) if _below(ratio)]
    losses = [word for word, ratio in (("slower", latency), ("dearer", cost)) if _above(ratio)]
    gained = " and " + " and ".join(gains) if gains else ""
    lost = ", but " + " and ".join(losses) if losses else ""
    return f"{gained}{lost}" or ", no gain shown"


def _below(ratio: Result) -> bool:
    return ratio.high is not None and ratio.high < 1


def _above(ratio: Result) -> bool:
    return ratio.low is not None and ratio.low > 1


def _wilson(sums: ShareSums, level: float) -> tuple[float, float]:
    n = sums.effective_n
    low, high = wilson(min(n, sums.share * n), n, level=level)
    assert low is not None
    assert high is not None
    return low, high
