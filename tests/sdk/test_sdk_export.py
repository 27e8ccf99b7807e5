"""From the queue to a real collector, and what happens when it is not there."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from monitor import sdk

ROOT = Path(__file__).resolve().parents[2]


class Gate(SpanExporter):
    """Holds every batch until it is told to go on, then answers as told."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.result = SpanExportResult.SUCCESS
        self.batches: list[list[int]] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Wait, then note the numbers."""
        self.go.wait(10)
        self.batches.append([int(str((span.attributes or {})["monitor.seq"])) for span in spans])
        return self.result

    def shutdown(self) -> None:
        """Let go."""
        self.go.set()


def call(count: int = 1) -> None:
    for _ in range(count):
        with sdk.inference("m") as one:
            one.finish(output_tokens=1)


def balanced() -> sdk.Stats:
    stats = sdk.stats()
    assert stats.offered == stats.dropped + stats.exported + stats.failed + stats.waiting
    return stats


def wait_for(condition: Callable[[], bool], timeout_s: float = 5) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)


def test_a_real_collector_gets_it(collector: Any) -> None:
    sdk.init("svc", endpoint=collector.endpoint, headers={"Authorization": "Bearer t"}, node="n1")
    with sdk.inference("llama", provider="openai", session="s") as running:
        list(running.stream("abc"))
        running.finish(input_tokens=3, finish_reason="stop")
    assert sdk.flush()
    ((resource, span, attributes),) = collector.spans()
    assert resource["service.name"] == "svc"
    assert resource["monitor.node"] == "n1"
    assert resource["monitor.emitter"] == sdk.stats().emitter
    assert (span.name, span.kind) == ("chat llama", 3)
    assert span.trace_id.hex() == running.trace_id
    assert span.span_id.hex() == running.span_id
    assert span.end_time_unix_nano > span.start_time_unix_nano
    assert attributes.pop("gen_ai.response.time_to_first_chunk") > 0
    assert attributes.pop("monitor.largest_gap") > 0
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "llama",
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.conversation.id": "s",
        "session.id": "s",
        "monitor.tokens_estimated": True,
        "monitor.seq": 1,
    }
    assert collector.metadata[0]["authorization"] == "Bearer t"


def test_all_of_many_arrive_once(collector: Any) -> None:
    sdk.init("svc", endpoint=collector.endpoint, queue_size=5000)
    threads = [threading.Thread(target=call, args=(500,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sdk.flush()
    numbers = [attributes["monitor.seq"] for _, _, attributes in collector.spans()]
    assert sorted(numbers) == list(range(1, 2001))
    assert balanced().exported == 2000


def test_sent_by_itself_within_the_interval(collector: Any) -> None:
    sdk.init("svc", endpoint=collector.endpoint, interval_s=0.05)
    call()
    wait_for(lambda: len(collector.spans()) == 1)


def test_full_batches_do_not_wait_for_the_interval(mode: str) -> None:
    gate = Gate()
    gate.go.set()
    sdk.init(exporter=gate, batch_size=10, interval_s=60)
    call(10)
    wait_for(lambda: sum(map(len, gate.batches)) == 10)
    call(10)
    wait_for(lambda: sum(map(len, gate.batches)) == 20)
    # Who wakes up in the middle of these sends what is there, in batches; less than a batch may be left.
    call(25)
    wait_for(lambda: 45 - sum(map(len, gate.batches)) < 10)
    assert all(len(batch) <= 10 for batch in gate.batches)


def test_a_full_queue_drops_the_oldest_and_counts(mode: str) -> None:
    gate = Gate()
    sdk.init(exporter=gate, queue_size=10, batch_size=5, interval_s=60)
    call(5)
    wait_for(lambda: sdk.stats().waiting == 5)
    time.sleep(0.05)  # the worker now holds the first five
    started = time.perf_counter()
    call(30)
    assert time.perf_counter() - started < 1, "a stuck exporter must not hold up the caller"
    stats = balanced()
    assert (stats.ended, stats.last_seq, stats.dropped, stats.waiting) == (35, 35, 20, 15)
    gate.go.set()
    assert not sdk.flush() or balanced().dropped == 20
    assert sorted(number for batch in gate.batches for number in batch) == [*range(1, 6), *range(26, 36)]
    assert balanced().exported == 15


def test_failure_is_told_once_and_so_is_recovery(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    gate = Gate()
    gate.go.set()
    gate.result = SpanExportResult.FAILURE
    sdk.init(exporter=gate)
    for _ in range(3):
        call(2)
        assert not sdk.flush()
    assert balanced().failed == 6
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    gate.result = SpanExportResult.SUCCESS
    call()
    assert sdk.flush()
    assert balanced().exported == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_an_exporter_that_raises_does_not_stop_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            raise RuntimeError("broken exporter")

    sdk.init(exporter=Broken())
    call()
    assert not sdk.flush()
    call()
    assert not sdk.flush()
    assert balanced().failed == 2
    assert "broken exporter" in caplog.text


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_endpoint_away(protocol: str, free_port: int, caplog: pytest.LogCaptureFixture) -> None:
    sdk.init("svc", endpoint=f"http://127.0.0.1:{free_port}", protocol=protocol, batch_size=50, queue_size=100)
    started = time.perf_counter()
    call(500)
    assert time.perf_counter() - started < 2
    assert not sdk.flush(0.2)
    started = time.perf_counter()
    sdk.shutdown(timeout_s=1)
    assert time.perf_counter() - started < 2.5
    stats = sdk.stats()
    assert (stats.started, stats.ended, stats.exported, stats.last_seq) == (500, 500, 0, 500)
    assert stats.offered == stats.dropped + stats.failed + stats.waiting
    assert len(caplog.records) <= 1, [record.message for record in caplog.records]


EXIT = """
import sys, time
from monitor import sdk
sdk.init("svc", endpoint=sys.argv[1], **eval(sys.argv[2]))
with sdk.inference("done") as call:
    call.finish(output_tokens=1)
stream = sdk.inference("open").__enter__().stream("abc")
next(stream)
print("end", time.time())
"""


@pytest.mark.parametrize("protocol", ["grpc"])
def test_flushed_at_exit(collector: Any, python: Callable[..., str], protocol: str) -> None:
    python(EXIT, collector.endpoint, "{'interval_s': 60}")
    found = {span.name: attributes for _, span, attributes in collector.spans()}
    assert set(found) == {"chat done", "chat open"}
    assert "monitor.cancelled" not in found["chat done"]
    assert found["chat open"]["monitor.cancelled"] is True


def test_exit_is_quick_and_quiet_when_the_endpoint_is_away(free_port: int, python: Callable[..., str]) -> None:
    out = python(EXIT, f"http://127.0.0.1:{free_port}", "{'exit_timeout_s': 1.0}")
    took_s = time.time() - float(out.splitlines()[0].split()[1])
    assert took_s < 4
    assert "Traceback" not in out
    assert out.count("could not be sent") <= 1


FORK = """
import json, os, sys
from monitor import sdk
mode = sys.argv[2]
sdk.init("svc", endpoint=sys.argv[1])
def calls(n):
    for _ in range(n):
        with sdk.inference(f"pid{os.getpid()}") as call:
            call.finish(output_tokens=1)
if mode == "after use":
    calls(3)
    assert sdk.flush()
children = []
with sdk.inference("parent's"):
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            calls(5)
            ok = sdk.flush(20)
            os._exit(0 if ok and sdk.stats().started == 5 else 3)
        children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
calls(1)
assert sdk.flush()
print(json.dumps(codes))
"""


@pytest.mark.parametrize("when", ["before use", "after use"])
def test_forked_children_are_emitters_of_their_own(collector: Any, python: Callable[..., str], when: str) -> None:
    out = python(FORK, collector.endpoint, when)
    assert json.loads(out.splitlines()[0]) == [0, 0], out
    numbers: dict[str, list[int]] = {}
    names: dict[str, set[str]] = {}
    for resource, span, attributes in collector.spans():
        numbers.setdefault(resource["monitor.emitter"], []).append(attributes["monitor.seq"])
        names.setdefault(resource["monitor.emitter"], set()).add(span.name)
    expected = [5, 5, 5 if when == "after use" else 2]
    assert sorted(map(len, numbers.values())) == sorted(expected)
    assert all(sorted(found) == list(range(1, len(found) + 1)) for found in numbers.values())
    assert sum("chat parent's" in found for found in names.values()) == 1
    ids = [span.span_id for _, span, _ in collector.spans()]
    assert len(set(ids)) == len(ids)


MULTIPROCESSING = """
import multiprocessing, sys
from monitor import sdk
sdk.init("svc", endpoint=sys.argv[1], interval_s=60)
def work():
    with sdk.inference("child"):
        pass
context = multiprocessing.get_context("fork")
process = context.Process(target=work)
process.start()
process.join(20)
assert process.exitcode == 0, process.exitcode
"""


def test_children_of_multiprocessing_flush_when_they_leave(collector: Any, python: Callable[..., str]) -> None:
    python(MULTIPROCESSING, collector.endpoint)
    assert [span.name for _, span, _ in collector.spans()] == ["chat child"]


IMPORTS = """
import json, sys
from monitor import sdk
heavy = ["pandas", "numpy", "scipy", "sklearn", "chdb", "clickhouse_connect", "streamlit", "pydantic", "typer", "rich",
         "grpc", "requests", "opentelemetry.exporter"]
before = [name for name in heavy if name in sys.modules]
sdk.init("svc")
print(json.dumps([before, "grpc" in sys.modules]))
"""


def test_import_is_light(python: Callable[..., str]) -> None:
    assert json.loads(python(IMPORTS).splitlines()[0]) == [[], True]


def test_over_http(free_port: int) -> None:
    """A real HTTP server, reached through the port that says HTTP by itself or by name."""
    bodies: list[tuple[str, str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append((self.path, self.headers.get("Authorization", ""), body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", free_port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        sdk.init(
            "svc",
            endpoint=f"http://127.0.0.1:{free_port}",
            protocol="http/protobuf",
            headers={"Authorization": "Bearer t"},
        )
        call(3)
        assert sdk.flush()
    finally:
        server.shutdown()
        server.server_close()
    assert {(path, token) for path, token, _ in bodies} == {("/v1/traces", "Bearer t")}
    request = trace_service_pb2.ExportTraceServiceRequest.FromString(bodies[0][2])
    assert request.resource_spans[0].scope_spans[0].spans[0].name == "chat m"


def test_quickstart(collector: Any) -> None:
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "examples" / "quickstart.py"),
            collector.endpoint,
            "--calls",
            "30",
            "--pace",
            "0",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "30 of 30 calls sent." in done.stdout
    spans = [attributes for _, _, attributes in collector.spans()]
    assert sorted(found["monitor.seq"] for found in spans) == list(range(1, 31))
    assert sum(found.get("monitor.cancelled", False) for found in spans) == 1
    assert {found["monitor.cohort.language"] for found in spans} == {"de", "en"}
    assert any(found.get("error.type") == "RuntimeError" for found in spans)
