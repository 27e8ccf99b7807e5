"""Drift of text, and of many features together: can a classifier tell the two sides apart?

Rows of both sides are labelled by their side, and a classifier is trained to tell it. Its area under the ROC curve on rows
that it was not trained on is 0.5 where the sides are alike, and 1 where each row gives its side away; what it goes by is
what moved.

References
----------
D. Lopez-Paz, M. Oquab (2017), Revisiting classifier two-sample tests. S. Rabanser, S. Günnemann, Z. Lipton (2019),
Failing loudly. E. R. DeLong et al. (1988) for the variance on one fold; C. Nadeau, Y. Bengio (2003), Inference for the
generalization error, for that of their mean (without it, p is below 0.05 in 10 to 17 % of stable cases). P. Golland, B.
Fischl (2003), Permutation tests for classification.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse, special
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from monitor.stats.drift.bins import quantile_edges
from monitor.stats.drift.effects import Array
from monitor.stats.drift.verdict import Drift
from monitor.stats.intervals import LEVEL
from monitor.stats.ranking import area

DOMAIN: Final = "domain_classifier"
THRESHOLD: Final = 0.6  # area under the curve; 0.5 is chance
ROWS_MAX: Final = 4000  # of each side: a second or two of CPU time
WORDS_MAX: Final = 3000
FOLDS: Final = 4
WORDS_OF_A_TEXT: Final = 3.0  # on average, for a column to be text and no category
CHARACTERS_MAX: Final = 4000
NAMED_MAX: Final = 8
EXAMPLES: Final = 3

Rows = npt.NDArray[np.intp]
Matrix = sparse.csr_matrix[Any]


def looks_like_text(values: pd.Series[Any]) -> bool:
    """Whether strings are sentences: several words each, and mostly different ones."""
    head = values.dropna().head(1000).astype(str)
    if len(head) < 20 or head.nunique() < 0.5 * len(head):
        return False
    return bool(head.str.count(r"\S+").mean() >= WORDS_OF_A_TEXT)


def compare_texts(
    feature: str,
    reference: pd.Series[Any],
    current: pd.Series[Any],
    *,
    rows_max: int = ROWS_MAX,
    permutations: int = 0,
    level: float = LEVEL,
    seed: int = 1,
) -> Drift:
    """Text by its words: which ones there are, in a logistic regression.

    Parameters
    ----------
    feature : str
        Its name.
    reference, current : pandas.Series
        Texts; missing ones are left out, long ones are cut at 4,000 characters.
    rows_max : int
        Of each side; more are sampled.
    permutations : int
        0: p by DeLong's variance and Nadeau and Bengio's correction. Else p by training anew so many times with sides
        given out by lot: exact, and so many times as slow.
    level, seed
        Of the interval; of sampling and folds.

    Returns
    -------
    Drift
        Without a verdict. `value` is the area under the curve, cross-validated; `moved` names words (or features) that
        tell the sides apart, with + where they are more frequent now, − where they were before; `reference_rows` and
        `current_rows` are examples of what was and of what came.
    """
    rng = np.random.default_rng(seed)
    sides = [np.flatnonzero(side.notna().to_numpy()) for side in (reference, current)]
    taken = [_sample(rng, rows, rows_max) for rows in sides]
    texts = [
        str(text)[:CHARACTERS_MAX]
        for side, rows in zip((reference, current), taken, strict=True)
        for text in side.iloc[rows]
    ]
    try:
        counter = CountVectorizer(binary=True, min_df=3, max_features=WORDS_MAX)
        words = counter.fit_transform(texts)
        names = counter.get_feature_names_out().tolist()
    except ValueError:  # no word occurs three times
        words, names = sparse.csr_matrix((len(texts), 0)), []
    return _classify(feature, words.tocsr(), names, names, sides, taken, permutations, level, seed)


def compare_tables(
    feature: str,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    *,
    rows_max: int = ROWS_MAX,
    permutations: int = 0,
    level: float = LEVEL,
    seed: int = 1,
) -> Drift:
    """Many features together: bins of numbers, categories, words, and missing values, in a logistic regression.

    As `compare_texts`. Pairs of numbers whose joint distribution moves while each alone does not are seen by the signs of
    their products, for the first twelve numeric columns.
    """
    rng = np.random.default_rng(seed)
    sides = [np.arange(len(side), dtype=np.intp) for side in (reference, current)]
    taken = [_sample(rng, rows, rows_max) for rows in sides]
    rows = pd.concat([side.iloc[at] for side, at in zip((reference, current), taken, strict=True)], ignore_index=True)
    blocks, names, features = [], [], []
    for name in rows.columns:
        block, own = _one_hot(rows[name])
        blocks.append(block)
        names += [f"{name}: {each}" for each in own]
        features += [str(name)] * len(own)
    numeric = [name for name in rows.columns if _is_number(rows[name])][:12]
    for i, one in enumerate(numeric):
        for other in numeric[:i]:
            blocks.append(sparse.csr_matrix(_joint_sign(rows[one], rows[other])[:, None]))
            names.append(f"{one} with {other}")
            features.append(f"{one} with {other}")
    matrix = sparse.hstack(blocks).tocsr() if blocks else sparse.csr_matrix((len(rows), 0))
    return _classify(feature, matrix, names, features, sides, taken, permutations, level, seed)


def classify_rows(
    feature: str,
    matrix: Callable[[list[Rows]], Matrix],
    names: list[str],
    sides: list[Rows],
    *,
    rows_max: int = ROWS_MAX,
    level: float = LEVEL,
    seed: int = 1,
) -> Drift:
    """The same for rows that are numbers already.

    Parameters
    ----------
    feature : str
    matrix : callable
        From the chosen rows of both sides, ascending, to one matrix of both, the reference's rows first.
    names : list of str
        Of its columns; columns of one name count together.
    sides : list of array
        Rows of each side that may be chosen, ascending.
    rows_max, level, seed
        As of `compare_texts`.
    """
    rng = np.random.default_rng(seed)
    taken = [_sample(rng, rows, rows_max) for rows in sides]
    return _classify(feature, matrix(taken), names, names, sides, taken, 0, level, seed)


def _classify(
    feature: str,
    matrix: Matrix,
    names: list[str],
    features: list[str],
    sides: list[Rows],
    taken: list[Rows],
    permutations: int,
    level: float,
    seed: int,
) -> Drift:
    side = np.repeat([0, 1], [len(rows) for rows in taken])
    blank = Drift(
        feature=feature,
        method=DOMAIN,
        value=None,
        threshold=THRESHOLD,
        n_reference=len(sides[0]),
        n_current=len(sides[1]),
        note=_sampled(sides, taken),
    )
    if np.bincount(side, minlength=2).min() < FOLDS * 2:
        return blank
    if not matrix.shape[1]:
        return _told(blank, 0.5, 0.0, level, 1.0, ())
    value, error, scores = _cross_validated(matrix, side, seed)
    p = _p_value(value, error) if not permutations else _permuted(matrix, side, value, permutations, seed)
    model = _model().fit(matrix, side)
    # What each column adds to the distance between the mean scores of the two sides.
    means = [np.asarray(matrix[side == which].mean(axis=0)).ravel() for which in (0, 1)]
    drift = _told(blank, value, error, level, p, _names(model[-1].coef_[0], means[1] - means[0], names, features))
    if permutations:
        drift = replace(drift, test=f"{permutations} permutations")
    order = np.argsort(scores, kind="stable")
    first = [int(taken[0][i]) for i in order if i < len(taken[0])][:EXAMPLES]
    last = [int(taken[1][i - len(taken[0])]) for i in order[::-1] if i >= len(taken[0])][:EXAMPLES]
    return replace(drift, reference_rows=tuple(first), current_rows=tuple(last))


def _model() -> Any:
    return make_pipeline(MaxAbsScaler(), LogisticRegression(C=0.1, max_iter=200, solver="liblinear", random_state=0))


def _cross_validated(matrix: Matrix, side: npt.NDArray[np.int_], seed: int) -> tuple[float, float, Array]:
    """Mean area over the folds, its standard error, and each row's score by a model that has not seen it.

    Areas are taken within a fold: scores of different models are not to be compared.
    """
    scores = np.zeros(len(side))
    areas, variances = [], []
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(matrix, side):
        scores[test] = _model().fit(matrix[train], side[train]).decision_function(matrix[test])
        found = area(scores[test], side[test].astype(np.float64), np.ones(len(test)))
        assert found is not None  # folds are stratified
        areas.append(found.value)
        variances.append(float((found.by_row**2).sum()))
    # Folds share rows to train on, and their areas err together: Nadeau and Bengio's correction of 1 / folds.
    error = math.sqrt(float(np.mean(variances)) * (1 / FOLDS + 1 / (FOLDS - 1)))
    return float(np.mean(areas)), error, scores


def _p_value(value: float, error: float) -> float:
    """One-sided: less than 0.5 is chance as well."""
    return float(special.ndtr((0.5 - value) / error)) if error > 0 else float(value <= 0.5)


def _permuted(matrix: Matrix, side: npt.NDArray[np.int_], value: float, permutations: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    by_lot = [_cross_validated(matrix, rng.permutation(side), seed)[0] for _ in range(permutations)]
    return (1 + sum(each >= value for each in by_lot)) / (permutations + 1)


def _told(drift: Drift, value: float, error: float, level: float, p: float, moved: tuple[str, ...]) -> Drift:
    half = float(special.ndtri((1 + level) / 2)) * error
    low, high = max(0.0, value - half), min(1.0, value + half)
    how = "delong by fold, nadeau-bengio"
    return replace(drift, value=value, low=low, high=high, p_value=p, interval=how, test=how, moved=moved)


def _names(weight: Array, apart: Array, names: list[str], features: list[str]) -> tuple[str, ...]:
    """The features that add most, each by its strongest column, with + where that is more frequent now."""
    added = weight * apart
    total: dict[str, float] = {}
    best: dict[str, int] = {}
    for i, feature in enumerate(features):
        total[feature] = total.get(feature, 0.0) + float(added[i])
        if feature not in best or added[i] > added[best[feature]]:
            best[feature] = i
    order = sorted((feature for feature in total if total[feature] > 0), key=lambda feature: -total[feature])
    return tuple(f"{'+' if apart[best[each]] > 0 else '−'}{names[best[each]]}" for each in order[:NAMED_MAX])


def _one_hot(column: pd.Series[Any]) -> tuple[Matrix, list[str]]:
    """A column as zeros and ones: bins, categories or words; and what each means."""
    if _is_number(column):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        there = np.isfinite(values)
        edges = quantile_edges(values[there], 8)
        at = np.where(there, np.searchsorted(edges, values, side="right"), len(edges) + 1)
        ends = [f"{edge:.4g}" for edge in edges]
        names = (
            [f"below {ends[0]}", *(f"{a} to {b}" for a, b in itertools.pairwise(ends)), f"from {ends[-1]}"]
            if ends
            else ["any"]
        )
        return _indicators(at, len(names) + 1), [*names, "missing"]
    if looks_like_text(column):
        counter = CountVectorizer(binary=True, min_df=3, max_features=WORDS_MAX)
        words = counter.fit_transform(column.fillna("").astype(str).str.slice(0, CHARACTERS_MAX))
        return words.tocsr(), counter.get_feature_names_out().tolist()
    codes, kinds = pd.factorize(column.astype(object).where(column.notna(), None))
    frequent = np.argsort(-np.bincount(codes[codes >= 0], minlength=len(kinds)), kind="stable")[:100]
    place = np.full(len(kinds) + 1, len(frequent))
    place[frequent] = np.arange(len(frequent))
    at = np.where(codes >= 0, place[codes], len(frequent) + 1)
    return _indicators(at, len(frequent) + 2), [*(str(kinds[i]) for i in frequent), "other", "missing"]


def _indicators(at: npt.NDArray[Any], width: int) -> Matrix:
    ones = np.ones(len(at))
    return sparse.csr_matrix((ones, (np.arange(len(at)), at)), shape=(len(at), width))


def _joint_sign(one: pd.Series[Any], other: pd.Series[Any]) -> Array:
    """+1 where both are on the same side of their medians, −1 where not, 0 where one is missing."""
    signs = [np.sign(side - side.median()).fillna(0).to_numpy(dtype=np.float64) for side in (one, other)]
    return np.asarray(signs[0] * signs[1])


def _is_number(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _sample(rng: np.random.Generator, rows: Rows, most: int) -> Rows:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _sampled(sides: list[Rows], taken: list[Rows]) -> str:
    if all(len(a) == len(b) for a, b in zip(sides, taken, strict=True)):
        return ""
    return f"trained on {len(taken[0])} and {len(taken[1])} sampled rows"
