"""Drift of vectors, such as embeddings of prompts: how far two clouds of points are from each other.

`energy_distance` sees any difference of two distributions (G. Székely, M. Rizzo 2013) and needs no choice of a kernel or a
width; `domain_classifier` sees what a plane can part, and gives the rows that look most like their own side.

References
----------
G. Székely, M. Rizzo (2004, 2013), Energy statistics. A. Gretton et al. (2012), A kernel two-sample test; D. Sejdinovic et al.
(2013) show the two to be one family. R. Serfling (1980), 5.5, for the variance of a U-statistic.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse, special
from scipy.spatial.distance import cdist

from monitor.stats.drift.domain import classify_rows
from monitor.stats.drift.verdict import Drift
from monitor.stats.intervals import LEVEL

ENERGY: Final = "energy_distance"
THRESHOLD: Final = 0.01
POINTS_MAX: Final = 1000  # of each side: 4 million distances
PERMUTATIONS: Final = 499

Vectors = npt.NDArray[np.float64]


def compare_embeddings(
    feature: str,
    reference: npt.ArrayLike,
    current: npt.ArrayLike,
    *,
    threshold: float | None = None,
    permutations: int = PERMUTATIONS,
    level: float = LEVEL,
    seed: int = 1,
) -> list[Drift]:
    """Vectors of both sides, by energy distance and by a classifier.

    Parameters
    ----------
    feature : str
        Its name.
    reference, current : array of shape (n, d), (m, d)
        One vector a row; rows with a number that is not finite are left out. More than 1,000 are sampled for the distance.
    threshold : float, optional
        Of the energy distance, instead of 0.01.
    permutations : int
        Ways of giving out the sides by lot, for p; the smallest p is 1 / (permutations + 1).
    level, seed

    Returns
    -------
    list of Drift
        Two, without verdicts. `energy_distance` is Székely and Rizzo's coefficient of inhomogeneity, (2 E|X − Y| − E|X − X'| −
        E|Y − Y'|) / 2 E|X − Y|: 0 for the same distribution, 1 for two different points.

    Raises
    ------
    ValueError
        If the sides are no matrices with equally many columns.
    """
    sides = [_matrix(side) for side in (reference, current)]
    if sides[0].shape[1] != sides[1].shape[1]:
        raise ValueError(
            f"vectors have {sides[0].shape[1]} numbers in the reference and {sides[1].shape[1]} in the current rows"
        )
    there = [np.flatnonzero(np.isfinite(side).all(axis=1)) for side in sides]
    rng = np.random.default_rng(seed)
    distance = _energy(feature, sides, there, threshold, permutations, level, rng)
    return [distance, _classified(feature, sides, there, level, seed)]


def energy_coefficient(reference: Vectors, current: Vectors) -> float:
    """The coefficient with the unbiased means of both sides' own distances; below 0 by chance where nothing differs."""
    n, m = len(reference), len(current)
    across = float(cdist(reference, current).mean())
    own = [float(cdist(side, side).sum()) / (k * (k - 1)) for side, k in ((reference, n), (current, m))]
    return (2 * across - own[0] - own[1]) / (2 * across) if across else 0.0


def _energy(
    feature: str,
    sides: list[Vectors],
    there: list[npt.NDArray[np.intp]],
    threshold: float | None,
    permutations: int,
    level: float,
    rng: np.random.Generator,
) -> Drift:
    limit = THRESHOLD if threshold is None else threshold
    blank = Drift(
        feature=feature, method=ENERGY, value=None, threshold=limit, n_reference=len(there[0]), n_current=len(there[1])
    )
    taken = [rows if len(rows) <= POINTS_MAX else rng.choice(rows, POINTS_MAX, replace=False) for rows in there]
    n, m = map(len, taken)
    if min(n, m) < 2:
        return blank
    points = np.concatenate([side[rows] for side, rows in zip(sides, taken, strict=True)])
    distances = cdist(points, points)
    value, error = _coefficient(distances, n)
    p = _permuted(distances, n, value, permutations, rng)
    half = float(special.ndtri((1 + level) / 2)) * error
    sampled = (n, m) != (len(there[0]), len(there[1]))
    return replace(
        blank,
        value=max(0.0, value),
        low=max(0.0, value - half),
        high=min(1.0, max(value, 0.0) + half),
        p_value=p,
        interval="u-statistic, delta method",
        test=f"{permutations} permutations",
        note=f"{n} and {m} sampled vectors" if sampled else "",
    )


def _coefficient(distances: Vectors, n: int) -> tuple[float, float]:
    """The coefficient, and its standard error by what each point adds."""
    m = len(distances) - n
    xx, yy, xy = distances[:n, :n], distances[n:, n:], distances[:n, n:]
    across = float(xy.mean())
    if not across:
        return 0.0, 0.0
    near = [xx.sum(axis=1) / (n - 1), yy.sum(axis=1) / (m - 1)]
    own = float(near[0].mean() + near[1].mean())
    value = 1 - own / (2 * across)
    # Slopes of 1 − own / (2 across): each own mean has weight −1, the mean across own / across.
    slopes = [
        (own / across * (each - across) - 2 * (mine - mine.mean())) / (2 * across)
        for each, mine in ((xy.mean(axis=1), near[0]), (xy.mean(axis=0), near[1]))
    ]
    return value, math.sqrt(slopes[0].var(ddof=1) / n + slopes[1].var(ddof=1) / m)


def _permuted(distances: Vectors, n: int, value: float, permutations: int, rng: np.random.Generator) -> float:
    """Share of lots that part the points at least as well; one product of matrices for all lots together."""
    total = len(distances)
    m = total - n
    lots = np.zeros((total, permutations))
    for i in range(permutations):
        lots[rng.permutation(total)[:n], i] = 1.0
    moved = distances @ lots
    everything = distances.sum()
    xx = (lots * moved).sum(axis=0)
    x_all = (lots * distances.sum(axis=1)[:, None]).sum(axis=0)
    xy = x_all - xx
    yy = everything - xx - 2 * xy
    across = xy / (n * m)
    found = 1 - (xx / (n * (n - 1)) + yy / (m * (m - 1))) / (2 * across)
    return float((1 + (found >= value - 1e-12).sum()) / (permutations + 1))


def _classified(
    feature: str, sides: list[Vectors], there: list[npt.NDArray[np.intp]], level: float, seed: int
) -> Drift:
    names = [f"dimension {i}" for i in range(sides[0].shape[1])]
    rows = [side[at] for side, at in zip(sides, there, strict=True)]
    centre = rows[0].mean(axis=0) if len(rows[0]) else np.zeros(len(names))
    spread = rows[0].std(axis=0) if len(rows[0]) else np.ones(len(names))
    scaled = [(each - centre) / np.where(spread > 0, spread, 1.0) for each in rows]

    def matrix(taken: list[npt.NDArray[np.intp]]) -> Any:
        # Columns as they are and squared: a cloud that grows wider moves no mean.
        both = np.concatenate(
            [side[np.searchsorted(at, own)] for side, at, own in zip(scaled, there, taken, strict=True)]
        )
        return sparse.csr_matrix(np.hstack([both, both**2]))

    return classify_rows(feature, matrix, names * 2, there, level=level, seed=seed)


def _matrix(side: npt.ArrayLike) -> Vectors:
    found = np.asarray(side, dtype=np.float64)
    if found.ndim != 2:
        raise ValueError(f"vectors must be rows of a matrix, not an array of {found.ndim} dimensions")
    return found
