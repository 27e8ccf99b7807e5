"""Looking every hour without crying wolf: the chance of any false alarm, ever, stays below alpha.

Each look asks whether its counts could come from the same distribution as everything before it, reference and earlier
looks together. If nothing changes, rows are exchangeable; then the composition of a look, given what it and all earlier
rows sum to, says nothing about later looks, so these p-values are independent of each other although they share a
reference (the argument of sequential ranks: A. Rényi 1962, V. Vovk et al. 2003).

A p-value becomes a bet against "nothing changed" that is fair if nothing did: f(p) = (1 − p + p ln p) / (p ln² p), the
mean over all bets ε · p^(ε − 1). The capital is spread over the looks at which a change may begin, and what was put on a
start grows by the bets from then on. Capital of at least 1/alpha is an alarm: by Ville's inequality a fair game reaches
it with probability alpha at most, however often one looks and whenever one stops.

References
----------
J. Ville (1939). V. Vovk, R. Wang (2021), E-values: calibration, combination and applications (the bet). V. Vovk, I.
Nouretdinov, A. Gammerman (2003), Testing exchangeability on-line. J. Shin, A. Ramdas, A. Rinaldo (2024), E-detectors
(many starts). R. Wang, A. Ramdas (2022), False discovery rate control with e-values (many features).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from monitor.stats.drift.effects import Array
from monitor.stats.drift.homogeneity import homogeneity

HORIZON = 720  # looks over which the starts are spread evenly first: a month of hours
P_MIN = 1e-300
CAPITAL_MAX = 1e200  # beyond any doubt, and far from what a float cannot hold


@dataclass(frozen=True, kw_only=True)
class WatchState:
    """What is kept between two looks; plain numbers, so that it can be stored.

    Parameters
    ----------
    pool : tuple of float
        Rows in each bin so far, the reference's included.
    looks : int
        How many there were.
    capital : float
        What the running bets are worth.
    kept : float
        What is not yet put on a start.
    highest : float
        The largest total so far.
    """

    pool: tuple[float, ...]
    looks: int = 0
    capital: float = 0.0
    kept: float = 1.0
    highest: float = 1.0

    @property
    def e_value(self) -> float:
        """The game's worth now; 1 at its begin."""
        return self.capital + self.kept

    @property
    def p_value(self) -> float:
        """Valid whenever one looks: 1 over the highest worth so far."""
        return min(1.0, 1 / self.highest)


@dataclass(frozen=True, kw_only=True)
class Watch:
    """The game's rules.

    Parameters
    ----------
    alpha : float
        Chance of any false alarm.
    horizon : int
        Half of the capital is spread evenly over so many looks, the other half over all later ones.
    """

    alpha: float = 0.05
    horizon: int = field(default=HORIZON)

    def start(self, reference: npt.ArrayLike) -> WatchState:
        """Before the first look: the reference's counts."""
        return WatchState(pool=tuple(np.asarray(reference, dtype=np.float64).tolist()))

    def look(self, state: WatchState, counts: npt.ArrayLike) -> WatchState:
        """After one more look, with the counts of its rows alone, in the same bins.

        A look without rows, or with too few for a test, changes no capital.
        """
        current = np.asarray(counts, dtype=np.float64)
        pool = np.asarray(state.pool)
        if current.shape != pool.shape:
            raise ValueError(f"a look has counts of {len(pool)} bins, not {current.shape}")
        p = float(found.p_value) if (found := homogeneity(pool, current)).df > 0 else None
        return replace(self.bet(state, p), pool=tuple((pool + current).tolist()))

    def bet(self, state: WatchState, p_value: float | None) -> WatchState:
        """After one more look whose p-value is given; the caller keeps the pool, or pools.

        Parameters
        ----------
        p_value : float, optional
            Independent of those of all other looks while nothing changes, as of a look against all earlier looks, or
            against all earlier ones of its own season (hour of the week). None: nothing can be said, which costs nothing.
        """
        bet = 1.0 if p_value is None else float(calibrated(np.array(p_value)))
        put = state.kept - self.unspent(state.looks + 1)
        capital = min((state.capital + put) * bet, CAPITAL_MAX)
        kept = state.kept - put
        return replace(
            state,
            looks=state.looks + 1,
            capital=capital,
            kept=kept,
            highest=max(state.highest, capital + kept),
        )

    def alarmed(self, state: WatchState) -> bool:
        """Whether it ever reached 1/alpha."""
        return state.highest >= 1 / self.alpha

    def unspent(self, looks: int) -> float:
        """Capital that is not yet put on a start after so many looks."""
        if looks <= self.horizon:
            return 1 - looks / (2 * self.horizon)
        return self.horizon / (2 * looks)


def calibrated(p: Array) -> Array:
    """E-values of p-values: fair bets against uniform p; large for small p, and 1/2 for p = 1."""
    q = np.clip(p, P_MIN, 1.0)
    log = np.log(q)
    # Near 1 both parts of the fraction vanish; there, its series.
    near = q > 1 - 1e-4
    safe = np.where(near, 0.5, q)
    found = (1 - safe + safe * np.log(safe)) / (safe * np.log(safe) ** 2)
    return np.asarray(np.where(near, 0.5 - log / 6, found))


def e_values_bh(e_values: npt.ArrayLike, *, alpha: float = 0.05) -> npt.NDArray[np.bool_]:
    """Which of several features to tell of: Benjamini and Hochberg for e-values, whatever their dependence.

    Parameters
    ----------
    e_values : array of shape (k,)
        One of each feature at the same look.
    alpha : float
        Share of false ones among those told, at most; and chance of any while nothing changes.
    """
    e = np.asarray(e_values, dtype=np.float64)
    order = np.argsort(-e, kind="stable")
    passed = np.flatnonzero(e[order] * np.arange(1, len(e) + 1) >= len(e) / alpha)
    told = np.zeros(len(e), dtype=bool)
    if len(passed):
        told[order[: passed[-1] + 1]] = True
    return told


def looks_to_alarm(e_per_look: float, *, alpha: float = 0.05, horizon: int = HORIZON) -> float:
    """Looks that a change needs if each multiplies the capital by so much: log(2 · horizon / alpha) / log(e)."""
    return math.log(2 * horizon / alpha) / math.log(e_per_look) if e_per_look > 1 else math.inf
