"""Which calls a sampling SDK sends, with which weights, and that the store's figures stay those of all calls."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.trace._sampling_experimental import composable_traceid_ratio_based, composite_sampler
from opentelemetry.sdk.trace._sampling_experimental._trace_state import OtelTraceState
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from monitor import sdk
from monitor.errors import ConfigError
from monitor.kpis import Window, evaluate
from monitor.sdk import call as call_module
from monitor.sdk.sampling import (
    ALL,
    ConsistentSampler,
    Sampling,
    randomness,
    read_sampling,
    sent_threshold,
    weight,
    with_threshold,
)
from monitor.store.client import Client, connect
from monitor.store.migrate import migrate
from tests.collectors.receiving import Receiving, receiving
from tests.conftest import empty_all
from tests.tools.service import ROOT, environment

# 20 traces whose random bits lie evenly: i / 20 of all bits, for i = 0 … 19.
TRACES = [(7 << 120) | (ALL * i // 20) for i in range(1, 20)] + [(7 << 120)]


def remote(trace_id: int, *, sampled: bool = True, state: str = "") -> Context:
    """A context as it comes from another service."""
    members = TraceState.from_header([state]) if state else TraceState()
    context = SpanContext(trace_id, 0xABC, True, TraceFlags(int(sampled)), members)
    return trace.set_span_in_context(NonRecordingSpan(context), Context())


def call(parent: Context | None = None, **arguments: Any) -> sdk.Call:
    """One call, as a child of `parent`."""
    token = attach(parent) if parent is not None else None
    try:
        with sdk.inference("m", **arguments) as one:
            one.finish(output_tokens=1)
    finally:
        if token is not None:
            detach(token)
    return one


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, start_ns: int) -> None:
        self.ns = start_ns
        monkeypatch.setattr(call_module, "time_ns", lambda: self.ns)
        monkeypatch.setattr(call_module, "perf_counter_ns", lambda: self.ns)


def weights(sent: Any) -> dict[int, float]:
    """Random bits, in twentieths -> weight, of what was sent."""
    return {
        round((span.context.trace_id & (ALL - 1)) / ALL * 20): (span.attributes or {})["monitor.sample_weight"]
        for span in sent.spans()
    }


@pytest.fixture
def stopped(sent: Any) -> Any:
    """What was sent, in both modes, before `init`."""
    sdk.shutdown()
    return sent


def test_exactly_the_traces_above_the_threshold_are_sent(stopped: Any) -> None:
    stopped.start(sample_rate=0.25)
    for trace_id in TRACES:
        call(remote(trace_id, sampled=True))
    assert weights(stopped) == dict.fromkeys((15, 16, 17, 18, 19), 4.0)
    assert [(span.attributes or {})["monitor.seq"] for span in stopped.spans()] == [1, 2, 3, 4, 5]
    assert {span.context.trace_state.to_header() for span in stopped.spans()} == {"ot=th:c"}
    assert all(span.context.trace_flags.sampled for span in stopped.spans())
    stats = sdk.stats()
    assert (stats.started, stats.ended, stats.open, stats.unsampled) == (20, 20, 0, 15)
    assert (stats.last_seq, stats.offered, stats.exported) == (5, 5, 5)


def test_errors_and_slow_calls_are_all_sent_and_stand_for_themselves(
    stopped: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, time.time_ns())
    stopped.start(sample_rate=0.1, keep_slow_s=2)
    for index, trace_id in enumerate(TRACES):
        token = attach(remote(trace_id))
        with sdk.inference("m") as one:
            clock.ns += 2_000_000_000 if index % 5 == 0 else 1_999_999_999
            one.finish()
            if index % 5 == 1:
                one.error("503")
        detach(token)
    # Of the sampled ones, 19 is neither slow nor failed (index 18); 18 (index 17) likewise.
    slow_or_failed = {TRACES[index] for index in range(20) if index % 5 in (0, 1)}
    sure = {round((trace_id & (ALL - 1)) / ALL * 20) for trace_id in slow_or_failed}
    assert weights(stopped) == {**dict.fromkeys(sure, 1.0), 18: 10.0, 19: 10.0}
    by_weight = Counter(
        ((span.attributes or {})["monitor.sample_weight"], span.context.trace_state.to_header())
        for span in stopped.spans()
    )
    assert by_weight == {(1.0, "ot=th:0"): 8, (10.0, "ot=th:e6666666666666"): 2}
    assert all(span.context.trace_flags.sampled for span in stopped.spans())
    assert sdk.stats().unsampled == 10


def test_a_sampled_slow_call_stands_for_itself(stopped: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, time.time_ns())
    stopped.start(sample_rate=0.5, keep_slow_s=1, keep_errors=False)
    for seconds, name in ((2, None), (0, None), (0, "503")):
        token = attach(remote(TRACES[18]))
        with sdk.inference("m") as one:
            clock.ns += seconds * 10**9
            one.finish()
            if name:
                one.error(name)
        detach(token)
    assert [(span.attributes or {})["monitor.sample_weight"] for span in stopped.spans()] == [1.0, 2.0, 2.0]


@pytest.mark.parametrize("mode", ["own"], indirect=True)
def test_what_cannot_be_kept_is_not_even_recorded(stopped: Any) -> None:
    stopped.start(sample_rate=0.05, keep_errors=False)
    token = attach(remote(TRACES[0]))
    with sdk.inference("m") as one:
        current = trace.get_current_span()
        assert not current.is_recording()
        one.error("503")
    detach(token)
    assert stopped.spans() == []
    assert (sdk.stats().ended, sdk.stats().unsampled, sdk.stats().offered) == (1, 1, 0)
    assert len(one.trace_id) == 32


@pytest.mark.parametrize("mode", ["own"], indirect=True)
def test_services_agree_on_every_trace(stopped: Any) -> None:
    stopped.start(service="front", sample_rate=0.5)
    headers: list[dict[str, str]] = []
    for _ in range(200):
        with sdk.inference("front") as one:
            carrier: dict[str, str] = {}
            inject(carrier)
            headers.append(carrier)
            one.finish()
    front = {span.context.trace_id for span in stopped.spans()}
    sdk.shutdown()
    for header in headers:
        chosen = int(header["traceparent"].split("-")[1], 16) in front
        assert int(header["traceparent"][-2:], 16) & 1 == chosen
        assert header.get("tracestate") == ("ot=th:8" if chosen else None)
    found = {}
    for rate in (0.5, 0.2, 0.8):
        stopped.exporter = InMemorySpanExporter()
        stopped.start(service="back", sample_rate=rate)
        for header in headers:
            call(extract(header))
        found[rate] = {span.context.trace_id for span in stopped.spans()}
        sdk.shutdown()
    assert found[0.5] == front
    assert found[0.2] < found[0.5] < found[0.8]
    assert 70 < len(front) < 130


def test_given_randomness_beats_the_trace_id(stopped: Any) -> None:
    stopped.start(sample_rate=0.5)
    call(remote(TRACES[0], state="a=1,ot=rv:80000000000000;p:x"))
    call(remote(TRACES[18], state="ot=rv:7fffffffffffff"))
    (span,) = stopped.spans()
    assert span.context.trace_id == TRACES[0]
    header = span.context.trace_state.to_header()
    assert sorted(header.split(",")) == ["a=1", "ot=th:8;rv:80000000000000;p:x"]


def test_what_was_sampled_before_us_carries_its_weight(stopped: Any) -> None:
    stopped.start()
    call(remote(TRACES[18], state="ot=th:c"))
    call(remote(TRACES[18]))
    found = [(span.attributes or {}).get("monitor.sample_weight") for span in stopped.spans()]
    assert found == [4.0, None]


@pytest.mark.parametrize("mode", ["joined"], indirect=True)
def test_our_rate_comes_on_top_of_the_users_sampler(stopped: Any) -> None:
    stopped.start(sample_rate=0.5)
    # The user's sampler follows the parent, who has kept one in four: it is the rarer one.
    call(remote(TRACES[18], state="ot=th:c"))
    call(remote(TRACES[18], state="ot=th:4"))
    failed = remote(TRACES[18], state="ot=th:c")
    token = attach(failed)
    with sdk.inference("m") as one:
        one.error("503")
    detach(token)
    call(remote(TRACES[18], sampled=False))
    assert [(span.attributes or {})["monitor.sample_weight"] for span in stopped.spans()] == [4.0, 2.0, 4.0]
    assert sdk.stats().unsampled == 1


def test_a_weight_of_the_users_own_is_multiplied(stopped: Any) -> None:
    stopped.start(sample_rate=0.5)
    call(remote(TRACES[18]), attributes={"monitor.sample_weight": 3})
    call(remote(TRACES[18]), attributes={"monitor.sample_weight": "many"})
    assert [(span.attributes or {})["monitor.sample_weight"] for span in stopped.spans()] == [6.0, 2.0]


def test_other_spans_of_the_process_are_thinned_alike(stopped: Any) -> None:
    stopped.start(sample_rate=0.25)
    provider = trace.get_tracer_provider()
    tracer = provider.get_tracer("other")
    for trace_id in TRACES:
        with tracer.start_as_current_span("work", context=remote(trace_id)):
            pass
    assert weights(stopped) == dict.fromkeys((15, 16, 17, 18, 19), 4.0)
    assert all("monitor.seq" not in (span.attributes or {}) for span in stopped.spans())
    assert (sdk.stats().unsampled, sdk.stats().exported) == (0, 5)


def test_each_init_has_its_own_rate(stopped: Any) -> None:
    for settings, expected in (
        ({"sample_rate": 0.1}, 2),
        ({}, 20),
        ({"sample_rate": 1.0}, 20),
        ({"sample_rate": 0.5}, 10),
    ):
        stopped.exporter = InMemorySpanExporter()
        stopped.start(**settings)
        for trace_id in TRACES:
            call(remote(trace_id))
        assert len(stopped.spans()) == expected
        sdk.shutdown()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sample_rate": 0}, "monitor.init: sample_rate=0 must be a share from 1e-06 to 1; 0.05 sends one call in 20."),
        ({"sample_rate": 5}, "monitor.init: sample_rate=5 must be a share from 1e-06 to 1; 0.05 sends one call in 20."),
        ({"sample_rate": float("nan")}, "must be a share"),
        ({"sample_rate": "5%"}, "monitor.init: sample_rate must be a number, got '5%'."),
        ({"sample_rate": True}, "monitor.init: sample_rate must be a number, got True."),
        ({"sample_rate": 0.1, "keep_slow_s": 0}, "monitor.init: keep_slow_s=0 must be a positive number of seconds."),
        ({"keep_slow_s": 2}, "give sample_rate too"),
        ({"sample_rate": 0.1, "keep_errors": "no"}, "monitor.init: keep_errors must be True or False, got 'no'."),
    ],
)  # fmt: skip
def test_wrong_settings_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sdk.init("svc", **settings)
    assert message in str(caught.value)


def test_the_same_decisions_as_opentelemetrys_own_sampler() -> None:
    g = random.Random(5)
    for rate in (1e-6, 0.05, 0.1, 0.3, 0.5, 0.999):
        ours_settings = read_sampling(rate, None, False)
        assert ours_settings is not None
        ours = ConsistentSampler(ours_settings)
        theirs = composite_sampler(composable_traceid_ratio_based(rate))
        for _ in range(200):
            trace_id = g.getrandbits(128)
            a, b = ours.should_sample(None, trace_id, "x"), theirs.should_sample(None, trace_id, "x")
            assert a.decision == b.decision
            if b.trace_state:
                assert sent_threshold(a.trace_state) == OtelTraceState.parse(b.trace_state).threshold
        assert weight(ours_settings.threshold) == pytest.approx(1 / rate, rel=1e-9)


@pytest.mark.parametrize(
    "state",
    ["", "ot=", "ot=th:", "ot=th:g", "ot=th:123456789abcdef", "ot=rv:123", "ot=rv:0123456789ABCD", "ot=th", "x=th:8"],
)
def test_a_tracestate_that_says_nothing(state: str) -> None:
    members = TraceState.from_header([state])
    assert sent_threshold(members) is None
    assert randomness(0x5_11111111111111, members) == 0x11111111111111


def test_a_threshold_is_set_changed_and_taken_away() -> None:
    state = TraceState.from_header(["ot=p:1;th:8,v=2"])
    assert sorted(with_threshold(state, ALL // 4).to_header().split(",")) == ["ot=th:4;p:1", "v=2"]
    assert sorted(with_threshold(state, None).to_header().split(",")) == ["ot=p:1", "v=2"]
    assert with_threshold(TraceState.from_header(["ot=th:8"]), None).to_header() == ""
    assert with_threshold(TraceState.from_header(["v=2"]), 0).to_header() in ("ot=th:0,v=2", "v=2,ot=th:0")
    assert not Sampling(threshold=0, errors=False).decides_late


# --- Through the real pipeline --------------------------------------------------------------------------------------

POPULATIONS, CALLS, RATE, ERROR_RATE, SLOW_S = 10, 6000, 0.05, 0.02, 3.0
TTFT_LOG, DECODE_LOG = (-1.2, 0.6), (0.0, 0.7)  # mean and deviation of the logarithm of seconds


class Population:
    """Calls whose every property is known."""

    def __init__(self, seed: int) -> None:
        g = np.random.default_rng(seed)
        self.ttft_ns = (g.lognormal(*TTFT_LOG, CALLS) * 1e9).astype(np.int64)
        self.e2e_ns = self.ttft_ns + (g.lognormal(*DECODE_LOG, CALLS) * 1e9).astype(np.int64)
        self.failed = g.random(CALLS) < ERROR_RATE
        self.input_tokens = g.integers(10, 3000, CALLS)
        self.output_tokens = g.geometric(1 / 200, CALLS)


def true_quantiles() -> dict[str, float]:
    """Of the law that populations are drawn from; the sum of two lognormals has no formula, so of many draws."""
    g = np.random.default_rng(0)
    ttft = g.lognormal(*TTFT_LOG, 1_000_000)
    e2e = ttft + g.lognormal(*DECODE_LOG, 1_000_000)
    of = {"ttft": ttft, "e2e": e2e}
    return {
        f"latency.{name}.p{level}": float(np.quantile(x, level / 100))
        for name, x in of.items()
        for level in (50, 95, 99)
    }


@pytest.fixture
def place(chdb_url: str, tmp_path: Path) -> Iterator[tuple[Receiving, Client]]:
    client = connect(chdb_url)
    migrate(client)
    empty_all(client)  # of what others left there
    with receiving(tmp_path / "data", chdb_url) as target:
        yield target, client
    empty_all(client)
    client.close()


def settled(target: Receiving, client: Client, calls: int) -> None:
    deadline = time.monotonic() + 60
    while target.pipeline.waiting or client.command("SELECT count() FROM inferences FINAL") != calls:
        assert time.monotonic() < deadline, client.command("SELECT count() FROM inferences FINAL")
        time.sleep(0.05)


def test_a_sample_tells_of_all_calls(place: tuple[Receiving, Client], monkeypatch: pytest.MonkeyPatch) -> None:
    target, client = place
    start = datetime.now(UTC) - timedelta(minutes=2)
    clock = Clock(monkeypatch, int(start.timestamp() * 1e9) + 10**9)
    # Trace ids come from the module's generator; seeded, the test is the same in every run.
    random.seed(11)
    sdk.init(
        "sampled",
        endpoint=f"http://{target.grpc}",
        sample_rate=RATE,
        keep_slow_s=SLOW_S,
        queue_size=POPULATIONS * CALLS,
    )
    truth: dict[str, dict[str, float]] = {}
    for seed in range(POPULATIONS):
        made = Population(seed)
        for ttft_ns, e2e_ns, failed, tokens_in, tokens_out in zip(
            made.ttft_ns.tolist(),
            made.e2e_ns.tolist(),
            made.failed.tolist(),
            made.input_tokens.tolist(),
            made.output_tokens.tolist(),
            strict=True,
        ):
            begun_ns = clock.ns
            with sdk.inference("m", variant=str(seed)) as one:
                clock.ns = begun_ns + ttft_ns
                one.first_token()
                clock.ns = begun_ns + e2e_ns
                one.finish(input_tokens=tokens_in, output_tokens=tokens_out)
                if failed:
                    one.error("503")
            clock.ns = begun_ns + 1000
        truth[str(seed)] = {
            "traffic.requests": CALLS,
            "traffic.errors": int(made.failed.sum()),
            "traffic.error_rate": ERROR_RATE,
            "traffic.input_tokens": int(made.input_tokens.sum()),
            "traffic.output_tokens": int(made.output_tokens.sum()),
        }
    assert sdk.flush(60)
    stats = sdk.stats()
    assert (stats.ended, stats.dropped, stats.failed) == (POPULATIONS * CALLS, 0, 0)
    assert stats.unsampled + stats.exported == stats.ended
    # 5 % of the rest, and what was kept for sure: about 11 % are slow or failed.
    assert 0.1 < stats.exported / stats.ended < 0.25
    settled(target, client, stats.exported)

    window = Window(start=start, end=datetime.now(UTC) + timedelta(minutes=1))
    quantiles = true_quantiles()
    names = [*truth["0"], *quantiles]
    found = evaluate(client, names, window=window, by=["variant"])
    inside: Counter[str] = Counter()
    for value in found:
        expected = (truth[value.group["variant"]] | quantiles)[value.name]
        if value.name == "traffic.errors":
            # All were kept: an exact number, with nothing to estimate.
            assert (value.value, value.low, value.high) == (expected, None, None)
            inside[value.name] += 1
            continue
        assert value.low is not None, value
        # A few hundred calls may not bound the 99th percentile from above, and say so.
        high = float("inf") if value.high is None else value.high
        assert value.high is not None or (value.name == "latency.ttft.p99" and "upper end" in value.note), value
        inside[value.name] += value.low <= expected <= high
        # No interval is right by being wide.
        assert value.high is None or value.high - value.low < 1.2 * expected, value
    assert set(inside) == set(names)
    estimated = sum(inside.values()) - POPULATIONS
    total = (len(names) - 1) * POPULATIONS
    assert 0.91 <= estimated / total <= 0.99, inside
    assert min(inside.values()) >= POPULATIONS - 3, inside
    # What was left out is no loss.
    sdk.shutdown()
    settled(target, client, stats.exported)
    (complete,) = evaluate(client, ["traffic.completeness"], window=window)
    assert (complete.value, complete.n, complete.note) == (1.0, stats.exported, "")


LOSING = """
import json, sys
import monitor
from monitor import sdk
monitor.init(service="losing", endpoint=sys.argv[1], queue_size=10, interval_s=30, sample_rate=0.5)
for _ in range(200):
    with monitor.inference(model="m") as call:
        call.finish(input_tokens=1, output_tokens=1)
sdk.shutdown()
print(json.dumps(sdk.stats().__dict__))
"""


def test_lost_calls_are_told_from_those_left_out(place: tuple[Receiving, Client]) -> None:
    target, client = place
    start = datetime.now(UTC) - timedelta(seconds=1)
    done = subprocess.run(
        [sys.executable, "-c", LOSING, f"http://{target.grpc}"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    stats = json.loads(done.stdout)
    assert stats["unsampled"] + stats["offered"] == stats["ended"] == 200
    assert 60 < stats["unsampled"] < 140
    assert stats["dropped"] > 0
    settled(target, client, stats["exported"])
    window = Window(start=start, end=datetime.now(UTC) + timedelta(seconds=1))
    deadline = time.monotonic() + 30
    while client.command("SELECT count() FROM sdk_reports FINAL WHERE settled > 0") != 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (complete,) = evaluate(client, ["traffic.completeness"], window=window)
    assert (complete.n, complete.note) == (
        stats["offered"],
        f"{stats['dropped']} of {stats['offered']} calls are missing",
    )
    unsampled = client.command(
        "SELECT max(Value) FROM otel_metrics_sum WHERE MetricName = 'monitor.sdk.calls.unsampled'"
    )
    assert unsampled == stats["unsampled"]
