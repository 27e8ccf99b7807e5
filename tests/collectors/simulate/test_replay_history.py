"""The demo's traffic: the real trace with stated incidents in it."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from collectors.simulate.calls import Calls
from collectors.simulate.history import (
    HISTORY,
    LIVE,
    DemoHour,
    Scenario,
    demo_hour,
    demo_traffic,
    live_calls,
    load_history,
)
from collectors.simulate.send import ReplayResult
from collectors.simulate.workload import NS, Workload, azure_trace
from monitor import semconv

NOW_NS = 1_790_000_000 * NS


@pytest.fixture(scope="module")
def trace() -> Workload:
    return azure_trace()


@pytest.fixture(scope="module")
def hour(trace: Workload) -> DemoHour:
    return demo_hour(trace, Scenario(), seed=0, end_ns=NOW_NS)


def test_the_hour_is_the_trace_ending_now(trace: Workload, hour: DemoHour) -> None:
    calls = hour.calls
    assert (calls.start_ns - calls.start_ns[0]).tolist() == trace.arrival_ns.tolist()
    assert calls.input_tokens.tolist() == trace.input_tokens.tolist()
    assert calls.output_tokens.tolist() == trace.output_tokens.tolist()
    assert calls.end_ns.max() == NOW_NS
    assert calls.simulated
    assert not calls.arrivals_simulated


def nodes(hour: DemoHour, calls: Calls) -> Any:
    return np.array([hour.origins[origin].node for origin in calls.origin.tolist()])


def test_the_slow_node_is_slow_in_its_window_only(hour: DemoHour) -> None:
    calls, scenario = hour.calls, Scenario()
    at_s = (calls.start_ns - calls.start_ns[0]) / NS
    inside = (at_s >= scenario.slow_start_s) & (at_s < scenario.slow_end_s)
    node = nodes(hour, calls)

    def p95(pick: Any) -> float:
        return float(np.percentile(calls.ttft_s[pick], 95))

    def error_share(pick: Any) -> float:
        return float(np.mean([bool(calls.error[i]) for i in np.flatnonzero(pick)]))

    assert p95(inside & (node == "gpu-2")) > 2 * p95(inside & (node == "gpu-1"))
    assert p95(~inside & (node == "gpu-2")) < 1.2 * p95(~inside & (node == "gpu-1"))
    assert error_share(inside & (node == "gpu-2")) > 0.02
    assert error_share(~inside) < 0.005


def test_the_quantised_variant_is_faster(hour: DemoHour) -> None:
    calls = hour.calls
    variant = np.array([hour.origins[origin].variant for origin in calls.origin.tolist()])
    tpot_s = calls.decode_s / np.maximum(calls.output_tokens - 1, 1)
    assert np.median(tpot_s[variant == "fp8"]) < 0.8 * np.median(tpot_s[variant == "fp16"])


def test_services_releases_users_sessions_and_retrievals(hour: DemoHour) -> None:
    calls, scenario = hour.calls, Scenario()
    assert calls.parents is not None
    origins = [hour.origins[origin] for origin in calls.origin.tolist()]
    at_s = (calls.start_ns - calls.start_ns[0]) / NS
    assert {origin.release for origin, t in zip(origins, at_s, strict=True) if t < scenario.release_s} == {"2.0.0"}
    assert {origin.release for origin, t in zip(origins, at_s, strict=True) if t >= scenario.release_s} == {"2.1.0"}
    docs = np.array([origin.service == "docs-assistant" for origin in origins])
    assert 0.1 < docs.mean() < 0.5
    assert ((calls.parents.retrieval_ns > 0) == docs).all()
    assert len(set(calls.user)) == scenario.users
    owner: dict[str, str] = {}
    for session, user in zip(calls.session, calls.user, strict=True):
        assert owner.setdefault(session, user) == user
    assert len(owner) > len(set(calls.user))
    assert 0.003 < np.mean(calls.cancelled) < 0.03
    assert not any(error and left for error, left in zip(calls.error, calls.cancelled, strict=True))


def test_incidents_say_when_and_where(hour: DemoHour) -> None:
    first_ns = int(hour.calls.start_ns[0])
    slow = next(incident for incident in hour.incidents if incident.name == "slow node")
    assert slow.where == {"node": "gpu-2"}
    assert (slow.start_ns - first_ns, slow.end_ns - first_ns) == (38 * 60 * NS, 46 * 60 * NS)
    assert all(first_ns <= i.start_ns < i.end_ns <= NOW_NS and i.text.endswith(".") for i in hour.incidents)


def test_the_same_seed_gives_the_same_hour(trace: Workload, hour: DemoHour) -> None:
    again = demo_hour(trace, Scenario(), seed=0, end_ns=NOW_NS).calls
    assert again.duration_ns.tolist() == hour.calls.duration_ns.tolist()
    assert (again.error, again.user, again.session) == (hour.calls.error, hour.calls.user, hour.calls.session)


def test_live_passes_follow_each_other_without_a_hole(trace: Workload) -> None:
    passes = live_calls(trace, Scenario(), seed=0, after_ns=NOW_NS, speed=1.0)
    one, two = next(passes), next(passes)
    gap_ns = int(trace.arrival_ns[-1]) // (len(trace) - 1)
    assert one.start_ns[0] == NOW_NS + gap_ns
    assert two.start_ns[0] == one.start_ns[-1] + gap_ns
    assert one.duration_ns.tolist() != two.duration_ns.tolist()
    assert set(one.session).isdisjoint(two.session)


def test_the_loaded_hour_has_the_exact_totals_of_the_trace(receiver: Any) -> None:
    began = time.monotonic()
    result, hour = load_history(endpoint=receiver.endpoint, protocol=receiver.protocol)
    assert time.monotonic() - began < 20
    calls = receiver.calls()
    assert result.calls == len(calls) == 19_366
    assert result.sent == result.acknowledged == int(hour.calls.spans.sum())
    assert sum(call.attributes[semconv.INPUT_TOKENS] for call in calls) == 22_361_870
    assert sum(call.attributes[semconv.OUTPUT_TOKENS] for call in calls) == 4_088_665
    assert all(call.attributes[semconv.SIMULATED] for call in calls)
    assert all(call.resource[semconv.EMITTER].startswith(HISTORY) for call in calls)
    assert {call.resource[semconv.VARIANT] for call in calls} == {"fp16", "fp8"}


def test_the_demo_goes_on_live_until_stopped(grpc_receiver: Any) -> None:
    stop = threading.Event()
    loaded: list[ReplayResult] = []

    def on_loaded(result: ReplayResult, hour: DemoHour) -> None:
        loaded.append(result)
        threading.Timer(3.0, stop.set).start()

    # Fifty times real time, so that three seconds see more than a trickle.
    result = demo_traffic(endpoint=grpc_receiver.endpoint, stop=stop, live_speed=50.0, on_loaded=on_loaded)
    calls = grpc_receiver.calls()
    history = [call for call in calls if call.resource[semconv.EMITTER].startswith(HISTORY)]
    live = [call for call in calls if call.resource[semconv.EMITTER].startswith(LIVE)]
    assert loaded == [result.history]
    assert len(history) == result.history.calls == 19_366
    assert len(live) == result.live.calls > 0
    assert len(history) + len(live) == len(calls)
    assert result.live.acknowledged == result.live.sent
    assert min(call.times_ns[0] for call in live) > max(call.times_ns[0] for call in history)
    assert max(call.times_ns[1] for call in live) <= time.time_ns()
    assert {call.resource[semconv.SERVICE_VERSION] for call in live} == {"2.1.0"}
