"""OTLP clients that send all the while, know every id they sent, and remember how each request was answered."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from tests.collectors.payloads import request

Protocol = Literal["grpc", "http"]
SPANS: Final = 20
ANSWER_S: Final = 10.0
_BATCHES_PER_CLIENT: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one request got: its code, its words, and the seconds after which it may be sent again."""

    outcome: Literal["acknowledged", "refused", "unknown", "wrong"]
    text: str
    took_s: float


def make_request(first: int, spans: int, padding: str = "", *, now_ns: int | None = None) -> ExportTraceServiceRequest:
    """Spans with the ids first, first + 1, …, that ended now, each with so much more in it."""
    message = request(first, spans, now_ns=now_ns)
    if padding:
        for span in message.resource_spans[0].scope_spans[0].spans:
            attribute = span.attributes.add()
            attribute.key, attribute.value.string_value = "padding", padding
    return message


def trace_service(channel: grpc.Channel) -> TraceServiceStub:
    return TraceServiceStub(channel)  # type: ignore[no-untyped-call]


def send_grpc(stub: TraceServiceStub, message: ExportTraceServiceRequest, token: str) -> Answer:
    begun = time.monotonic()
    try:
        answer = stub.Export(message, timeout=ANSWER_S, metadata=(("authorization", f"Bearer {token}"),))
    except grpc.RpcError as error:
        took_s = time.monotonic() - begun
        code, text = error.code(), f"{error.code().name}: {error.details()}"
        trailing = {item.key: item.value for item in error.trailing_metadata() or ()}
        if code is grpc.StatusCode.UNAVAILABLE and "grpc-status-details-bin" in trailing:
            told = _retry_delay_s(trailing["grpc-status-details-bin"])
            return Answer(outcome="refused" if told else "wrong", text=text, took_s=took_s)
        # Without details it is the library's own word: the connection broke, or nothing came in time.
        unknown = code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        return Answer(outcome="unknown" if unknown else "wrong", text=text, took_s=took_s)
    whole = answer.partial_success.rejected_spans == 0
    return Answer(
        outcome="acknowledged" if whole else "wrong", text=str(answer).strip(), took_s=time.monotonic() - begun
    )


def _retry_delay_s(details: bytes) -> float:
    info = RetryInfo()
    for detail in Status.FromString(details).details:
        if detail.Unpack(info):
            return float(info.retry_delay.ToNanoseconds()) / 1e9
    return 0.0


def send_http(connection: http.client.HTTPConnection, body: bytes, token: str) -> Answer:
    headers = {"Content-Type": "application/x-protobuf", "Authorization": f"Bearer {token}"}
    begun = time.monotonic()
    try:
        connection.request("POST", "/v1/traces", body, headers)
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return Answer(outcome="unknown", text=type(error).__name__, took_s=time.monotonic() - begun)
    took_s = time.monotonic() - begun
    if answer.status == 200:
        return Answer(outcome="wrong" if content else "acknowledged", text=repr(content), took_s=took_s)
    text = f"{answer.status}: {Status.FromString(content).message}"
    retryable = answer.status in (429, 503) and int(answer.headers.get("Retry-After", "0")) > 0
    return Answer(outcome="refused" if retryable else "wrong", text=text, took_s=took_s)


class Client:
    """Sends one batch after the other from a thread of its own, each until it is acknowledged.

    Attributes
    ----------
    acknowledged : list of int
        Ids of spans that were acknowledged, in order.
    unsure : Counter of int
        How often each span was sent without an answer: so many rows of it there may be in addition.
    """

    def __init__(self, protocol: Protocol, addresses: Mapping[str, str], token: str, *, number: int, padding: str = ""):
        self.protocol = protocol
        self.acknowledged: list[int] = []
        self.unsure: Counter[int] = Counter()
        self.answers: list[Answer] = []
        self._token = token
        self._padding = padding
        self._next = 1 + number * _BATCHES_PER_CLIENT * SPANS
        self._stop, self._given_up = threading.Event(), threading.Event()
        self._address = addresses[protocol].removeprefix("http://")
        self._thread = threading.Thread(target=self._run, name=f"client-{protocol}-{number}")
        self._thread.start()

    def stop(self) -> None:
        """Wait until the batch that is on its way is acknowledged, and send no more."""
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), f"{self.protocol}: the last batch is still not taken: {self.answers[-1:]}"

    def abandon(self) -> None:
        """Stop at once; what is on its way is given up."""
        self._given_up.set()
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with grpc.insecure_channel(
            self._address,
            options=[("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 300)],
        ) as channel:
            stub, connection = trace_service(channel), http.client.HTTPConnection(self._address, timeout=ANSWER_S)
            while not self._stop.is_set():
                self._send_until_taken(stub, connection)
            connection.close()

    def _send_until_taken(self, stub: TraceServiceStub, connection: http.client.HTTPConnection) -> None:
        ids = range(self._next, self._next + SPANS)
        self._next += SPANS
        message = make_request(ids.start, SPANS, self._padding)
        body = message.SerializeToString()
        while not self._given_up.is_set():
            answer = (
                send_grpc(stub, message, self._token)
                if self.protocol == "grpc"
                else send_http(connection, body, self._token)
            )
            self.answers.append(answer)
            if answer.outcome == "acknowledged":
                self.acknowledged.extend(ids)
                time.sleep(0.04)
                return
            if answer.outcome == "unknown":
                self.unsure.update(ids)
            # Sooner than it was told: that hurts more, and takes less of the test's time.
            time.sleep(0.1)
