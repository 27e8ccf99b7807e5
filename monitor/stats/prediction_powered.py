"""Accuracy from few labels and many judge scores: prediction-powered mean and proportion, with power tuning.

A judge scores nearly every call; people label a few, chosen at random. The judge's mean over all calls has a
small error and an unknown bias; the labelled calls tell the bias. With y a label, f a score and λ in [0, 1],

    estimate = λ · mean of f without a label + mean of (y - λ f) with one

is unbiased whatever the judge is worth. λ is chosen to make the variance smallest: 0 for a useless judge (the
labels alone), near 1 for a good one.

Everything is computed from sums that a database makes in one pass, for each stratum (an hour, a model, …).
Strata are weighted with their share of the calls, so each may be labelled at a rate of its own.

References
----------
A. N. Angelopoulos, S. Bates, C. Fannjiang, M. I. Jordan, T. Zrnic (2023), Prediction-powered inference.
A. N. Angelopoulos, J. C. Duchi, T. Zrnic (2023), PPI++: efficient prediction-powered inference (λ).
A. Fisch et al. (2024), Stratified prediction-powered inference. W. G. Cochran (1977), Sampling Techniques,
sections 7.6 (regression estimator), 5A.12 (collapsed strata).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from scipy import special

from monitor.stats import intervals
from monitor.stats.intervals import LEVEL, Interval
from monitor.stats.label_sums import Stratum
from monitor.stats.result import Result, insufficient, within

# Fewer labels than this say nothing on the spread of what is left when the judge's part is taken away.
LABELS_MIN = 10
# A stratum with fewer labels is judged together with its neighbour.
STRATUM_LABELS_MIN = 5
# Of each kind, added for the variance of a proportion: simulated, 0.5 keeps 30 labels at 95 %; 1 is wider than need be.
DISAGREEMENTS = 0.5
_TINY = 1e-15


class Spread(NamedTuple):
    """The variance of the estimate as a function of λ: yy - 2λ·yf + λ²·(ff + rest)."""

    yy: float
    yf: float
    ff: float
    # Of the judge's mean where there is no label; the only part that more labels do not make smaller.
    rest: float

    def variance(self, power: float) -> float:
        variance = self.yy - 2 * power * self.yf + power**2 * (self.ff + self.rest)
        # NaN stays NaN: one label has no variance.
        return 0.0 if variance < 0 else variance

    def best_power(self, bounds: tuple[float, float]) -> float:
        """λ with the smallest variance within bounds; the nearest to 0 where the judge's scores do not vary."""
        low, high = bounds
        curvature = self.ff + self.rest
        best = self.yf / curvature if curvature > _TINY * max(1.0, self.yy) else 0.0
        return min(max(best, low), high)

    def with_more_labels(self, factor: float) -> Spread:
        """With so many times the labels in each stratum."""
        return Spread(self.yy / factor, self.yf / factor, self.ff / factor, self.rest)


@dataclass(frozen=True, kw_only=True)
class PredictionPowered(Result):
    """A prediction-powered estimate beside the classical one from labels alone.

    Attributes
    ----------
    n : int
        Labelled rows; the same as `n_labelled`.
    n_predicted : int
        Rows with a score and without a label.
    power : float or None
        λ: what the judge's scores count for.
    effective_n : float or None
        Labels that would give the classical estimate with the same variance.
    classical : Result
        From labels alone, weighted over the same strata.
    spread : Spread or None
        What `labels_needed` goes by.
    """

    n_predicted: int = 0
    power: float | None = None
    effective_n: float | None = None
    classical: Result
    spread: Spread | None = None

    @property
    def n_labelled(self) -> int:
        return self.n


def prediction_powered_proportion(
    strata: Sequence[Stratum], *, bounds: tuple[float, float] = (0.0, 1.0), level: float = LEVEL
) -> PredictionPowered:
    """Share of right answers (or the mean of anything between 0 and 1) from few labels and many scores.

    Parameters
    ----------
    strata : sequence of Stratum
        In order of time, since one with too few labels is judged with its neighbour. Labels and scores must lie
        in [0, 1].
    bounds : pair of float
        Between which λ is chosen.
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    PredictionPowered
        value in [0, 1]; None below `LABELS_MIN` labels (the classical result is there from one label on).

    Raises
    ------
    ValueError
        If labels or scores are not within [0, 1].

    Notes
    -----
    The interval is Wilson's at the effective number of labels, p(1 - p) / variance. Few labels may happen to agree
    with the judge all along, and their measured variance is then 0; so half a disagreement of each kind
    is added to the labels for the variance and for λ (not for the value), after the adjusted interval for paired
    proportions of D. G. Bonett, R. M. Price (2012). With λ = 0 it is Wilson's interval of the labels.
    """
    for stratum in strata:
        stratum.check_unit_range()
    return _estimate(strata, bounds=bounds, level=level, proportion=True)


def prediction_powered_mean(
    strata: Sequence[Stratum], *, bounds: tuple[float, float] = (0.0, 1.0), level: float = LEVEL
) -> PredictionPowered:
    """Mean of a score given by people, from few of theirs and many of a judge.

    As `prediction_powered_proportion`, for values of any size and both in the same unit; where the judge has another
    scale, bring it to that of the labels or widen `bounds`. The interval is Student's t; there is none where the labels
    (less λ times the scores) are all the same.
    """
    return _estimate(strata, bounds=bounds, level=level, proportion=False)


def labels_needed(
    estimate: PredictionPowered,
    *,
    half_width: float = 0.01,
    bounds: tuple[float, float] = (0.0, 1.0),
    level: float = LEVEL,
) -> Result:
    """How many more labels until the interval is `half_width` to either side, all else as it is now.

    Parameters
    ----------
    estimate : PredictionPowered
        Its variances are taken for those of the labels to come, its strata's shares of labels as well; λ is tuned
        anew for their number.
    half_width : float
        Wanted, in the unit of the estimate, > 0; 0.01 is one point of a share.
    bounds : pair of float
        As for the estimate.
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Result
        Whole number of labels beyond those there are, 0 if there are enough; None where nothing is known yet, or where
        more would be wanted than there are calls left (the note says how many).
    """
    if not 0 < half_width < math.inf:
        raise ValueError(f"half_width must be a number > 0, not {half_width}")
    if estimate.spread is None:
        return insufficient("no estimate to go by", n=estimate.n, method="normal")
    spread, target = estimate.spread, (half_width / float(special.ndtri((1 + level) / 2))) ** 2

    def excess(log_factor: float) -> float:
        more = spread.with_more_labels(math.exp(log_factor))
        return more.variance(more.best_power(bounds)) - target

    if excess(0.0) <= 0:
        return Result(value=0.0, n=estimate.n, method="normal")
    # The classical estimate needs at most yy / target times the labels.
    most = max(0.0, math.log(spread.yy / target)) + 1e-9
    if excess(most) > 0:
        return insufficient("not to be reached with λ within these bounds", n=estimate.n, method="normal")
    from scipy import optimize  # here, as it takes long at a start

    factor = math.exp(optimize.brentq(excess, 0.0, most))
    more = math.ceil(estimate.n * (factor - 1) - 1e-6)
    if more > estimate.n_predicted:
        return insufficient(
            f"{more} more labels wanted, {estimate.n_predicted} calls left", n=estimate.n, method="normal"
        )
    return Result(value=float(more), n=estimate.n, method="normal")


class _Part(NamedTuple):
    """A stratum's means, and the variances of these means."""

    share: float
    # Effective number of labels.
    n: float
    y: float
    # Mean score of rows without a label, less that of rows with one.
    judge_says_more: float
    # The labels' mean, smoothed (proportions only).
    y_smooth: float
    spread: Spread


def _estimate(
    strata: Sequence[Stratum], *, bounds: tuple[float, float], level: float, proportion: bool
) -> PredictionPowered:
    method = "prediction-powered"
    n = sum(stratum.labelled.n for stratum in strata)
    n_predicted = sum(stratum.predicted.n for stratum in strata)
    if n == 0:
        nothing = insufficient("no labels")
        return PredictionPowered(
            value=None, method=method, note=nothing.note, n_predicted=n_predicted, classical=nothing
        )
    merged, note = _collapse(strata)
    total = sum(stratum.size for stratum in merged)
    parts = [_part(stratum, share=stratum.size / total, proportion=proportion) for stratum in merged]
    spread = _combine(parts)
    value, interval = _interval(parts, spread, 0.0, tuned=False, level=level, proportion=proportion)
    classical = within(value, interval, n=n, method="wilson" if proportion else "student-t", notes=[note])
    if n < LABELS_MIN:
        few = insufficient(f"{n} labels, {LABELS_MIN} wanted")
        return PredictionPowered(
            value=None, n=n, method=method, note=few.note, n_predicted=n_predicted, classical=classical
        )
    power = spread.best_power(bounds)
    value, interval = _interval(parts, spread, power, tuned=spread.rest > 0, level=level, proportion=proportion)
    variance = spread.variance(power)
    return PredictionPowered(
        **asdict(within(value, interval, n=n, method=method, notes=[note])),
        n_predicted=n_predicted,
        power=power,
        effective_n=n * spread.yy / variance if variance > 0 else None,
        classical=classical,
        spread=spread,
    )


def _collapse(strata: Sequence[Stratum]) -> tuple[list[Stratum], str]:
    """Strata with enough labels each, by adding neighbours together; and a note on how many were."""
    merged: list[Stratum] = []
    open_end: Stratum | None = None
    for stratum in strata:
        open_end = stratum if open_end is None else open_end + stratum
        if open_end.labelled.n >= STRATUM_LABELS_MIN:
            merged.append(open_end)
            open_end = None
    if open_end is not None:
        merged = [*merged[:-1], merged[-1] + open_end] if merged else [open_end]
    few = sum(stratum.labelled.n < STRATUM_LABELS_MIN for stratum in strata)
    if few == 0 or len(strata) == 1:
        return merged, ""
    return (
        merged,
        f"{few} of {len(strata)} strata have fewer than {STRATUM_LABELS_MIN} labels and are judged with their neighbours",
    )


def _part(stratum: Stratum, *, share: float, proportion: bool) -> _Part:
    moments = stratum.labelled.moments()
    y, f, n = moments.y, moments.f, moments.n
    if proportion:
        moments = moments.with_disagreements(share * DISAGREEMENTS)
        # Wilson's interval allows for one mean; each further stratum's mean takes a degree of freedom.
        correction = n / (n - (1 - share)) if n > 1 else 1.0
    else:
        correction = n / (n - 1) if n > 1 else math.nan
    scale = correction / n
    if stratum.predicted.n < 2:
        # Nothing to hold the labelled rows' scores against.
        return _Part(share, n, y, 0.0, moments.y, Spread(moments.yy * scale, 0.0, 0.0, 0.0))
    spread = Spread(moments.yy * scale, moments.yf * scale, moments.ff * scale, stratum.predicted.mean_variance)
    return _Part(share, n, y, stratum.predicted.mean - f, moments.y, spread)


def _combine(parts: Sequence[_Part]) -> Spread:
    return Spread(
        *(
            sum(part.share**2 * each for part, each in zip(parts, column, strict=True))
            for column in zip(*(part.spread for part in parts), strict=True)
        )
    )


def _interval(
    parts: Sequence[_Part], spread: Spread, power: float, *, tuned: bool, level: float, proportion: bool
) -> tuple[float, Interval | None]:
    value = sum(part.share * (part.y + power * part.judge_says_more) for part in parts)
    variance = spread.variance(power)
    if not proportion:
        degrees = _degrees(parts, power)
        if tuned and degrees > 1:
            # λ is fitted to the same labels: it takes a degree of freedom, and has an error of its own.
            variance *= degrees / (degrees - 1) * (1 + 1 / degrees)
            degrees -= 1
        # Labels that are all the same show no spread to judge by.
        error = math.sqrt(variance) if variance > 0 else math.nan
        return value, intervals.mean_interval(value, error, 1 + degrees, level=level)
    value = min(max(value, 0.0), 1.0)
    smooth = sum(part.share * part.y_smooth for part in parts)
    effective = smooth * (1 - smooth) / variance
    return value, intervals.wilson(value * effective, effective, level=level)


def _degrees(parts: Sequence[_Part], power: float) -> float:
    """Satterthwaite's degrees of freedom of a mean over strata."""
    terms = [(part.share**2 * part.spread.variance(power), part.n - 1) for part in parts]
    total = sum(term for term, _ in terms)
    if not total > 0:
        return float(sum(degrees for _, degrees in terms))
    return total**2 / sum(term**2 / degrees for term, degrees in terms)
