"""Clusters of unit vectors by the cosine.

References
----------
I. Dhillon, D. Modha (2001), Concept decompositions; D. Arthur, S. Vassilvitskii (2007), k-means++; P. Rousseeuw (1987).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.preprocessing import normalize

STARTS: Final = 3
ROUNDS_MAX: Final = 50
SILHOUETTE_ROWS: Final = 1000

Array = npt.NDArray[np.float64]


def clustered(vectors: Array, k: int, seed: int) -> tuple[float, Array]:
    """Silhouette and centres, on the unit sphere: the best of three starts."""
    rng = np.random.default_rng(seed)
    found = max((_k_means(vectors, k, rng) for _ in range(STARTS)), key=lambda each: each[0])
    centres = found[1]
    at = np.arange(min(len(vectors), SILHOUETTE_ROWS))  # they are in the order of the lot
    return silhouette(vectors[at], (vectors[at] @ centres.T).argmax(axis=1)), centres


def _k_means(vectors: Array, k: int, rng: np.random.Generator) -> tuple[float, Array]:
    """Spherical k-means from k-means++; mean similarity to the own centre, and the centres.

    Not scikit-learn's: its threads wait for each other in loops, which takes seconds on a machine that has other work.
    """
    first = [int(rng.integers(len(vectors)))]
    farthest = 1 - vectors @ vectors[first[0]]
    for _ in range(k - 1):
        weights = np.clip(farthest, 0, None)
        total = weights.sum()
        first.append(int(rng.choice(len(vectors), p=weights / total)) if total > 0 else int(rng.integers(len(vectors))))
        farthest = np.minimum(farthest, 1 - vectors @ vectors[first[-1]])
    centres = vectors[first]
    topic = np.full(len(vectors), -1)
    for _ in range(ROUNDS_MAX):
        near = vectors @ centres.T
        now = near.argmax(axis=1)
        if (now == topic).all():
            break
        topic = now
        members = sparse.csr_matrix((np.ones(len(topic)), (topic, np.arange(len(topic)))), shape=(k, len(topic)))
        sums = np.asarray(members @ vectors)
        # One that nobody is near to starts anew at the text that is farthest from all.
        empty = np.flatnonzero(np.bincount(topic, minlength=k) == 0)
        sums[empty] = vectors[near.max(axis=1).argsort(kind="stable")[: len(empty)]]
        centres = np.asarray(normalize(sums), dtype=np.float64)
    return float((vectors @ centres.T).max(axis=1).mean()), centres


def silhouette(vectors: Array, topic: npt.NDArray[np.intp]) -> float:
    """Mean silhouette by the cosine: 1 where clusters are wholly apart; −1 where there is one alone."""
    kinds, at = np.unique(topic, return_inverse=True)
    if len(kinds) < 2:
        return -1.0
    sums = (1 - vectors @ vectors.T) @ np.eye(len(kinds))[at]
    sizes = np.bincount(at)
    rows = np.arange(len(vectors))
    own = sums[rows, at] / np.maximum(sizes[at] - 1, 1)
    means = sums / sizes
    means[rows, at] = np.inf
    other = means.min(axis=1)
    larger = np.maximum(own, other)
    # A text that is a cluster of its own counts 0 (Rousseeuw).
    each = np.where((sizes[at] > 1) & (larger > 0), (other - own) / np.where(larger > 0, larger, 1.0), 0.0)
    return float(each.mean())
