"""Intervals that hold however often one looks, and whenever one stops.

An estimate that becomes more certain while data comes in has, in large samples, the independent increments of a Brownian
motion in information time, 1 / variance; so has the difference of two arms, whatever the rates at which they fill. For
such a process the mixture of likelihood ratios over effects N(0, scale²),

    Λ = sqrt(V / (V + scale²)) · exp(scale² d² / (2 V (V + scale²))),        d: the estimate less the true effect, V: its variance,

is a martingale of mean 1 if d's effect is 0, and by Ville's inequality it ever reaches 1/α with probability α at most. The
effects that it does not refute are the interval. An interval for a single look is narrower, and wrong far more often when
looked at again and again: with 100 looks, some two times in five instead of one in twenty.

References
----------
H. Robbins (1970), Statistical methods related to the law of the iterated logarithm. R. Johari, P. Koomen, L. Pekelis,
D. Walsh (2022), Always valid inference: continuous monitoring of A/B tests. I. Waudby-Smith, D. Arbour, R. Sinha,
E. H. Kennedy, A. Ramdas (2024), Time-uniform central limit theory and asymptotic confidence sequences. C. Jennison,
B. W. Turnbull (1997), Group-sequential analysis incorporating covariate information (increments of information).
"""

from __future__ import annotations

import math

from monitor.stats.intervals import LEVEL, Interval


def always_valid(value: float, variance: float, *, scale: float, level: float = LEVEL) -> Interval:
    """Bounds of an effect that hold at all looks together with the level's probability.

    Parameters
    ----------
    value : float
        The estimate so far; of a process that began at a fixed moment, not of a window that moves.
    variance : float
        Of the estimate, above 0.
    scale : float
        Size of the effects that matter, in the estimate's unit, above 0 and chosen beforehand. The interval is narrowest
        when the estimate's error is about a third of it; a bad choice costs width, never validity.
    level : float

    Raises
    ------
    ValueError
        If the variance or the scale is not above 0.

    Examples
    --------
    For one look it would be 0.3 ± 0.196:

    >>> low, high = always_valid(0.3, 0.01, scale=0.3)
    >>> round(low, 3), round(high, 3)
    (-0.004, 0.604)
    """
    if not (variance > 0 and scale > 0):
        raise ValueError(f"variance and scale must be above 0, not {variance} and {scale}")
    ratio = (variance + scale**2) / variance
    half = math.sqrt(variance * (variance + scale**2) / scale**2 * (math.log(ratio) - 2 * math.log1p(-level)))
    return Interval(value - half, value + half)


def always_p(value: float, variance: float, *, scale: float) -> float:
    """p-value of "no effect" that may be looked at at any time: 1 / Λ, at most 1."""
    if not (variance > 0 and scale > 0):
        raise ValueError(f"variance and scale must be above 0, not {variance} and {scale}")
    spread = variance + scale**2
    log_ratio = scale**2 * value**2 / (2 * variance * spread) - 0.5 * math.log(spread / variance)
    return math.exp(-max(0.0, log_ratio))
