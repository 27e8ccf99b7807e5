"""A change of an estimate between two windows as a drift: with interval, p-value, and which of model and judge it is."""

from __future__ import annotations

import math
from dataclasses import replace

from scipy import special

from monitor.stats.agreement import difference
from monitor.stats.drift.verdict import Drift
from monitor.stats.intervals import LEVEL
from monitor.stats.result import Result

METHOD = "difference"


def change(feature: str, reference: Result, current: Result, *, tolerance: float, level: float = LEVEL) -> Drift:
    """Current less reference, without a verdict.

    Parameters
    ----------
    feature : str
        Its name.
    reference, current : Result
        With intervals of `level`, from windows without a row in common.
    tolerance : float
        Change, up or down, that does not matter.

    Notes
    -----
    p is that of the normal distribution whose interval reaches as far towards 0 as the change's own.
    """
    found = difference(current, reference)
    blank = Drift(
        feature=feature,
        method=METHOD,
        value=found.value,
        low=found.low,
        high=found.high,
        threshold=tolerance,
        n_reference=reference.n,
        n_current=current.n,
        interval=found.method,
        note=found.note,
    )
    if found.value is None or found.low is None or found.high is None:
        return blank
    towards = found.value - found.low if found.value > 0 else found.high - found.value
    z = float(special.ndtri((1 + level) / 2)) * abs(found.value) / towards if towards > 0 else math.inf
    sides = f"{reference.value:.3g} to {current.value:.3g}"
    return replace(blank, p_value=float(2 * special.ndtr(-z)), test="normal", moved=(sides,) if found.value else ())


def size_of(drift: Drift) -> Drift:
    """The same with the size of the change, whichever its direction, as verdicts are over effects from 0 up."""
    if drift.value is None or drift.low is None or drift.high is None:
        return drift
    low = 0.0 if drift.low <= 0 <= drift.high else min(abs(drift.low), abs(drift.high))
    return replace(drift, value=abs(drift.value), low=low, high=max(abs(drift.low), abs(drift.high)))


def whose(accuracy: Drift | None, agreement: Drift | None, verdicts: Drift | None) -> str:
    """Whether the model changed or its judge, in words; empty where nothing has drifted.

    Parameters
    ----------
    accuracy, agreement, verdicts : Drift or None
        Judged changes: of the labels' accuracy, of the agreement of judge and labels, of the judge's own verdicts.
    """
    model = accuracy is not None and accuracy.drifted
    judge = agreement is not None and agreement.drifted
    said = verdicts is not None and verdicts.drifted
    if model and judge:
        return "model drift and judge drift: the labels moved, and the judge agrees with them otherwise than before"
    if judge:
        return (
            "judge drift: the judge agrees otherwise with people, whose labels did not move beyond chance and tolerance"
        )
    if model:
        return "model drift: the labels moved, and the judge agrees with them as before"
    if said:
        known = agreement is not None and agreement.value is not None
        return (
            "model drift, by the judge: its verdicts moved, and it agrees with people as before"
            if known
            else "model or judge drift: the judge's verdicts moved; without labels nobody knows which"
        )
    return ""
