"""The demo's calls: the hour of the real trace, the days before it, and what follows live.

Real: when the 19,366 requests of the hour came and how many tokens went in and out (the packaged Azure trace). Days
before are drawn from that hour: each call has the sizes, and the latencies that the serving model gave it, of a call of
the trace that was served at the load of its time of day. Made up, and marked `monitor.simulated`: servers, latencies,
users, sessions, texts, judgements, errors and cancellations. `Scenario` states all of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from collectors.simulate.calls import Calls, Origin, Parents, made_up_parents, served_calls
from collectors.simulate.dress import dress
from collectors.simulate.events import Record
from collectors.simulate.people import Turns, make_people, make_turns
from collectors.simulate.replay import ending_at
from collectors.simulate.scenario import (
    CHAT,
    DAY,
    DOCS,
    FP8,
    PLACES,
    QUANTISED,
    Scenario,
)
from collectors.simulate.serving import Node, Slowdown
from collectors.simulate.texts import TOPICS
from collectors.simulate.workload import NS, Floats, Ints, Workload

# Loads at which the trace is served for the days before the hour, and the step in which a day's load changes.
# Which of the loads, whether the variant is quantised, whether the slow node is slow.
_State = tuple[int, bool, bool]
_LOADS: Final = (0.35, 0.55, 0.75, 1.0)
_GRID_S: Final = 600.0
NEW: Final = len(TOPICS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Traffic:
    """Calls at absolute times, and the judgements of them that come later, in order of time."""

    calls: Calls
    later: Sequence[Record]


def origins(scenario: Scenario) -> tuple[Origin, ...]:
    """Every place with both services, all releases, quantised or not, in the order that `_origin_index` counts."""
    return tuple(
        Origin(
            service=service,
            node=place.name,
            model=place.model,
            provider=place.provider,
            variant="fp8" if quantised and place.name == QUANTISED else place.variant,
            release=release,
            environment="demo",
            region=place.region,
            deployment=place.deployment,
            pricing=place.pricing,
            gpu="H100" if place.gpus else "",
        )
        for place in PLACES
        for service in (CHAT, DOCS)
        for release in scenario.releases
        for quantised in (False, True)
    )


def place_of(calls: Calls, scenario: Scenario) -> Ints:
    """Index of the place of each call whose `origin` counts in `origins`."""
    return calls.origin // (2 * len(scenario.releases) * 2)


class World:
    """All of the demo's traffic, from one seed; `began_ns` is when the demo began: the end of the hour."""

    def __init__(self, trace: Workload, scenario: Scenario, *, seed: int, began_ns: int) -> None:
        self.trace = trace
        self.scenario = scenario
        self.began_ns = began_ns
        self.origins = origins(scenario)
        self._seed = seed
        self._people = make_people(scenario, seed=seed)
        self._services = [origin.service for origin in self.origins]
        self._library: dict[_State, Calls] = {}

    def hour(self) -> Traffic:
        """The trace, its last span ending when the demo begins."""
        first_s = -float(self.trace.arrival_ns[-1]) / NS
        # Where the hour begins follows from its longest last call, and when a node is slow from where the hour begins.
        for _ in range(2):
            calls = ending_at(self._served(self.trace, first_s, 1.0, self._seed), self.began_ns)
            first_s = (int(calls.start_ns[0]) - self.began_ns) / NS
        rng = np.random.default_rng([self._seed, 2])
        turns = self._turns_like(calls.start_ns, rng)
        calls = ending_at(self._with_parents(calls, turns, rng), self.began_ns)
        turns = dataclasses.replace(turns, at_s=(calls.start_ns - self.began_ns) / NS)
        topic = self._topics(turns.at_s, rng)
        return self._told(calls, turns, topic, rng, run="hour", weight=1.0)

    def history(self, until_ns: int, *, days: float | None = None) -> Traffic:
        """The days up to `until_ns`, of which a share of `keep` of the sessions is there."""
        scenario, rng = self.scenario, np.random.default_rng([self._seed, 3])
        until_s = (until_ns - self.began_ns) / NS
        turns = self._turns_of_days(scenario.days if days is None else days, until_s, rng)
        topic = self._topics(turns.at_s, rng)
        columns: dict[str, Any] = {}
        for state, mine in self._states(turns.at_s):
            calls = self._at(state)
            picked = rng.integers(len(calls), size=len(mine))
            for name in _DRAWN:
                column = getattr(calls, name)
                columns.setdefault(name, np.zeros(len(turns), dtype=column.dtype))[mine] = column[picked]
        blank = ("",) * len(turns)
        drawn = Calls(
            start_ns=self.began_ns + np.rint(turns.at_s * NS).astype(np.int64),
            error=blank, finish=blank, cancelled=(False,) * len(turns), user=blank, session=blank, simulated=True,
            arrivals_simulated=True, **columns,
        )  # fmt: skip
        return self._told(
            _lengthened(drawn, topic == NEW, scenario), turns, topic, rng, run="days", weight=1 / scenario.keep
        )

    def live(self, *, after_ns: int, speed: float) -> Iterator[Traffic]:
        """Pass after pass over the trace without end, each one usual gap after the last arrival before it.

        Sizes are those of the trace in another order: within the hour they wander, and minutes of it are not like the whole.
        """
        gap_ns = int(self.trace.arrival_ns[-1]) // max(len(self.trace) - 1, 1)
        seed = self._seed
        while True:
            seed += 1
            rng = np.random.default_rng([seed, 4])
            arrivals = after_ns + np.rint((self.trace.arrival_ns + gap_ns) / speed).astype(np.int64)
            turns = self._turns_like(arrivals, rng)
            topic = self._topics(turns.at_s, rng)
            longer = np.where(topic == NEW, self.scenario.topic_length, 1.0)
            order = rng.permutation(len(self.trace))
            trace = dataclasses.replace(
                self.trace,
                input_tokens=np.rint(self.trace.input_tokens[order] * longer).astype(np.int64),
                output_tokens=self.trace.output_tokens[order],
            )
            calls = self._served(trace, float(turns.at_s[0]), speed, seed).starting_at(arrivals)
            calls = self._with_parents(calls, turns, rng)
            after_ns = int(arrivals[-1])
            yield self._told(calls, turns, topic, rng, run=f"live-{seed}", weight=1.0)

    def on_nodes(self, at_ns: Ints) -> Floats:
        """Calls on each place at moments of the days before the hour, on average; shape (places, moments)."""
        found = np.zeros((len(PLACES), len(at_ns)))
        for state, mine in self._states((at_ns - self.began_ns) / NS):
            calls = self._at(state)
            span_ns = float(calls.start_ns[-1] - calls.start_ns[0])
            held = np.bincount(calls.origin, weights=calls.duration_ns, minlength=len(PLACES))
            found[:, mine] = (held / span_ns)[:, None]
        return found

    # --- serving ----------------------------------------------------------------------------------------------

    def _served(self, trace: Workload, first_s: float, speed: float, seed: int) -> Calls:
        """The calls of the trace, whose `origin` is the index of the place; the first arrives `first_s`."""
        span_s = float(trace.arrival_ns[-1]) / NS
        slowdowns = tuple(
            Slowdown(
                start_s=max(0.0, (each.start_s - first_s) * speed),
                end_s=(each.end_s - first_s) * speed,
                factor=each.strength,
            )
            for each in self.scenario.between("slow node", first_s, first_s + span_s / speed)
        )
        quantised = bool(self.scenario.on("quantised variant", np.array([first_s]))[0])
        return served_calls(trace, nodes=_nodes(self.scenario, slowdowns, quantised), seed=seed, parents=None)

    def _states(self, at_s: Floats) -> Iterator[tuple[_State, Ints]]:
        """What the servers are like at these moments, and which moments those are."""
        level = np.searchsorted(_LOADS, load(at_s), side="left").clip(0, len(_LOADS) - 1)
        quantised, slow = (self.scenario.on(kind, at_s) for kind in ("quantised variant", "slow node"))
        code = (level * 2 + quantised) * 2 + slow
        for value in np.unique(code).tolist():
            yield (value // 4, bool(value // 2 % 2), bool(value % 2)), np.flatnonzero(code == value)

    def _at(self, state: _State) -> Calls:
        """The trace as it is served at a load, before or after the quantised variant, with or without the slow node."""
        if state not in self._library:
            level, quantised, slow = state
            kept = np.flatnonzero(np.random.default_rng([self._seed, 5, level]).random(len(self.trace)) < _LOADS[level])
            trace = dataclasses.replace(
                self.trace,
                arrival_ns=self.trace.arrival_ns[kept],
                input_tokens=self.trace.input_tokens[kept],
                output_tokens=self.trace.output_tokens[kept],
            )
            factor = max((each.strength for each in self.scenario.past if each.kind == "slow node"), default=1.0)
            always = (Slowdown(start_s=0.0, end_s=1e8, factor=factor),) if slow else ()
            nodes = _nodes(self.scenario, always, quantised)
            self._library[state] = served_calls(trace, nodes=nodes, seed=self._seed + level, parents=None)
        return self._library[state]

    # --- people and topics --------------------------------------------------------------------------------------

    def _turns_like(self, start_ns: Ints, rng: np.random.Generator) -> Turns:
        """Sessions whose turns, in their order, are the calls that begin at these moments."""
        count = len(start_ns)
        at_s = (start_ns - self.began_ns) / NS
        span_s = float(at_s[-1] - at_s[0])
        # A third more than needed: those of before the first arrival are cut off, so that sessions are under way.
        starts = at_s[0] - 300.0 + np.sort(rng.random(int(1.35 * count / self.scenario.turns) + 20)) * (span_s + 300.0)
        turns = make_turns(self._people, starts, turns=self.scenario.turns, rng=rng)
        begun = int(np.searchsorted(turns.at_s, at_s[0]))
        begun = min(begun, len(turns) - count)
        assert begun >= 0, "too few turns were made for the calls"
        cut = slice(begun, begun + count)
        return Turns(at_s=at_s, session=turns.session[cut], user=turns.user[cut], last=turns.last[cut])

    def _turns_of_days(self, days: float, until_s: float, rng: np.random.Generator) -> Turns:
        """Sessions over the days, as many by the hour as the load of the hour says."""
        scenario = self.scenario
        rate = len(self.trace) / (float(self.trace.arrival_ns[-1]) / NS) * scenario.keep / scenario.turns
        grid = np.arange(-days * DAY, until_s, _GRID_S)
        # Days differ a little.
        noise = np.exp(0.06 * rng.standard_normal(int(days) + 3))[np.floor(-grid / DAY).astype(np.int64)]
        many = rng.poisson(rate * _GRID_S * load(grid) * noise)
        starts = np.sort(np.repeat(grid, many) + rng.random(int(many.sum())) * _GRID_S)
        turns = make_turns(self._people, starts, turns=scenario.turns, rng=rng)
        return turns.first(int(np.searchsorted(turns.at_s, until_s)))

    def _topics(self, at_s: Floats, rng: np.random.Generator) -> Ints:
        """Topic of each call: one of the usual, or `NEW`."""
        usual = rng.choice(len(TOPICS), len(at_s), p=_TOPIC_SHARES)
        share = self.scenario.strength("drifting topic", at_s, 0.0)
        return np.where(rng.random(len(at_s)) < share, NEW, usual).astype(np.int64)

    def _with_parents(self, calls: Calls, turns: Turns, rng: np.random.Generator) -> Calls:
        return dataclasses.replace(calls, parents=_parents(self._people.docs[turns.user], rng))

    # --- telling ------------------------------------------------------------------------------------------------

    def _told(
        self, calls: Calls, turns: Turns, topic: Ints, rng: np.random.Generator, *, run: str, weight: float
    ) -> Traffic:
        """The calls with everything that is made up of them, but for their latencies."""
        scenario, people = self.scenario, self._people
        place, docs = calls.origin, people.docs[turns.user]
        error, cancelled = _mishaps(calls, place, turns.at_s, scenario, rng)
        session = [f"session-{run}-{number + 1}" for number in turns.session.tolist()]
        told = dataclasses.replace(
            calls,
            origin=_origin_index(scenario, place, docs, turns.at_s),
            error=error,
            finish=_finish_reasons(error, cancelled, calls.output_tokens),
            cancelled=cancelled,
            user=tuple(f"user-{number + 1:04d}" for number in turns.user.tolist()),
            session=tuple(session),
        )
        services = [self._services[origin] for origin in told.origin.tolist()]
        extra, later = dress(told, turns, people, place, topic, services, scenario, rng, weight=weight)
        return Traffic(calls=dataclasses.replace(told, extra=extra), later=later)


_TOPIC_SHARES: Final = (0.32, 0.22, 0.2, 0.14, 0.12)
_DRAWN: Final = (
    "origin", "duration_ns", "input_tokens", "output_tokens", "ttft_s", "queue_s", "prefill_s", "decode_s", "largest_gap_s",
)  # fmt: skip


def load(at_s: Floats) -> Floats:
    """Share of the trace's rate at each moment: the demo begins at the busiest time of the day, which nights are far from."""
    whole: Floats = 0.3 + 0.7 * np.cos(np.pi * np.mod(at_s, DAY) / DAY) ** 2
    return whole


def _nodes(scenario: Scenario, slowdowns: tuple[Slowdown, ...], quantised: bool) -> list[Node]:
    return [
        Node(
            name=place.name,
            engine=FP8 if quantised and place.name == QUANTISED else place.engine,
            share=(1 - scenario.api_share) / (len(PLACES) - 1) if place.gpus else scenario.api_share,
            slowdowns=slowdowns if place.name == scenario.slow_node else (),
        )
        for place in PLACES
    ]


def _lengthened(calls: Calls, longer: np.typing.NDArray[np.bool_], scenario: Scenario) -> Calls:
    """Calls with longer prompts where `longer` says so, and the time that it takes to read them."""
    speed = np.array([place.engine.prefill_tokens_per_s for place in PLACES])[calls.origin]
    tokens = np.rint(calls.input_tokens * np.where(longer, scenario.topic_length, 1.0)).astype(np.int64)
    extra_s = (tokens - calls.input_tokens) / speed
    return dataclasses.replace(
        calls,
        input_tokens=tokens,
        ttft_s=calls.ttft_s + extra_s,
        prefill_s=calls.prefill_s + extra_s,
        duration_ns=calls.duration_ns + np.rint(extra_s * NS).astype(np.int64),
    )


def _parents(docs: Ints, rng: np.random.Generator) -> Parents:
    around = made_up_parents(len(docs), rng, retrieval_share=1.0)
    retrieval_ns = np.where(docs == 1, around.retrieval_ns, 0)
    before_ns = around.before_ns - around.retrieval_ns + retrieval_ns
    return Parents(before_ns=before_ns, after_ns=around.after_ns, retrieval_ns=retrieval_ns)


def _mishaps(
    calls: Calls, place: Ints, at_s: Floats, scenario: Scenario, rng: np.random.Generator
) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Errors and cancellations. They keep the file's tokens: the engine had generated them all the same."""
    slow_index = [each.name for each in PLACES].index(scenario.slow_node)
    troubled = (place == slow_index) & scenario.on("slow node", at_s)
    fails = rng.random(len(calls)) < np.where(troubled, scenario.slow_error_share, scenario.error_share)
    waited = calls.ttft_s > scenario.impatient_s
    leaves = rng.random(len(calls)) < np.where(waited, scenario.impatient_share, scenario.cancelled_share)
    names = np.where(troubled, "TimeoutError", "ConnectionResetError")
    error = tuple(name if failed else "" for name, failed in zip(names.tolist(), fails.tolist(), strict=True))
    return error, tuple((leaves & ~fails).tolist())


def _finish_reasons(error: tuple[str, ...], cancelled: tuple[bool, ...], output_tokens: Ints) -> tuple[str, ...]:
    limit = int(output_tokens.max())
    return tuple(
        "error" if failed else "" if left else "length" if tokens == limit else "stop"
        for failed, left, tokens in zip(error, cancelled, output_tokens.tolist(), strict=True)
    )


def _origin_index(scenario: Scenario, place: Ints, docs: Ints, at_s: Floats) -> Ints:
    quantised = scenario.on("quantised variant", at_s).astype(np.int64)
    release = np.where(at_s >= scenario.release_s, 2, quantised)
    return ((place * 2 + docs) * len(scenario.releases) + release) * 2 + quantised
