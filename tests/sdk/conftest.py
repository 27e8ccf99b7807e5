"""A running SDK to look at: in memory in both of its modes, and a real OTLP server over gRPC."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from monitor import sdk
from monitor.sdk import guard, lifecycle
from tests.tools import ports

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No OTEL_ variables of the machine; inner errors show themselves; nothing keeps running."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MONITOR_SDK_RAISE", "1")
    guard.forget()
    yield
    sdk.shutdown(timeout_s=2)


@pytest.fixture(params=["own", "joined"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Own provider and thus the fast path, or joined to an SDK that was there before."""
    mode: str = request.param
    if mode == "joined":
        provider = TracerProvider()
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
        monkeypatch.setattr(lifecycle._state, "installed", None)
    return mode


class Sent:
    """What the SDK has sent."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    def start(self, **settings: Any) -> None:
        """Call `init` with this exporter."""
        sdk.init(**{"service": "svc", "exporter": self.exporter, **settings})

    def spans(self) -> list[ReadableSpan]:
        """All spans so far, in the order they ended."""
        assert sdk.flush()
        return list(self.exporter.get_finished_spans())

    def one(self) -> ReadableSpan:
        """The only span."""
        spans = self.spans()
        assert len(spans) == 1, [span.name for span in spans]
        return spans[0]

    def attributes(self) -> dict[str, Any]:
        """Attributes of the only span."""
        return dict(self.one().attributes or {})


@pytest.fixture
def sent(mode: str) -> Sent:
    """A running SDK, in both modes."""
    sent = Sent()
    sent.start()
    return sent


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """A real OTLP server that keeps what it gets."""

    def __init__(self) -> None:
        self.requests: list[trace_service_pb2.ExportTraceServiceRequest] = []
        self.metadata: list[dict[str, str]] = []
        self.server = grpc.server(ThreadPoolExecutor(4))
        register: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
        register(self, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.server.start()

    def Export(self, request: Any, context: Any) -> Any:
        """Keep the request."""
        self.requests.append(request)
        self.metadata.append({key: str(value) for key, value in context.invocation_metadata()})
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self) -> list[tuple[dict[str, Any], trace_pb2.Span, dict[str, Any]]]:
        """Resource attributes, span, span attributes."""
        return [
            (plain(block.resource.attributes), span, plain(span.attributes))
            for request in self.requests
            for block in request.resource_spans
            for scope in block.scope_spans
            for span in scope.spans
        ]


def plain(attributes: Any) -> dict[str, Any]:
    """OTLP attributes as Python values."""
    return {item.key: _value(item.value) for item in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on a free port."""
    collector = Collector()
    yield collector
    collector.server.stop(0).wait()


@pytest.fixture
def free_port() -> int:
    """A port where nobody listens."""
    return ports.free_port()


@pytest.fixture
def python() -> Callable[..., str]:
    """Run a script in a process of its own and return what it printed."""
    import subprocess
    import sys

    def run(script: str, *arguments: str, timeout_s: float = 60, only_out: bool = False, **environment: str) -> str:
        env = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env={**env, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout if only_out else done.stdout + done.stderr

    return run
