"""Replays end to end, over real sockets."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collectors.simulate.replay import parse_speed, replay
from collectors.simulate.spans import Batch
from collectors.simulate.workload import Workload, azure_trace, read_workload
from monitor import semconv
from monitor.errors import BadInput


def first(workload: Workload, count: int) -> Workload:
    return dataclasses.replace(
        workload,
        arrival_ns=workload.arrival_ns[:count],
        input_tokens=workload.input_tokens[:count],
        output_tokens=workload.output_tokens[:count],
    )


def test_the_azure_trace_arrives_with_its_exact_totals(receiver: Any) -> None:
    seen: list[tuple[int, int]] = []
    acknowledged: list[Batch] = []
    result = replay(
        azure_trace(),
        endpoint=receiver.endpoint,
        protocol=receiver.protocol,
        on_progress=lambda done, total: seen.append((done, total)),
        on_acknowledged=acknowledged.append,
    )
    spans = receiver.spans()
    calls = [span for span in spans if span.is_call]
    assert len(calls) == result.calls == 19_366
    assert sum(call.attributes[semconv.INPUT_TOKENS] for call in calls) == 22_361_870
    assert sum(call.attributes[semconv.OUTPUT_TOKENS] for call in calls) == 4_088_665
    assert result.acknowledged == result.sent == len(spans)
    assert len({span.span.span_id for span in spans}) == len(spans)
    assert all(call.attributes[semconv.SIMULATED] for call in calls)
    assert seen[-1] == (len(spans), len(spans))
    assert sum(batch.calls for batch in acknowledged) == 19_366


def test_max_speed_back_fills_with_the_original_spacing_up_to_now(grpc_receiver: Any) -> None:
    workload = first(azure_trace(), 300)
    before = time.time_ns()
    replay(workload, endpoint=grpc_receiver.endpoint)
    after = time.time_ns()
    spans = grpc_receiver.spans()
    starts = np.sort([span.times_ns[0] for span in spans if span.is_call])
    assert (starts - starts[0]).tolist() == workload.arrival_ns.tolist()
    assert before <= max(span.times_ns[1] for span in spans) <= after


@pytest.mark.parametrize("zone", [UTC, None])
def test_a_start_places_the_first_arrival_to_the_microsecond(grpc_receiver: Any, zone: Any) -> None:
    start = datetime(2026, 3, 4, 5, 6, 7, 123457, tzinfo=zone)
    replay(first(azure_trace(), 10), endpoint=grpc_receiver.endpoint, start=start)
    whole = int(datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC).timestamp())
    assert min(call.times_ns[0] for call in grpc_receiver.calls()) == whole * 10**9 + 123_457_000


def test_the_vllm_run_gives_its_published_aggregates(receiver: Any, vllm_run: Path) -> None:
    published = json.loads(gzip.decompress(vllm_run.read_bytes()))
    run = read_workload(vllm_run)
    result = replay(run, endpoint=receiver.endpoint, protocol=receiver.protocol, service="bench")
    calls = sorted(receiver.calls(), key=lambda call: call.times_ns[0])
    assert len(calls) == result.calls == 200
    ttft_ms = np.array([call.attributes[semconv.TTFT] for call in calls]) * 1e3
    e2e_ms = np.array([call.times_ns[1] - call.times_ns[0] for call in calls]) / 1e6
    output = np.array([call.attributes[semconv.OUTPUT_TOKENS] for call in calls])
    many = output > 1
    assert (~many).sum() == 14
    tpot_ms = (e2e_ms - ttft_ms)[many] / (output[many] - 1)
    for name, values in (("ttft", ttft_ms), ("tpot", tpot_ms)):
        assert values.mean() == pytest.approx(published[f"mean_{name}_ms"], rel=1e-6)
        assert np.median(values) == pytest.approx(published[f"median_{name}_ms"], rel=1e-6)
        assert np.percentile(values, 99) == pytest.approx(published[f"p99_{name}_ms"], rel=1e-6)
    assert run.measured is not None
    assert [call.attributes[semconv.TTFT] for call in calls] == published["ttfts"]
    assert [e - s for s, e in (call.times_ns for call in calls)] == run.measured.duration_ns.tolist()
    assert [call.attributes[semconv.INPUT_TOKENS] for call in calls] == published["input_lens"]
    assert output.tolist() == published["output_lens"]


def test_measured_calls_are_not_called_simulated_but_their_arrivals_are(grpc_receiver: Any, vllm_run: Path) -> None:
    replay(read_workload(vllm_run), endpoint=grpc_receiver.endpoint, service="bench", variant="fp16")
    for span in grpc_receiver.spans():
        assert span.attributes[semconv.SIMULATED_ARRIVALS] is True
        assert (semconv.SIMULATED in span.attributes) == (not span.is_call)
        assert span.resource[semconv.SERVICE_NAME] == "bench"
        assert span.resource[semconv.VARIANT] == "fp16"
        assert span.resource[semconv.NODE] == "node-1"
    call = grpc_receiver.calls()[0]
    assert call.attributes[semconv.REQUEST_MODEL] == "meta-llama/Llama-3.3-70B-Instruct"
    assert semconv.QUEUE_TIME not in call.attributes


def test_failed_requests_of_a_run_have_an_error_type(grpc_receiver: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    run = {"input_lens": [5, 6], "output_lens": [2, 0], "ttfts": [0.1, 0.0], "itls": [[0.2], []]}
    path.write_text(json.dumps({**run, "errors": ["", "Service Unavailable"], "request_rate": 5.0}))
    replay(read_workload(path), endpoint=grpc_receiver.endpoint, with_parents=False)
    good, bad = sorted(grpc_receiver.calls(), key=lambda call: call.times_ns[0])
    assert semconv.ERROR_TYPE not in good.attributes
    assert bad.attributes[semconv.ERROR_TYPE] == "Service Unavailable"
    assert semconv.TTFT not in bad.attributes


def test_finite_speed_is_live_traffic_with_compressed_spacing(receiver: Any) -> None:
    """Arrivals a minute apart at speed 60 come a second apart, at the time of the wall clock, never in the future."""
    workload = dataclasses.replace(
        first(azure_trace(), 3),
        arrival_ns=np.array([0, 60, 90], dtype=np.int64) * 10**9,
        output_tokens=np.array([5, 5, 5]),
    )
    before = time.time_ns()
    result = replay(workload, endpoint=receiver.endpoint, protocol=receiver.protocol, speed=60)
    after = time.time_ns()
    calls = sorted(receiver.calls(), key=lambda call: call.times_ns[0])
    starts = np.array([call.times_ns[0] for call in calls])
    assert (starts - starts[0]).tolist() == [0, 1_000_000_000, 1_500_000_000]
    assert before <= starts[0] < before + 2 * 10**9
    assert max(call.times_ns[1] for call in calls) <= after
    assert result.acknowledged == result.sent
    # The first went out while the last had not even arrived.
    assert len(receiver.bodies) >= 2
    # Latencies are as at the original pace.
    slow = [call.times_ns[1] - call.times_ns[0] for call in calls]
    receiver.bodies.clear()
    replay(workload, endpoint=receiver.endpoint, protocol=receiver.protocol, speed="max")
    again = sorted(receiver.calls(), key=lambda call: call.times_ns[0])
    assert slow == [call.times_ns[1] - call.times_ns[0] for call in again]


def test_stop_ends_a_live_replay_at_once(grpc_receiver: Any) -> None:
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    began = time.monotonic()
    result = replay(azure_trace(), endpoint=grpc_receiver.endpoint, speed=20, stop=stop)
    assert time.monotonic() - began < 5
    assert result.sent == result.acknowledged == len(grpc_receiver.spans())
    assert result.calls < 19_366


def test_two_replays_never_share_an_id_or_an_emitter(grpc_receiver: Any) -> None:
    for _ in range(2):
        replay(first(azure_trace(), 50), endpoint=grpc_receiver.endpoint, nodes=["a"])
    calls = grpc_receiver.calls()
    assert len({call.span.trace_id for call in calls}) == 100
    assert len({call.resource[semconv.EMITTER] for call in calls}) == 2


def test_nodes_model_and_batch_are_as_asked(grpc_receiver: Any) -> None:
    replay(
        first(azure_trace(), 200),
        endpoint=grpc_receiver.endpoint,
        nodes=["a", "b"],
        model="mine",
        batch=10,
        with_parents=False,
    )
    calls = grpc_receiver.calls()
    assert {call.resource[semconv.NODE] for call in calls} == {"a", "b"}
    assert {call.attributes[semconv.REQUEST_MODEL] for call in calls} == {"mine"}
    assert len(grpc_receiver.bodies) == 20


@pytest.mark.parametrize(
    ("text", "speed"), [("max", math.inf), ("0", math.inf), ("1", 1.0), ("60x", 60.0), (" 0.5 ", 0.5)]
)
def test_speeds(text: str, speed: float) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["fast", "-1", "nan", ""])
def test_bad_speeds_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is not a speed; wanted max"):
        parse_speed(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": -1.0}, "is not a speed"),
        ({"speed": float("nan")}, "is not a speed"),
        ({"batch": 0}, "both must be at least 1"),
        ({"in_flight": 0}, "both must be at least 1"),
        ({"speed": 2.0, "start": datetime(2026, 1, 1, tzinfo=UTC)}, "at speed max only"),
        ({"nodes": [""]}, "cannot be empty"),
        ({"protocol": "udp"}, "use grpc or http"),
        ({"endpoint": "nowhere"}, "is not an address"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        replay(first(azure_trace(), 3), **{"endpoint": "127.0.0.1:4317", **options})
