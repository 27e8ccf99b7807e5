"""The OTLP exporter and the silencing of its log.

The exporter is made on first use, in the worker's thread: a gRPC channel opened before `fork` is broken in
the child, and servers that load the application before they fork (gunicorn --preload) would have opened one.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace.export import SpanExporter

from monitor.errors import ConfigError
from monitor.sdk.config import GRPC, Config

if TYPE_CHECKING:
    from opentelemetry.sdk._logs.export import LogRecordExporter
    from opentelemetry.sdk.metrics.export import MetricExporter

_MODULES: Final = {
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
}
_METRIC_MODULES: Final = {
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.metric_exporter",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.metric_exporter",
}
_LOG_MODULES: Final = {
    "grpc": "opentelemetry.exporter.otlp.proto.grpc._log_exporter",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http._log_exporter",
}
_METRICS_TIMEOUT_S: Final = 3  # counts can wait for the next time; spans behind them should not
_NOISY: Final = (
    *_LOG_MODULES.values(),
    "opentelemetry.exporter.otlp.proto.grpc.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.common.http",
)


def exporter_factory(config: Config) -> Callable[[], SpanExporter]:
    """Import the exporter now, at start-up where time is cheap, and return what makes one later."""
    if config.exporter is not None:
        given = config.exporter
        return lambda: given
    try:
        module = importlib.import_module(_MODULES[config.protocol])
    except ImportError as error:
        raise ConfigError(
            f"monitor.init: protocol {config.protocol} needs opentelemetry-exporter-otlp ({error}); "
            "install it with: pip install opentelemetry-exporter-otlp"
        ) from error
    arguments = _arguments(config)

    def make() -> SpanExporter:
        exporter: SpanExporter = module.OTLPSpanExporter(**arguments)
        return exporter

    return make


def metric_exporter_factory(config: Config) -> Callable[[], MetricExporter] | None:
    """What makes the exporter of our own counts, to the same endpoint; None if they are not wanted."""
    said = os.environ.get("OTEL_METRICS_EXPORTER", "").strip().lower()
    if config.exporter is not None or said == "none" or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        module = importlib.import_module(_METRIC_MODULES[config.protocol])
    except ImportError:
        return None
    arguments = _arguments(config, "metrics")

    def make() -> MetricExporter:
        exporter: MetricExporter = module.OTLPMetricExporter(**arguments, timeout=_METRICS_TIMEOUT_S)
        return exporter

    return make


def log_exporter_factory(config: Config) -> Callable[[], LogRecordExporter] | str:
    """What makes the exporter of judgements, to the same endpoint; or why there is none, in words."""
    said = os.environ.get("OTEL_LOGS_EXPORTER", "").strip().lower() or "otlp"
    elsewhere = config.endpoint is None and "otlp" not in said
    if config.exporter is not None:
        return "init was given an exporter, which takes spans only"
    if elsewhere or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return "the environment says so"
    try:
        # At start-up, like that of spans. Later may be too late: it starts threads, which a process that ends cannot.
        from opentelemetry.sdk._logs import ReadableLogRecord  # noqa: F401

        module = importlib.import_module(_LOG_MODULES[config.protocol])
    except ImportError as error:
        return f"opentelemetry-sdk and opentelemetry-exporter-otlp 1.39 or newer are wanted ({error})"
    arguments = _arguments(config, "logs")

    def make() -> LogRecordExporter:
        exporter: LogRecordExporter = module.OTLPLogExporter(**arguments)
        return exporter

    return make


def log_target(config: Config) -> str:
    """Where judgements go, for messages."""
    said = os.environ.get("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT") if config.endpoint is None else None
    return said or (config.target if config.protocol == GRPC else _of_signal(config.target, "logs"))


def _of_signal(endpoint: str, signal: str) -> str:
    return endpoint if signal == "traces" else endpoint.removesuffix("/v1/traces") + f"/v1/{signal}"


def _arguments(config: Config, signal: str = "traces") -> dict[str, Any]:
    # Left out means: the exporter reads OTEL_EXPORTER_OTLP_* itself, by the letter of the specification.
    arguments: dict[str, Any] = {}
    if config.endpoint is not None:
        arguments["endpoint"] = config.endpoint if config.protocol == GRPC else _of_signal(config.endpoint, signal)
    if config.endpoint is not None and config.protocol == GRPC:
        arguments["insecure"] = config.endpoint.startswith("http://")
    if config.headers:
        arguments["headers"] = dict(config.headers)
    return arguments


class WorkerLog(logging.Filter):
    """Keeps what the exporter logs in our worker's thread to itself and remembers the last reason.

    The stock exporters write a line for every retry. The same loggers serve the user's own exporters, so only
    records from our thread are held back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.last_reason = ""
        self._thread: int | None = None

    def watch(self) -> None:
        """Hold back records of the calling thread from now on."""
        self._thread = threading.get_ident()
        for name in _NOISY:
            logging.getLogger(name).addFilter(self)

    def release(self) -> None:
        """Undo `watch`."""
        self._thread = None
        for name in _NOISY:
            logging.getLogger(name).removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Swallow the record if it is ours."""
        if self._thread != threading.get_ident():
            return True
        self.last_reason = record.getMessage()
        return False
