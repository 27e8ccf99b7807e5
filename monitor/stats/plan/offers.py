"""What can be bought: GPUs to own, to reserve, to rent by the hour or the second, and tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from monitor.stats.plan.engine import Engine
from monitor.stats.plan.load import MONTH_S

Kind = Literal["owned", "reserved", "on_demand", "spot", "serverless", "per_token"]
KINDS: Final = ("owned", "reserved", "on_demand", "spot", "serverless", "per_token")
BASE_KINDS: Final = ("owned", "reserved")  # paid for all month, used or not
HOURS_A_MONTH: Final = MONTH_S / 3600


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One line of the catalogue; all prices in US dollars.

    Parameters
    ----------
    name, kind : str
    gpu : str
        Kind of GPU; empty for `per_token`.
    gpus : int
        GPUs of the instance that the price is for; only whole instances can be had.
    usd_per_hour : float
        Price of the instance. For `owned` see `owned_usd_per_hour`.
    start_s : float
        From the order to the first token that can be served: boot, loading of the weights.
    interruptions_per_hour : float
        Spot: how often an instance is taken away, per hour of running.
    notice_s : float
        Spot: warning before that; requests that end within it are not lost.
    idle_s : float
        Serverless: how long a replica stays warm, and is paid for, after its last request.
    units_max : int, optional
        Most instances that can be had.
    model : str
        Per token: the model that answers.
    usd_per_million_input, usd_per_million_output : float
        Per token: prices.
    ttft_p50_s, ttft_p95_s, tpot_s : float
        Per token: how fast it answers; TTFT is taken as log-normal through the two.
    region, source, as_of, note : str
        Where, who says so, of which day, and what else is to know.
    """

    name: str
    kind: Kind
    gpu: str = ""
    gpus: int = 1
    usd_per_hour: float = 0.0
    start_s: float = 0.0
    interruptions_per_hour: float = 0.0
    notice_s: float = 0.0
    idle_s: float = 0.0
    units_max: int | None = None
    model: str = ""
    usd_per_million_input: float = 0.0
    usd_per_million_output: float = 0.0
    ttft_p50_s: float = 0.5
    ttft_p95_s: float = 1.5
    tpot_s: float = 0.0
    region: str = ""
    source: str = ""
    as_of: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"the kind of an offer is one of {', '.join(KINDS)}, not `{self.kind}`")
        numbers = (
            self.usd_per_hour, self.start_s, self.interruptions_per_hour, self.notice_s, self.idle_s,
            self.usd_per_million_input, self.usd_per_million_output, self.tpot_s,
        )  # fmt: skip
        if not all(0 <= number < math.inf for number in numbers) or self.gpus < 1:
            raise ValueError(f"the prices and times of the offer {self.name} must be numbers >= 0")
        if not 0 < self.ttft_p50_s <= self.ttft_p95_s < math.inf:
            raise ValueError(f"the offer {self.name} needs 0 < ttft_p50_s <= ttft_p95_s")

    @property
    def place(self) -> str:
        """Where it runs: `on_premises`, `cloud` or `api`."""
        return {"owned": "on_premises", "per_token": "api"}.get(self.kind, "cloud")


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The least of an offer that can be added to a fleet.

    A replica that needs several instances takes them together; an instance with room for several replicas brings
    them together.
    """

    offer: Offer
    replicas: int
    instances: int

    @property
    def usd_per_s(self) -> float:
        return self.offer.usd_per_hour * self.instances / 3600

    @property
    def usd_per_month(self) -> float:
        return self.usd_per_s * MONTH_S


def unit_of(offer: Offer, engine: Engine) -> Unit:
    """How the offer's instances hold the engine's replicas."""
    if offer.gpus > engine.gpus:
        return Unit(offer=offer, replicas=offer.gpus // engine.gpus, instances=1)
    return Unit(offer=offer, replicas=1, instances=math.ceil(engine.gpus / offer.gpus))


def owned_usd_per_hour(
    *,
    capex_usd: float,
    years: float,
    residual_usd: float = 0.0,
    power_kw: float = 0.0,
    pue: float = 1.0,
    usd_per_kwh: float = 0.0,
    staff_usd_per_month: float = 0.0,
    other_usd_per_month: float = 0.0,
) -> float:
    """What an own node costs per hour: purchase written off evenly, power and cooling, people, space.

    Parameters
    ----------
    capex_usd, residual_usd, years : float
        Purchase price, what is left of it at the end, and the years in between (> 0).
    power_kw, pue, usd_per_kwh : float
        Draw of the node, the building's power usage effectiveness, price of power. It is taken as drawn all the time.
    staff_usd_per_month, other_usd_per_month : float
        The node's share of people, space, network, maintenance.

    Examples
    --------
    >>> round(owned_usd_per_hour(capex_usd=280_000, years=4, power_kw=10, pue=1.3, usd_per_kwh=0.12), 3)
    9.545
    """
    if not years > 0:
        raise ValueError(f"the years over which a purchase is written off must be above 0, not {years:g}")
    written_off = (capex_usd - residual_usd) / (years * 12)
    return (written_off + staff_usd_per_month + other_usd_per_month) / HOURS_A_MONTH + power_kw * pue * usd_per_kwh


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All that can be bought, and what the models do on it."""

    engines: tuple[Engine, ...]
    offers: tuple[Offer, ...]
    as_of: str = ""
    source: str = ""

    @property
    def models(self) -> tuple[str, ...]:
        names = [engine.model for engine in self.engines]
        return tuple(dict.fromkeys([*names, *(offer.model for offer in self.offers if offer.model)]))

    def only(self, *, model: str = "", kinds: Iterable[str] = ()) -> Catalogue:
        """What concerns one model, and only offers of these kinds (all, if none is named)."""
        wanted = tuple(kinds) or KINDS
        return Catalogue(
            engines=tuple(engine for engine in self.engines if not model or engine.model == model),
            offers=tuple(
                offer for offer in self.offers if offer.kind in wanted and (not model or offer.model in ("", model))
            ),
            as_of=self.as_of,
            source=self.source,
        )
