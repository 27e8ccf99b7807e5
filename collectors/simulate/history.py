"""Loads the history of the demo, and keeps live traffic flowing after it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from collectors.simulate.calls import Calls, Origin
from collectors.simulate.gpu_load import Meters, on_nodes
from collectors.simulate.replay import FLUSH_S, Progress, new_encoder
from collectors.simulate.scenario import DAY, Episode, Incident, Scenario, incidents
from collectors.simulate.send import ReplayResult
from collectors.simulate.senders import (
    Senders,
    Sent,
    Waiting,
    by_end,
    open_senders,
    send_calls,
    send_readings,
    send_records,
)
from collectors.simulate.spans import Batch, Encoder
from collectors.simulate.workload import NS, Ints, Workload, azure_trace
from collectors.simulate.world import Traffic, World, place_of

HISTORY: Final = "demo-history"
DAYS: Final = "demo-days"
LIVE: Final = "demo-live"
# From one GPU reading to the next: in the days, in the hour, live.
DAYS_STEP_S, HOUR_STEP_S, LIVE_STEP_S = 600, 15, 5

OnIncident = Callable[[int, Episode, bool], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class DemoHour:
    """The calls of one pass over the trace, at absolute times, and what was done to them and in the days before."""

    calls: Calls
    origins: tuple[Origin, ...]
    incidents: tuple[Incident, ...]


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What became of the loaded history, and of the live traffic after it."""

    history: Sent
    live: Sent


def load_history(
    *,
    endpoint: str,
    protocol: str = "grpc",
    headers: Mapping[str, str] | None = None,
    scenario: Scenario | None = None,
    seed: int = 0,
    end_ns: int | None = None,
    stop: threading.Event | None = None,
    on_progress: Progress | None = None,
    days: float = 0.0,
) -> tuple[ReplayResult, DemoHour]:
    """Send the demo's hour, ending at `end_ns` (default: now), and so many days before it; nothing live.

    Without a scenario no call goes to the provider's API: one model on three nodes.

    Raises
    ------
    NoReceiver, ReplayFailed
        As `replay` does.
    """
    world = World(azure_trace(), scenario or Scenario(api_share=0.0), seed=seed, began_ns=end_ns or time.time_ns())
    demo = Demo(world, endpoint=endpoint, protocol=protocol, headers=headers, stop=stop or threading.Event())
    sent = demo.load(days=days, on_progress=on_progress)
    return sent.spans, demo.hour


class Demo:
    """The traffic of one demo: first what was, then what is.

    Parameters
    ----------
    world : World
        What is sent.
    endpoint, protocol, headers
        As of `replay`.
    stop : threading.Event
        Ends all sending.
    """

    def __init__(
        self,
        world: World,
        *,
        endpoint: str,
        stop: threading.Event,
        protocol: str = "grpc",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.world = world
        self._open = partial(open_senders, endpoint, protocol=protocol, headers=headers, stop=stop)
        self._stop = stop
        self._waiting = Waiting()
        self._meters = Meters(scenario=world.scenario, began_ns=world.began_ns)
        self._traffic = world.hour()

    @property
    def hour(self) -> DemoHour:
        world, calls = self.world, self._traffic.calls
        began_ns = world.began_ns
        first_ns = began_ns - round(world.scenario.days * DAY * NS)
        told = incidents(world.scenario, began_ns=began_ns, start_ns=first_ns, end_ns=int(calls.start_ns[-1]))
        return DemoHour(calls=calls, origins=world.origins, incidents=told)

    def load(self, *, days: float | None = None, on_progress: Progress | None = None) -> Sent:
        """Send the hour, and the days before it."""
        world, hour = self.world, self._traffic
        days = world.scenario.days if days is None else days
        first_ns = int(hour.calls.start_ns[0])
        before = world.history(first_ns, days=days) if days else None
        total, answered = sum(int(each.calls.spans.sum()) for each in (hour, before) if each is not None), 0

        def on_spans(batch: Batch, _accepted: int) -> None:
            nonlocal answered
            answered += batch.spans
            if on_progress is not None:
                on_progress(answered, total)

        with self._open(in_flight=4, patience_s=60.0, on_spans=on_spans) as senders:
            self._send_past(senders, new_encoder(world.origins, HISTORY), hour)
            if before is not None:
                self._send_past(senders, new_encoder(world.origins, DAYS), before)
                at_ns = _steps(world.began_ns - round(days * DAY * NS), first_ns, DAYS_STEP_S)
                send_readings(
                    senders.readings, self._meters.samples(at_ns, world.on_nodes(at_ns), brief=True), stop=self._stop
                )
            at_ns = _steps(first_ns, world.began_ns, HOUR_STEP_S)
            on = on_nodes(hour.calls, place_of(hour.calls, world.scenario), at_ns)
            send_readings(senders.readings, self._meters.samples(at_ns, on), stop=self._stop)
        return senders.sent

    def run_live(self, *, speed: float = 1.0, on_incident: OnIncident | None = None) -> Sent:
        """Go on from the hour's last arrival until stopped; `on_incident` is told when something begins and ends."""
        world = self.world
        after_ns = int(self._traffic.calls.start_ns[-1])
        told_s = 0.0
        with self._open(in_flight=2, patience_s=600.0) as senders:
            encoder = new_encoder(world.origins, LIVE)
            for traffic in world.live(after_ns=after_ns, speed=speed):
                pump = _Pump(
                    traffic, place_of(traffic.calls, world.scenario), encoder, senders, self._waiting, self._meters
                )
                while not pump.done and not self._stop.is_set():
                    now_ns = time.time_ns()
                    pump.send(now_ns, self._stop)
                    now_s = (now_ns - world.began_ns) / NS
                    for at_s, episode, begins in world.scenario.moments(told_s, now_s):
                        if on_incident is not None:
                            on_incident(world.began_ns + round(at_s * NS), episode, begins)
                    told_s = max(told_s, now_s)
                    self._stop.wait(FLUSH_S)
                if self._stop.is_set():
                    break
        return senders.sent

    def _send_past(self, senders: Senders, encoder: Encoder, traffic: Traffic) -> None:
        ids = dict(send_calls(senders.spans, encoder, traffic.calls, by_end(traffic.calls), stop=self._stop))
        due = []
        for record in traffic.later:
            if record.call not in ids:
                continue
            if record.time_ns <= self.world.began_ns:
                due.append((record, ids[record.call]))
            else:
                self._waiting.add(record, ids[record.call])
        send_records(senders.judgements, due, stop=self._stop)


class _Pump:
    """Sends one pass of live traffic as its time comes."""

    def __init__(
        self, traffic: Traffic, place: Ints, encoder: Encoder, senders: Senders, waiting: Waiting, meters: Meters
    ) -> None:
        self._calls, self._place = traffic.calls, place
        self._encoder, self._senders, self._waiting, self._meters = encoder, senders, waiting, meters
        self._order = by_end(traffic.calls)
        self._due_ns = traffic.calls.end_ns[self._order]
        self._sent = 0
        self._later: dict[int, list[int]] = {}
        self._records = traffic.later
        for number, record in enumerate(traffic.later):
            self._later.setdefault(record.call, []).append(number)

    @property
    def done(self) -> bool:
        return self._sent == len(self._order)

    def send(self, now_ns: int, stop: threading.Event) -> None:
        ready = int(np.searchsorted(self._due_ns, now_ns, side="right"))
        order = self._order[self._sent : ready]
        self._sent = ready
        for call, ids in send_calls(self._senders.spans, self._encoder, self._calls, order, stop=stop):
            for number in self._later.get(call, ()):
                self._waiting.add(self._records[number], ids)
        send_records(self._senders.judgements, self._waiting.due(now_ns), stop=stop)
        at_ns = _steps(self._meters.last_ns, now_ns, LIVE_STEP_S)
        if len(at_ns):
            readings = self._meters.samples(at_ns, on_nodes(self._calls, self._place, at_ns))
            send_readings(self._senders.readings, readings, stop=stop)


def _steps(after_ns: int, until_ns: int, step_s: int) -> Ints:
    """Whole multiples of the step after one moment, up to and with another."""
    step_ns = step_s * NS
    return np.arange(after_ns // step_ns + 1, until_ns // step_ns + 1, dtype=np.int64) * step_ns


def demo_world(scenario: Scenario | None = None, *, seed: int = 0, began_ns: int | None = None) -> World:
    """The world of a demo that begins now."""
    trace: Workload = azure_trace()
    return World(trace, scenario or Scenario(), seed=seed, began_ns=began_ns or time.time_ns())
