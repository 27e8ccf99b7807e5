"""Topics of texts, found in the reference, and how their shares moved.

The reference is cut in two by lot. One half is clustered: TF-IDF of words and pairs of words, reduced to at most 50 dimensions
(latent semantic analysis), k-means on the unit sphere. The other half and the current texts are given to the nearest topic, so
that both sides are texts which the clusters have not seen: counted on the half that made them, topics would seem to have moved
wherever nothing has. What lies farther from all topics than 99 of 100 reference texts is `no topic of the reference`: that is
where a new topic shows.

The number of topics is the k from 2 to 12 with the largest mean silhouette (P. Rousseeuw 1987) on a sample of 1,000 texts; one
that is below 0.08 finds no topics, and there is no verdict.

References
----------
S. Deerwester et al. (1990), Indexing by latent semantic analysis. I. Dhillon, D. Modha (2001), Concept decompositions, for
k-means by the cosine. D. Arthur, S. Vassilvitskii (2007), k-means++.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from monitor.stats.drift.bins import Counts
from monitor.stats.drift.clusters import clustered
from monitor.stats.drift.domain import CHARACTERS_MAX, EXAMPLES
from monitor.stats.drift.methods import DEFAULT, METHODS, compare_counts
from monitor.stats.drift.verdict import Drift
from monitor.stats.intervals import LEVEL

SUFFIX: Final = ".topics"
TEXTS_MIN: Final = 200  # of the reference; half of them make the topics
FIT_MAX: Final = 8000
COUNT_MAX: Final = 20_000  # of each side: shares to a third of a point
WORDS_MAX: Final = 5000
DIMENSIONS: Final = 50
KS: Final = (2, 3, 4, 5, 6, 8, 10, 12)
SILHOUETTE_MIN: Final = 0.08
NEW: Final = "no topic of the reference"
NEW_SHARE: Final = 0.01
WORDS_NAMED: Final = 3

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Topics:
    """Topics of a reference; `place` gives other texts to them.

    Attributes
    ----------
    names : tuple of str
        The words that set each apart, the largest topic first.
    silhouette : float
        How well they are apart: 1 wholly, 0 not at all.
    farthest : float
        Similarity below which a text belongs to none.
    """

    names: tuple[str, ...]
    silhouette: float
    farthest: float
    vectorizer: Any
    reduction: Any
    centres: Array

    def place(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.intp], Array]:
        """The topic of each text, from 0, `len(names)` for none; and its similarity to the nearest."""
        topics, near = np.zeros(len(texts), dtype=np.intp), np.zeros(len(texts))
        for first in range(0, len(texts), 5000):  # what is in memory at once
            part = slice(first, first + 5000)
            found = _vectors(self.vectorizer, self.reduction, texts[part]) @ self.centres.T
            topics[part], near[part] = found.argmax(axis=1), found.max(axis=1)
        topics[near < self.farthest] = len(self.names)
        return topics, near


def find_topics(texts: Sequence[str], *, k: int | None = None, seed: int = 1) -> Topics | None:
    """Topics of texts; None where there are too few, or no clusters in them.

    Parameters
    ----------
    texts : sequence of str
        At most 8,000 of them are used, by lot.
    k : int, optional
        So many topics, instead of the rule's.
    seed : int
    """
    rng = np.random.default_rng(seed)
    chosen = _by_lot(rng, texts, FIT_MAX)
    if len(chosen) < TEXTS_MIN // 2:
        return None
    try:
        vectorizer = TfidfVectorizer(
            max_features=WORDS_MAX, min_df=3, max_df=0.5, ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32
        ).fit(chosen)
    except ValueError:  # no word occurs three times, and in no more than half of the texts
        return None
    matrix = vectorizer.transform(chosen)
    dimensions = min(DIMENSIONS, matrix.shape[1] - 1, len(chosen) - 1)
    if dimensions < 2:
        return None
    reduction = TruncatedSVD(dimensions, random_state=seed).fit(matrix)
    vectors = _vectors(vectorizer, reduction, chosen)
    found = [clustered(vectors, each, seed) for each in (KS if k is None else (k,)) if each < len(chosen) // 10]
    if not found:
        return None
    score, centres = max(found, key=lambda each: each[0])
    if k is None and score < SILHOUETTE_MIN:
        return None
    near = vectors @ centres.T
    topic = near.argmax(axis=1)
    order = np.argsort(-np.bincount(topic, minlength=len(centres)), kind="stable")
    names = _names(matrix, topic, order, vectorizer.get_feature_names_out())
    farthest = float(np.quantile(near.max(axis=1), NEW_SHARE))
    return Topics(
        names=names,
        silhouette=score,
        farthest=farthest,
        vectorizer=vectorizer,
        reduction=reduction,
        centres=centres[order],
    )


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The topics of a reference, and its half that was kept for counting; current texts are held against it.

    Attributes
    ----------
    topics : Topics
    counts : array of shape (topics + 1,)
        Texts of the counted half in each topic, the last in none.
    examples : tuple of tuple of int
        Rows of the reference nearest to each topic; for the last, those least like any.
    """

    topics: Topics
    counts: Array
    examples: tuple[tuple[int, ...], ...]

    def compare(
        self,
        feature: str,
        current: pd.Series[Any],
        *,
        method: str = DEFAULT,
        threshold: float | None = None,
        level: float = LEVEL,
        seed: int = 1,
    ) -> Drift:
        """Shares of topics against those of the reference; as `compare_topics`."""
        rng = np.random.default_rng(seed)
        texts, places = _texts(current)
        rows = _some(rng, len(texts), COUNT_MAX)
        placed = self.topics.place([texts[i] for i in rows])
        bins = len(self.topics.names) + 1
        now = np.bincount(placed[0], minlength=bins).astype(np.float64)
        counts = Counts(reference=self.counts, current=now, names=(*self.topics.names, NEW))
        chosen = DEFAULT if METHODS[method].ordered else method
        found = compare_counts(f"{feature}{SUFFIX}", counts, chosen, threshold=threshold, level=level, seed=seed)
        if found.value is None:
            return found
        change = now / now.sum() - self.counts / self.counts.sum()
        note = f"{bins - 1} topics, silhouette {self.topics.silhouette:.2f}; counted on half of the reference"
        return replace(
            found,
            note=note,
            reference_rows=self.examples[int(change.argmin())],
            current_rows=_nearest(placed, int(change.argmax()), places[rows], bins - 1),
        )


def topics_of(reference: pd.Series[Any], *, k: int | None = None, seed: int = 1) -> Reference | None:
    """Topics from one half of the reference, chosen by lot, and the counts of the other half; None if it has no topics."""
    rng = np.random.default_rng(seed)
    texts, places = _texts(reference)
    if len(texts) < TEXTS_MIN:
        return None
    lots = rng.permutation(len(texts))
    first, second = lots[: len(lots) // 2], lots[len(lots) // 2 :][:COUNT_MAX]
    topics = find_topics([texts[i] for i in first[:FIT_MAX]], k=k, seed=seed)
    if topics is None:
        return None
    placed = topics.place([texts[i] for i in second])
    none = len(topics.names)
    counts = np.bincount(placed[0], minlength=none + 1).astype(np.float64)
    examples = tuple(_nearest(placed, topic, places[second], none) for topic in range(none + 1))
    return Reference(topics=topics, counts=counts, examples=examples)


def compare_topics(
    feature: str,
    reference: pd.Series[Any],
    current: pd.Series[Any],
    *,
    method: str = DEFAULT,
    threshold: float | None = None,
    k: int | None = None,
    level: float = LEVEL,
    seed: int = 1,
) -> Drift | None:
    """Shares of topics: one half of the reference against the current texts.

    Parameters
    ----------
    feature : str
        Its name; the comparison is called `FEATURE.topics`.
    reference, current : pandas.Series
        Texts; missing and empty ones are left out, long ones are cut at 4,000 characters. Where load has seasons, the
        reference must be of like hours: a night's topics are not a day's.
    method : str
        Of `METHODS`, for categories.
    threshold, level, seed
        As of `compare_counts`.
    k : int, optional
        So many topics.

    Returns
    -------
    Drift or None
        Without a verdict. `moved` names the topics whose shares moved most; the example rows are those nearest to the
        topic that shrank (reference) and to the one that grew most (current). None where the reference has no topics.
    """
    found = topics_of(reference, k=k, seed=seed)
    if found is None:
        return None
    return found.compare(feature, current, method=method, threshold=threshold, level=level, seed=seed)


def _texts(side: pd.Series[Any]) -> tuple[list[str], npt.NDArray[np.intp]]:
    """Texts that say something, cut, and their rows."""
    said = [str(value)[:CHARACTERS_MAX] if there else "" for value, there in zip(side, side.notna(), strict=True)]
    rows = np.flatnonzero([bool(text.strip()) for text in said])
    return [said[i] for i in rows], rows


def _vectors(vectorizer: Any, reduction: Any, texts: Sequence[str]) -> Array:
    reduced = reduction.transform(vectorizer.transform(texts))
    return np.asarray(normalize(reduced), dtype=np.float64)


def _names(matrix: Any, topic: npt.NDArray[np.intp], order: npt.NDArray[np.intp], words: Any) -> tuple[str, ...]:
    """Each topic by the words that are more frequent in it than elsewhere; a pair of words stands for its words."""
    overall = np.asarray(matrix.mean(axis=0)).ravel()
    names: list[str] = []
    for i in order:
        mine = matrix[topic == i]
        apart = np.asarray(mine.mean(axis=0)).ravel() - overall if mine.shape[0] else -overall
        chosen: list[str] = []
        for at in np.argsort(-apart, kind="stable"):
            word = str(words[at])
            if len(chosen) == WORDS_NAMED or apart[at] <= 0:
                break
            if not any(set(word.split()) & set(each.split()) for each in chosen):
                chosen.append(word)
        names.append(", ".join(chosen) or f"topic {len(names) + 1}")
    return tuple(names)


def _nearest(
    placed: tuple[npt.NDArray[np.intp], Array], topic: int, places: npt.NDArray[np.intp], none: int
) -> tuple[int, ...]:
    """Rows of a topic that are most like it; of none, those that are least like any."""
    mine = np.flatnonzero(placed[0] == topic)
    order = np.argsort(placed[1][mine] if topic == none else -placed[1][mine], kind="stable")[:EXAMPLES]
    return tuple(int(places[mine[i]]) for i in order)


def _by_lot(rng: np.random.Generator, texts: Sequence[str], most: int) -> list[str]:
    return [texts[i] for i in rng.permutation(len(texts))[:most]]


def _some(rng: np.random.Generator, n: int, most: int) -> npt.NDArray[np.intp]:
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))
