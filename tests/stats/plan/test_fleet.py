"""The cheapest fleet against brute force and against an integer program."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, sparse

from monitor.stats.plan import Catalogue, Load, Objectives, Recipe, Search, attainment, recipes, situation
from monitor.stats.plan.load import MONTH_S
from tests.stats.plan.cases import ENGINE, GOAL, load, offer

OWNED = offer("owned", gpus=2, usd_per_hour=2.6)
RESERVED = offer("reserved", usd_per_hour=1.6, units_max=3)


def in_time(some: Load, replicas: np.ndarray) -> np.ndarray:
    return attainment(
        some.calls_rps[:, 0], replicas, engine=ENGINE, prompt_nodes=some.prompt_nodes,
        output_tokens=some.mean_output_tokens, objectives=GOAL,
    )  # fmt: skip


def brute_force(some: Load, base: tuple, top: object, most: int) -> float:
    """Every number of units of each base offer with every schedule of rented ones."""
    best = np.inf
    table = np.array([in_time(some, np.full(some.slots, count)) for count in range(4 * most + 1)])
    slots = np.arange(some.slots)
    # As units_of holds them: an owned unit brings two replicas.
    sizes = [deal.gpus for deal in base]
    for units in itertools.product(*(range(min(most, deal.units_max or most) + 1) for deal in base)):
        fixed = sum(n * size for n, size in zip(units, sizes, strict=True))
        hourly = sum(n * deal.usd_per_hour for n, deal in zip(units, base, strict=True))
        for running in itertools.product(range(most + 1 if top is not None else 1), repeat=some.slots):
            if (table[fixed + np.array(running), slots] < GOAL.attainment).any():
                continue
            starts = sum(max(0, running[i] - running[i - 1]) for i in range(some.slots))
            rented_s = sum(running) * some.slot_s + starts * (top.start_s if top is not None else 0)  # type: ignore[attr-defined]
            usd = hourly * some.seconds / 3600
            usd += rented_s * (top.usd_per_hour if top is not None else 0) / 3600  # type: ignore[attr-defined]
            best = min(best, usd)
    return best * MONTH_S / some.seconds


@pytest.mark.parametrize("start_s", [0.0, 900.0, 5400.0, 30_000.0])
@pytest.mark.parametrize(
    ("hourly", "rates"), [(1.7, (12.0, 1.5, 6.0)), (2.5, (9.0, 12.0, 0.0, 4.5)), (6.0, (12.0, 1.5, 6.0))]
)
def test_brute_force(rates: tuple[float, ...], hourly: float, start_s: float) -> None:
    # Multiples of a 256th of the highest rate, so that nothing is rounded.
    some = load(*rates)
    rented = offer("on_demand", usd_per_hour=hourly, start_s=start_s)
    enough = situation(some, ENGINE, GOAL).enough
    assert enough is not None
    assert 3 <= enough <= 4
    search = Search(some, GOAL)
    for base, top in itertools.product([(), (OWNED,), (RESERVED,), (OWNED, RESERVED)], [None, rented]):
        options = [
            Recipe(engine=ENGINE, base=part, top=each)
            for size in range(len(base) + 1)
            for part in itertools.combinations(base, size)
            for each in {top, None}
            if part or each
        ]
        found = [fleet.usd_per_month for recipe in options if (fleet := search.best(recipe)) and fleet.meets]
        expected = brute_force(some, base, top, enough)
        assert min(found, default=np.inf) == pytest.approx(expected)


def program(need: np.ndarray, some: Load, reserved: object, rented: object) -> float:
    """Fixed units r, running units m and starts s per slot as an integer program; cost of a month."""
    slots = len(need)
    eye, previous = sparse.eye(slots), sparse.csr_matrix(np.roll(np.eye(slots), -1, axis=1))
    one, none = np.ones((slots, 1)), sparse.csr_matrix((slots, slots))
    enough = optimize.LinearConstraint(sparse.hstack([one, eye, none]), need, np.inf)
    started = optimize.LinearConstraint(sparse.hstack([0 * one, -(eye - previous), eye]), 0, np.inf)
    slot_h, start_h = some.slot_s / 3600, rented.start_s / 3600  # type: ignore[attr-defined]
    price = rented.usd_per_hour  # type: ignore[attr-defined]
    cost = [reserved.usd_per_hour * slots * slot_h, *[price * slot_h] * slots, *[price * start_h] * slots]  # type: ignore[attr-defined]
    answer = optimize.milp(cost, constraints=[enough, started], integrality=np.ones(1 + 2 * slots))
    return float(answer.fun) * some.repeats_a_month


@pytest.mark.parametrize("seed", range(6))
def test_integer_program(seed: int) -> None:
    """Forty-eight slots, beyond brute force: reserved with rented on top, starts shorter and longer than a slot."""
    rng = np.random.default_rng(seed)
    some = load(*(rng.integers(1, 257, 48) / 256 * 24), block=np.repeat([0, 1], 24))
    reserved = offer("reserved", usd_per_hour=1.0)
    rented = offer(
        "on_demand", usd_per_hour=float(rng.uniform(1.0, 4.0)), start_s=float(rng.choice([300, 4000, 12_000]))
    )
    case = situation(some, ENGINE, GOAL)
    need = np.array([next(n for n in range(1, 99) if in_time(some, np.full(48, n))[i] >= 0.95) for i in range(48)])
    assert case.enough == need.max()
    search = Search(some, GOAL)
    options = [((reserved,), rented), ((reserved,), None), ((), rented)]
    found = min(search.best(Recipe(engine=ENGINE, base=base, top=top)).usd_per_month for base, top in options)  # type: ignore[union-attr]
    assert found == pytest.approx(program(need, some, reserved, rented), rel=1e-6)


def test_every_mix_is_looked_at() -> None:
    deals = [offer(kind) for kind in ("owned", "reserved", "on_demand", "spot", "serverless")]
    deals.append(offer("per_token", model="m"))
    kinds = {recipe.kinds for recipe in recipes(Catalogue(engines=(ENGINE,), offers=tuple(deals)))}
    bases = [(), ("owned",), ("reserved",), ("owned", "reserved")]
    tops = [(), ("on_demand",), ("spot",), ("serverless",), ("per_token",)]
    assert kinds == {base + top for base in bases for top in tops} - {()}


def test_limits_are_kept_and_shortage_is_no_plan() -> None:
    some = load(12.0, 2.0)
    search = Search(some, GOAL)
    most = 2
    case_enough = search.case(ENGINE).enough
    assert case_enough is not None
    assert case_enough > 2
    few = offer("reserved", usd_per_hour=1.0, units_max=most)
    alone = search.best(Recipe(engine=ENGINE, base=(few,)))
    assert alone is not None
    assert not alone.meets
    assert alone.units == (most,)
    helped = search.best(Recipe(engine=ENGINE, base=(few,), top=offer("on_demand", usd_per_hour=9.0)))
    assert helped is not None
    assert helped.meets
    assert 1 <= helped.units[0] <= 2
    assert helped.top.units[0] == case_enough - helped.units[0]


def test_objectives_that_no_number_of_replicas_keeps() -> None:
    hopeless = Objectives(ttft_s=0.05, attainment=0.95)
    assert situation(load(1.0), ENGINE, hopeless).enough is None
    assert Search(load(1.0), hopeless).best(Recipe(engine=ENGINE, top=offer("on_demand"))) is None


def test_large_fleets_are_searched_in_steps_and_stay_near_the_best() -> None:
    some = load(*np.linspace(1, 256, 24) / 256 * 600)
    search = Search(some, GOAL)
    case = search.case(ENGINE)
    assert case.enough is not None
    assert case.enough > 128
    reserved, rented = offer("reserved", usd_per_hour=1.0), offer("on_demand", usd_per_hour=2.0)
    found = search.best(Recipe(engine=ENGINE, base=(reserved,), top=rented))
    assert found is not None
    every = min(
        search.fleet(Recipe(engine=ENGINE, base=(reserved,), top=rented), (n,)).usd_per_month
        for n in range(1, case.enough + 1)
    )
    assert every <= found.usd_per_month <= every * 1.005


def test_the_cost_of_own_nodes_is_that_of_whole_nodes() -> None:
    big = replace(OWNED, gpus=8)
    fleet = Search(load(8.0), GOAL).best(Recipe(engine=ENGINE, base=(big,)))
    assert fleet is not None
    assert (fleet.units, fleet.replicas) == ((1,), 8)
    assert fleet.usd_per_month == pytest.approx(2.6 * 730.5)
