"""The answer to "what should we run this on?": plans with cost, attainment, and why one is chosen."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.stats.plan.breakeven import BreakEven
from monitor.stats.plan.engine import Objectives
from monitor.stats.plan.interval import Spread
from monitor.stats.plan.load import Load


@dataclass(frozen=True, kw_only=True)
class Part:
    """One offer of a plan. `units` are instances: on average, least and most over the slots (all the same in a base)."""

    offer: str
    kind: str
    gpu: str
    region: str
    instances_mean: float
    instances_min: int
    instances_max: int
    request_share: float | None
    usd_per_month: float
    source: str
    as_of: str


@dataclass(frozen=True, kw_only=True)
class HourOfDay:
    """What runs in an hour of the day (UTC), over all days of the load."""

    hour: int
    requests_per_s: float
    replicas_fixed: int
    replicas_added_mean: float
    replicas_added_max: int
    api_share: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One way to serve the load.

    Parameters
    ----------
    name, kinds : str, tuple of str
        `2 x reserved + spot`, and the kinds of its offers.
    deployment : str
        `on_premises`, `cloud`, `hybrid` (own GPUs, with cloud or an API on top) or `api`.
    engine : str
        Replica: GPUs and model; empty for an API alone.
    usd : Spread
        Cost of a month with its 95 % interval.
    usd_per_million_tokens : float
        Cost over all tokens, prompt and generated.
    attainment, attainment_worst : float
        Share of all requests in time, and of those of the worst slot.
    attainment_busy : float
        Share in time on a day as busy as one in forty, with the base as planned.
    meets : bool
        Whether every slot meets the objectives.
    utilisation : float
        Work over paid time of the replicas; NaN for an API alone.
    dearer : Spread or None
        Cost above that of the chosen plan, with the interval of the difference (both see the same days); None for the
        chosen one.
    why : str
        Why it is chosen, or not.
    """

    name: str
    kinds: tuple[str, ...]
    deployment: str
    engine: str
    parts: tuple[Part, ...]
    usd: Spread
    usd_per_million_tokens: float
    attainment: float
    attainment_worst: float
    attainment_busy: float
    meets: bool
    utilisation: float
    by_hour: tuple[HourOfDay, ...]
    replicas: tuple[int, ...]
    dearer: Spread | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanReport:
    """All plans, the chosen one first, then those that meet the objectives by cost, then the others.

    `chosen` is None if no plan meets the objectives. `notes` tell what a reader has to know.
    """

    load: Load
    objectives: Objectives
    plans: tuple[Plan, ...]
    chosen: Plan | None
    verdict: str
    break_even: tuple[BreakEven, ...]
    notes: tuple[str, ...]
    as_of: str
