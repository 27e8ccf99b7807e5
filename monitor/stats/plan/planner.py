"""One entry: `plan(load, catalogue, objectives)`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

import numpy as np

from monitor.stats.plan.breakeven import SCALES, BreakEven, break_even
from monitor.stats.plan.engine import Objectives
from monitor.stats.plan.fleet import Fleet, Recipe, Search, rank, recipes
from monitor.stats.plan.load import DAY_S, Floats, Ints, Load
from monitor.stats.plan.offers import Catalogue, Offer, unit_of
from monitor.stats.plan.outlook import Outlook
from monitor.stats.plan.report import HourOfDay, Part, Plan, PlanReport
from monitor.stats.plan.situation import REPLICAS_MAX, unloaded

# Beyond that, one replica more or less decides nothing: costs are straight lines.
REPLICAS_SCANNED: Final = 64
LABELS: Final = {"on_demand": "on demand", "per_token": "API"}


def plan(load: Load, catalogue: Catalogue, objectives: Objectives, *, break_evens: bool = True) -> PlanReport:
    """Find the cheapest way to serve a load within the objectives, and say why.

    Parameters
    ----------
    load : Load
        Measured (`measured_load`) or stated (`stated_load`), scaled as expected.
    catalogue : Catalogue
        Offers and engines of one model (`Catalogue.only`).
    objectives : Objectives
    break_evens : bool
        Whether to look for the loads at which two ways cost the same; takes most of the time.

    Returns
    -------
    PlanReport
        One plan for each family (set of kinds of offers): the cheapest of its offers, GPUs and numbers of units that
        meets the objectives, else the one that comes nearest.

    Raises
    ------
    ValueError
        If the catalogue has engines of several models, or nothing that could serve.
    """
    _check(catalogue)
    search = Search(load, objectives)
    best = _best_of_families(search, recipes(catalogue))
    notes = _notes(load, catalogue, objectives, search)
    if not best:
        raise ValueError(" ".join(["the catalogue has nothing that can serve this load;", *notes]))
    outlook = Outlook(load, objectives)
    chosen = best[0] if best[0].meets else None
    plans = [_plan(fleet, outlook, chosen, objectives) for fleet in best]
    crossings = _break_evens(search, best) if break_evens else ()
    return PlanReport(
        load=load,
        objectives=objectives,
        plans=tuple(plans),
        chosen=plans[0] if chosen else None,
        verdict=_verdict(plans, chosen, objectives),
        break_even=crossings,
        notes=notes,
        as_of=catalogue.as_of,
    )


def _check(catalogue: Catalogue) -> None:
    models = {engine.model for engine in catalogue.engines}
    if len(models) > 1:
        raise ValueError(f"the catalogue has engines of several models ({', '.join(sorted(models))}); choose one")
    if not any(True for _ in recipes(catalogue)):
        raise ValueError("the catalogue has neither an API nor GPUs that the model's speed is stated for")


def _best_of_families(search: Search, some: Iterable[Recipe]) -> list[Fleet]:
    """The best fleet of each family, the cheapest that meets the objectives first."""
    found: dict[tuple[str, ...], Fleet] = {}
    for recipe in some:
        fleet = search.best(recipe)
        if fleet is None or (recipe.top is not None and not fleet.uses_top):
            continue  # an addition that is never used: the base alone is that plan
        held = found.get(recipe.kinds)
        if held is None or rank(fleet) < rank(held):
            found[recipe.kinds] = fleet
    return sorted(found.values(), key=rank)


def _plan(fleet: Fleet, outlook: Outlook, chosen: Fleet | None, objectives: Objectives) -> Plan:
    dearer = None if chosen is None or fleet is chosen else outlook.difference(fleet, chosen)
    made = Plan(
        name=_name(fleet),
        kinds=fleet.recipe.kinds,
        deployment=_deployment(fleet.recipe),
        engine="" if fleet.recipe.engine is None else fleet.recipe.engine.name,
        parts=_parts(fleet),
        usd=outlook.cost(fleet),
        usd_per_million_tokens=fleet.usd_per_month / fleet.load.tokens_per_month * 1e6,
        attainment=fleet.in_time,
        attainment_worst=float(fleet.top.in_time.min()),
        attainment_busy=outlook.busy_in_time(fleet),
        meets=fleet.meets,
        utilisation=fleet.utilisation,
        by_hour=_by_hour(fleet),
        replicas=tuple(int(count) for count in fleet.replicas + fleet.added_replicas),
        dearer=dearer,
    )
    return replace(made, why=_why(made, objectives))


def _name(fleet: Fleet) -> str:
    recipe = fleet.recipe
    base = [
        f"{count} {LABELS.get(offer.kind, offer.kind)}" for offer, count in zip(recipe.base, fleet.units, strict=True)
    ]
    top = [] if recipe.top is None else [LABELS.get(recipe.top.kind, recipe.top.kind)]
    return " + ".join(base + top)


def _recipe_name(recipe: Recipe) -> str:
    return " + ".join(LABELS.get(kind, kind) for kind in recipe.kinds)


def _deployment(recipe: Recipe) -> str:
    places = {offer.place for offer in recipe.offers}
    if "on_premises" in places:
        return "hybrid" if len(places) > 1 else "on_premises"
    return "cloud" if "cloud" in places else "api"


def _parts(fleet: Fleet) -> tuple[Part, ...]:
    recipe, repeats = fleet.recipe, fleet.load.repeats_a_month
    rows: list[tuple[Offer, Ints, float | None, float]] = []
    for offer, count in zip(recipe.base, fleet.units, strict=True):
        assert recipe.engine is not None
        unit = unit_of(offer, recipe.engine)
        running = np.full(fleet.load.slots, count * unit.instances)
        rows.append((offer, running, None, count * unit.usd_per_month))
    if recipe.top is not None:
        of_api = recipe.top.kind == "per_token"
        instances = 0 if of_api or recipe.engine is None else unit_of(recipe.top, recipe.engine).instances
        calls = fleet.load.calls_rps.sum(axis=1)
        share = float(fleet.top.api_share @ calls / calls.sum()) if of_api else None
        rows.append((recipe.top, fleet.top.units * instances, share, float(fleet.top.usd.sum()) * repeats))
    return tuple(
        Part(
            offer=offer.name, kind=offer.kind, gpu=offer.gpu, region=offer.region,
            instances_mean=float(running.mean()), instances_min=int(running.min()), instances_max=int(running.max()),
            request_share=share, usd_per_month=usd, source=offer.source, as_of=offer.as_of,
        )
        for offer, running, share, usd in rows
    )  # fmt: skip


def _by_hour(fleet: Fleet) -> tuple[HourOfDay, ...]:
    load = fleet.load
    hours = ((load.start_hour + np.arange(load.slots) * load.slot_s / 3600) % 24).astype(np.int64)
    added, rates = fleet.added_replicas, load.calls_rps.mean(axis=1)

    def share(pick: Floats) -> float:
        total = float(rates[pick].sum())
        return float((fleet.top.api_share * rates)[pick].sum()) / total if total else 0.0

    return tuple(
        HourOfDay(
            hour=int(hour),
            requests_per_s=float(rates[pick].mean()),
            replicas_fixed=fleet.replicas,
            replicas_added_mean=float(added[pick].mean()),
            replicas_added_max=int(added[pick].max()),
            api_share=share(pick),
        )
        for hour in np.unique(hours)
        for pick in [hours == hour]
    )


def _why(made: Plan, objectives: Objectives) -> str:
    if not made.meets:
        return (
            f"misses the objective: {made.attainment_worst:.1%} in time in its worst slot,"
            f" {objectives.attainment:.1%} wanted"
        )
    busy = "" if math.isnan(made.utilisation) else f"; its replicas work {made.utilisation:.0%} of the time paid for"
    if made.dearer is None:
        return f"the cheapest that meets the objectives{busy}"
    value, low, high = made.dearer
    base = made.usd.value - value
    unsure = ", which the load's uncertainty may turn round" if low < 0 else ""
    more = f" ({value / base:.0%})" if base > 0 else ""
    return f"${value:,.0f} a month dearer{more}, {low:,.0f} to {high:,.0f}{unsure}{busy}"


def _verdict(plans: list[Plan], chosen: Fleet | None, objectives: Objectives) -> str:
    first = plans[0]
    wanted = f"{objectives.attainment:.1%} of requests with a first token within {objectives.ttft_s:g} s"
    if objectives.tpot_s is not None:
        wanted += f" and {objectives.tpot_s:g} s per further token"
    if chosen is None:
        return (
            f"no plan meets the objectives ({wanted} in every slot); {first.name} comes nearest, with"
            f" {first.attainment_worst:.1%} in its worst slot"
        )
    text = (
        f"{first.name} ({first.deployment.replace('_', ' ')}): ${first.usd.value:,.0f} a month"
        f" ({first.usd.low:,.0f} to {first.usd.high:,.0f}) is the cheapest that keeps {wanted}"
    )
    rivals = [each for each in plans[1:] if each.meets and each.dearer is not None]
    close = [each.name for each in rivals if each.dearer is not None and each.dearer.low < 0]
    if close:
        text += f"; too close to call against {', '.join(close)}"
    return text


def _notes(load: Load, catalogue: Catalogue, objectives: Objectives, search: Search) -> tuple[str, ...]:
    notes = [load.note] if load.note else []
    for engine in catalogue.engines:
        if not any(offer.gpu == engine.gpu for offer in catalogue.offers):
            notes.append(f"nothing in the catalogue offers {engine.gpu}, so {engine.name} is left out")
        elif search.case(engine).enough is None:
            alone = unloaded(load, engine, objectives)
            reason = (
                f"even without load only {alone:.1%} of its requests are in time"
                if alone < objectives.attainment
                else f"more than {REPLICAS_MAX} replicas would be needed"
            )
            notes.append(f"{engine.name} cannot keep the objectives: {reason}")
    for gpu in sorted({offer.gpu for offer in catalogue.offers if offer.gpu} - {e.gpu for e in catalogue.engines}):
        notes.append(f"the catalogue does not say how fast the model is on {gpu}, so its offers are left out")
    days = load.seconds / DAY_S
    if load.source == "measured" and days < 2:
        notes.append(
            f"only {load.seconds / 3600:.1f} hours were measured: plan and interval take them as typical of every"
            " hour of the month, nights and weekends included"
        )
    return tuple(notes)


def _break_evens(now: Search, best: list[Fleet]) -> tuple[BreakEven, ...]:
    """Between all ways of a single kind, and between the chosen one and these."""
    load, objectives = now.load, now.objectives
    replicas_max = max(REPLICAS_SCANNED, *(int(1.5 * (fleet.replicas + fleet.added_replicas.max())) for fleet in best))
    searches: dict[float, Search] = {}

    def cost(recipe: Recipe) -> Callable[[float], float]:
        known: dict[float, float] = {}

        def at(scale: float) -> float:
            if scale not in known:
                if scale not in searches:
                    searches[scale] = Search(load.scaled(scale), objectives, replicas_max=replicas_max)
                fleet = searches[scale].best(recipe)
                # An API's price is known whether or not it is fast enough.
                counts = fleet is not None and (fleet.meets or recipe.engine is None)
                known[scale] = fleet.usd_per_month if counts and fleet is not None else math.nan
            return known[scale]

        return at

    picked = [fleet.recipe for fleet in best if len(fleet.recipe.kinds) == 1]
    if len(best[0].recipe.kinds) > 1:
        picked.insert(0, best[0].recipe)
    ways = [(_recipe_name(recipe), cost(recipe)) for recipe in picked]
    found = [
        break_even(a, b, requests_per_day=load.requests_per_day, scales=SCALES)
        for a, b in itertools.combinations(ways, 2)
    ]
    return tuple(each for each in found if each is not None)
