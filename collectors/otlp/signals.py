"""The three signals of OTLP, in one table: what each is called on the wire and how its requests are checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from collectors.otlp.check import check_logs, check_metrics, check_traces
from collectors.otlp.checked import Checked, Limits, normalise


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One kind of telemetry.

    Attributes
    ----------
    name : str
        As in the path, and the folder of its write-ahead log.
    items : str
        What is counted of it, as in names of metrics.
    service : str
        The gRPC service whose `Export` takes it.
    rejected : str
        Field of the response's `partial_success` that says how many items were left out.
    more_paths : tuple of str
        Where it is taken over HTTP besides `path`.
    """

    name: str
    items: str
    service: str
    request: type[Message]
    response: type[Message]
    rejected: str
    check: Callable[[bytes, Limits, int, int], Checked]
    more_paths: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return f"/v1/{self.name}"

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path, *self.more_paths)

    def normalise(self, body: bytes) -> bytes:
        """The same request in its proper encoding."""
        return normalise(self.request, body)


TRACES: Final = Signal(
    name="traces",
    items="spans",
    service="opentelemetry.proto.collector.trace.v1.TraceService",
    request=ExportTraceServiceRequest,
    response=ExportTraceServiceResponse,
    rejected="rejected_spans",
    check=check_traces,
    # Langfuse's SDKs put this behind the address they are given, and cannot be told another.
    more_paths=("/api/public/otel/v1/traces",),
)
LOGS: Final = Signal(
    name="logs",
    items="log_records",
    service="opentelemetry.proto.collector.logs.v1.LogsService",
    request=ExportLogsServiceRequest,
    response=ExportLogsServiceResponse,
    rejected="rejected_log_records",
    check=check_logs,
)
METRICS: Final = Signal(
    name="metrics",
    items="data_points",
    service="opentelemetry.proto.collector.metrics.v1.MetricsService",
    request=ExportMetricsServiceRequest,
    response=ExportMetricsServiceResponse,
    rejected="rejected_data_points",
    check=check_metrics,
)
SIGNALS: Final = (TRACES, LOGS, METRICS)
