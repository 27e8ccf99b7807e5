"""Sending: what waits while the receiver is away, what is dropped, what is refused; each change is said once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from collectors.gpu import send as send_module
from collectors.gpu.metrics import Starts, request
from collectors.gpu.readings import Reading, Sample
from collectors.gpu.run import Options
from collectors.gpu.send import Sender, Sent
from monitor.serve.ports import free_port


class Receiver:
    """A real gRPC metrics service on a port of its own, which answers as told and remembers what it took."""

    def __init__(self) -> None:
        self.port = free_port("127.0.0.1", 0, "a test", "--grpc-port")
        self.code: grpc.StatusCode | None = None
        self.rejected = 0
        self.requests: list[bytes] = []
        self.times: list[int] = []
        self._server: grpc.Server | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
        handler = grpc.unary_unary_rpc_method_handler(self._export)
        service = "opentelemetry.proto.collector.metrics.v1.MetricsService"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
        assert server.add_insecure_port(f"127.0.0.1:{self.port}") == self.port
        server.start()
        self._server = server

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None

    def _export(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        self.requests.append(body)
        if self.code is not None:
            context.abort(self.code, "as told")
        for part in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            self.times.append(part.scope_metrics[0].metrics[0].gauge.data_points[0].time_unix_nano)
        answer = ExportMetricsServiceResponse()
        if self.rejected:
            answer.partial_success.rejected_data_points = self.rejected
            answer.partial_success.error_message = "too old"
        return answer.SerializeToString()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(send_module, "FIRST_WAIT_S", 0.05)
    made = Receiver()
    yield made
    made.stop()


def sample(number: int) -> bytes:
    readings = (Reading(gpu="GPU-1", power_w=1.0),)
    return request(Sample(time_ns=number, readings=readings), {"host.name": "h"}, Starts()).SerializeToString()


def sender(receiver: Receiver, **options: int) -> Sender:
    transport = Options(endpoint=receiver.endpoint).transport()
    return Sender(transport, endpoint=receiver.endpoint, longest_wait_s=0.2, **options)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_what_came_while_the_receiver_was_away_arrives_in_order_and_together(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "collectors.gpu")
    sending = sender(receiver)
    for number in range(1, 101):
        sending.put(sample(number))
        if number == 1:
            until(lambda: "takes no GPU samples" in caplog.text, "it was not said that nobody is there")
    assert sending.sent == Sent(taken=100, waiting=100)
    receiver.start()
    until(lambda: sending.sent.accepted == 100, "not all arrived")
    assert receiver.times == list(range(1, 101))
    assert len(receiver.requests) <= 3
    sending.put(sample(101))
    assert sending.close() == Sent(taken=101, accepted=101)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]  # once each, however often it tried
    assert receiver.endpoint in caplog.messages[0]


def test_a_full_buffer_drops_the_oldest_and_says_so(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    size = len(sample(1))
    sending = sender(receiver, max_waiting_bytes=10 * size)
    sending.put(sample(1))
    until(lambda: "takes no GPU samples" in caplog.text, "nothing was tried")
    for number in range(2, 31):
        sending.put(sample(number))
    # The first is on its way, and stays so.
    assert sending.sent == Sent(taken=30, dropped=19, waiting=11)
    receiver.start()
    assert sending.close(5) == Sent(taken=30, dropped=19, accepted=11)
    assert receiver.times == [1, *range(21, 31)]
    assert caplog.text.count("the oldest GPU samples are dropped") == 1


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL])
def test_what_is_refused_for_good_is_not_sent_again(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, code: grpc.StatusCode
) -> None:
    receiver.start()
    receiver.code = code
    sending = sender(receiver)
    sending.put(sample(1))
    until(lambda: sending.sent.refused == 1, "it was not refused")
    receiver.code = None
    sending.put(sample(2))
    assert sending.close() == Sent(taken=2, refused=1, accepted=1)
    assert receiver.times == [2]
    assert f"refused GPU samples for good: {code.name}: as told" in caplog.text


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED]
)
def test_what_may_be_put_right_is_waited_for(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, code: grpc.StatusCode
) -> None:
    receiver.start()
    receiver.code = code
    sending = sender(receiver)
    sending.put(sample(1))
    until(lambda: len(receiver.requests) >= 2, "it was not tried again")
    assert len(set(receiver.requests)) == 1  # the same bytes each time
    receiver.code = None
    until(lambda: sending.sent == Sent(taken=1, accepted=1), "it did not arrive")
    assert sending.close() == Sent(taken=1, accepted=1)
    assert ("check the address, the protocol and the token" in caplog.text) == (code is not grpc.StatusCode.UNAVAILABLE)


def test_points_that_a_receiver_leaves_out_are_said(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    receiver.start()
    receiver.rejected = 1
    sending = sender(receiver)
    sending.put(sample(1))
    assert sending.close() == Sent(taken=1, accepted=1)
    assert "too old" in caplog.text


def test_an_end_does_not_wait_for_a_receiver_that_is_away(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    sending = sender(receiver)
    sending.put(sample(1))
    began = time.monotonic()
    assert sending.close(0.3) == Sent(taken=1, waiting=1)
    assert time.monotonic() - began < 3
    assert "1 GPU samples were not sent" in caplog.text
    assert not [thread for thread in threading.enumerate() if thread.name == "gpu-send"]


@pytest.mark.parametrize(
    ("endpoint", "protocol", "kind"),
    [
        ("gpu-7:4317", "", "GrpcTransport"), ("http://gpu-7:4318", "", "HttpTransport"), ("gpu-7:4318", "grpc", "GrpcTransport"),
        ("http://gpu-7:80/v1/metrics", "", "HttpTransport"), ("gpu-7:4317", "http", "HttpTransport"),
    ],
)  # fmt: skip
def test_the_protocol_is_told_by_the_address(endpoint: str, protocol: str, kind: str) -> None:
    transport = Options(endpoint=endpoint, protocol=protocol).transport()
    assert type(transport).__name__ == kind
    transport.close()
