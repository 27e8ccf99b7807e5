"""A load as one engine sees it: which rates occur in which slot, and what so many replicas make of each rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from monitor.stats.plan.engine import Engine, Objectives, attainment
from monitor.stats.plan.load import Floats, Ints, Load

GRID: Final = 256  # rates that are told apart, from 0 to the highest; each is rounded up, so that no load is made less
REPLICAS_MAX: Final = 1024
TIE: Final = 1e-9  # an objective is met if it is missed by no more than rounding


@dataclass(frozen=True, kw_only=True, eq=False)
class Situation:
    """Load, engine and objectives together.

    Parameters
    ----------
    load, engine, objectives
    grid_rps : array of float, shape (GRID + 1,)
        Rates in average calls per second, from 0.
    level : array of int, shape (slots, steps)
        Index of the rate of each step.
    enough : int or None
        Fewest replicas that meet the objectives in every slot; None if not even `REPLICAS_MAX` do.
    """

    load: Load
    engine: Engine
    objectives: Objectives
    grid_rps: Floats
    level: Ints
    enough: int | None

    @cached_property
    def by_calls(self) -> Floats:
        """Share of a slot's calls at each rate; (slots, GRID + 1). A slot without a call is all at rate 0."""
        return self._shares(self.load.calls_rps)

    @cached_property
    def by_time(self) -> Floats:
        """Share of a slot's time at each rate; (slots, GRID + 1)."""
        return self._shares(np.ones_like(self.load.calls_rps))

    @cached_property
    def calls(self) -> Floats:
        """Calls of each slot."""
        return np.asarray(self.load.calls_rps.mean(axis=1) * self.load.slot_s)

    @cached_property
    def work_s(self) -> Floats:
        """Seconds of a replica that each slot's calls take."""
        load, engine = self.load, self.engine
        tokens = load.input_tps / engine.prefill_tokens_per_s + load.output_tps / engine.decode_tokens_per_s
        return np.asarray((load.calls_rps * engine.overhead_s + tokens).mean(axis=1) * load.slot_s)

    def table(self, replicas: int, *, delay_s: float = 0.0) -> Floats:
        """Share in time for 0, 1, … `replicas` replicas at each rate; (replicas + 1, GRID + 1)."""
        key = (replicas, delay_s)
        for rows, delay in self._tables:
            if delay == delay_s and rows >= replicas:
                return self._tables[rows, delay][: replicas + 1]
        self._tables[key] = _attainment(
            self.grid_rps, np.arange(replicas + 1)[:, None], self.load, self.engine, self.objectives, delay_s
        )
        return self._tables[key]

    @cached_property
    def _tables(self) -> dict[tuple[int, float], Floats]:
        return {}

    def in_slots(self, by_rate: Floats) -> Floats:
        """Shares at each rate, (options, GRID + 1), as shares of the calls of each slot, (options, slots)."""
        return np.asarray(by_rate @ self.by_calls.T)

    def meets(self, share: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        return np.asarray(share >= self.objectives.attainment - TIE)

    def overall(self, share: Floats) -> float:
        """Share of all requests, from the shares of the slots."""
        return float(share @ self.calls / self.calls.sum())

    def _shares(self, weight: Floats) -> Floats:
        slots = self.load.slots
        where = (np.arange(slots)[:, None] * (GRID + 1) + self.level).ravel()
        summed = np.bincount(where, weights=weight.ravel(), minlength=slots * (GRID + 1)).reshape(slots, GRID + 1)
        totals = summed.sum(axis=1, keepdims=True)
        nothing = np.zeros(GRID + 1)
        nothing[0] = 1.0
        return np.where(totals > 0, summed / np.where(totals > 0, totals, 1.0), nothing)


def situation(load: Load, engine: Engine, objectives: Objectives, *, replicas_max: int = REPLICAS_MAX) -> Situation:
    """Put load, engine and objectives together.

    A minute with longer prompts or answers than usual counts as more calls: rates are in average calls, of which each
    takes the work (`Engine.work_s`) of the mean one.
    """
    usual_s = engine.work_s(load.mean_input_tokens, load.mean_output_tokens)
    tokens_s = load.input_tps / engine.prefill_tokens_per_s + load.output_tps / engine.decode_tokens_per_s
    rates = (load.calls_rps * engine.overhead_s + tokens_s) / usual_s
    # A step with a call but without a token does not take no work.
    rates = np.maximum(rates, np.where(load.calls_rps > 0, 1e-12, 0.0))
    highest = float(rates.max())
    made = Situation(
        load=load,
        engine=engine,
        objectives=objectives,
        grid_rps=np.linspace(0.0, highest, GRID + 1),
        level=np.ceil(rates / highest * GRID * (1 - 1e-12)).astype(np.int64),
        enough=None,
    )
    object.__setattr__(made, "enough", _enough(made, replicas_max))
    return made


def _enough(case: Situation, replicas_max: int) -> int | None:
    """By doubling and halving: more replicas never serve fewer in time."""

    def enough(count: int) -> bool:
        share = _attainment(case.grid_rps, np.array([[count]]), case.load, case.engine, case.objectives, 0.0)
        return bool(case.meets(case.in_slots(share)).all())

    most = 1
    while not enough(most):
        if most >= replicas_max:
            return None
        most = min(2 * most, replicas_max)
    low, high = most // 2, most  # low is not enough (or 0)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _attainment(
    rates: Floats, replicas: Ints, load: Load, engine: Engine, objectives: Objectives, delay_s: float
) -> Floats:
    return attainment(
        rates,
        replicas,
        engine=engine,
        prompt_nodes=load.prompt_nodes,
        output_tokens=load.mean_output_tokens,
        objectives=objectives,
        delay_s=delay_s,
    )


def unloaded(load: Load, engine: Engine, objectives: Objectives) -> float:
    """Share in time where nobody waits: what no number of replicas can exceed."""
    return float(_attainment(np.array([1e-9]), np.array([1]), load, engine, objectives, 0.0)[0])


def api_attainment(p50_s: float, p95_s: float, tpot_s: float, objectives: Objectives) -> float:
    """Share in time of an API whose TTFT is log-normal with this median and 95th percentile."""
    if objectives.tpot_s is not None and tpot_s > objectives.tpot_s:
        return 0.0
    sigma = math.log(p95_s / p50_s) / 1.6448536269514722  # the normal distribution's 95th percentile
    distance = math.log(objectives.ttft_s / p50_s)
    if sigma == 0:
        return 1.0 if distance >= 0 else 0.0
    return 0.5 * math.erfc(-distance / sigma / math.sqrt(2))
