"""The demo's traffic: the real trace with stated incidents in it."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from collectors.simulate.calls import Calls
from collectors.simulate.history import HISTORY, LIVE, Demo, DemoHour, demo_world, load_history
from collectors.simulate.scenario import PLACES, Scenario
from collectors.simulate.workload import NS, Workload, azure_trace
from collectors.simulate.world import NEW, World, load
from monitor import semconv

NOW_NS = 1_790_000_000 * NS


@pytest.fixture(scope="module")
def trace() -> Workload:
    return azure_trace()


@pytest.fixture(scope="module")
def world(trace: Workload) -> World:
    return World(trace, Scenario(), seed=0, began_ns=NOW_NS)


@pytest.fixture(scope="module")
def hour(world: World) -> DemoHour:
    return Demo(world, endpoint="localhost:1", stop=threading.Event()).hour


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
    calls = hour.calls
    inside = Scenario().on("slow node", (calls.start_ns - NOW_NS) / NS)
    node = nodes(hour, calls)

    def p95(pick: Any) -> float:
        return float(np.percentile(calls.ttft_s[pick], 95))

    def error_share(pick: Any) -> float:
        return float(np.mean([bool(calls.error[i]) for i in np.flatnonzero(pick)]))

    assert 0.1 < inside.mean() < 0.2
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
    at_s = (calls.start_ns - NOW_NS) / NS
    assert {origin.release for origin, t in zip(origins, at_s, strict=True) if t < scenario.release_s} == {"2.1.0"}
    assert {origin.release for origin, t in zip(origins, at_s, strict=True) if t >= scenario.release_s} == {"2.2.0"}
    docs = np.array([origin.service == "docs-assistant" for origin in origins])
    assert 0.1 < docs.mean() < 0.5
    assert ((calls.parents.retrieval_ns > 0) == docs).all()
    assert 0.2 * scenario.users < len(set(calls.user)) < scenario.users
    owner: dict[str, str] = {}
    for session, user in zip(calls.session, calls.user, strict=True):
        assert owner.setdefault(session, user) == user
    assert 2.5 < len(calls) / len(owner) < 4, "turns of a session"
    assert 0.003 < np.mean(calls.cancelled) < 0.03
    assert not any(error and left for error, left in zip(calls.error, calls.cancelled, strict=True))


def test_incidents_say_when_and_where(hour: DemoHour) -> None:
    slow = [incident for incident in hour.incidents if incident.name == "slow node"][-1]
    assert slow.where == {"node": "gpu-2"}
    assert (slow.start_ns - NOW_NS, slow.end_ns - NOW_NS) == (-1_222 * NS, -742 * NS)
    assert {each.name for each in hour.incidents} == {
        "slow node", "quantised variant", "price", "drifting topic", "biased refusals",
    }  # fmt: skip
    assert all(i.start_ns < i.end_ns <= NOW_NS and i.text.endswith(".") for i in hour.incidents)


def test_the_same_seed_gives_the_same_hour(trace: Workload, hour: DemoHour) -> None:
    again = World(trace, Scenario(), seed=0, began_ns=NOW_NS).hour().calls
    assert again.duration_ns.tolist() == hour.calls.duration_ns.tolist()
    assert (again.error, again.user, again.session) == (hour.calls.error, hour.calls.user, hour.calls.session)
    assert again.extra == hour.calls.extra


def test_live_passes_follow_each_other_without_a_hole(trace: Workload, world: World) -> None:
    passes = world.live(after_ns=NOW_NS, speed=1.0)
    one, two = next(passes).calls, next(passes).calls
    gap_ns = int(trace.arrival_ns[-1]) // (len(trace) - 1)
    assert one.start_ns[0] == NOW_NS + gap_ns
    assert two.start_ns[0] == one.start_ns[-1] + gap_ns
    assert one.duration_ns.tolist() != two.duration_ns.tolist()
    assert set(one.session).isdisjoint(two.session)


def test_days_before_look_like_the_hour_at_their_load(world: World, hour: DemoHour) -> None:
    first_ns = int(hour.calls.start_ns[0])
    days = world.history(first_ns, days=6).calls
    at_s = (days.start_ns - NOW_NS) / NS
    assert (np.diff(days.start_ns) >= 0).all()
    assert first_ns - 6.1 * 86_400 * NS < days.start_ns[0]
    assert days.start_ns[-1] < first_ns
    # As many by the hour of the day as the load says, within what days differ by.
    rate = world.scenario.keep * len(hour.calls) / (int(hour.calls.start_ns[-1] - hour.calls.start_ns[0]) / NS)
    for phase in (0.1, 0.5, 0.9):
        near = np.abs(np.mod(at_s, 86_400) / 86_400 - phase) < 1 / 24
        wanted = rate * float(load(np.array([phase * 86_400]))[0]) * 7200
        assert near.sum() / 6 == pytest.approx(wanted, rel=0.15)
    assert float(days.output_tokens.mean()) == pytest.approx(float(hour.calls.output_tokens.mean()), rel=0.05)
    # Before the variant was quantised no call says fp8, and the nodes are equally fast.
    variant = np.array([world.origins[origin].variant for origin in days.origin.tolist()])
    node = np.array([world.origins[origin].node for origin in days.origin.tolist()])
    before = at_s < -5 * 86_400
    assert not (variant[before] == "fp8").any()
    tpot_s = days.decode_s / np.maximum(days.output_tokens - 1, 1)
    third, first = ((node == name) & before for name in ("gpu-3", "gpu-1"))
    assert np.median(tpot_s[third]) == pytest.approx(np.median(tpot_s[first]), rel=0.05)
    # Users come back: most of one day's are not there for the first time.
    users = np.array(days.user)
    last = set(users[at_s > -86_400])
    assert len(last & set(users[at_s < -86_400])) > 0.5 * len(last)
    assert len(last - set(users[at_s < -86_400])) > 20


def test_what_goes_wrong_is_in_the_numbers_and_only_then(trace: Workload) -> None:
    """Live, where all of it happens; each against the same moments of the same world in which nothing does."""
    world, calm = (World(trace, each, seed=0, began_ns=NOW_NS) for each in (Scenario(), Scenario.quiet()))
    traffic, usual = (next(each.live(after_ns=NOW_NS, speed=1.0)) for each in (world, calm))
    at_s = (traffic.calls.start_ns - NOW_NS) / NS
    new = np.array([b"customs" in extra for extra in traffic.calls.extra])
    captured = np.array([b"gen_ai.input.messages" in extra for extra in traffic.calls.extra])
    drifting = world.scenario.on("drifting topic", at_s)
    assert new[captured & drifting].mean() > 0.15, "one of six subjects, twice in each text"
    assert new[~drifting].sum() == 0
    assert not any(b"customs" in extra for extra in usual.calls.extra)
    longer = traffic.calls.input_tokens / usual.calls.input_tokens
    assert longer[drifting].mean() > 1.2
    assert (longer[~drifting] == 1).all()
    refusal, german = b"refusal-rules", b"\n\x02de"
    said = np.array([refusal in extra for extra in traffic.calls.extra])
    refused = np.array(
        [b"refusal-rules" in extra and b"yes" in extra.split(b"refusal")[1] for extra in traffic.calls.extra]
    )
    of_german = np.array([german in extra for extra in traffic.calls.extra])
    biased = world.scenario.on("biased refusals", at_s)
    assert 0.1 < of_german.mean() < 0.25
    assert refused[said & of_german & biased].mean() > 0.4
    assert refused[said & ~of_german & biased].mean() < 0.04
    assert refused[said & ~biased].mean() < 0.04
    slow = world.scenario.on("slow node", at_s)
    node = np.array([world.origins[origin].node for origin in traffic.calls.origin.tolist()])
    assert np.median(traffic.calls.ttft_s[slow & (node == "gpu-2")]) > 1.8 * np.median(
        traffic.calls.ttft_s[~slow & (node == "gpu-2")]
    )


def test_quiet_is_quiet() -> None:
    calm = Scenario.quiet()
    at_s = np.arange(-14 * 86_400, 7_200, 30.0)
    for kind in ("slow node", "price", "drifting topic", "biased refusals"):
        assert not calm.on(kind, at_s).any()
    assert calm.on("quantised variant", at_s).all()
    assert not calm.moments(0, 1e5)
    assert any(place.deployment == "api" for place in PLACES)
    assert NEW == 5


def test_the_loaded_hour_has_the_exact_totals_of_the_trace(receiver: Any) -> None:
    began = time.monotonic()
    result, hour = load_history(endpoint=receiver.endpoint, protocol=receiver.protocol)
    assert time.monotonic() - began < 60
    calls = receiver.calls()
    assert result.calls == len(calls) == 19_366
    assert result.sent == result.acknowledged == int(hour.calls.spans.sum())
    assert sum(call.attributes[semconv.INPUT_TOKENS] for call in calls) == 22_361_870
    assert sum(call.attributes[semconv.OUTPUT_TOKENS] for call in calls) == 4_088_665
    assert all(call.attributes[semconv.SIMULATED] for call in calls)
    assert all(call.resource[semconv.EMITTER].startswith(HISTORY) for call in calls)
    assert {call.resource.get(semconv.VARIANT, "") for call in calls} - {""} == {"fp16", "fp8"}


def test_the_demo_goes_on_live_until_stopped(grpc_receiver: Any) -> None:
    stop = threading.Event()
    world = demo_world()
    demo = Demo(world, endpoint=grpc_receiver.endpoint, stop=stop)
    past = demo.load(days=0)
    threading.Timer(3.0, stop.set).start()
    # Fifty times real time, so that three seconds see more than a trickle.
    going_on = demo.run_live(speed=50.0)
    calls = grpc_receiver.calls()
    history = [call for call in calls if call.resource[semconv.EMITTER].startswith(HISTORY)]
    live = [call for call in calls if call.resource[semconv.EMITTER].startswith(LIVE)]
    assert len(history) == past.spans.calls == 19_366
    assert len(live) == going_on.spans.calls > 0
    assert len(history) + len(live) == len(calls)
    assert going_on.spans.acknowledged == going_on.spans.sent
    assert min(call.times_ns[0] for call in live) > max(call.times_ns[0] for call in history)
    assert max(call.times_ns[1] for call in live) <= time.time_ns()
    assert {call.resource[semconv.SERVICE_VERSION] for call in live} == {"2.2.0"}
