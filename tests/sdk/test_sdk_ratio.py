"""Calls that a sampler of OpenTelemetry's own has chosen carry the weight that follows from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from monitor import sdk
from monitor.sdk import lifecycle
from monitor.sdk.ratio import Traces, joint_weight, read_sampler
from monitor.sdk.sampling import ALL

LOW = 5 << 96 | 1  # passes every ratio of OpenTelemetry's, and no threshold
Weights = Callable[..., dict[str, float | None]]


def remote(trace_id: int, *, sampled: bool = True, state: str = "") -> Context:
    """A context as it comes from another service."""
    members = TraceState.from_header([state]) if state else TraceState()
    context = SpanContext(trace_id, 0xABC, True, TraceFlags(int(sampled)), members)
    return trace.set_span_in_context(NonRecordingSpan(context), Context())


def call(name: str, parent: Context | None = None) -> None:
    token = attach(Context() if parent is None else parent)
    try:
        with sdk.inference(name):
            pass
    finally:
        detach(token)


class Ids:
    """Trace ids that pass any ratio."""

    def __init__(self) -> None:
        self.last = 0

    def generate_span_id(self) -> int:
        self.last += 1
        return self.last

    def generate_trace_id(self) -> int:
        self.last += 1
        return 7 << 96 | self.last

    def is_trace_id_random(self) -> bool:
        return True


@pytest.fixture(params=["own", "joined"])
def started(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., InMemorySpanExporter]:
    """Start with a sampler, in a provider of our own making or in one that was there."""

    def start(sampler: Sampler, **settings: Any) -> InMemorySpanExporter:
        # The environment is what tells our own provider its sampler.
        monkeypatch.setattr("opentelemetry.sdk.trace.sampling._get_from_env_or_default", lambda: sampler)
        before: Any = trace.ProxyTracerProvider()
        if request.param == "joined":
            before = TracerProvider(id_generator=Ids())  # type: ignore[arg-type]
        monkeypatch.setattr("monitor.sdk.provider._id_generator", Ids)
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: before)
        monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: None)
        monkeypatch.setattr(lifecycle._state, "installed", None)
        exporter = InMemorySpanExporter()
        sdk.init("svc", exporter=exporter, **settings)
        return exporter

    return start


def weights(exporter: InMemorySpanExporter) -> dict[str, Any]:
    assert sdk.flush()
    return {
        span.name.removeprefix("chat "): (span.attributes or {}).get("monitor.sample_weight")
        for span in exporter.get_finished_spans()
    }


def test_parent_based(started: Callable[..., InMemorySpanExporter]) -> None:
    exporter = started(ParentBased(TraceIdRatioBased(0.25)))
    call("root")
    call("from elsewhere", remote(LOW))
    call("told", remote(LOW + 1, state="ot=th:8"))
    call("left out elsewhere", remote(LOW + 2, sampled=False))
    with sdk.inference("outer"), sdk.inference("inner"):
        pass
    token = attach(remote(LOW + 3))
    with sdk.inference("outer of another's"), sdk.inference("inner of another's"):
        pass
    detach(token)
    assert weights(exporter) == {
        "root": 4.0,
        "from elsewhere": None,
        "told": 2.0,
        "outer": 4.0,
        "inner": 4.0,
        "outer of another's": None,
        "inner of another's": None,
    }


def test_each_span_by_itself(started: Callable[..., InMemorySpanExporter]) -> None:
    """The parent is not asked: what arrives is chosen here alone, whatever was chosen before."""
    exporter = started(TraceIdRatioBased(0.25))
    call("root")
    call("from elsewhere", remote(LOW, sampled=False))
    call("told", remote(LOW + 1, state="ot=th:8"))
    call("too high", remote(LOW | 3 << 62))
    assert weights(exporter) == {"root": 4.0, "from elsewhere": 4.0, "told": 4.0}


def test_all_are_kept_whatever_was_decided_elsewhere(started: Callable[..., InMemorySpanExporter]) -> None:
    exporter = started(ALWAYS_ON)
    call("root")
    call("told", remote(LOW, state="ot=th:8"))
    call("left out elsewhere", remote(LOW + 1, sampled=False))
    assert weights(exporter) == {"root": None, "told": None, "left out elsewhere": None}


def test_a_sampler_that_is_not_known_has_no_weight(started: Callable[..., InMemorySpanExporter]) -> None:
    exporter = started(ParentBased(TraceIdRatioBased(0.25), local_parent_sampled=ALWAYS_OFF))
    call("root")
    assert weights(exporter) == {"root": None}


def test_a_weight_of_the_users_own_is_multiplied(started: Callable[..., InMemorySpanExporter]) -> None:
    exporter = started(TraceIdRatioBased(0.5))
    with sdk.inference("m", attributes={"monitor.sample_weight": 3}):
        pass
    assert weights(exporter) == {"m": 6.0}


@pytest.mark.parametrize("started", ["joined"], indirect=True)
def test_our_rate_on_top_of_a_ratio(started: Callable[..., InMemorySpanExporter]) -> None:
    exporter = started(TraceIdRatioBased(0.5), sample_rate=0.25)
    # Last 64 bits: below half, and the last 56 of them at the very end.
    call("both", remote(9 << 96 | 3 << 56 | ALL - 1))
    call("ours leaves out", remote(9 << 96 | 3 << 56))
    call("theirs leaves out", remote(9 << 96 | 200 << 56 | ALL - 1))
    call("own bits", remote(9 << 96 | 4 << 56, state="ot=rv:ffffffffffffff"))
    token = attach(remote(9 << 96 | 5 << 56))
    with sdk.inference("failed") as one:
        one.error("503")
    detach(token)
    assert weights(exporter) == {"both": 8.0, "own bits": 8.0, "failed": 2.0}


@pytest.mark.parametrize("rate", [0.5, 0.3, 0.05, 1 / 300, 1 / 4096])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.97])
def test_a_weight_is_one_over_the_share_that_passes(rate: float, share: float) -> None:
    g = np.random.default_rng(1)
    bits = g.integers(0, 2**64, 4_000_000, dtype=np.uint64)
    bound, threshold = TraceIdRatioBased.get_bound_for_rate(rate), ALL - round(share * ALL)
    passed = int(((bits < np.uint64(bound)) & ((bits & np.uint64(ALL - 1)) >= np.uint64(threshold))).sum())
    expected = len(bits) / joint_weight(bound, threshold)
    assert abs(passed - expected) <= 4.5 * np.sqrt(expected) + 1e-9
    # And where the bits are none of the trace id's, both are independent.
    assert joint_weight(bound, threshold, same_bits=False) == pytest.approx(1 / (rate * share), rel=1e-9)


@pytest.mark.parametrize("rate", [0.0, 1.0, 1e-30])
def test_a_ratio_that_chooses_nothing_or_all(rate: float) -> None:
    assert read_sampler(TraceIdRatioBased(rate)).bound is None


def test_what_is_no_sampler_says_nothing() -> None:
    assert read_sampler(None).bound is None
    assert read_sampler(None).asks_parent


def test_only_the_latest_traces_are_remembered() -> None:
    traces = Traces(3)
    for trace_id in (1, 2, 3, 1, 4):
        traces.add(trace_id)
    assert [trace_id for trace_id in range(6) if trace_id in traces] == [1, 3, 4]
    assert len(traces) == 3


ENVIRONMENT = """
import json
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from monitor import sdk
exporter = InMemorySpanExporter()
sdk.init("svc", exporter=exporter, queue_size=10_000)
for _ in range(2000):
    with sdk.inference("m"):
        pass
sdk.flush()
print(json.dumps([span.attributes.get("monitor.sample_weight") for span in exporter.get_finished_spans()]))
"""


@pytest.mark.parametrize("name", ["traceidratio", "parentbased_traceidratio"])
def test_by_the_environment(name: str, python: Callable[..., str]) -> None:
    found = json.loads(python(ENVIRONMENT, OTEL_TRACES_SAMPLER=name, OTEL_TRACES_SAMPLER_ARG="0.25"))
    assert set(found) == {4.0}
    # 2,000 calls, each sent with probability 1/4: standard deviation of the estimate 4 * sqrt(2000 * 3/16).
    assert abs(sum(found) - 2000) < 5 * 4 * (2000 * 3 / 16) ** 0.5
