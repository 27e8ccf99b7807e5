"""How a feature is cut into bins, fixed by the reference, so that every current window is counted alike.

References
----------
D. P. Doane (1976), Aesthetic frequency classifications (numpy's "doane"). I. J. Good (1953), The population frequencies of
species (the share of values that a sample has not seen yet).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from monitor.stats.drift.effects import Array

QUANTILES = 10
DISTINCT_MAX = 50  # a number with so few values, and at most a tenth of the rows, is counted value by value
CATEGORIES_MAX = 100
OTHER = "other categories"
OUTSIDE = "outside the reference"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Rows of both sides in the same bins.

    Parameters
    ----------
    reference, current : array of shape (k,)
        Rows in each bin, without missing values; weighted rows as their effective number.
    names : tuple of str
        Of the bins.
    """

    reference: Array
    current: Array
    names: tuple[str, ...]

    @property
    def n_reference(self) -> int:
        return round(float(self.reference.sum()))

    @property
    def n_current(self) -> int:
        return round(float(self.current.sum()))


def quantile_edges(values: Array, bins: int = QUANTILES) -> Array:
    """Inner edges at the quantiles of finite values; fewer where values are tied.

    An edge is a value of the data and belongs to the bin above it.
    """
    levels = np.arange(1, bins) / bins
    return np.unique(np.quantile(values, levels, method="inverted_cdf")) if len(values) else np.empty(0)


def doane_edges(values: Array) -> Array:
    """Edges of `numpy.histogram_bin_edges(values, bins="doane")`, without its slow cube."""
    n = len(values)
    if not n:
        return np.empty(0)
    low, high, sigma = float(values.min()), float(values.max()), float(values.std())
    if n <= 2 or sigma <= 0:
        return np.histogram_bin_edges(values, bins=1)
    scaled = (values - values.mean()) / sigma
    skew = abs(float((scaled * scaled * scaled).mean()))
    usual = math.sqrt(6.0 * (n - 2) / ((n + 1.0) * (n + 3)))
    width = (high - low) / (1.0 + math.log2(n) + math.log2(1.0 + skew / usual))
    return np.linspace(low, high, math.ceil((high - low) / width) + 1)


@dataclass(frozen=True, kw_only=True)
class NumberBins:
    """Bins of numbers: between edges, or one for each value.

    Parameters
    ----------
    edges : array of shape (b + 1,), or the values themselves, ascending
        Uniform edges (Doane) hold the reference: the last bin includes its upper edge. Of quantile bins these are the
        inner edges.
    kind : str
        `doane`, `quantile` or `values`.
    reference : array of shape (k,)
        Counts of the reference. Doane bins and single values have one bin more, for what lies outside.
    """

    edges: Array
    kind: str
    reference: Array

    @classmethod
    def fit(cls, values: Array, kind: str = "doane", *, bins: int = QUANTILES) -> NumberBins:
        """Cut by the reference's finite values."""
        few = distinct_few(values)
        if few is not None:
            edges, kind = few, "values"
        elif kind == "doane":
            edges = doane_edges(values)
        else:
            edges = quantile_edges(values, bins)
        return cls(edges=edges, kind=kind, reference=_count(values, edges, kind))

    def count(self, values: Array) -> Counts:
        """Finite values in these bins."""
        return Counts(reference=self.reference, current=_count(values, self.edges, self.kind), names=self.names)

    @property
    def names(self) -> tuple[str, ...]:
        if self.kind == "values":
            return (*(f"{value:g}" for value in self.edges), OUTSIDE)
        if self.kind == "doane":
            between = (f"{a:.4g} to {b:.4g}" for a, b in itertools.pairwise(self.edges))
            return (*between, OUTSIDE)
        return quantile_names(self.edges)


def quantile_names(edges: Array) -> tuple[str, ...]:
    """Names of the bins between inner edges."""
    if not len(edges):
        return ("all",)
    between = (f"{a:.4g} to {b:.4g}" for a, b in itertools.pairwise(edges))
    return (f"below {edges[0]:.4g}", *between, f"from {edges[-1]:.4g}")


def distinct_few(values: Array) -> Array | None:
    """The values, if they are so few that each is a bin of its own; as NannyML decides it."""
    # A sorted sample of many values mostly shows that they are many, at no cost.
    if len(values) > 10_000 and len(np.unique(values[:: len(values) // 5000])) > DISTINCT_MAX:
        return None
    distinct = np.unique(values)
    return distinct if len(distinct) <= DISTINCT_MAX and len(distinct) <= 0.1 * max(len(values), 1) else None


def _count(values: Array, edges: Array, kind: str) -> Array:
    if kind == "quantile":
        at = np.searchsorted(edges, values, side="right")
        return np.bincount(at, minlength=len(edges) + 1).astype(np.float64)
    if not len(edges):
        return np.array([float(len(values))])
    if kind == "values":
        at = np.minimum(np.searchsorted(edges, values), len(edges) - 1)
        inside = np.bincount(at[edges[at] == values], minlength=len(edges))
    else:
        # numpy counts equal bins without a search, and puts right what rounding moved across an edge.
        inside, _ = np.histogram(values, bins=len(edges) - 1, range=(float(edges[0]), float(edges[-1])))
    return np.append(inside, len(values) - inside.sum()).astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class CategoryBins:
    """Bins of categories: the most frequent of the reference, its others together, and what it does not have.

    Parameters
    ----------
    names : tuple
        Categories of the reference with a bin of their own.
    others : frozenset
        Those that share one.
    reference : array of shape (k,)
        Counts; the last two are those of `others` and of new categories.
    seen_once : int
        Rows of the reference whose category no other row of it has: what a window of one more row would call new.
    """

    names: tuple[Any, ...]
    others: frozenset[Any]
    reference: Array
    seen_once: int

    @classmethod
    def fit(cls, values: pd.Series[Any], *, most: int = CATEGORIES_MAX) -> CategoryBins:
        """Cut by the reference's values, without missing ones."""
        counted = values.value_counts()
        counted = counted[counted > 0]
        kept = counted.iloc[:most]
        return cls(
            names=tuple(kept.index),
            others=frozenset(counted.index[most:]),
            reference=np.array([*kept, int(counted.iloc[most:].sum()), 0], dtype=np.float64),
            seen_once=int((counted == 1).sum()),
        )

    def count(self, values: pd.Series[Any]) -> tuple[Counts, int]:
        """Values in these bins, without missing ones; and how many rows have a category that the reference lacks."""
        counted = values.value_counts()
        counted = counted[counted > 0]
        at = dict(zip(counted.index, counted.to_numpy(), strict=True))
        own = [int(at.pop(name, 0)) for name in self.names]
        other = sum(int(rows) for name, rows in at.items() if name in self.others)
        new = len(values) - sum(own) - other
        current = np.array([*own, other, new], dtype=np.float64)
        named = (*map(str, self.names), OTHER, OUTSIDE)
        return Counts(reference=self.reference, current=current, names=named), new


def pooled_counts(reference: Array, current: Array, *, bins: int = 128) -> tuple[Counts, Array]:
    """Fine bins over both sides' sorted values, for what depends on their order; and the mean value of each bin.

    Parameters
    ----------
    reference, current : array, ascending
        Finite values, both with rows.
    """
    # Of a large sample, every so many-th sorted value is its quantiles.
    both = np.concatenate([_thin(reference), _thin(current)])
    edges = quantile_edges(both, bins)
    sides = []
    sums = np.zeros(len(edges) + 1)
    for values in (reference, current):
        cuts = np.concatenate([[0], np.searchsorted(values, edges, side="left"), [len(values)]])
        sides.append(np.diff(cuts).astype(np.float64))
        sums += np.diff(np.concatenate([[0.0], np.cumsum(values)])[cuts])
    total = sides[0] + sides[1]
    there = total > 0
    counts = Counts(reference=sides[0][there], current=sides[1][there], names=_numbered(int(there.sum())))
    return counts, np.maximum.accumulate(sums[there] / total[there])


def finite(values: npt.ArrayLike) -> Array:
    """Numbers without NaN and infinities."""
    found = np.asarray(values, dtype=np.float64)
    return found[np.isfinite(found)]


def moved(counts: Counts, most: int = 3) -> tuple[str, ...]:
    """The bins whose share changed most, in words."""
    if not counts.n_reference or not counts.n_current:
        return ()
    p, q = counts.reference / counts.reference.sum(), counts.current / counts.current.sum()
    order: Sequence[int] = np.argsort(-np.abs(q - p), kind="stable")[:most].tolist()
    return tuple(f"{counts.names[i]}: {p[i]:.3g} to {q[i]:.3g}" for i in order if abs(q[i] - p[i]) > 0)


def _thin(values: Array, most: int = 5000) -> Array:
    return values[:: max(1, len(values) // most)]


def _numbered(k: int) -> tuple[str, ...]:
    return tuple(str(i) for i in range(k))
