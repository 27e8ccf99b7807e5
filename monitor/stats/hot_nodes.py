"""Nodes that are worse off than their peers, with the likely cause.

Two things make a node hot: it gets more than its share of the calls, or its callers wait longer than those of its peers.
All tests of one group of nodes share one error rate (Bonferroni): where nothing is wrong, at most 5 % of the groups have
an alarm. Differences too small to act on are no alarm, however certain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from scipy import special

from monitor.stats.balance import CALLS_MIN

Cause = Literal["more traffic", "throttled GPU", "hotter GPU", "longer prompts", "slower at equal traffic"]

ALPHA: Final = 0.05
RATIO_MIN: Final = 1.1  # what is less than a tenth over the peers is nothing to act on
_DEGREES_MIN: Final = 5.0  # °C over the peers
_THROTTLED_MIN: Final = 0.05  # share of time, over that of the peers
_VALUES_MIN: Final = 8


@dataclass(frozen=True, kw_only=True)
class LogSums:
    """Weighted sums of the logarithm of a positive number (a latency, prompt tokens) over a node's calls."""

    n: int = 0
    w: float = 0.0
    ww: float = 0.0
    wx: float = 0.0
    wxx: float = 0.0

    @property
    def effective_n(self) -> float:
        return self.w**2 / self.ww if self.ww > 0 else 0.0

    @property
    def mean(self) -> float:
        return self.wx / self.w

    @property
    def variance(self) -> float:
        n = self.effective_n
        return max(0.0, self.wxx / self.w - self.mean**2) * n / (n - 1) if n > 1 else math.nan

    def plus(self, other: LogSums) -> LogSums:
        return LogSums(
            n=self.n + other.n,
            w=self.w + other.w,
            ww=self.ww + other.ww,
            wx=self.wx + other.wx,
            wxx=self.wxx + other.wxx,
        )


@dataclass(frozen=True, kw_only=True)
class NodeSums:
    """What is known of one node of a group.

    Parameters
    ----------
    node : str
    load, load_ww : float
        Σw and Σw² of its calls.
    waits : mapping-like tuple of (name, LogSums)
        Latencies of which each is compared with the peers', such as `ttft` and `tpot`.
    prompts : LogSums
        Of input tokens.
    temperature_c, throttled : float, optional
        Mean over its GPUs and time; share of samples in which heat, hardware or power supply slowed the clocks.
    """

    node: str
    load: float
    load_ww: float
    waits: tuple[tuple[str, LogSums], ...] = ()
    prompts: LogSums = LogSums()
    temperature_c: float | None = None
    throttled: float | None = None


@dataclass(frozen=True, kw_only=True)
class HotNode:
    """A node, why it is hot, how far above its peers (times), and the p-value with which that shows (not adjusted)."""

    node: str
    cause: Cause
    symptom: str
    ratio: float
    p_value: float

    @property
    def sentence(self) -> str:
        what = "its even share of calls" if self.symptom == "load" else f"its peers' {self.symptom}"
        return f"{self.node}: {self.ratio:.2f} times {what}, likely {self.cause}"


def hot_nodes(nodes: Sequence[NodeSums], *, alpha: float = ALPHA) -> list[HotNode]:
    """The hot ones among the nodes of one group, the clearest first.

    Parameters
    ----------
    nodes : sequence of NodeSums
        Nodes that share one kind of calls.
    alpha : float
        Chance of any alarm in a group in which routing is random and all nodes are alike.

    Returns
    -------
    list of HotNode
        Empty for fewer than two nodes, or too few calls to tell.

    Notes
    -----
    Load is tested one-sided by the exact binomial tail against 1/k; a wait by Welch's test of mean logarithms against all
    peers together. A node that is hot by both is told by its load if its wait is explained by it: cause `more traffic`.
    Calls that follow each other are taken to be independent; sticky sessions make counts more uneven than that.
    """
    total = math.fsum(each.load for each in nodes)
    squares = math.fsum(each.load_ww for each in nodes)
    if len(nodes) < 2 or squares <= 0 or total**2 / squares < CALLS_MIN * len(nodes):
        return []
    tests = len(nodes) * (1 + max(len(each.waits) for each in nodes))
    found = []
    for each in nodes:
        peers = [other for other in nodes if other is not each]
        symptoms = [_load(each, len(nodes), total, squares), *_waits(each, peers)]
        shown = [symptom for symptom in symptoms if symptom[2] <= alpha / tests and symptom[1] >= RATIO_MIN]
        if shown:
            loaded = symptoms[0] in shown
            symptom, ratio, p_value = min(shown, key=lambda found: (found[0] != "load", found[2]))
            found.append(
                HotNode(
                    node=each.node, cause=_cause(each, peers, loaded), symptom=symptom, ratio=ratio, p_value=p_value
                )
            )
    return sorted(found, key=lambda hot: (hot.p_value, -hot.ratio, hot.node))


def _load(each: NodeSums, k: int, total: float, squares: float) -> tuple[str, float, float]:
    n = total**2 / squares
    count, share = each.load / total * n, 1 / k
    # P(Binomial(n, 1/k) ≥ count), for real numbers too.
    p_value = float(special.betainc(max(count, 1e-9), n - count + 1, share)) if count > 0 else 1.0
    return "load", each.load / total * k, p_value


def _waits(each: NodeSums, peers: Sequence[NodeSums]) -> list[tuple[str, float, float]]:
    found = []
    for name, mine in each.waits:
        theirs = LogSums()
        for peer in peers:
            theirs = theirs.plus(dict(peer.waits).get(name, LogSums()))
        if min(mine.effective_n, theirs.effective_n) >= _VALUES_MIN:
            found.append((name, math.exp(mine.mean - theirs.mean), _welch(mine, theirs)))
    return found


def _welch(mine: LogSums, theirs: LogSums) -> float:
    """One-sided p-value that mine are not larger."""
    a, b = mine.variance / mine.effective_n, theirs.variance / theirs.effective_n
    difference = mine.mean - theirs.mean
    if a + b <= 0:
        return 0.0 if difference > 0 else 1.0
    df = (a + b) ** 2 / (a**2 / (mine.effective_n - 1) + b**2 / (theirs.effective_n - 1))
    return float(special.stdtr(df, -difference / math.sqrt(a + b)))


def _cause(each: NodeSums, peers: Sequence[NodeSums], loaded: bool) -> Cause:
    throttled = _over(each.throttled, [peer.throttled for peer in peers])
    if throttled is not None and throttled >= _THROTTLED_MIN:
        return "throttled GPU"
    if loaded:
        return "more traffic"
    theirs = LogSums()
    for peer in peers:
        theirs = theirs.plus(peer.prompts)
    if min(each.prompts.effective_n, theirs.effective_n) >= _VALUES_MIN:
        longer = math.exp(each.prompts.mean - theirs.mean)
        if longer >= RATIO_MIN and _welch(each.prompts, theirs) <= ALPHA:
            return "longer prompts"
    hotter = _over(each.temperature_c, [peer.temperature_c for peer in peers])
    return "hotter GPU" if hotter is not None and hotter >= _DEGREES_MIN else "slower at equal traffic"


def _over(mine: float | None, theirs: Sequence[float | None]) -> float | None:
    known = [each for each in theirs if each is not None]
    return None if mine is None or not known else mine - math.fsum(known) / len(known)
