"""Is load spread over nodes as a fair router would, and which node is worse off than its peers, and why?

Random routing gives counts that are multinomial, so they are never all alike. Pearson's X² measures how far they are from
even; if they truly are uneven with a coefficient of variation c, it is noncentral chi-square with λ = N·c². So c has an
interval, and c = 0 lies in it exactly if random routing explains what is seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from scipy import special

from monitor.stats.intervals import LEVEL
from monitor.stats.result import Result

METHOD: Final = "noncentral-chi-square"
CALLS_MIN: Final = 5  # expected on each node; below it X² is not chi-square yet


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Calls of one group of equal nodes.

    Parameters
    ----------
    load : sequence of float, length k
        Σw of each node's calls.
    effective_n : float
        Calls that the sum is worth: (Σw)² / Σw², the number of calls where all weights are equal.
    expected : sequence of float, optional
        Shares that nodes should have, if not equal ones; they sum to 1.
    """

    load: Sequence[float]
    effective_n: float
    expected: Sequence[float] | None = None

    @property
    def nodes(self) -> int:
        return len(self.load)

    @property
    def large_enough(self) -> bool:
        smallest = min(self.expected) if self.expected else 1 / max(1, self.nodes)
        return self.nodes >= 2 and self.effective_n * smallest >= CALLS_MIN

    @property
    def chi_square(self) -> float:
        total = math.fsum(self.load)
        shares = self.expected or [1 / self.nodes] * self.nodes
        return self.effective_n * math.fsum(
            (load / total - share) ** 2 / share for load, share in zip(self.load, shares, strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class Imbalance(Result):
    """The index, what random routing would give at most (97.5 %), and the p-value of random routing."""

    band: float | None = None
    p_value: float | None = None
    nodes: int = 0


def imbalance(groups: Sequence[Spread], *, level: float = LEVEL) -> Imbalance:
    """Coefficient of variation of the nodes' true shares, beyond what chance does: 0 is as even as random routing is.

    Parameters
    ----------
    groups : sequence of Spread
        One for each set of nodes that share one kind of calls. Those with less than 5 calls expected on a node, or one
        node, are left out.
    level : float
        Confidence.

    Returns
    -------
    Imbalance
        c = sqrt(max(0, ΣX² − Σ(k − 1)) / ΣN); over several groups the root of the mean of c², weighted by their calls. Its
        interval inverts the noncentral chi-square distribution, stretched where X² varies more than that; a low end of 0
        says that random routing explains it.

    References
    ----------
    W. G. Cochran (1952), The χ² test of goodness of fit; M. L. Tiku (1985), Noncentral chi-square distribution.

    Examples
    --------
    >>> even = imbalance([Spread(load=[98, 105, 97], effective_n=300)])
    >>> even.value, even.low
    (0.0, 0.0)
    >>> skewed = imbalance([Spread(load=[180, 60, 60], effective_n=300)])
    >>> round(skewed.value, 2), round(skewed.low, 2), round(skewed.band, 2)
    (0.56, 0.45, 0.13)
    """
    used = [group for group in groups if group.large_enough]
    n = round(math.fsum(group.effective_n for group in used))
    if not used:
        return Imbalance(
            value=None,
            n=0,
            method=METHOD,
            note=f"insufficient: it takes 2 nodes of one service and model, with {CALLS_MIN} calls each",
        )
    x = math.fsum(group.chi_square for group in used)
    df = sum(group.nodes - 1 for group in used)
    total = math.fsum(group.effective_n for group in used)
    tail = (1 - level) / 2
    value = math.sqrt(max(0.0, x - df) / total)
    low, high = (math.sqrt(_noncentrality(x, df, each) / total) for each in (1 - tail, tail))
    stretch = math.sqrt(max(1.0, _overdispersion(used)))
    limit = float(special.chdtri(df, tail))
    return Imbalance(
        value=value,
        # Never stretched down to 0: that end is a test, which holds under random routing as it is.
        low=stretched if (stretched := value - (value - low) * stretch) > 0 else low,
        high=value + (high - value) * stretch,
        n=n,
        method=METHOD,
        band=math.sqrt(max(0.0, limit - df) / total),
        p_value=float(special.chdtrc(df, x)),
        nodes=df + len(used),
    )


def _overdispersion(groups: Sequence[Spread]) -> float:
    """Variance of X² under the shares as seen, over that of a noncentral chi-square: 1 + m₃/s² − s², u = share / expected.

    One node with much more than the others makes X² vary more than the same c spread over all of them.
    """
    second = third = 0.0
    for group in groups:
        total = math.fsum(group.load)
        expected = group.expected or [1 / group.nodes] * group.nodes
        over = [load / total / share - 1 for load, share in zip(group.load, expected, strict=True)]
        s2 = math.fsum(share * e**2 for share, e in zip(expected, over, strict=True))
        m3 = math.fsum(share * e**3 for share, e in zip(expected, over, strict=True))
        second += group.effective_n * s2
        third += group.effective_n * (s2 + m3 - s2**2)
    return third / second if second > 0 else 1.0


def _noncentrality(x: float, df: int, probability: float) -> float:
    """λ with P(X² ≤ x) = probability; 0 where even λ = 0 has less."""
    if float(special.chdtr(df, x)) <= probability:
        return 0.0
    centre = max(0.0, x - df)
    if centre > 10_000:
        # Here the distribution is normal with mean df + λ and variance 2 (df + 2λ); a quadratic in λ.
        z2 = float(special.ndtri(probability)) ** 2
        half = math.sqrt(z2 * (2 * df + 4 * centre + 4 * z2))
        return centre + 2 * z2 + (half if probability < 0.5 else -half)
    from scipy import optimize  # here, as it takes long at a start

    off: Callable[[float], float] = lambda nc: float(special.chndtr(x, df, nc)) - probability  # noqa: E731
    return float(optimize.brentq(off, 0.0, centre + 20 * math.sqrt(2 * df + 4 * centre + 100), xtol=1e-9))


__all__ = ["CALLS_MIN", "METHOD", "Imbalance", "Spread", "imbalance"]
