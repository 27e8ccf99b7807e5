"""Intervals of effect sizes, from counts.

The plain effect is biased upward: chance alone makes two samples of one distribution differ. PSI, the Jensen-Shannon
divergence and chi-square per row are, near their zero, c · χ² with k − 1 degrees of freedom (c ≈ 1/n + 1/m times a
constant), and c · noncentral χ² a little further away. Their interval asks which true effects make the seen one
unsurprising: the noncentral χ² distribution is inverted, and its spread corrected by the delta method, which holds
further away still. So the interval is free of the bias, and its lower end is 0 where chance explains what was seen.

Total variation, Kolmogorov-Smirnov and Wasserstein are sizes of a difference of two means: of which bins are fuller now, of
what lies below the point of largest distance, of the signed area. Their interval takes that function of the row as given
and has the variance of the two means (delta method), about the effect less the bias that multinomial resamples show. The
percentiles of the resamples themselves hold the truth in 91 % of cases only. Kolmogorov-Smirnov may have the wider one of
Dvoretzky, Kiefer and Wolfowitz instead (`dkw`), which assumes nothing but independent rows.

References
----------
B. Yurdakul (2018), PSI as a scaled χ²; R. J. Serfling (1980), Approximation Theorems of Mathematical Statistics, 3.3 and
5.5 (delta method, and the χ² limit where the first derivative vanishes); M. Raghavachari (1973), Limiting distributions
of Kolmogorov-Smirnov type statistics under the alternative; A. C. Davison, D. V. Hinkley (1997), Bootstrap Methods and
their Application, 2.2 (bias); P. Massart (1990), The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special

from monitor.stats.drift import effects
from monitor.stats.drift.effects import Array
from monitor.stats.intervals import LEVEL

DRAWS = 500
# From here on the noncentral χ² is normal on the root scale to four digits, and its inverse no longer reliable.
ROOT_SCALE_FROM = 2000.0

Statistic = Callable[[Array, Array], Array]


class Limits(NamedTuple):
    """Both ends of an interval, in the unit of the effect."""

    low: float
    high: float


def divergence_interval(kind: str, reference: Array, current: Array, *, level: float = LEVEL) -> Limits:
    """Interval of a divergence: `psi`, `js_divergence` (bits) or `chi_square_per_row`.

    Parameters
    ----------
    kind : str
        Which of the three.
    reference, current : array of shape (k,)
        Counts, both with rows.
    level : float
        Confidence, in (0, 1).
    """
    n, m = float(reference.sum()), float(current.sum())
    there = (reference + current) > 0
    r, c = reference[there], current[there]
    value = float(_PLAIN[kind](r, c))
    scale = (1 / n + 1 / m) * _CURVATURE[kind](n, m)
    df = max(len(r) - 1, 1)
    seen = value / scale
    low, high = _noncentral(seen, df, level)
    centre = max(seen - df, 0.0)
    ratio = _spread_ratio(kind, r, c, scale)
    stretch = math.sqrt((2 * df + 4 * centre * ratio) / (2 * df + 4 * centre))
    # Chance explains what was seen: no spread changes that.
    low = centre - (centre - low) * stretch if low > 0 else 0.0
    high = centre + (high - centre) * stretch
    return Limits(max(low, 0.0) * scale, max(high, 0.0) * scale)


def null_bias(kind: str, reference: Array, current: Array) -> float:
    """What chance alone adds to a divergence: its expectation if both sides have one distribution."""
    n, m = float(reference.sum()), float(current.sum())
    bins = int(((reference + current) > 0).sum())
    return (1 / n + 1 / m) * _CURVATURE[kind](n, m) * max(bins - 1, 0)


def distance_interval(
    statistic: Statistic,
    slopes: Statistic,
    reference: Array,
    current: Array,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 1,
) -> Limits:
    """Interval of an effect that is |Σ h (q − p)|, h depending on which bins grew.

    Parameters
    ----------
    statistic : function
        From counts of shape (draws, k) of both sides to values of shape (draws,).
    slopes : function
        From counts of shape (k,) of both sides to h, shape (k,).
    reference, current : array of shape (k,)
        Counts; weighted ones are rounded to whole rows for the resamples.
    level : float
        Confidence, in (0, 1).
    draws, seed : int
        Number of resamples; makes the result repeatable.
    """
    rng = np.random.default_rng(seed)
    value = float(statistic(reference, current))
    resampled = statistic(_resample(rng, reference, draws), _resample(rng, current, draws))
    h = slopes(reference, current)
    variance = 0.0
    for counts in (reference, current):
        p = effects.shares(counts)
        variance += float(p @ h**2 - (p @ h) ** 2) / float(counts.sum())
    half = float(special.ndtri((1 + level) / 2)) * math.sqrt(max(variance, 0.0))
    middle = value - (float(resampled.mean()) - value)
    # Near zero h is chance as well: the lower end is 0 unless two samples of one distribution are rarely as far apart.
    both = reference + current
    alike = statistic(_resample(rng, both, draws, reference.sum()), _resample(rng, both, draws, current.sum()))
    explained = value <= float(np.quantile(alike, (1 + level) / 2, method="higher"))
    return Limits(0.0 if explained else max(0.0, middle - half), max(0.0, middle + half))


def dkw(value: float, n: float, m: float, *, level: float = LEVEL) -> Limits:
    """Interval of a Kolmogorov-Smirnov distance by the DKW inequality for each side; wide, and never too short."""
    half = sum(math.sqrt(math.log(4 / (1 - level)) / (2 * size)) for size in (n, m))
    return Limits(max(0.0, value - half), min(1.0, value + half))


def _resample(rng: np.random.Generator, counts: Array, draws: int, rows: float | None = None) -> Array:
    wanted = float(counts.sum()) if rows is None else float(rows)
    return rng.multinomial(max(1, round(wanted)), effects.shares(counts), size=draws).astype(np.float64)


def _noncentral(seen: float, df: int, level: float) -> tuple[float, float]:
    """Noncentralities for which the seen χ² is at the ends of what is likely."""
    tail = (1 - level) / 2
    if seen > ROOT_SCALE_FROM + df:
        z = float(special.ndtri(1 - tail))
        root = math.sqrt(seen - df)
        # Variance of the root: (2 df + 4 λ) / (4 λ).
        half = z * math.sqrt(1 + df / (2 * (seen - df)))
        return (root - half) ** 2, (root + half) ** 2
    low, high = (
        float(special.chndtrinc(seen, df, p)) if special.chdtr(df, seen) > p else 0.0 for p in (1 - tail, tail)
    )
    return low, high


def _spread_ratio(kind: str, reference: Array, current: Array, scale: float) -> float:
    """Variance by the delta method over that of the noncentral χ²; 1 near zero.

    With half a row more in each bin: an empty bin is not known to be empty.
    """
    r, c = reference + 0.5, current + 0.5
    n, m = float(reference.sum()), float(current.sum())
    p, q = effects.shares(r), effects.shares(c)
    by_p, by_q = _GRADIENTS[kind](p, q, n / (n + m))
    variance = (p @ by_p**2 - (p @ by_p) ** 2) / n + (q @ by_q**2 - (q @ by_q) ** 2) / m
    smooth = float(_PLAIN[kind](p * n, q * m))
    return float(variance / (4 * scale * smooth)) if smooth > 1e-12 else 1.0


def _psi_gradient(p: Array, q: Array, share: float) -> tuple[Array, Array]:
    return np.log(p / q) + 1 - q / p, np.log(q / p) + 1 - p / q


def _js_gradient(p: Array, q: Array, share: float) -> tuple[Array, Array]:
    middle = (p + q) / 2
    return np.log2(p / middle) / 2, np.log2(q / middle) / 2


def _chi_square_gradient(p: Array, q: Array, share: float) -> tuple[Array, Array]:
    other = 1 - share
    pooled = share * p + other * q
    slope, bend = 2 * (p - q) / pooled, ((p - q) / pooled) ** 2
    both = share * other
    return both * (slope - share * bend), both * (-slope - other * bend)


_PLAIN: dict[str, Statistic] = {
    "psi": effects.psi,
    "js_divergence": effects.js_divergence,
    "chi_square_per_row": effects.chi_square_per_row,
}
_GRADIENTS: dict[str, Callable[[Array, Array, float], tuple[Array, Array]]] = {
    "psi": _psi_gradient,
    "js_divergence": _js_gradient,
    "chi_square_per_row": _chi_square_gradient,
}
# Near zero each is this times Σ (p − q)² / p.
_CURVATURE: dict[str, Callable[[float, float], float]] = {
    "psi": lambda n, m: 1.0,
    "js_divergence": lambda n, m: 1 / (8 * math.log(2)),
    "chi_square_per_row": lambda n, m: n * m / (n + m) ** 2,
}
