"""Real OTLP receivers, over gRPC and HTTP, that record what arrives and can be told to refuse."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

VLLM_RUN = Path(__file__).parents[2] / "data/vllm-llama33-70b-serving/tp8_pp1_sharegpt_qps_01.json.gz"


@dataclass(kw_only=True)
class Refusal:
    """One answer that is not plain success; gRPC uses `code`, HTTP `status`."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    status: int = 503
    retry_after_s: float | None = None
    as_date: bool = False
    as_key: bool = False
    rejected_spans: int = 0


@dataclass(kw_only=True)
class Arrived:
    """A span with its resource, attributes as plain values."""

    span: Span
    resource: dict[str, Any]
    attributes: dict[str, Any]
    times_ns: tuple[int, int]

    @property
    def is_call(self) -> bool:
        return self.attributes.get("gen_ai.operation.name") == "chat"


@dataclass
class Receiver:
    """What both receivers share: the record, and the refusals to give before anything is accepted."""

    protocol: str
    endpoint: str = ""
    refusals: deque[Refusal] = field(default_factory=deque)
    always: Refusal | None = None
    bodies: list[bytes] = field(default_factory=list)
    logs: list[bytes] = field(default_factory=list)
    metrics: list[bytes] = field(default_factory=list)
    seen_s: list[float] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, body: bytes, headers: dict[str, str]) -> Refusal | None:
        with self.lock:
            self.seen_s.append(time.monotonic())
            self.headers.append(headers)
            refusal = self.refusals.popleft() if self.refusals else self.always
            if refusal is None or refusal.rejected_spans:
                self.bodies.append(body)
            return refusal

    def spans(self) -> list[Arrived]:
        out = []
        for body in self.bodies:
            for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = plain(resource_spans.resource.attributes)
                for scope_spans in resource_spans.scope_spans:
                    assert scope_spans.scope.name == "inference-monitor.replay"
                    for span in scope_spans.spans:
                        times = (span.start_time_unix_nano, span.end_time_unix_nano)
                        attributes = plain(span.attributes)
                        out.append(Arrived(span=span, resource=resource, attributes=attributes, times_ns=times))
        return out

    def calls(self) -> list[Arrived]:
        return [arrived for arrived in self.spans() if arrived.is_call]


def plain(attributes: Any) -> dict[str, Any]:
    keys = [attribute.key for attribute in attributes]
    assert len(keys) == len(set(keys)), "an attribute was sent twice"
    return {attribute.key: value_of(attribute.value) for attribute in attributes}


def value_of(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [value_of(v) for v in value.array_value.values] if kind == "array_value" else getattr(value, kind)


class GrpcService(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def Export(self, request: ExportTraceServiceRequest, context: grpc.ServicerContext) -> Any:
        headers = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        refusal = self.receiver.take(request.SerializeToString(), headers)
        if refusal is None:
            return ExportTraceServiceResponse()
        if refusal.rejected_spans:
            return partial_success(refusal)
        if refusal.retry_after_s is not None:
            context.set_trailing_metadata((retry_metadata(refusal),))
        return context.abort(refusal.code, "told to refuse")


class GrpcLogs(logs_service_pb2_grpc.LogsServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def Export(self, request: ExportLogsServiceRequest, context: grpc.ServicerContext) -> Any:
        self.receiver.logs.append(request.SerializeToString())
        return ExportLogsServiceResponse()


class GrpcMetrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def Export(self, request: ExportMetricsServiceRequest, context: grpc.ServicerContext) -> Any:
        self.receiver.metrics.append(request.SerializeToString())
        return ExportMetricsServiceResponse()


def retry_metadata(refusal: Refusal) -> tuple[str, bytes]:
    whole, rest = divmod(refusal.retry_after_s or 0.0, 1)
    info = RetryInfo(retry_delay=Duration(seconds=int(whole), nanos=int(rest * 1e9)))
    if refusal.as_key:
        return "google.rpc.retryinfo-bin", info.SerializeToString()
    detail = AnyMessage()
    detail.Pack(info)
    status = Status(code=refusal.code.value[0], message="told to refuse", details=[detail])
    return "grpc-status-details-bin", status.SerializeToString()


def partial_success(refusal: Refusal) -> ExportTraceServiceResponse:
    partial = ExportTracePartialSuccess(rejected_spans=refusal.rejected_spans, error_message="bad ids")
    return ExportTraceServiceResponse(partial_success=partial)


def start_grpc(receiver: Receiver, port: int = 0) -> grpc.Server:
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server  # the generated module has no types
    add(GrpcService(receiver), server)
    add_logs: Any = logs_service_pb2_grpc.add_LogsServiceServicer_to_server
    add_logs(GrpcLogs(receiver), server)
    add_metrics: Any = metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server
    add_metrics(GrpcMetrics(receiver), server)
    chosen = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    receiver.endpoint = f"127.0.0.1:{chosen}"
    return server


def start_http(receiver: Receiver) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            others = {"/v1/logs": receiver.logs, "/v1/metrics": receiver.metrics}
            if self.path in others:
                others[self.path].append(body)
                return self.answer(200, b"", {})
            if self.path != "/v1/traces" or self.headers["content-type"] != "application/x-protobuf":
                return self.answer(404, b"", {})
            refusal = receiver.take(body, {key.lower(): value for key, value in self.headers.items()})
            if refusal is None:
                return self.answer(200, b"", {})
            if refusal.rejected_spans:
                return self.answer(200, partial_success(refusal).SerializeToString(), {})
            headers = {}
            if refusal.retry_after_s is not None:
                until = time.time() + refusal.retry_after_s
                headers["Retry-After"] = formatdate(until) if refusal.as_date else f"{refusal.retry_after_s:.0f}"
            return self.answer(refusal.status, Status(message="told to refuse").SerializeToString(), headers)

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Type": "application/x-protobuf"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    receiver.endpoint = f"127.0.0.1:{server.server_port}"
    return server


@pytest.fixture
def grpc_receiver() -> Iterator[Receiver]:
    receiver = Receiver("grpc")
    server = start_grpc(receiver)
    yield receiver
    server.stop(grace=None).wait()


@pytest.fixture
def http_receiver() -> Iterator[Receiver]:
    receiver = Receiver("http")
    server = start_http(receiver)
    yield receiver
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["grpc", "http"])
def receiver(request: pytest.FixtureRequest) -> Receiver:
    found: Receiver = request.getfixturevalue(f"{request.param}_receiver")
    return found


@pytest.fixture
def vllm_run() -> Path:
    return VLLM_RUN


@pytest.fixture
def refusal() -> type[Refusal]:
    return Refusal


@pytest.fixture
def restart_grpc() -> Iterator[Any]:
    """Starts a second server on the port of one that was stopped."""
    servers: list[grpc.Server] = []

    def restart(receiver: Receiver, port: int = 0) -> grpc.Server:
        servers.append(start_grpc(receiver, port))
        return servers[-1]

    yield restart
    for server in servers:
        server.stop(grace=None).wait()
