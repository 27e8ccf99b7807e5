"""What a shift of a feature does to an outcome: the part of a difference of means that comes from who asks, not from how each fares.

References
----------
E. M. Kitagawa (1955), Components of a difference between two rates; R. Oaxaca (1973), A. Blinder (1973).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitor.stats.drift.effects import Array


@dataclass(frozen=True, kw_only=True)
class BinOutcome:
    """Weight of each bin, and of its rows with a known outcome; Σ weight · outcome of these. Arrays of shape (k,)."""

    mass: Array
    known: Array
    total: Array


def brought(reference: BinOutcome, current: BinOutcome) -> tuple[float, float] | None:
    """By how much the shift alone moves the outcome's mean, and that mean before.

    Parameters
    ----------
    reference, current : BinOutcome
        Of the same bins.

    Returns
    -------
    tuple of float or None
        Σ (q − p) · m: shares p of the reference and q of the current rows, m the reference's mean outcome of the bin. In
        a bin that has no outcome in the reference m is the current one, and where neither knows it, the mean of all.
        None where the reference knows no outcome, or a side has no rows.
    """
    p_all, q_all, known = reference.mass.sum(), current.mass.sum(), reference.known.sum()
    if not p_all or not q_all or not known:
        return None
    before = float(reference.total.sum() / known)
    with np.errstate(divide="ignore", invalid="ignore"):
        own, other = reference.total / reference.known, current.total / current.known
    mean = np.where(reference.known > 0, own, np.where(current.known > 0, other, before))
    return float(((current.mass / q_all - reference.mass / p_all) * (mean - before)).sum()), before
