"""Precision, recall, F1 and accuracy of answers that are classes, with intervals.

References
----------
K. F. Y. Lam, V. Gopal, J. Qian (2023), Confidence intervals for the F1 score: a comparison of four methods ("Wilson
indirect"). G. Y. Zou, A. Donner (2008) for means of independent shares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.stats import agreement, intervals
from monitor.stats.confusion import Confusion
from monitor.stats.intervals import LEVEL, Interval
from monitor.stats.result import Result, insufficient, within
from monitor.stats.table_posterior import Array, posterior_interval

# With 30 rows of three classes the interval of macro F1 holds the truth in 91 of 100 cases only.
MACRO_F1_ROWS_MIN = 100


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """One class against all others; `support` counts its labels (weighted)."""

    precision: Result
    recall: Result
    f1: Result
    support: float


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Scores of each class and over all.

    Attributes
    ----------
    accuracy : Result
        Share of right answers: micro-averaged precision, recall and F1 too, since each row has one label and one answer.
    balanced_accuracy : Result
        Mean recall of the classes that have labels.
    macro_precision, macro_recall, macro_f1 : Result
        Means over the classes in which they are defined; the note names those left out.
    classes : mapping of str to ClassScores
    """

    accuracy: Result
    balanced_accuracy: Result
    macro_precision: Result
    macro_recall: Result
    macro_f1: Result
    classes: Mapping[str, ClassScores]


def classify(table: Confusion, *, level: float = LEVEL, seed: int = 1) -> Classification:
    """All scores of a table of labels against answers.

    Parameters
    ----------
    table : Confusion
    level : float
        Confidence, in (0, 1).
    seed : int
        Of the interval of macro F1 (`posterior_interval`).

    Returns
    -------
    Classification
        A score that has nothing to be a share of (the precision of a class that was never answered) has no value and
        says so; it is no 0, and not part of a mean.

    Notes
    -----
    Intervals: Wilson's for accuracy, precision and recall. F1 = 2J / (1 + J) with J the share of hits among rows that
    have the class as label or answer: Wilson's of J, transformed. Means of precisions or of recalls: MOVER over the
    classes' intervals, which are independent. Macro F1: Dirichlet posterior.
    """
    notes = [f"{table.missing} rows without a label or an answer left out" if table.missing else ""]
    values = _values(table)
    scores = {
        name: _class_scores(table, k, *(column[k] for column in values), level=level)
        for k, name in enumerate(table.classes)
    }
    recalls = {name: each.recall for name, each in scores.items()}
    precisions = {name: each.precision for name, each in scores.items()}
    macro_recall = _macro(recalls, "recall", n=table.n)
    several = sum(each.value is not None for each in recalls.values()) > 1
    accuracy = agreement.agreement(table, level=level)
    return Classification(
        accuracy=within(accuracy.value, Interval(accuracy.low, accuracy.high), n=table.n, method="wilson", notes=notes)
        if accuracy.value is not None
        else accuracy,
        balanced_accuracy=macro_recall
        if several
        else insufficient("labels of one class only", n=table.n, method="mover"),
        macro_precision=_macro(precisions, "precision", n=table.n),
        macro_recall=macro_recall,
        macro_f1=_macro_f1(table, scores, level=level, seed=seed),
        classes=scores,
    )


def _values(table: Confusion) -> tuple[Sequence[float], ...]:
    """Precision, recall and F1 of each class, NaN where not defined."""
    if table.n == 0:
        nothing = [math.nan] * len(table.classes)
        return nothing, nothing, nothing
    from sklearn.metrics import precision_recall_fscore_support  # here, as it takes long at a start

    label, answer = np.indices(table.w.shape).reshape(2, -1)
    precision, recall, f1, _ = precision_recall_fscore_support(
        label,
        answer,
        labels=np.arange(len(table.classes)),
        sample_weight=table.w.ravel(),
        zero_division=np.nan,
    )
    return precision, recall, f1


def _class_scores(table: Confusion, k: int, precision: float, recall: float, f1: float, *, level: float) -> ClassScores:
    hit, hit_squared = float(table.w[k, k]), float(table.ww[k, k])
    w, ww = table.w, table.ww
    answered = float(w[:, k].sum()), float(ww[:, k].sum())
    labelled = float(w[k, :].sum()), float(ww[k, :].sum())
    either = answered[0] + labelled[0] - hit, answered[1] + labelled[1] - hit_squared

    def share(value: float, among: tuple[float, float], none: str) -> tuple[Result, Interval]:
        if math.isnan(value):
            return insufficient(none, n=table.n, method="wilson"), Interval(None, None)
        effective = intervals.share_effective_n(*among, hit, hit_squared)
        part = min(1.0, hit / among[0])
        interval = intervals.wilson(part * effective, effective, level=level)
        return within(min(1.0, value), interval, n=table.n, method="wilson"), interval

    name = table.classes[k]
    of_answers, _ = share(precision, answered, f"{name} was never answered")
    of_labels, _ = share(recall, labelled, f"no label is {name}")
    f1_result, jaccard = share(f1, either, f"{name} is neither label nor answer")
    if f1_result.value is not None:
        assert jaccard.low is not None
        assert jaccard.high is not None
        ends = Interval(2 * jaccard.low / (1 + jaccard.low), 2 * jaccard.high / (1 + jaccard.high))
        f1_result = within(f1_result.value, ends, n=table.n, method="wilson-jaccard")
    return ClassScores(precision=of_answers, recall=of_labels, f1=f1_result, support=labelled[0])


def _macro(results: Mapping[str, Result], what: str, *, n: int) -> Result:
    """Mean of independent results, by MOVER."""
    there = [each for each in results.values() if each.value is not None]
    if not there:
        return insufficient(f"{what} is not defined in any class", n=n, method="mover")
    value = sum(each.value or 0.0 for each in there) / len(there)
    below = math.sqrt(sum(((each.value or 0.0) - (each.low or 0.0)) ** 2 for each in there)) / len(there)
    above = math.sqrt(sum(((each.high or 0.0) - (each.value or 0.0)) ** 2 for each in there)) / len(there)
    interval = Interval(max(0.0, value - below), min(1.0, value + above))
    return within(value, interval, n=n, method="mover", notes=[_left_out(results)])


def _macro_f1(table: Confusion, scores: Mapping[str, ClassScores], *, level: float, seed: int) -> Result:
    method = "dirichlet-posterior"
    each = {name: found.f1 for name, found in scores.items()}
    there = np.array([found.value is not None for found in each.values()], dtype=bool)
    if not there.any():
        return insufficient("f1 is not defined in any class", n=table.n, method=method)
    value = float(np.mean([found.value for found in each.values() if found.value is not None]))
    w, ww = table.w[np.ix_(there, there)], table.ww[np.ix_(there, there)]
    if intervals.kish_effective_n(float(w.sum()), float(ww.sum())) < MACRO_F1_ROWS_MIN:
        few = f"no interval below {MACRO_F1_ROWS_MIN} rows"
        return within(value, None, n=table.n, method=method, notes=[few, _left_out(each)])
    interval = posterior_interval(w, ww, macro_f1_of, seed=seed, level=level)
    return within(value, agreement.around(value, interval), n=table.n, method=method, notes=[_left_out(each)])


def macro_f1_of(shares: Array) -> Array:
    """Macro F1 of tables of shares, shape (…, k, k)."""
    hits = np.diagonal(shares, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = 2 * hits / (shares.sum(axis=-1) + shares.sum(axis=-2))
    return np.asarray(found.mean(axis=-1), dtype=np.float64)


def _left_out(results: Mapping[str, Result]) -> str:
    names = [name for name, each in results.items() if each.value is None]
    return f"not defined for {', '.join(names)}" if names else ""
