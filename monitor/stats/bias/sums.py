"""What a database sums up for each group of rows, and all that bias needs of them.

One form serves shares and means: a share is the mean of 0 and 1. All arrays have one entry per group.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums over the rows of each group; w is the number of calls that a row stands for, x its outcome.

    Attributes
    ----------
    n : array of shape (g,)
        Rows that have the outcome.
    w, ww : array of shape (g,)
        Σw and Σw²; n without weights.
    wx, wwx, wwxx : array of shape (g,)
        Σwx, Σw²x and Σw²x²; for outcomes of 0 and 1 all three are the number of ones, without weights.
    """

    n: Array
    w: Array
    ww: Array
    wx: Array
    wwx: Array
    wwxx: Array

    def __post_init__(self) -> None:
        for field in fields(self):
            values = np.asarray(getattr(self, field.name), dtype=np.float64)
            if values.ndim != 1 or values.shape != np.shape(self.n):
                raise ValueError(f"`{field.name}` must be one number for each group, not of shape {values.shape}")
            if not np.isfinite(values).all():
                raise ValueError(f"`{field.name}` must be finite numbers")
            object.__setattr__(self, field.name, values)
        if min(self.n.min(initial=0), self.w.min(initial=0), self.ww.min(initial=0)) < 0:
            raise ValueError("counts and weights must not be negative")

    @classmethod
    def of_shares(cls, hits: npt.ArrayLike, n: npt.ArrayLike) -> Sums:
        """From numbers of hits among n rows, without weights."""
        x, rows = np.asarray(hits, dtype=np.float64), np.asarray(n, dtype=np.float64)
        if x.shape != rows.shape or (x < 0).any() or (x > rows).any():
            raise ValueError("hits must be as many as n, and between 0 and n")
        return cls(n=rows, w=rows, ww=rows, wx=x, wwx=x, wwxx=x)

    @classmethod
    def of_moments(cls, n: npt.ArrayLike, total: npt.ArrayLike, squares: npt.ArrayLike) -> Sums:
        """From n, the sum and the sum of squares of a number, without weights."""
        rows = np.asarray(n, dtype=np.float64)
        return cls(n=rows, w=rows, ww=rows, wx=np.asarray(total), wwx=np.asarray(total), wwxx=np.asarray(squares))

    @classmethod
    def of_rows(
        cls,
        codes: npt.NDArray[np.int64],
        groups: int,
        x: npt.ArrayLike,
        weights: npt.ArrayLike | None = None,
        counts: npt.ArrayLike | None = None,
    ) -> Sums:
        """From rows: the number of each row's group, its outcome (NaN is left out), its weight, and how often it occurs.

        A row that occurs five times is five rows; one of weight 5 is one row that stands for five calls, and says less.
        """
        values = np.asarray(x, dtype=np.float64)
        w, c = (
            np.ones_like(values) if each is None else np.asarray(each, dtype=np.float64) for each in (weights, counts)
        )
        if not (len(codes) == len(values) == len(w) == len(c)):
            raise ValueError("groups, outcomes, weights and counts must be of one length")
        there = np.isfinite(values)
        check_weights(w[there], c[there])
        codes, values, w, c = codes[there], values[there], w[there], c[there]

        def total(each: Array) -> Array:
            return np.bincount(codes, weights=c * each, minlength=groups).astype(np.float64)

        return cls(
            n=total(np.ones_like(w)), w=total(w), ww=total(w * w), wx=total(w * values), wwx=total(w * w * values),
            wwxx=total(w * w * values * values),
        )  # fmt: skip

    @classmethod
    def of_cells(cls, n: Array, w: Array, ww: Array, *, hits: Bools, among: Bools) -> Sums:
        """A share from cells of a table, arrays of shape (g, cells): cells that count, and those that are hits."""
        of, hit = among, hits & among
        ones, squares = w[:, hit].sum(axis=1), ww[:, hit].sum(axis=1)
        return cls(
            n=n[:, of].sum(axis=1), w=w[:, of].sum(axis=1), ww=ww[:, of].sum(axis=1), wx=ones, wwx=squares, wwxx=squares
        )

    def __len__(self) -> int:
        return len(self.n)

    def take(self, index: npt.NDArray[np.int64]) -> Sums:
        """Those of some groups."""
        return Sums(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    def merged(self, codes: npt.NDArray[np.int64], groups: int) -> Sums:
        """Those of coarser groups: group i goes into `codes[i]`."""

        def total(each: Array) -> Array:
            return np.bincount(codes, weights=each, minlength=groups).astype(np.float64)

        return Sums(**{field.name: total(getattr(self, field.name)) for field in fields(self)})

    def rest(self) -> Sums:
        """For each group, those of all other rows."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        empty = self.n.sum() - self.n <= 0
        found = {name: np.where(empty, 0.0, values.sum() - values) for name, values in own.items()}
        for name in ("n", "w", "ww"):  # what rounding has left of 0
            found[name] = np.maximum(found[name], 0.0)
        return Sums(**found)

    @property
    def mean(self) -> Array:
        """Weighted mean, or share; NaN for a group without rows."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.w > 0, self.wx / self.w, np.nan)

    @property
    def share(self) -> Array:
        """The mean, kept within 0 and 1 against rounding."""
        return np.clip(self.mean, 0.0, 1.0)

    @property
    def kish_n(self) -> Array:
        """Number of rows of equal weight that say as much on the average: (Σw)²/Σw²."""
        return np.where(self.ww > 0, self.w**2 / np.maximum(self.ww, 1e-300), 0.0)

    @property
    def share_n(self) -> Array:
        """Number of rows of equal weight that give a share with this variance; see `intervals.share_effective_n`."""
        p = np.nan_to_num(self.share)
        missed = np.maximum(self.ww - self.wwx, 0.0)
        variance = (self.wwx * (1 - p) ** 2 + missed * p**2) / np.maximum(self.w, 1e-150) ** 2
        plain = (p <= 0) | (p >= 1) | (variance < 1e-300) | (self.w <= 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(plain, self.kish_n, p * (1 - p) / np.where(plain, 1.0, variance))

    @property
    def mean_error(self) -> Array:
        """Standard error of the mean, by linearisation; NaN below two rows."""
        m = np.nan_to_num(self.mean)
        squares = np.maximum(self.wwxx - 2 * m * self.wwx + m**2 * self.ww, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.n >= 2, np.sqrt(squares * self.n / (self.n - 1)) / self.w, np.nan)


def check_weights(weights: Array, counts: Array) -> None:
    """Refuse what is no weight, or no number of rows.

    Raises
    ------
    ValueError
        If one is not finite, or a weight is not above 0, or a count below 0.
    """
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise ValueError("weights must be finite and above 0")
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise ValueError("counts must be finite and not negative")
