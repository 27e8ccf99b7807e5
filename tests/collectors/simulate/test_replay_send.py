"""Sending: retries, refusals and the count of every span."""

from __future__ import annotations

import threading
import time
from typing import Any

import grpc
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collectors.simulate.calls import Origin, calls_of
from collectors.simulate.replay import NoReceiver, open_sender, slices
from collectors.simulate.send import ReplayFailed, ReplayResult, Sender
from collectors.simulate.serving import Node
from collectors.simulate.spans import Batch, Encoder
from collectors.simulate.workload import azure_trace
from collectors.transport import open_transport
from monitor.errors import BadInput


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    trace = azure_trace()
    calls = calls_of(trace, nodes=[Node(name="n")], seed=0, with_parents=False)
    encoder = Encoder(
        [Origin(service="s", node="n", model="m", provider="p")], emitter="t", ids=np.random.default_rng(1)
    )
    return [encoder.encode(calls, picked) for picked in slices(calls, np.arange(100), 20)]


def send(receiver: Any, batches: list[Batch], **options: Any) -> ReplayResult:
    chosen: dict[str, Any] = {"in_flight": 2, "patience_s": 10.0, "stop": threading.Event(), "headers": None}
    with open_sender(receiver.endpoint, protocol=receiver.protocol, **{**chosen, **options}) as sender:
        for batch in batches:
            sender.put(batch)
    return sender.result


def messages(body: bytes) -> bytes:
    """The body in the protobuf library's order of fields, which the gRPC receiver's bodies have gone through."""
    return bytes(ExportTraceServiceRequest.FromString(body).SerializeToString(deterministic=True))


def consistent(result: ReplayResult) -> ReplayResult:
    assert result.sent == result.acknowledged + result.rejected + result.unacknowledged
    assert sum(result.reasons.values()) == result.rejected + result.unacknowledged
    return result


def test_everything_arrives_once(receiver: Any, batches: list[Batch]) -> None:
    result = consistent(send(receiver, batches, headers={"Authorization": "Bearer t0"}))
    assert (result.sent, result.acknowledged, result.calls, result.retried) == (100, 100, 100, 0)
    assert sorted(map(messages, receiver.bodies)) == sorted(messages(batch.body) for batch in batches)
    assert all(headers["authorization"] == "Bearer t0" for headers in receiver.headers)


@pytest.mark.parametrize("as_key", [False, True], ids=["status-details", "exporter-key"])
def test_unavailable_is_tried_again_after_the_delay_asked_for(
    grpc_receiver: Any, batches: list[Batch], refusal: Any, as_key: bool
) -> None:
    grpc_receiver.refusals.extend([refusal(retry_after_s=0.4, as_key=as_key)] * 2)
    result = consistent(send(grpc_receiver, batches[:1], in_flight=1))
    assert (result.acknowledged, result.retried) == (20, 2)
    gaps = np.diff(grpc_receiver.seen_s)
    assert ((gaps >= 0.4) & (gaps < 2.0)).all()


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
def test_http_overload_is_tried_again_after_retry_after(
    http_receiver: Any, batches: list[Batch], refusal: Any, status: int, as_date: bool
) -> None:
    http_receiver.refusals.append(refusal(status=status, retry_after_s=2.0 if as_date else 1.0, as_date=as_date))
    result = consistent(send(http_receiver, batches[:1], in_flight=1))
    assert (result.acknowledged, result.retried) == (20, 1)
    # A date has whole seconds, so two seconds may have become one and a bit.
    assert 0.9 <= np.diff(http_receiver.seen_s)[0] < 3.0


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
        (grpc.StatusCode.ABORTED, 502),
        (grpc.StatusCode.DATA_LOSS, 429),
    ],
)
def test_without_a_delay_waits_double(
    receiver: Any, batches: list[Batch], refusal: Any, code: grpc.StatusCode, status: int
) -> None:
    receiver.refusals.extend([refusal(code=code, status=status)] * 3)
    result = consistent(send(receiver, batches[:1], in_flight=1))
    assert (result.acknowledged, result.retried) == (20, 3)
    gaps = np.diff(receiver.seen_s)
    assert (gaps >= [0.08, 0.16, 0.32]).all()


def test_resource_exhausted_is_tried_again_only_if_told_when(
    grpc_receiver: Any, batches: list[Batch], refusal: Any
) -> None:
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    grpc_receiver.refusals.extend([refusal(code=exhausted, retry_after_s=0.1), refusal(code=exhausted)])
    result = consistent(send(grpc_receiver, batches[:1], in_flight=1))
    assert (result.acknowledged, result.rejected, result.retried) == (0, 20, 1)


@pytest.mark.parametrize(("code", "status"), [(grpc.StatusCode.INVALID_ARGUMENT, 400), (grpc.StatusCode.INTERNAL, 500)])
def test_a_permanent_refusal_is_counted_with_its_reason_and_the_rest_goes_on(
    receiver: Any, batches: list[Batch], refusal: Any, code: grpc.StatusCode, status: int
) -> None:
    receiver.refusals.append(refusal(code=code, status=status))
    result = consistent(send(receiver, batches))
    assert (result.sent, result.acknowledged, result.rejected, result.retried) == (100, 80, 20, 0)
    [(reason, count)] = result.reasons.items()
    assert count == 20
    assert "told to refuse" in reason
    assert (code.name if receiver.protocol == "grpc" else str(status)) in reason


def test_partial_success_counts_what_was_rejected_and_is_not_sent_again(
    receiver: Any, batches: list[Batch], refusal: Any
) -> None:
    receiver.refusals.append(refusal(rejected_spans=3))
    result = consistent(send(receiver, batches))
    assert (result.sent, result.acknowledged, result.rejected, result.retried) == (100, 97, 3, 0)
    assert result.reasons == {"bad ids": 3}
    assert len(receiver.bodies) == len(batches)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, 401),
        (grpc.StatusCode.PERMISSION_DENIED, 403),
        (grpc.StatusCode.UNIMPLEMENTED, 404),
    ],
)
def test_a_closed_door_ends_the_replay_in_one_sentence(
    receiver: Any, batches: list[Batch], refusal: Any, code: grpc.StatusCode, status: int
) -> None:
    receiver.always = refusal(code=code, status=status)
    with pytest.raises(ReplayFailed, match=r"takes no traces from us .*check the address, the protocol") as failed:
        send(receiver, batches * 20)
    result = consistent(failed.value.result)
    assert result.acknowledged == 0
    assert result.rejected >= 20
    assert len(receiver.seen_s) < 20, "it went on knocking"


def test_patience_runs_out(receiver: Any, batches: list[Batch], refusal: Any) -> None:
    receiver.always = refusal(code=grpc.StatusCode.UNAVAILABLE, status=503)
    began = time.monotonic()
    with pytest.raises(ReplayFailed, match=r"did not accept a request within 0\.6 s .*told to refuse") as failed:
        send(receiver, batches, patience_s=0.6)
    assert time.monotonic() - began < 5
    result = consistent(failed.value.result)
    assert (result.acknowledged, result.rejected) == (0, 0)
    assert result.unacknowledged == result.sent > 0
    assert result.retried >= 2


def test_stop_ends_the_waiting(receiver: Any, batches: list[Batch], refusal: Any) -> None:
    receiver.always = refusal(code=grpc.StatusCode.UNAVAILABLE, status=503, retry_after_s=60.0)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    result = consistent(send(receiver, batches[:2], patience_s=100.0, stop=stop))
    assert time.monotonic() - began < 5
    assert result.unacknowledged == 40


def test_a_server_that_restarts_meanwhile_gets_the_rest(
    restart_grpc: Any, grpc_receiver: Any, batches: list[Batch]
) -> None:
    server = restart_grpc(grpc_receiver)
    port = int(grpc_receiver.endpoint.rpartition(":")[2])
    with open_sender(
        grpc_receiver.endpoint,
        protocol="grpc",
        headers=None,
        in_flight=2,
        patience_s=20.0,
        stop=threading.Event(),
    ) as sender:
        for batch in batches[:2]:
            sender.put(batch)
        server.stop(grace=None).wait()
        threading.Timer(0.5, restart_grpc, (grpc_receiver, port)).start()
        for batch in batches[2:]:
            sender.put(batch)
    result = consistent(sender.result)
    assert result.acknowledged == 100
    assert result.retried >= 1
    # A request that was cut off may have arrived all the same, so it may be there twice; none may be missing.
    assert {messages(batch.body) for batch in batches} == {messages(body) for body in grpc_receiver.bodies}


def test_a_dropped_http_connection_is_opened_again(http_receiver: Any, batches: list[Batch]) -> None:
    transport = open_transport(http_receiver.endpoint, "http")
    assert transport.export(batches[0].body, 5.0).verdict == "accepted"
    transport.close()
    assert transport.export(batches[1].body, 5.0).verdict == "accepted"
    transport.close()


def test_http_to_a_grpc_port_is_told_apart_from_an_outage(grpc_receiver: Any, batches: list[Batch]) -> None:
    grpc_receiver.protocol = "http"
    with pytest.raises(ReplayFailed, match=r"it answers, but not in HTTP; is it a gRPC port\?"):
        send(grpc_receiver, batches, patience_s=5.0)


def test_an_interrupt_does_not_wait_for_patience(receiver: Any, batches: list[Batch], refusal: Any) -> None:
    receiver.always = refusal(retry_after_s=60.0)
    options: dict[str, Any] = {"headers": None, "in_flight": 1, "patience_s": 60.0, "stop": threading.Event()}
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted(receiver, batches[0], options)
    assert time.monotonic() - began < 3
    assert not options["stop"].is_set()


def interrupted(receiver: Any, batch: Batch, options: dict[str, Any]) -> None:
    with open_sender(receiver.endpoint, protocol=receiver.protocol, **options) as sender:
        sender.put(batch)
        time.sleep(0.3)
        raise KeyboardInterrupt


def test_in_flight_is_bounded(batches: list[Batch]) -> None:
    """A receiver that never answers holds `in_flight` requests, as many wait, and `put` blocks."""

    class Stuck:
        def __init__(self) -> None:
            self.go = threading.Event()
            self.now = 0

        def reachable(self, timeout_s: float) -> bool:
            return True

        def export(self, body: bytes, timeout_s: float) -> Any:
            self.now += 1
            self.go.wait(20)
            return open_answer()

        def close(self) -> None:
            pass

    stuck = Stuck()
    sender = Sender(stuck, endpoint="stuck", in_flight=2, patience_s=5.0, stop=threading.Event())
    handed: list[int] = []

    def feed() -> None:
        for n, batch in enumerate(batches):
            sender.put(batch)
            handed.append(n)

    feeder = threading.Thread(target=feed)
    feeder.start()
    time.sleep(0.5)
    assert stuck.now == 2
    assert len(handed) == 4
    stuck.go.set()
    feeder.join()
    sender.close()
    assert consistent(sender.result).acknowledged == 100


def open_answer() -> Any:
    from collectors.transport import Answer

    return Answer(verdict="accepted")


def test_a_failing_callback_is_seen_by_the_caller(receiver: Any, batches: list[Batch]) -> None:
    def fail(batch: Batch, accepted: int) -> None:
        raise ZeroDivisionError("callback")

    with pytest.raises(ZeroDivisionError, match="callback"):
        send(receiver, batches, on_batch=fail)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_nobody_there_is_said_in_one_sentence(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.simulate.replay.CONNECT_TIMEOUT_S", 0.3)
    with (
        pytest.raises(NoReceiver, match=r"No OTLP/.* receiver answers at 127\.0\.0\.1:9 .*monitor up"),
        open_sender(
            "127.0.0.1:9",
            protocol=protocol,
            headers=None,
            in_flight=1,
            patience_s=1.0,
            stop=threading.Event(),
        ),
    ):
        pass


@pytest.mark.parametrize("endpoint", ["", "localhost", "ftp://h:1", "h:99999", "h:port", "http://:4318"])
def test_a_bad_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(BadInput, match="is not an address; wanted host:port"):
        open_transport(endpoint, "grpc")


def test_a_bad_protocol_is_refused() -> None:
    with pytest.raises(BadInput, match="use grpc or http"):
        open_transport("localhost:4317", "udp")
