"""What a database sums up of labelled and of merely scored rows, for one stratum at a time.

y is a row's label, f its judge's score, w its weight (the calls that it stands for). Where every row stands for
itself, all weights are 1 and the sums with w and with w² are the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import numpy as np

from monitor.stats.intervals import Floats, kish_effective_n

# Rounding of a sum of many values, relative to it.
_ROUNDING = 1e-9


class Moments(NamedTuple):
    """Means, and (co)variances such that yy / n is the variance of the mean of y, before degrees of freedom."""

    n: float
    y: float
    f: float
    yy: float
    yf: float
    ff: float

    def with_disagreements(self, mass: float) -> Moments:
        """As if `mass` more rows had y = 1 and f = 0, and as many y = 0 and f = 1; n stays that of real rows."""
        total = self.n + 2 * mass
        y, f = (self.n * self.y + mass) / total, (self.n * self.f + mass) / total

        def blend(inner: float, shift: float, pseudo: float) -> float:
            return (self.n * (inner + shift) + mass * pseudo) / total

        return Moments(
            n=self.n,
            y=y,
            f=f,
            yy=blend(self.yy, (self.y - y) ** 2, (1 - y) ** 2 + y**2),
            yf=blend(self.yf, (self.y - y) * (self.f - f), -(1 - y) * f - y * (1 - f)),
            ff=blend(self.ff, (self.f - f) ** 2, f**2 + (1 - f) ** 2),
        )


@dataclass(frozen=True, kw_only=True)
class LabelledSums:
    """Sums over rows that have a label and a score.

    Attributes
    ----------
    n : int
        Rows.
    w, ww : float
        Σw, Σw².
    wy, wf : float
        Σwy, Σwf.
    wwy, wwf, wwyy, wwyf, wwff : float
        Σw²y, Σw²f, Σw²y², Σw²yf, Σw²f².
    """

    n: int = 0
    w: float = 0.0
    ww: float = 0.0
    wy: float = 0.0
    wf: float = 0.0
    wwy: float = 0.0
    wwf: float = 0.0
    wwyy: float = 0.0
    wwyf: float = 0.0
    wwff: float = 0.0

    @classmethod
    def unweighted(cls, *, n: int, y: float, f: float, yy: float, yf: float, ff: float) -> Self:
        """From n, Σy, Σf, Σy², Σyf and Σf² of rows that stand for themselves."""
        return cls(n=n, w=n, ww=n, wy=y, wf=f, wwy=y, wwf=f, wwyy=yy, wwyf=yf, wwff=ff)

    @classmethod
    def of(cls, labels: Floats, scores: Floats, weights: Floats | None = None) -> Self:
        """From arrays of shape (n,); rows with a NaN label or score are left out."""
        y, f, w = _columns(labels, scores, weights)
        w2 = w * w
        return cls(
            n=len(y),
            w=float(w.sum()),
            ww=float(w2.sum()),
            wy=float(w @ y),
            wf=float(w @ f),
            wwy=float(w2 @ y),
            wwf=float(w2 @ f),
            wwyy=float(w2 @ (y * y)),
            wwyf=float(w2 @ (y * f)),
            wwff=float(w2 @ (f * f)),
        )

    def __add__(self, other: LabelledSums) -> LabelledSums:
        return LabelledSums(
            **{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)}
        )

    def moments(self) -> Moments:
        """Means weighted by w; squares by w², around these means. Needs a row."""
        y, f = self.wy / self.w, self.wf / self.w

        def around(product: float, left: float, right: float, mean_left: float, mean_right: float) -> float:
            return (product - mean_right * left - mean_left * right) / self.ww + mean_left * mean_right

        yy = _not_rounding(around(self.wwyy, self.wwy, self.wwy, y, y), self.wwyy / self.ww)
        ff = _not_rounding(around(self.wwff, self.wwf, self.wwf, f, f), self.wwff / self.ww)
        yf = around(self.wwyf, self.wwy, self.wwf, y, f) if yy > 0 and ff > 0 else 0.0
        most = math.sqrt(yy * ff)
        return Moments(n=kish_effective_n(self.w, self.ww), y=y, f=f, yy=yy, yf=min(max(yf, -most), most), ff=ff)


@dataclass(frozen=True, kw_only=True)
class PredictedSums:
    """Sums over rows that have a score and no label: n, Σw, Σw², Σwf, Σw²f, Σw²f²."""

    n: int = 0
    w: float = 0.0
    ww: float = 0.0
    wf: float = 0.0
    wwf: float = 0.0
    wwff: float = 0.0

    @classmethod
    def unweighted(cls, *, n: int, f: float, ff: float) -> Self:
        """From n, Σf and Σf² of rows that stand for themselves."""
        return cls(n=n, w=n, ww=n, wf=f, wwf=f, wwff=ff)

    @classmethod
    def of(cls, scores: Floats, weights: Floats | None = None) -> Self:
        """From arrays of shape (n,); rows with a NaN score are left out."""
        f, _, w = _columns(scores, scores, weights)
        w2 = w * w
        return cls(
            n=len(f),
            w=float(w.sum()),
            ww=float(w2.sum()),
            wf=float(w @ f),
            wwf=float(w2 @ f),
            wwff=float(w2 @ (f * f)),
        )

    def __add__(self, other: PredictedSums) -> PredictedSums:
        return PredictedSums(
            **{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)}
        )

    @property
    def mean(self) -> float:
        return self.wf / self.w

    @property
    def mean_variance(self) -> float:
        """Variance of the mean, linearised; needs two rows."""
        mean = self.mean
        inner = _not_rounding((self.wwff - 2 * mean * self.wwf) / self.ww + mean**2, self.wwff / self.ww)
        return inner / kish_effective_n(self.w, self.ww) * self.n / (self.n - 1)


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """A part of the calls within which labelled rows are a random choice.

    Attributes
    ----------
    labelled : LabelledSums
    predicted : PredictedSums
        Of the other rows: none of the labelled ones is among them.
    calls : float or None
        Calls in the stratum, where some have neither a label nor a score; else the sum of both weights.
    """

    labelled: LabelledSums = LabelledSums()
    predicted: PredictedSums = PredictedSums()
    calls: float | None = None

    @property
    def size(self) -> float:
        return self.labelled.w + self.predicted.w if self.calls is None else self.calls

    def __add__(self, other: Stratum) -> Stratum:
        # Only then is a size that was said kept apart from one that was summed.
        calls = None if self.calls is None and other.calls is None else self.size + other.size
        return Stratum(labelled=self.labelled + other.labelled, predicted=self.predicted + other.predicted, calls=calls)

    def check_unit_range(self) -> None:
        """Raise ValueError where the sums cannot be of labels and scores in [0, 1]."""
        one, rest = self.labelled, self.predicted
        for name, square, value, most in (
            ("labels", one.wwyy, one.wwy, one.ww),
            ("scores", one.wwff, one.wwf, one.ww),
            ("scores", rest.wwff, rest.wwf, rest.ww),
        ):
            slack = _ROUNDING * max(1.0, abs(most))
            # For x in [0, 1], x² <= x <= 1.
            if not (0 <= square <= value + slack and value <= most + slack):
                raise ValueError(f"{name} must lie in [0, 1]; bring them to this range, or estimate a mean")


def _columns(
    first: Floats, second: Floats, weights: Floats | None
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    w = np.ones_like(a) if weights is None else np.asarray(weights, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or a.shape != w.shape:
        raise ValueError(f"labels, scores and weights must be of one length, not {a.shape}, {b.shape} and {w.shape}")
    if not (np.isfinite(w).all() and (w > 0).all()):
        raise ValueError("weights must be finite and above 0")
    if np.isinf(a).any() or np.isinf(b).any():
        raise ValueError("labels and scores must be finite numbers, or NaN where there is none")
    there = ~(np.isnan(a) | np.isnan(b))
    return a[there], b[there], w[there]


def _not_rounding(variance: float, scale: float) -> float:
    """0 for what is left of a difference of two equal sums."""
    return variance if variance > 1e-12 * scale else 0.0
