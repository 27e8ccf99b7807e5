"""The cheapest fleet of a recipe: so many units of a fixed base, and an addition slot by slot."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from monitor.stats.plan import tops
from monitor.stats.plan.engine import Engine, Objectives
from monitor.stats.plan.load import MONTH_S, Floats, Load
from monitor.stats.plan.offers import BASE_KINDS, Catalogue, Offer, Unit, unit_of
from monitor.stats.plan.situation import REPLICAS_MAX, Situation, api_attainment, situation

LEVELS_MAX: Final = 64  # of a base that are tried one by one; larger fleets are tried in larger steps


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a plan may be made of: offers paid all month, and one that is added by need. Without engine: an API alone."""

    engine: Engine | None
    base: tuple[Offer, ...] = ()
    top: Offer | None = None

    @property
    def offers(self) -> tuple[Offer, ...]:
        return self.base if self.top is None else (*self.base, self.top)

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(offer.kind for offer in self.offers)


@dataclass(frozen=True, kw_only=True, eq=False)
class Fleet:
    """A recipe with numbers: units of each base offer, and the addition. `usd` is the cost of each slot."""

    recipe: Recipe
    load: Load
    units: tuple[int, ...]
    replicas: int
    top: tops.Top
    usd: Floats
    usd_per_month: float
    in_time: float
    utilisation: float

    @property
    def meets(self) -> bool:
        return self.top.meets

    @property
    def added_replicas(self) -> Floats:
        recipe = self.recipe
        if recipe.engine is None or recipe.top is None or recipe.top.kind == "per_token":
            return np.zeros(len(self.usd))
        return np.asarray(self.top.units * float(unit_of(recipe.top, recipe.engine).replicas))

    @property
    def uses_top(self) -> bool:
        return bool(self.top.units.any() or self.top.api_share.any())


class Search:
    """Fleets for one load and one set of objectives; what was computed once is kept."""

    def __init__(self, load: Load, objectives: Objectives, *, replicas_max: int = REPLICAS_MAX) -> None:
        self.load = load
        self.objectives = objectives
        self.replicas_max = replicas_max
        self._cases: dict[Engine, Situation] = {}
        self._tops: dict[tuple[Engine, Offer | None, int], tops.Top] = {}

    def case(self, engine: Engine) -> Situation:
        if engine not in self._cases:
            self._cases[engine] = situation(self.load, engine, self.objectives, replicas_max=self.replicas_max)
        return self._cases[engine]

    def best(self, recipe: Recipe) -> Fleet | None:
        """The cheapest fleet of a recipe that meets the objectives, else the one that comes nearest.

        None if no number of replicas that is looked at does.
        """
        if recipe.engine is None:
            assert recipe.top is not None, "an API alone is a recipe of one offer"
            return api_alone(self.load, recipe, self.objectives)
        if self.case(recipe.engine).enough is None:
            return None
        found: Fleet | None = None
        for units in self._bases(recipe):
            fleet = self.fleet(recipe, units)
            if found is None or rank(fleet) < rank(found):
                found = fleet
        return found

    def fleet(self, recipe: Recipe, units: Sequence[int]) -> Fleet:
        """The recipe with so many units of each base offer, and the cheapest addition to them."""
        if recipe.engine is None:
            return api_alone(self.load, recipe, self.objectives)
        case, made_of = self.case(recipe.engine), [unit_of(offer, recipe.engine) for offer in recipe.base]
        replicas = sum(count * unit.replicas for count, unit in zip(units, made_of, strict=True))
        base_usd = sum(count * unit.usd_per_s for count, unit in zip(units, made_of, strict=True)) * self.load.slot_s
        top = self._top(case, recipe.top, replicas)
        usd = base_usd + top.usd
        paid_s = replicas * self.load.seconds + float(top.paid_s.sum())
        worked_s = float((case.work_s * (1 - top.api_share)).sum())
        return Fleet(
            recipe=recipe,
            load=self.load,
            units=tuple(units),
            replicas=replicas,
            top=top,
            usd=usd,
            usd_per_month=float(usd.sum()) * self.load.repeats_a_month,
            in_time=case.overall(top.in_time),
            utilisation=worked_s / paid_s if paid_s else math.nan,
        )

    def _bases(self, recipe: Recipe) -> Iterator[tuple[int, ...]]:
        """Numbers of units of each base offer that are worth a look: up to what serves the peak alone."""
        assert recipe.engine is not None
        enough = self.case(recipe.engine).enough or 0
        counts = [_counts(unit_of(offer, recipe.engine), enough) for offer in recipe.base]
        yield from itertools.product(*counts)

    def _top(self, case: Situation, offer: Offer | None, replicas: int) -> tops.Top:
        key = (case.engine, offer, replicas)
        if key not in self._tops:
            self._tops[key] = _add(case, offer, replicas)
        return self._tops[key]


def recipes(catalogue: Catalogue) -> Iterator[Recipe]:
    """All recipes: of each engine, no base, one base offer, or an own and a reserved one; alone or with one addition."""
    apis = [offer for offer in catalogue.offers if offer.kind == "per_token"]
    for api in apis:
        yield Recipe(engine=None, top=api)
    for engine in catalogue.engines:
        fitting = [offer for offer in catalogue.offers if offer.gpu == engine.gpu and offer.kind != "per_token"]
        owned, reserved = ([offer for offer in fitting if offer.kind == kind] for kind in BASE_KINDS)
        elastic = [offer for offer in fitting if offer.kind not in BASE_KINDS]
        bases: list[tuple[Offer, ...]] = [(), *((offer,) for offer in owned + reserved)]
        bases += list(itertools.product(owned, reserved))
        for base in bases:
            for top in (None, *elastic, *apis):
                if base or (top is not None and top.kind != "per_token"):
                    yield Recipe(engine=engine, base=base, top=top)


def api_alone(load: Load, recipe: Recipe, objectives: Objectives) -> Fleet:
    """Every request to one API."""
    offer = recipe.top
    assert offer is not None
    in_time = api_attainment(offer.ttft_p50_s, offer.ttft_p95_s, offer.tpot_s, objectives)
    tokens_usd = load.input_tps * offer.usd_per_million_input + load.output_tps * offer.usd_per_million_output
    usd = tokens_usd.mean(axis=1) * load.slot_s / 1e6
    none = np.zeros(load.slots)
    top = tops.Top(
        units=none.astype(np.int64),
        usd=usd,
        in_time=np.full(load.slots, in_time),
        api_share=np.ones(load.slots),
        paid_s=none,
        meets=in_time >= objectives.attainment,
    )
    return Fleet(
        recipe=recipe,
        load=load,
        units=(),
        replicas=0,
        top=top,
        usd=usd,
        usd_per_month=float(usd.sum()) * MONTH_S / load.seconds,
        in_time=in_time,
        utilisation=math.nan,
    )


def _add(case: Situation, offer: Offer | None, replicas: int) -> tops.Top:
    if offer is None:
        return tops.nothing(case, replicas)
    if offer.kind == "per_token":
        return tops.per_token(case, replicas, offer)
    how = {"on_demand": tops.on_demand, "spot": tops.spot, "serverless": tops.serverless}[offer.kind]
    return how(case, replicas, unit_of(offer, case.engine))


def _counts(unit: Unit, enough: int) -> range:
    most = math.ceil(enough / unit.replicas)
    step = math.ceil(most / LEVELS_MAX)
    # The peak alone must be served exactly, so the steps count down from it.
    first = most - (most - 1) // step * step
    if unit.offer.units_max is not None and most > unit.offer.units_max // unit.instances:
        most = unit.offer.units_max // unit.instances
        first = 1
        step = max(1, math.ceil(most / LEVELS_MAX))
    return range(first, most + 1, step)


def rank(fleet: Fleet) -> tuple[bool, float, float, float]:
    """What meets the objectives comes first, by cost; what does not, by its worst slot, then by all its requests."""
    if fleet.meets:
        return (False, 0.0, 0.0, fleet.usd_per_month)
    return (True, -float(fleet.top.in_time.min()), -fleet.in_time, fleet.usd_per_month)
