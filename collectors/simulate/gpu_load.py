"""GPU readings of the demo: how busy the nodes are follows from the calls that are on them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from collectors.gpu.metrics import SERVICE, Starts, request
from collectors.gpu.readings import Reading, Sample
from collectors.simulate.calls import Calls
from collectors.simulate.scenario import PLACES, QUANTISED, Scenario
from collectors.simulate.spans import Batch
from collectors.simulate.workload import NS, Floats, Ints
from monitor import semconv

# An H100 with 80 GB: power when idle and at the limit; memory that the weights take on each of two, and that a call takes.
IDLE_W, LIMIT_W = 110.0, 700.0
MEMORY: Final = 80e9
WEIGHTS: Final = 62e9
WEIGHTS_FP8: Final = 33e9
CALL_BYTES: Final = 0.45e9
# So many calls at once make a GPU busy for about two thirds of the time.
CALLS_BUSY: Final = 9.0
_FIRST_J: Final = 5e9


def on_nodes(calls: Calls, place: Ints, at_ns: Ints) -> Floats:
    """Calls on each place at each moment; shape (places, moments)."""
    found = np.zeros((len(PLACES), len(at_ns)))
    end_ns = calls.start_ns + calls.duration_ns
    for index in range(len(PLACES)):
        mine = place == index
        begun = np.searchsorted(np.sort(calls.start_ns[mine]), at_ns, side="right")
        ended = np.searchsorted(np.sort(end_ns[mine]), at_ns, side="right")
        found[index] = begun - ended
    return found


@dataclass
class Meters:
    """The demo's GPUs; remembers their energy counters from one sample to the next."""

    scenario: Scenario
    began_ns: int
    seed: int = 0
    _starts: Starts = field(default_factory=Starts)
    _joules: dict[str, float] = field(default_factory=dict)
    _last_ns: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng([self.seed, 30])

    @property
    def last_ns(self) -> int:
        """Time of the last sample; the demo's begin if there is none."""
        return max(self._last_ns.values(), default=self.began_ns)

    def samples(self, at_ns: Ints, on: Floats, *, group: int = 20, brief: bool = False) -> Iterator[Batch]:
        """Requests with the readings at these moments, in order, when so many calls are on each place.

        Parameters
        ----------
        at_ns : array of int, shape (moments,)
        on : array of float, shape (places, moments)
            Calls on each place, as `on_nodes` counts them.
        group : int
            Moments in one request.
        brief : bool
            Leave out what does not change: states and limits of power.
        """
        at_s = (at_ns - self.began_ns) / NS
        quantised = self.scenario.on("quantised variant", at_s)
        body, count, moments = b"", 0, 0
        for column, time_ns in enumerate(at_ns.tolist()):
            for index, place in enumerate(PLACES):
                if not place.gpus:
                    continue
                weights = WEIGHTS_FP8 if quantised[column] and place.name == QUANTISED else WEIGHTS
                readings = tuple(
                    self._reading(
                        f"GPU-{place.name}-{number}", number, time_ns, float(on[index, column]), weights, brief
                    )
                    for number in range(place.gpus)
                )
                message = request(Sample(time_ns=time_ns, readings=readings), _who(index), self._starts)
                count += sum(
                    len(metric.gauge.data_points) + len(metric.sum.data_points)
                    for block in message.resource_metrics
                    for scope in block.scope_metrics
                    for metric in scope.metrics
                )
                body += message.SerializeToString()
            moments += 1
            if moments == group:
                yield Batch(body=body, spans=count, calls=0, call_ids=())
                body, count, moments = b"", 0, 0
        if moments:
            yield Batch(body=body, spans=count, calls=0, call_ids=())

    def _reading(self, gpu: str, number: int, time_ns: int, on: float, weights: float, brief: bool) -> Reading:
        busy = 1.0 - math.exp(-max(on, 0.0) / CALLS_BUSY)
        busy = min(1.0, max(0.0, busy * (1.0 + 0.04 * self._rng.standard_normal())))
        watts = IDLE_W + (LIMIT_W - IDLE_W) * 0.9 * busy
        passed_s = (time_ns - self._last_ns.get(gpu, time_ns)) / NS
        self._joules[gpu] = self._joules.get(gpu, _FIRST_J) + watts * passed_s
        self._last_ns[gpu] = time_ns
        return Reading(
            gpu=gpu,
            index=number,
            model="NVIDIA H100 80GB HBM3",
            status="" if brief else "ok",
            busy=busy,
            memory_used_bytes=min(MEMORY, weights + CALL_BYTES * max(on, 0.0)),
            memory_limit_bytes=MEMORY,
            power_w=watts,
            power_limit_w=None if brief else LIMIT_W,
            energy_j=self._joules[gpu],
            temperature_c=float(round(36 + 42 * busy)),
        )


def _who(index: int) -> dict[str, str]:
    place = PLACES[index]
    return {
        semconv.SERVICE_NAME: SERVICE,
        semconv.HOST_NAME: place.name,
        semconv.NODE: place.name,
        semconv.CLOUD_REGION: place.region,
        semconv.DEPLOYMENT_ENVIRONMENT: "demo",
        semconv.SIMULATED: "true",
    }
