"""What is added to a fixed base, slot by slot: nothing, or GPUs by the hour, by spot, by the second, or an API.

Each function takes the replicas of the base and answers with the cheapest addition that meets the objectives in every
slot. Given the base, slots do not depend on each other, but for what starting costs; see `held`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from monitor.stats.plan.load import Floats, Ints
from monitor.stats.plan.offers import Offer, Unit
from monitor.stats.plan.situation import Situation, api_attainment

SHARES: Final = 101  # an API may take 0, 1, … 100 % of the requests of a step


@dataclass(frozen=True, kw_only=True, eq=False)
class Top:
    """An addition.

    Parameters
    ----------
    units : array of int, shape (slots,)
        Units that run in each slot.
    usd : array of float, shape (slots,)
        Cost of each slot.
    in_time : array of float, shape (slots,)
        Share of each slot's requests in time, base and addition together.
    api_share : array of float, shape (slots,)
        Share of each slot's requests that an API answers.
    paid_s : array of float, shape (slots,)
        Paid seconds of replicas in each slot.
    meets : bool
        Whether every slot meets the objectives. If not, the addition is the one that comes nearest.
    """

    units: Ints
    usd: Floats
    in_time: Floats
    api_share: Floats
    paid_s: Floats
    meets: bool


def nothing(case: Situation, base: int) -> Top:
    """The base alone."""
    share = case.in_slots(case.table(base)[base : base + 1])[0]
    none = np.zeros(case.load.slots)
    return Top(
        units=none.astype(np.int64), usd=none, in_time=share, api_share=none, paid_s=none,
        meets=bool(case.meets(share).all()),
    )  # fmt: skip


def on_demand(case: Situation, base: int, unit: Unit) -> Top:
    """Fewest units per slot; each start is paid from the order on, ahead of the slot."""
    most = _most(case, base, unit, spare=0)
    rows = base + unit.replicas * np.arange(most + 1)
    return _hourly(case, unit, case.in_slots(case.table(int(rows[-1]))[rows]))


def spot(case: Situation, base: int, unit: Unit) -> Top:
    """As on demand, with as many more as make up for those that are taken away.

    A unit runs on average 1/h hours and is then away for `start_s`, so that it is there for the share
    1 / (1 + h start) of the time; units come and go independently, so the number there is binomial. Requests that were
    in a unit as it went are not in time: h x (their stay - the warning), for all requests if any unit is in use.
    """
    per_s = unit.offer.interruptions_per_hour * unit.instances / 3600
    there = 1 / (1 + per_s * unit.offer.start_s)
    most = _most(case, base, unit, spare=1 - there)
    table = case.table(base + unit.replicas * most)
    rows = table[base + unit.replicas * np.arange(most + 1)]
    share = case.in_slots(_binomial(most, there) @ rows)
    share[1:] *= 1 - min(1.0, per_s * max(0.0, _stay_s(case) - unit.offer.notice_s))
    return _hourly(case, unit, share)


def serverless(case: Situation, base: int, unit: Unit) -> Top:
    """Units that go to sleep when idle: paid while warm, and slow for the request that wakes one.

    Each replica gets its even share of the calls, at random, and stays warm for `idle_s` after the last one has left.
    The number of calls in the last stay + idle seconds is Poisson (M/G/infinity), so a replica is cold for the share
    exp(-rate (stay + idle)) of the time, and as many of its requests find it so (Poisson arrivals see time averages).
    Those have their objective less `start_s`; their waking is paid too.
    """
    most = _most(case, base, unit, spare=0)
    added = unit.replicas * np.arange(most + 1)
    rows = base + added
    warm_table, cold_table = (case.table(int(rows[-1]), delay_s=delay)[rows] for delay in (0.0, unit.offer.start_s))
    rate = case.grid_rps / np.maximum(rows, 1)[:, None]
    cold = np.exp(-rate * (_stay_s(case) + unit.offer.idle_s))
    woken = (added / np.maximum(rows, 1))[:, None] * cold  # share of requests that wake a replica
    share = case.in_slots(warm_table * (1 - woken) + cold_table * woken)
    replica_s = added[:, None] * (1 - cold) + case.grid_rps * woken * unit.offer.start_s
    # More seconds than there are cannot be paid.
    warm_s = np.minimum(replica_s, added[:, None]) @ case.by_time.T * case.load.slot_s
    usd = warm_s / unit.replicas * unit.usd_per_s
    ok = case.meets(share)
    choice = np.where(ok.any(axis=0), np.where(ok, usd, np.inf).argmin(axis=0), share.argmax(axis=0))
    slots = np.arange(case.load.slots)
    return Top(
        units=choice,
        usd=usd[choice, slots],
        in_time=share[choice, slots],
        api_share=np.zeros(case.load.slots),
        paid_s=warm_s[choice, slots],
        meets=bool(ok.any(axis=0).all()),
    )


def per_token(case: Situation, base: int, offer: Offer) -> Top:
    """An API for what the base cannot take: in each step the least share of the requests, in whole percent."""
    of_api = api_attainment(offer.ttft_p50_s, offer.ttft_p95_s, offer.tpot_s, case.objectives)
    sent = np.linspace(0.0, 1.0, SHARES)[:, None]
    levels = np.arange(len(case.grid_rps))
    left = np.ceil(levels * (1 - sent) - 1e-9).astype(np.int64)
    mixed = (1 - sent) * case.table(base)[base][left] + sent * of_api
    ok = case.meets(mixed)
    choice = np.where(ok.any(axis=0), ok.argmax(axis=0), mixed.argmax(axis=0))
    # Nothing is sent away at rate 0, and at the others what the base cannot take.
    share_of_rate, in_time = sent[choice, 0], mixed[choice, levels]
    api_share = case.in_slots(share_of_rate[None])[0]
    share = case.in_slots(in_time[None])[0]
    load = case.load
    tokens_usd = load.input_tps * offer.usd_per_million_input + load.output_tps * offer.usd_per_million_output
    none = np.zeros(load.slots)
    return Top(
        units=none.astype(np.int64),
        usd=(tokens_usd * share_of_rate[case.level]).mean(axis=1) * load.slot_s / 1e6,
        in_time=share,
        api_share=api_share,
        paid_s=none,
        meets=bool(case.meets(share).all()),
    )


def held(units: Ints, *, slot_s: float, start_s: float) -> Ints:
    """Units that run, if it is cheaper to keep one through a dip than to start it again.

    The k-th unit is wanted in the slots with at least k units. Between two such slots it is kept if the gap is not
    longer than a start, which is the best for each unit by itself; and since the units are nested, for all. That is a
    grey closing of the demand. The stretch repeats, so its end is followed by its begin.
    """
    gap = math.floor(start_s / slot_s + 1e-9)
    if gap == 0:
        return units
    if gap >= len(units):
        return np.full_like(units, units.max())
    # Closing of a line of gap + 1 slots, wrapped around; padded by hand, since even lengths shift scipy's window.
    padded = np.concatenate([units[-gap:], units, units[:gap]])
    windows = np.lib.stride_tricks.sliding_window_view(padded, gap + 1).max(axis=1)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(windows, gap + 1).min(axis=1))


def _hourly(case: Situation, unit: Unit, share: Floats) -> Top:
    """Fewest units of which the share in time, (units + 1, slots), meets the objectives."""
    ok = case.meets(share)
    need = np.where(ok.any(axis=0), ok.argmax(axis=0), len(share) - 1)
    if unit.offer.units_max is not None:
        most = unit.offer.units_max // unit.instances
        need = np.minimum(need, most)
    running = held(need, slot_s=case.load.slot_s, start_s=unit.offer.start_s)
    starts = np.maximum(running - np.roll(running, 1), 0)
    unit_s = running * case.load.slot_s + starts * unit.offer.start_s
    in_time = share[running, np.arange(case.load.slots)]
    return Top(
        units=running,
        usd=unit_s * unit.usd_per_s,
        in_time=in_time,
        api_share=np.zeros(case.load.slots),
        paid_s=unit_s * unit.replicas,
        meets=bool(case.meets(in_time).all()),
    )


def _most(case: Situation, base: int, unit: Unit, *, spare: float) -> int:
    """Most units that are looked at: what the peak needs beside the base.

    With units that are away for the share `spare` of the time, so many that this number is there but for a chance of
    five standard deviations.
    """
    replicas = max(0, (case.enough or 1) - base)
    units = math.ceil(replicas / unit.replicas)
    if spare and units:
        units = math.ceil((units + 5 * math.sqrt(units * spare)) / (1 - spare)) + 2
    if unit.offer.units_max is not None:
        units = min(units, unit.offer.units_max // unit.instances)
    return units


def _binomial(most: int, there: float) -> Floats:
    """P(k of m are there), (m, k) from 0 to `most`."""
    m, k = np.arange(most + 1)[:, None], np.arange(most + 1)[None]
    log = special.gammaln(m + 1) - special.gammaln(k + 1) - special.gammaln(np.maximum(m - k, 0) + 1)
    chance = np.exp(log) * there**k * (1 - there) ** np.maximum(m - k, 0)
    return np.where(k <= m, chance, 0.0)


def _stay_s(case: Situation) -> float:
    """How long a request stays in a replica that is otherwise empty."""
    engine, load = case.engine, case.load
    prefill_s = engine.overhead_s + load.mean_input_tokens / engine.prefill_tokens_per_s
    return prefill_s + load.mean_output_tokens * engine.tpot_s
