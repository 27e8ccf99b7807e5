"""Waiting in front of several servers, in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]


def erlang_c(servers: ArrayLike, offered: ArrayLike) -> Floats:
    """Probability that a request has to wait in an M/M/c queue; 1 where the queue grows without end.

    Parameters
    ----------
    servers : array of float
        Servers, >= 1.
    offered : array of float
        Arrival rate times mean service time (erlangs), >= 0; broadcast against `servers`.

    Returns
    -------
    array of float
        In [0, 1].

    Notes
    -----
    Erlang B is a Poisson probability over a cumulative one, so that thousands of servers are no trouble:
    B = pmf(c; a) / cdf(c; a), C = B / (1 - a/c (1 - B)).

    References
    ----------
    A. K. Erlang (1917), Solution of some problems in the theory of probabilities of significance in automatic
    telephone exchanges.

    Examples
    --------
    >>> round(float(erlang_c(2, 1.0)), 4)
    0.3333
    """
    c, a = np.broadcast_arrays(np.asarray(servers, dtype=np.float64), np.asarray(offered, dtype=np.float64))
    stable = a < c
    load = np.where(stable & (a > 0), a, 0.5)
    pmf = np.exp(c * np.log(load) - load - special.gammaln(c + 1))
    blocked = pmf / special.pdtr(c, load)
    waits = blocked / (1 - load / c * (1 - blocked))
    return np.where(stable, np.where(a > 0, waits, 0.0), 1.0)


def wait_rate(servers: ArrayLike, offered: ArrayLike, service_s: ArrayLike, *, scv: ArrayLike = 1.0) -> Floats:
    """Rate theta of P(wait > t | wait > 0) = exp(-theta t) in an M/G/c queue, per second; 0 where it is not stable.

    Parameters
    ----------
    servers, offered
        As in `erlang_c`.
    service_s : array of float
        Mean service time, > 0.
    scv : array of float
        Squared coefficient of variation of the service time; with 1 it is exact (M/M/c).

    Notes
    -----
    theta = 2 (c - a) / (s (1 + scv)). With Erlang's C the mean wait is that of Lee and Longton (1959), exact for one
    server (Pollaczek and Khinchine) and for exponential service.

    References
    ----------
    W. Whitt (1993), Approximations for the GI/G/m queue, Production and Operations Management 2(2).
    """
    free = np.asarray(servers, dtype=np.float64) - np.asarray(offered, dtype=np.float64)
    return np.asarray(np.maximum(2 * free / (np.asarray(service_s) * (1 + np.asarray(scv))), 0.0))


def both_waits_exceed(
    t_s: ArrayLike, wait_a: ArrayLike, rate_a: ArrayLike, wait_b: ArrayLike, rate_b: ArrayLike
) -> Floats:
    """P(A + B > t) of two independent waits, each 0 or (with its probability) exponential.

    Parameters
    ----------
    t_s : array of float
        Seconds; below 0 the answer is 1.
    wait_a, wait_b : array of float
        P(A > 0), P(B > 0).
    rate_a, rate_b : array of float
        Rates of the exponentials, per second.
    """
    t = np.maximum(np.asarray(t_s, dtype=np.float64), 0.0)
    a, b = np.asarray(rate_a, dtype=np.float64), np.asarray(rate_b, dtype=np.float64)
    tail_a, tail_b = np.exp(-a * t), np.exp(-b * t)
    gap = b - a
    close = np.abs(gap) <= 1e-6 * np.maximum(np.maximum(a, b), 1e-12)
    both = np.where(close, (1 + a * t) * tail_a, (b * tail_a - a * tail_b) / np.where(close, 1.0, gap))
    pa, pb = np.asarray(wait_a), np.asarray(wait_b)
    exceeds = pa * (1 - pb) * tail_a + pb * (1 - pa) * tail_b + pa * pb * both
    return np.where(np.asarray(t_s) < 0, 1.0, np.clip(exceeds, 0.0, 1.0))
