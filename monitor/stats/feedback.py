"""Feedback corrected for who answers: post-stratification.

Few people press a thumb, and not at random: long answers, slow ones and failures draw more of it. Where answering depends
only on what is known of *all* calls (the strata), the share within a stratum is unbiased, and weighting the strata by
their share of all calls gives what everybody would have said. What the strata do not tell stays a bias.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from monitor.stats.intervals import LEVEL, share_effective_n, wilson
from monitor.stats.result import Result, insufficient

METHOD: Final = "post-stratified"
# Answers that a stratum needs to stand for itself.
ANSWERS_MIN: Final = 5
# Weight, in answers, of the share of all when the spread within a stratum is guessed: 5 of 5 is not certainty.
_PRIOR: Final = 1.0
# Sums of weights are floats, in any order: shares as near as this to 0 or 1 are meant to be it.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, kw_only=True)
class AnswerSums:
    """Sums over the calls of one stratum.

    Parameters
    ----------
    key : tuple of str
        What the calls have in common, the most telling first: strata that are too small are joined with others that agree
        in all but the last part.
    calls : float
        Σw of all calls, answered or not.
    n : int
        Answers.
    w, ww : float
        Σw and Σw² of the answered calls.
    hits, hits_ww : float
        Σw and Σw² of those with a positive answer.
    """

    key: tuple[str, ...]
    calls: float
    n: int
    w: float
    ww: float
    hits: float
    hits_ww: float

    def plus(self, other: AnswerSums, key: tuple[str, ...]) -> AnswerSums:
        return AnswerSums(
            key=key,
            calls=self.calls + other.calls,
            n=self.n + other.n,
            w=self.w + other.w,
            ww=self.ww + other.ww,
            hits=self.hits + other.hits,
            hits_ww=self.hits_ww + other.hits_ww,
        )


@dataclass(frozen=True, kw_only=True)
class Corrected(Result):
    """The corrected share, and the raw one with its own interval."""

    raw: Result
    strata: int = 0
    effective_n: float = 0.0


def post_stratified(strata: Iterable[AnswerSums], *, answers_min: int = ANSWERS_MIN, level: float = LEVEL) -> Corrected:
    """Share of positive answers, if all calls had been answered as those of their stratum were: Σ W_h · p_h.

    Parameters
    ----------
    strata : iterable of AnswerSums
        In any order; those without a call are left out.
    answers_min : int
        Strata with fewer answers are joined with their neighbours.
    level : float
        Confidence of the interval.

    Returns
    -------
    Corrected
        `value` is None without an answer. The interval is Wilson's with the number of answers that a plain share would
        need for the variance Σ W_h² p_h (1 − p_h) / n_h; p_h is drawn to the share of all by one answer there, so that a
        stratum in which all agree is not taken for certain.

    References
    ----------
    D. Holt, T. M. F. Smith (1979), Post stratification; R. J. A. Little (1993), Post-stratification: a modeler's view.

    Examples
    --------
    Nine in ten calls are short and little answered; nearly all answers are of long ones:

    >>> short = AnswerSums(key=("short",), calls=900, n=10, w=10, ww=10, hits=9, hits_ww=9)
    >>> long = AnswerSums(key=("long",), calls=100, n=90, w=90, ww=90, hits=45, hits_ww=45)
    >>> found = post_stratified([short, long])
    >>> round(found.value, 3), round(found.raw.value, 3)
    (0.86, 0.54)
    """
    found = joined([each for each in strata if each.calls > 0], answers_min=answers_min)
    n = sum(each.n for each in found)
    if n == 0:
        none = insufficient("no call has an answer", method=METHOD)
        return Corrected(value=None, method=METHOD, note=none.note, raw=none)
    raw = _raw(found, n, level)
    total = math.fsum(each.calls for each in found)
    shares = [each.calls / total for each in found]
    rates = [_rate(each) for each in found]
    # Not the sum where all agree: shares that add up to 1 but for a rounding would make 0.9999999999999999 of it.
    value = rates[0] if len(set(rates)) == 1 else math.fsum(map(operator.mul, shares, rates))
    effective = _effective_n(found, shares, rates, value)
    low, high = wilson(min(effective, value * effective), effective, level=level)
    return Corrected(
        value=value, low=low, high=high, n=n, method=METHOD, raw=raw, strata=len(found), effective_n=effective
    )


def joined(strata: Iterable[AnswerSums], *, answers_min: int) -> list[AnswerSums]:
    """The same calls in strata of at least so many answers each, as far as there are so many."""
    by_key: dict[tuple[str, ...], AnswerSums] = {}
    for each in strata:
        by_key[each.key] = by_key[each.key].plus(each, each.key) if each.key in by_key else each
    for depth in range(max(map(len, by_key), default=0), 0, -1):
        for small in [each for key, each in by_key.items() if len(key) == depth and each.n < answers_min]:
            del by_key[small.key]
            parent = small.key[:-1]
            by_key[parent] = small.plus(by_key[parent], parent) if parent in by_key else small.plus(_nothing(), parent)
    rest = by_key.get(())
    if rest is not None and rest.n < answers_min and len(by_key) > 1:
        del by_key[()]
        # The calls of which nobody knows more are taken to be like most others.
        largest = max(by_key.values(), key=lambda each: (each.n, each.key))
        by_key[largest.key] = largest.plus(rest, largest.key)
    return sorted(by_key.values(), key=lambda each: each.key)


def _nothing() -> AnswerSums:
    return AnswerSums(key=(), calls=0.0, n=0, w=0.0, ww=0.0, hits=0.0, hits_ww=0.0)


def _rate(stratum: AnswerSums) -> float:
    """Share of positive answers, exactly 0 or 1 where all agree."""
    rate = stratum.hits / stratum.w
    return float(round(rate)) if math.isclose(rate, round(rate), rel_tol=0.0, abs_tol=_ROUNDING) else rate


def _raw(strata: list[AnswerSums], n: int, level: float) -> Result:
    w, ww, hits, hits_ww = (
        math.fsum(getattr(each, name) for each in strata) for name in ("w", "ww", "hits", "hits_ww")
    )
    effective = share_effective_n(w, ww, hits, hits_ww)
    share = min(1.0, hits / w)
    low, high = wilson(min(effective, share * effective), effective, level=level)
    return Result(value=share, low=low, high=high, n=n, method="wilson")


def _effective_n(strata: list[AnswerSums], shares: list[float], rates: list[float], value: float) -> float:
    """Answers to a plain share that would know it as well."""
    numbers = [each.w**2 / each.ww for each in strata]
    if not 0 < value < 1:
        return 1 / math.fsum(share**2 / n for share, n in zip(shares, numbers, strict=True))
    variance = 0.0
    for share, n, rate in zip(shares, numbers, rates, strict=True):
        p = (rate * n + _PRIOR * value) / (n + _PRIOR)
        variance += share**2 * p * (1 - p) / n
    return value * (1 - value) / variance
