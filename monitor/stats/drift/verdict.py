"""What a comparison answers, and the verdict over many of them.

References
----------
Y. Benjamini, Y. Hochberg (1995), Controlling the false discovery rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

ROWS_MIN = 50  # of each side; with fewer, the intervals of this package are not what they say
ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far one feature is from its reference, and whether that is drift.

    Parameters
    ----------
    feature, method : str
        What was compared, by which effect size.
    value : float or None
        The plain effect, as other tools compute it; chance alone keeps it above 0. None without rows.
    low, high : float or None
        Interval of the true effect, free of that bias, and stretched to hold `value` where it would not.
    p_value : float or None
        Of the test that both sides have one distribution.
    p_adjusted : float or None
        The same after Benjamini and Hochberg over all comparisons of one call.
    threshold : float
        Effects up to it do not matter.
    drifted : bool
        The interval lies above the threshold, and the adjusted p is small.
    reason : str
        Why, by name and number.
    n_reference, n_current : int
        Rows with a value.
    chunk : int, optional
        Which part of the current rows, from 0.
    interval : str
        How `low` and `high` were made.
    test : str
        Where `p_value` comes from.
    moved : tuple of str
        The bins (or words, or features) that changed most.
    brings : tuple of (str, float)
        What the shift alone does to the mean of each outcome (latency in s, cost, accuracy), where calls of the store say
        so: Σ (q − p) · outcome of the bin, with the shares p before and q now.
    impact : float or None
        The largest of these over the outcome's mean before: the order in which drifts matter.
    reference_rows, current_rows : tuple of int
        Of a classifier: positions of rows that look most like their own side.
    reference_traces, current_traces : tuple of str
        The same as traces, where the rows are calls of a store.
    """

    feature: str
    method: str
    value: float | None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    threshold: float
    drifted: bool = False
    reason: str = ""
    n_reference: int
    n_current: int
    chunk: int | None = None
    interval: str = ""
    test: str = ""
    moved: tuple[str, ...] = ()
    brings: tuple[tuple[str, float], ...] = ()
    impact: float | None = None
    reference_rows: tuple[int, ...] = ()
    current_rows: tuple[int, ...] = ()
    reference_traces: tuple[str, ...] = ()
    current_traces: tuple[str, ...] = ()
    note: str = ""


def judge(found: Iterable[Drift], *, alpha: float = ALPHA, rows_min: int = ROWS_MIN) -> list[Drift]:
    """Adjust the p-values of all comparisons together, and give each its verdict.

    Parameters
    ----------
    found : iterable of Drift
        Comparisons that one alarm would come from.
    alpha : float
        Share of false ones among the drifts that are told, at most.
    rows_min : int
        With fewer rows on a side there is no verdict, and its p-value does not enter the adjustment.
    """
    all_found = list(found)
    judged = [i for i, each in enumerate(all_found) if each.p_value is not None and _enough(each, rows_min)]
    adjusted: dict[int, float] = {}
    if judged:
        p = np.array([all_found[i].p_value for i in judged], dtype=np.float64)
        adjusted = dict(zip(judged, stats.false_discovery_control(p).tolist(), strict=True))
    return [_verdict(each, adjusted.get(i), alpha, rows_min) for i, each in enumerate(all_found)]


def judge_watched(drift: Drift, *, told: bool, p_value: float | None, alpha: float, rows_min: int = ROWS_MIN) -> Drift:
    """The verdict on one of many looks at one of many features.

    Parameters
    ----------
    drift : Drift
        The look's comparison.
    told : bool
        Whether a game over all looks and features (`Watch`, `e_values_bh`) excludes chance.
    p_value : float, optional
        That game's, valid whenever one looks; it takes the place of the look's own.
    """
    adjusted = alpha if told else 1.0
    return replace(_verdict(drift, adjusted, alpha, rows_min, many_looks=True), p_value=p_value, p_adjusted=None)


def ranked(found: Sequence[Drift]) -> list[Drift]:
    """Drifted first, of these what moves accuracy, latency or cost most; then by how many times its threshold the lower end is."""
    return sorted(
        found,
        key=lambda each: (
            not each.drifted,
            -(each.impact or 0.0) if each.drifted else 0.0,
            -(each.low or 0.0) / max(each.threshold, 1e-12),
        ),
    )


def _enough(drift: Drift, rows_min: int) -> bool:
    return min(drift.n_reference, drift.n_current) >= rows_min


def _verdict(drift: Drift, adjusted: float | None, alpha: float, rows_min: int, *, many_looks: bool = False) -> Drift:
    name = drift.method
    if drift.value is None or not _enough(drift, rows_min):
        sizes = f"{drift.n_reference} reference and {drift.n_current} current rows, {rows_min} wanted of each"
        return replace(drift, drifted=False, reason=f"too few rows: {sizes}")
    value, limit = f"{name} {drift.value:.3g}", f"{drift.threshold:g}"
    if drift.value <= drift.threshold:
        reason = f"effect below threshold: {value}, threshold {limit}"
    elif drift.low is None or drift.low <= drift.threshold:
        low = "none" if drift.low is None else f"{drift.low:.3g}"
        reason = f"interval reaches below threshold: {value} above {limit}, but its lower end is {low}"
    elif adjusted is None or adjusted > alpha:
        why = (
            "over all looks and features it may be chance" if many_looks else f"the adjusted p is {adjusted or 1.0:.2g}"
        )
        reason = f"chance not excluded: {value} above {limit}, but {why}"
    else:
        reason = f"drifted: {value} above {limit}, interval clears it"
        return replace(drift, drifted=True, reason=reason, p_adjusted=adjusted)
    return replace(drift, drifted=False, reason=reason, p_adjusted=adjusted)
