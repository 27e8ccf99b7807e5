"""Judgements from the call of a function to a real collector, and into both stores."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import monitor
from monitor import sdk
from monitor.errors import BadInput
from monitor.store.client import connect
from monitor.store.migrate import ensure_database, migrate
from tests.collectors.receiving import receiving
from tests.conftest import drop_database, empty_all, with_database
from tests.sdk.conftest import ROOT, plain

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


class Logs(logs_service_pb2_grpc.LogsServiceServicer, metrics_service_pb2_grpc.MetricsServiceServicer):
    """A real OTLP server that keeps log records and metrics."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.metrics: list[Any] = []
        self.tokens: list[str] = []
        self.server = grpc.server(ThreadPoolExecutor(4))
        register: Any = logs_service_pb2_grpc.add_LogsServiceServicer_to_server
        register(self, self.server)
        self.metric_service = _Metrics(self.metrics)
        register = metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server
        register(self.metric_service, self.server)
        self.endpoint = f"http://127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def Export(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        self.tokens.append({key: str(value) for key, value in context.invocation_metadata()}.get("authorization", ""))
        return logs_service_pb2.ExportLogsServiceResponse()

    def records(self) -> list[tuple[dict[str, Any], logs_pb2.LogRecord, dict[str, Any]]]:
        """Resource attributes, record, attributes of the record."""
        return [
            (plain(block.resource.attributes), record, plain(record.attributes))
            for request in self.requests
            for block in request.resource_logs
            for scope in block.scope_logs
            for record in scope.log_records
        ]

    def values(self) -> dict[tuple[str, str], int]:
        """(metric, error type) -> its newest value."""
        return {
            (metric.name, plain(point.attributes).get("error.type", "")): point.as_int
            for request in self.metrics
            for block in request.resource_metrics
            for scope in block.scope_metrics
            for metric in scope.metrics
            for point in (*metric.sum.data_points, *metric.gauge.data_points)
        }


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, kept: list[Any]) -> None:
        self.kept = kept

    def Export(self, request: Any, context: Any) -> Any:
        self.kept.append(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


@pytest.fixture
def logs() -> Iterator[Logs]:
    logs = Logs()
    yield logs
    logs.server.stop(0).wait()


def judged() -> tuple[int, int, int, int, int, int]:
    """Refused, offered, dropped, exported, failed, waiting; and nothing is unaccounted for."""
    found = sdk.stats()
    counts = (
        found.judgements_offered,
        found.judgements_dropped,
        found.judgements_exported,
        found.judgements_failed,
        found.judgements_waiting,
    )
    assert counts[0] == sum(counts[1:])
    return found.judgements_refused, *counts


def test_every_argument_on_the_wire(logs: Logs) -> None:
    sdk.init("svc", endpoint=logs.endpoint, node="n1", headers={"authorization": "Bearer t"})
    monitor.evaluate(
        TRACE.upper(), "correct", score=0.25, label="partly", source="judge", evaluator="m2", explanation="why",
        error="timeout", span_id=SPAN, response_id="r1", at=AT,
    )  # fmt: skip
    monitor.label(TRACE, "yes", score=1, evaluator="ann", explanation="because", at=AT)
    monitor.feedback(TRACE, thumbs="down", comment="wrong", user="u1", session="s1", span_id=SPAN, at=AT)
    monitor.feedback(response_id="r2", comment="only this", at=AT)
    monitor.engagement(TRACE, "share", value="mail", comment="c", user="u1", session="s1", response_id="r1", at=AT)
    monitor.engagement(None, "abandon", session="s2", at=AT)
    assert sdk.flush()
    found = logs.records()
    assert [(record.event_name, record.trace_id.hex(), record.span_id.hex(), said) for _, record, said in found] == [
        (
            "gen_ai.evaluation.result",
            TRACE,
            SPAN,
            {
                "gen_ai.evaluation.name": "correct",
                "gen_ai.evaluation.score.value": 0.25,
                "gen_ai.evaluation.score.label": "partly",
                "gen_ai.evaluation.explanation": "why",
                "gen_ai.response.id": "r1",
                "monitor.evaluation.source": "judge",
                "monitor.evaluation.evaluator": "m2",
                "error.type": "timeout",
            },
        ),
        (
            "gen_ai.evaluation.result",
            TRACE,
            "",
            {
                "gen_ai.evaluation.name": "correct",
                "gen_ai.evaluation.score.value": 1.0,
                "gen_ai.evaluation.score.label": "yes",
                "gen_ai.evaluation.explanation": "because",
                "monitor.evaluation.source": "ground_truth",
                "monitor.evaluation.evaluator": "ann",
            },
        ),
        (
            "monitor.engagement",
            TRACE,
            SPAN,
            {
                "monitor.engagement.kind": "thumbs",
                "monitor.engagement.value": "down",
                "monitor.engagement.comment": "wrong",
                "user.id": "u1",
                "session.id": "s1",
            },
        ),
        (
            "monitor.engagement",
            "",
            "",
            {
                "monitor.engagement.kind": "comment",
                "monitor.engagement.comment": "only this",
                "gen_ai.response.id": "r2",
            },
        ),
        (
            "monitor.engagement",
            TRACE,
            "",
            {
                "monitor.engagement.kind": "share",
                "monitor.engagement.value": "mail",
                "monitor.engagement.comment": "c",
                "user.id": "u1",
                "session.id": "s1",
                "gen_ai.response.id": "r1",
            },
        ),
        ("monitor.engagement", "", "", {"monitor.engagement.kind": "abandon", "session.id": "s2"}),
    ]
    assert {record.time_unix_nano for _, record, _ in found} == {int(AT.timestamp()) * 10**9 + 678_901_000}
    resource = found[0][0]
    assert (resource["service.name"], resource["monitor.node"]) == ("svc", "n1")
    assert resource["monitor.emitter"] == sdk.stats().emitter
    assert set(logs.tokens) == {"Bearer t"}
    assert judged() == (0, 6, 0, 6, 0, 0)


@pytest.mark.parametrize("by", ["call", "ended call", "current call", "current span"])
def test_which_answer_is_meant(logs: Logs, by: str) -> None:
    sdk.init("svc", endpoint=logs.endpoint)
    before = time.time_ns()
    if by == "current span":
        with trace.get_tracer("mine").start_as_current_span("s") as span:
            monitor.feedback(thumbs="up")
        wanted = (f"{span.get_span_context().trace_id:032x}", f"{span.get_span_context().span_id:016x}")
    else:
        with sdk.inference("m") as call:
            if by == "call":
                monitor.feedback(call, thumbs="up")
            elif by == "current call":
                monitor.feedback(thumbs="up")
        if by == "ended call":
            monitor.feedback(call, thumbs="up")
        wanted = (call.trace_id, call.span_id)
    sdk.flush()
    ((_, record, _),) = logs.records()
    assert (record.trace_id.hex(), record.span_id.hex()) == wanted
    assert before <= record.time_unix_nano <= time.time_ns()


def test_an_event_about_no_answer_is_not_pinned_to_a_later_span(logs: Logs) -> None:
    sdk.init("svc", endpoint=logs.endpoint)
    monitor.engagement(None, "abandon", session="s")
    with trace.get_tracer("mine").start_as_current_span("s"):
        assert not sdk.flush() or logs.records()
    ((_, record, _),) = logs.records()
    assert (record.trace_id, record.span_id) == (b"", b"")


@pytest.mark.parametrize("score", [1, True, np.float32(1), np.int64(1), Decimal(1)], ids=lambda s: type(s).__name__)
def test_scores_of_any_kind_of_number(logs: Logs, score: Any) -> None:
    sdk.init("svc", endpoint=logs.endpoint)
    monitor.evaluate(TRACE, "x", score=score)
    assert sdk.flush()
    ((_, _, said),) = logs.records()
    assert said == {"gen_ai.evaluation.name": "x", "gen_ai.evaluation.score.value": 1.0}


IDS = "must be 32 hexadecimal digits, not all 0, not "
WRONG: list[tuple[Callable[[], None], str]] = [
    (lambda: sdk.evaluate(TRACE, "x"), "evaluate: score and label are both missing; give at least one."),
    (lambda: sdk.evaluate(TRACE, "x", score=float("nan")), "evaluate: score must be a finite number, not nan."),
    (lambda: sdk.evaluate(TRACE, "x", score=float("-inf")), "evaluate: score must be a finite number, not -inf."),
    (
        lambda: sdk.evaluate(TRACE, "x", score=10**400),
        "evaluate: score must be a finite number, not 1" + "0" * 59 + "….",
    ),
    (lambda: sdk.evaluate(TRACE, "x", score="1"), "evaluate: score must be a finite number, not '1'."),  # type: ignore[arg-type]
    (
        lambda: sdk.evaluate(TRACE, "x", label="y", source="robot"),
        "evaluate: source must be one of ground_truth, human, user, judge, moderation, probe, not 'robot'.",
    ),
    (lambda: sdk.evaluate(TRACE, label="y"), "evaluate: name must be a text of 1 to 256 characters, not ''."),
    (lambda: sdk.evaluate(TRACE, "x", label=""), "evaluate: label must be a text of 1 to 256 characters, not ''."),
    (lambda: sdk.label(TRACE, 3), "label: label must be a text of 1 to 256 characters, not 3."),  # type: ignore[arg-type]
    (lambda: sdk.label(TRACE), "label: score and label are both missing; give at least one."),
    (lambda: sdk.feedback(TRACE), "feedback: thumbs and comment are both missing; give at least one."),
    (lambda: sdk.feedback(TRACE, thumbs="ok"), "feedback: thumbs must be one of up, down, not 'ok'."),
    (lambda: sdk.feedback("", thumbs="up"), f"feedback: trace_id {IDS}''."),
    (lambda: sdk.feedback(TRACE[1:], thumbs="up"), f"feedback: trace_id {IDS}'{TRACE[1:]}'."),
    (lambda: sdk.feedback("0" * 32, thumbs="up"), f"feedback: trace_id {IDS}'{'0' * 32}'."),
    (lambda: sdk.feedback("+" + TRACE[1:], thumbs="up"), f"feedback: trace_id {IDS}'+{TRACE[1:]}'."),
    (lambda: sdk.feedback(int(TRACE, 16), thumbs="up"), f"feedback: trace_id {IDS}{int(TRACE, 16)}."),  # type: ignore[arg-type]
    (
        lambda: sdk.feedback(TRACE, thumbs="up", span_id=TRACE),
        f"feedback: span_id must be 16 hexadecimal digits, not all 0, not '{TRACE}'.",
    ),
    (
        lambda: sdk.feedback(thumbs="up", span_id=SPAN),
        "feedback: span_id alone says not which answer is meant; give its trace_id too.",
    ),
    (
        lambda: sdk.feedback(thumbs="up"),
        "feedback: there is no span current, so say by trace_id which answer is meant.",
    ),
    (
        lambda: sdk.feedback(sdk.inference("m"), thumbs="up"),
        "feedback: this call is recorded nowhere: it has not begun, or monitor.init() is not running.",
    ),
    (
        lambda: sdk.feedback(TRACE, thumbs="up", at=datetime(2026, 1, 1)),
        "feedback: at must be a datetime with a time zone, not datetime.datetime(2026, 1, 1, 0, 0).",
    ),
    (
        lambda: sdk.engagement(TRACE, "Copy!"),
        "engagement: kind must be a short name in lower case, such as copy, not 'Copy!'.",
    ),
    (lambda: sdk.engagement(TRACE, "copy", value=1), "engagement: value must be a text, not 1."),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("wrong", "says"), WRONG, ids=[says.split(",")[0][:60] for _, says in WRONG])
def test_bad_arguments_are_told_once_and_harm_nobody(
    logs: Logs, wrong: Callable[[], None], says: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sdk.init("svc", endpoint=logs.endpoint)
    with pytest.raises(BadInput) as caught:
        wrong()
    assert str(caught.value) == f"monitor.{says}"
    monkeypatch.delenv("MONITOR_SDK_RAISE")
    wrong()
    wrong()
    assert [(record.levelname, record.message) for record in caplog.records] == [("WARNING", f"monitor.{says}")]
    assert judged() == (3, 0, 0, 0, 0, 0)


def test_without_init_nothing_is_sent_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    sdk.feedback(TRACE, thumbs="up")
    sdk.evaluate(TRACE, "x", label="y")
    assert [record.message for record in caplog.records] == [
        "monitor: feedback() without a running monitor.init(): nothing is sent."
    ]


@pytest.mark.parametrize(
    ("settings", "environment", "why"),
    [
        ({"exporter": InMemorySpanExporter()}, {}, "init was given an exporter, which takes spans only"),
        ({}, {"OTEL_LOGS_EXPORTER": "none"}, "the environment says so"),
        ({}, {"OTEL_SDK_DISABLED": "true"}, "the environment says so"),
    ],
    ids=["exporter", "OTEL_LOGS_EXPORTER", "OTEL_SDK_DISABLED"],
)
def test_where_they_have_no_way_to_go(
    settings: dict[str, Any],
    environment: dict[str, str],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    sdk.init("svc", **settings)
    for _ in range(2):
        sdk.feedback(TRACE, thumbs="up")
    assert [record.message for record in caplog.records] == [f"monitor: judgements are not sent, because {why}."]
    assert judged() == (0, 0, 0, 0, 0, 0)


def test_an_endpoint_of_init_stands_against_the_environment(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    sdk.init("svc", endpoint=logs.endpoint)
    sdk.feedback(TRACE, thumbs="up")
    assert sdk.flush()
    assert len(logs.records()) == 1


def test_the_example_of_the_documentation(logs: Logs, python: Callable[..., str]) -> None:
    text = (ROOT / "docs" / "judgements.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    script = example.replace("http://localhost:4317", logs.endpoint)
    # The collector of this test takes no spans.
    assert "Traceback" not in python(script, MONITOR_SDK_RAISE="1")
    found = logs.records()
    assert [
        (said.get("gen_ai.evaluation.name") or said["monitor.engagement.kind"], said.get("monitor.evaluation.source"))
        for _, _, said in found
    ] == [
        ("polite", "judge"),
        ("correct", "human"),
        ("correct", "ground_truth"),
        ("thumbs", None),
        ("copy", None),
        ("abandon", None),
    ]
    assert [bool(record.span_id) for _, record, _ in found] == [True, False, False, False, True, False]
    assert len({record.trace_id for _, record, _ in found[:-1]}) == 1


def test_text_that_cannot_be_encoded_takes_no_batch_with_it(logs: Logs) -> None:
    sdk.init("svc", endpoint=logs.endpoint)
    sdk.feedback(TRACE, comment="half \ud83d")
    sdk.feedback(TRACE, comment="x" * 200_000)
    assert sdk.flush()
    assert [said["monitor.engagement.comment"] for _, _, said in logs.records()] == ["half ?", "x" * 100_000]


def test_privacy_holds_for_judgements_too(logs: Logs) -> None:
    """What was said of an answer is sent whatever `capture_content` says, but for what is redacted."""
    sdk.init("svc", endpoint=logs.endpoint, redact=["email"], hash_user_ids=True, salt="pepper")
    sdk.feedback(TRACE, comment="write to ann@example.com", user="u1")
    sdk.evaluate(TRACE, "correct", label="no", source="human", explanation="ann@example.com asked, and not bob")
    assert sdk.flush()
    (_, _, feedback), (_, _, evaluation) = logs.records()
    assert feedback["monitor.engagement.comment"] == "write to [redacted:email]"
    assert feedback["user.id"] == hashlib.sha256(b"pepperu1").hexdigest()
    assert evaluation["gen_ai.evaluation.explanation"] == "[redacted:email] asked, and not bob"
    assert evaluation["gen_ai.evaluation.score.label"] == "no"


def test_reported_as_metrics(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONITOR_SDK_RAISE")
    sdk.init("svc", endpoint=logs.endpoint)
    for number in range(5):
        sdk.engagement(TRACE, "copy" if number else "Copy")
    sdk.shutdown()
    assert logs.values() == {
        ("monitor.sdk.judgements.refused", ""): 1,
        ("otel.sdk.processor.log.processed", ""): 4,
        ("otel.sdk.processor.log.processed", "queue_full"): 0,
        ("otel.sdk.exporter.log.exported", ""): 4,
        ("otel.sdk.exporter.log.exported", "_OTHER"): 0,
        ("otel.sdk.processor.log.queue.size", ""): 0,
    }
    resource = plain(logs.metrics[0].resource_metrics[0].resource.attributes)
    assert resource["monitor.emitter"] == logs.records()[0][0]["monitor.emitter"]
    assert judged() == (1, 4, 0, 4, 0, 0)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_an_endpoint_that_is_away_holds_up_nobody(
    protocol: str, free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    sdk.init("svc", endpoint=f"http://127.0.0.1:{free_port}", protocol=protocol, queue_size=100, batch_size=50)
    started = time.perf_counter()
    for _ in range(500):
        sdk.feedback(TRACE, thumbs="up")
    assert time.perf_counter() - started < 2
    assert not sdk.flush(0.2)
    started = time.perf_counter()
    sdk.shutdown(timeout_s=1)
    assert time.perf_counter() - started < 2.5
    refused, offered, dropped, exported, *_ = judged()
    assert (refused, offered, exported) == (0, 500, 0)
    assert dropped >= 350
    assert len(caplog.records) <= 1, [record.message for record in caplog.records]
    where = f"127.0.0.1:{free_port}" + ("" if protocol == "grpc" else "/v1/logs")
    assert all(f"judgements could not be sent to http://{where} (" in record.message for record in caplog.records)


EXIT = """
import sys, monitor
monitor.init("svc", endpoint=sys.argv[1], protocol=sys.argv[2], interval_s=60)
monitor.feedback(sys.argv[3], thumbs="up")
"""


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_sent_at_exit(logs: Logs, python: Callable[..., str], protocol: str) -> None:
    if protocol == "grpc":
        assert python(EXIT, logs.endpoint, protocol, TRACE) == ""
        assert [record.trace_id.hex() for _, record, _ in logs.records()] == [TRACE]
        return
    bodies: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    assert python(EXIT, f"http://127.0.0.1:{server.server_address[1]}", protocol, TRACE) == ""
    server.shutdown()
    server.server_close()
    assert set(bodies) == {"/v1/logs", "/v1/metrics"}
    request = logs_service_pb2.ExportLogsServiceRequest.FromString(bodies["/v1/logs"])
    assert request.resource_logs[0].scope_logs[0].log_records[0].trace_id.hex() == TRACE


FORK = """
import os, sys, monitor
from monitor import sdk
monitor.init("svc", endpoint=sys.argv[1], interval_s=60)
monitor.engagement(None, "parent.first")
if sys.argv[2] == "after use":
    assert sdk.flush()
pid = os.fork()
if pid == 0:
    monitor.engagement(None, "child")
    ok = sdk.flush(20)
    os._exit(0 if ok and sdk.stats().judgements_exported == 1 else 3)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
monitor.engagement(None, "parent.last")
assert code == 0, code
"""


@pytest.mark.parametrize("when", ["before use", "after use"])
def test_a_forked_child_sends_its_own_and_no_more(logs: Logs, python: Callable[..., str], when: str) -> None:
    python(FORK, logs.endpoint, when)
    found = [(resource["monitor.emitter"], said["monitor.engagement.kind"]) for resource, _, said in logs.records()]
    assert sorted(kind for _, kind in found) == ["child", "parent.first", "parent.last"]
    emitters = {kind: emitter for emitter, kind in found}
    assert emitters["parent.first"] == emitters["parent.last"] != emitters["child"]


LAZY = """
import json, sys, threading, monitor
found = ["opentelemetry.sdk._logs" in sys.modules]
monitor.init("svc", endpoint="http://127.0.0.1:1")
with monitor.inference("m"):
    pass
found.append(threading.active_count())
monitor.feedback(sys.argv[1], thumbs="up")
found.append(threading.active_count())
print(json.dumps(found))
monitor.shutdown(0.1)
"""


def test_nothing_of_it_runs_before_the_first(python: Callable[..., str]) -> None:
    # The main thread and that of spans; the first judgement adds its own.
    assert json.loads(python(LAZY, TRACE, only_out=True)) == [False, 2, 3]


@pytest.fixture
def store_url(backend_url: str) -> Iterator[str]:
    """A migrated, empty store of each kind, as a pipeline can use it."""
    name = f"judged_{time.time_ns()}"
    if not backend_url.startswith("chdb"):
        admin = connect(backend_url, database="default")
        ensure_database(admin, name)
        admin.close()
    url = backend_url if backend_url.startswith("chdb") else with_database(backend_url, name)
    client = connect(url)
    migrate(client)
    yield url
    empty_all(client)
    client.close()
    if not backend_url.startswith("chdb"):
        drop_database(backend_url, name)


@pytest.mark.parametrize("transport", ["grpc", "http/protobuf"])
def test_rows_in_the_store(store_url: str, tmp_path: Path, transport: str) -> None:
    at = datetime.fromtimestamp(int(time.time()) - 100, UTC)
    with receiving(tmp_path / "data", store_url) as target:
        where = {"grpc": f"http://{target.grpc}", "http/protobuf": target.http}[transport]
        sdk.init("svc", endpoint=where, protocol=transport)
        sdk.evaluate(
            TRACE, "correct", score=0.1, label="no", source="human", evaluator="ann", explanation="it is not", at=at,
            span_id=SPAN, response_id="r", error="e",
        )  # fmt: skip
        sdk.evaluate(TRACE, "correct", label="yes", at=at)
        sdk.feedback(TRACE, thumbs="up", comment="good", user="u", session="s", span_id=SPAN, response_id="r", at=at)
        assert sdk.flush(20)
        sdk.shutdown()
    client = connect(store_url)
    shown = "* EXCEPT (timestamp, inserted_at), toUnixTimestamp64Nano(timestamp) AS time"
    rows = [
        list(client.query(f"SELECT {shown} FROM {table} FINAL ORDER BY span_id").named_results())
        for table in ("evaluations", "engagement_events")
    ]
    client.close()
    nothing = {"response_id": "", "source": "", "evaluator": "", "explanation": "", "error_type": ""}
    common = {"trace_id": TRACE, "service": "svc", "time": int(at.timestamp()) * 10**9}
    assert rows == [
        [
            {**common, **nothing, "span_id": "", "name": "correct", "score": None, "label": "yes"},
            {
                **common, "span_id": SPAN, "response_id": "r", "name": "correct", "score": 0.1, "label": "no",
                "source": "human", "evaluator": "ann", "explanation": "it is not", "error_type": "e",
            },
        ],
        [
            {
                **common, "span_id": SPAN, "response_id": "r", "kind": "thumbs", "value": "up", "comment": "good",
                "session_id": "s", "user_id": "u",
            }
        ],
    ]  # fmt: skip


def test_a_call_judged_while_it_runs_costs_little(logs: Logs) -> None:
    sdk.init("svc", endpoint=logs.endpoint, queue_size=20_000)
    took = []
    for _ in range(2000):
        started = time.perf_counter()
        sdk.evaluate(TRACE, "x", score=1.0, source="judge")
        took.append(time.perf_counter() - started)
    assert sorted(took)[1000] < 0.001
    assert sdk.flush(30)
    assert len(logs.records()) == 2000
