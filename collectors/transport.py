"""One export over the wire, by OTLP/gRPC or OTLP/HTTP with protobuf, and what the answer to it means."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal, Protocol
from urllib.parse import SplitResult, urlsplit

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from monitor.errors import BadInput

Signal = Literal["traces", "metrics", "logs"]
EXPORT_METHODS: Final[Mapping[Signal, str]] = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
HTTP_PATHS: Final[Mapping[Signal, str]] = {"traces": "/v1/traces", "metrics": "/v1/metrics", "logs": "/v1/logs"}
CONTENT_TYPE: Final = "application/x-protobuf"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of one request.

    `verdict` is "accepted" (but `rejected_items` of it were not), "retry" (nothing was taken, or nobody
    knows; send the same again, after `retry_after_s` if the receiver said so), "refused" (this request will
    never be taken) or "closed" (no request will be: wrong address, wrong token).
    """

    verdict: Literal["accepted", "retry", "refused", "closed"]
    reason: str = ""
    rejected_items: int = 0
    retry_after_s: float | None = None


class Transport(Protocol):
    """Sends serialised requests; may be used by several threads at once."""

    def reachable(self, timeout_s: float) -> bool: ...

    def export(self, body: bytes, timeout_s: float) -> Answer: ...

    def close(self) -> None: ...


def open_transport(
    endpoint: str, protocol: str, headers: Mapping[str, str] | None = None, *, signal: Signal = "traces"
) -> Transport:
    """A transport of one signal to `host:port` or a URL; https means TLS.

    Raises
    ------
    BadInput
        If the endpoint is not an address, or the protocol not one of grpc and http.
    """
    if protocol not in ("grpc", "http"):
        raise BadInput(f"Protocol {protocol!r} is not known; use grpc or http.")
    url = _url(endpoint)
    chosen = {name.lower(): value for name, value in (headers or {}).items()}
    return GrpcTransport(url, chosen, signal) if protocol == "grpc" else HttpTransport(url, chosen, signal)


def _url(endpoint: str) -> SplitResult:
    url = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
    try:
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port is not None
    except ValueError:  # the port is no number, or too large
        usable = False
    if not usable:
        raise BadInput(f"Endpoint {endpoint!r} is not an address; wanted host:port or http(s)://host:port.")
    return url


# --- gRPC ---------------------------------------------------------------------------------------------------

_GRPC_RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_GRPC_CLOSED: Final = frozenset(
    {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED}
)


class GrpcTransport:
    """OTLP/gRPC; the request is passed as bytes, so nothing is serialised twice."""

    def __init__(self, url: SplitResult, headers: Mapping[str, str], signal: Signal = "traces") -> None:
        # Without these a channel waits up to two minutes before it tries a restarted server again.
        options = [
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.max_send_message_length", -1),
        ]
        if url.scheme == "https":
            self._channel = grpc.secure_channel(url.netloc, grpc.ssl_channel_credentials(), options)
        else:
            self._channel = grpc.insecure_channel(url.netloc, options)
        method = EXPORT_METHODS[signal]
        self._call = self._channel.unary_unary(method, request_serializer=None, response_deserializer=None)
        self._metadata = tuple(headers.items())

    def reachable(self, timeout_s: float) -> bool:
        try:
            grpc.channel_ready_future(self._channel).result(timeout=timeout_s)
        except grpc.FutureTimeoutError:
            return False
        return True

    def export(self, body: bytes, timeout_s: float) -> Answer:
        try:
            return _accepted(self._call(body, timeout=timeout_s, metadata=self._metadata))
        except grpc.RpcError as error:
            return _grpc_failure(error)

    def close(self) -> None:
        self._channel.close()


def _grpc_failure(error: grpc.RpcError) -> Answer:
    # What a unary call raises is a call object too; its type says so only at run time.
    assert isinstance(error, grpc.Call), "a unary call raises a grpc.Call"
    code = error.code()
    reason = f"{code.name}: {error.details()}"[:300]
    delay_s = _retry_info_s(error)
    if code in _GRPC_RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and delay_s is not None):
        return Answer(verdict="retry", reason=reason, retry_after_s=delay_s)
    return Answer(verdict="closed" if code in _GRPC_CLOSED else "refused", reason=reason)


def _retry_info_s(error: grpc.Call) -> float | None:
    """Delay of a `google.rpc.RetryInfo` in the status details, or under the key the Python exporter reads."""
    for key, value in error.trailing_metadata() or ():
        info = RetryInfo()
        try:
            if key == "google.rpc.retryinfo-bin":
                info.ParseFromString(value)
                return _delay_s(info)
            if key == "grpc-status-details-bin":
                for detail in Status.FromString(value).details:
                    if detail.Unpack(info):
                        return _delay_s(info)
        except DecodeError:
            continue
    return None


def _delay_s(info: RetryInfo) -> float:
    return max(0.0, float(info.retry_delay.seconds) + float(info.retry_delay.nanos) / 1e9)


# --- HTTP ---------------------------------------------------------------------------------------------------

_HTTP_RETRYABLE: Final = frozenset({429, 502, 503, 504})
# Not "this data is wrong" but "not here", "not you" or "not like this": the next request would get the same.
_HTTP_CLOSED: Final = frozenset({301, 302, 307, 308, 401, 403, 404, 405, 415})


class HttpTransport:
    """OTLP/HTTP with protobuf bodies; one kept-alive connection a thread."""

    def __init__(self, url: SplitResult, headers: Mapping[str, str], signal: Signal = "traces") -> None:
        self._url = url
        base, path = url.path.rstrip("/"), HTTP_PATHS[signal]
        self._path = base if base.endswith(path) else base + path
        self._headers = {"user-agent": "inference-monitor-replay", **headers, "content-type": CONTENT_TYPE}
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: list[http.client.HTTPConnection] = []

    def reachable(self, timeout_s: float) -> bool:
        probe = self._connect(timeout_s)
        try:
            probe.connect()
        except OSError:
            return False
        finally:
            probe.close()
        return True

    def export(self, body: bytes, timeout_s: float) -> Answer:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect(timeout_s)
            with self._lock:
                self._open.append(connection)
        try:
            connection.request("POST", self._path, body=body, headers=self._headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            # A subclass, RemoteDisconnected, only says that the connection broke.
            if type(error) is http.client.BadStatusLine:
                connection.close()
                return Answer(verdict="closed", reason="it answers, but not in HTTP; is it a gRPC port?")
            connection.close()  # the next request opens it again
            return Answer(verdict="retry", reason=f"{type(error).__name__}: {error}"[:300])
        if 200 <= response.status < 300:
            return _accepted(content)
        return _http_failure(response, content)

    def close(self) -> None:
        with self._lock:
            for connection in self._open:
                connection.close()

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=ssl.create_default_context())
        return http.client.HTTPConnection(host, port, timeout=timeout_s)


def _http_failure(response: http.client.HTTPResponse, content: bytes) -> Answer:
    reason = f"{response.status} {response.reason}"
    if message := _status_message(response, content):
        reason = f"{reason}: {message}"[:300]
    if response.status in _HTTP_RETRYABLE:
        return Answer(verdict="retry", reason=reason, retry_after_s=_retry_after_s(response.getheader("Retry-After")))
    return Answer(verdict="closed" if response.status in _HTTP_CLOSED else "refused", reason=reason)


def _status_message(response: http.client.HTTPResponse, content: bytes) -> str:
    if response.getheader("Content-Type", "").split(";")[0].strip() != CONTENT_TYPE:
        return ""
    try:
        return str(Status.FromString(content).message)
    except DecodeError:
        return ""


def _retry_after_s(text: str | None) -> float | None:
    """Seconds out of a Retry-After header, which holds seconds or a date; None if it is absent or neither."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _accepted(content: bytes) -> Answer:
    try:
        # The answers of all signals have the same fields under the same numbers.
        partial = ExportTraceServiceResponse.FromString(content).partial_success
    except DecodeError:
        # The status said success, and a body that cannot be read must not make the same spans go out twice.
        return Answer(verdict="accepted", reason="the answer's body is not an ExportTraceServiceResponse")
    return Answer(verdict="accepted", reason=partial.error_message, rejected_items=int(partial.rejected_spans))
