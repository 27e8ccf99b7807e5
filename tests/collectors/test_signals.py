"""Logs and metrics: every field in its column, over each transport and encoding, on each store; judgements and engagement."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from collectors.otlp.checked import Limits
from collectors.otlp.signals import LOGS, METRICS, SIGNALS, TRACES, Signal
from monitor import semconv
from monitor.store.client import Client, connect
from monitor.store.migrate import migrate
from tests.collectors.json_form import otlp_json
from tests.collectors.payloads import request
from tests.collectors.receiving import HTTP, Receiving, receiving, send, wait_stored
from tests.collectors.signals import (
    LOG_ROWS,
    METRIC_ROWS,
    NOW,
    POINTS,
    SPAN,
    TRACE,
    attribute,
    log_request,
    metric_request,
)
from tests.conftest import empty_all

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TRANSPORTS = ("grpc", "protobuf", "json")


@dataclass(frozen=True)
class Place:
    """Receivers over a store, and a client of that store."""

    target: Receiving
    client: Client

    def rows(self, query: str) -> list[dict[str, Any]]:
        return [dict(row) for row in self.client.query(query).named_results()]


@pytest.fixture
def place(pipeline_url: str, tmp_path: Path) -> Iterator[Place]:
    client = connect(pipeline_url)
    with receiving(tmp_path / "data", pipeline_url) as target:
        yield Place(target, client)
    client.close()


def test_every_field_of_a_log_record_in_its_column(place: Place) -> None:
    for transport in TRANSPORTS:
        assert send(place.target, LOGS, log_request(), transport) in (b"", b"{}")
    snapshot = wait_stored(place.target, LOGS)
    assert (snapshot.received, snapshot.stored, snapshot.rejected) == (6, 6, {})
    rows = place.rows(
        "SELECT * EXCEPT (Timestamp), toUnixTimestamp64Nano(Timestamp) AS nanos FROM otel_logs ORDER BY nanos"
    )
    assert rows == [row for row in LOG_ROWS for _ in TRANSPORTS]


def test_every_field_of_a_data_point_in_its_column(place: Place) -> None:
    for transport in TRANSPORTS:
        assert send(place.target, METRICS, metric_request(), transport) in (b"", b"{}")
    snapshot = wait_stored(place.target, METRICS)
    assert (snapshot.received, snapshot.stored, snapshot.rejected) == (3 * POINTS, 3 * POINTS, {})
    for kind, expected in METRIC_ROWS.items():
        hidden = "StartTimeUnix, TimeUnix" + ("" if kind == "summary" else ", `Exemplars.TimeUnix`")
        rows = place.rows(
            f"SELECT * EXCEPT ({hidden}), toUnixTimestamp64Nano(StartTimeUnix) AS start, toUnixTimestamp64Nano(TimeUnix) AS time"
            f" FROM otel_metrics_{kind} ORDER BY start DESC"
        )
        assert rows == [row for row in expected for _ in TRANSPORTS], kind
        if kind != "summary":
            at = "arrayMap(t -> toUnixTimestamp64Nano(t), `Exemplars.TimeUnix`)"
            times = place.rows(
                f"SELECT DISTINCT {at} AS at FROM otel_metrics_{kind} WHERE StartTimeUnix > '2000-01-01'"
            )
            assert times == [{"at": [NOW - 1]}]


def test_empty_arrays_and_nulls_in_arrays(place: Place) -> None:
    """As the collectors' exporter writes them: JSON, in which nothing is lost."""
    given = {"none": [], "null": [None], "nulls": [None, "", 1, None, True, 0.5, None], "texts": ["", ""], "text": ""}
    wanted = {"none": "[]", "null": "[null]", "nulls": '[null,"",1,null,true,0.5,null]', "texts": '["",""]', "text": ""}

    def attributes() -> list[KeyValue]:
        return [attribute(key, value) for key, value in given.items()]

    def send_all(traces: ExportTraceServiceRequest, logs: ExportLogsServiceRequest) -> None:
        for transport in TRANSPORTS:
            assert send(place.target, TRACES, traces, transport) in (b"", b"{}")
            assert send(place.target, LOGS, logs, transport) in (b"", b"{}")

    traces = request(1, 1)
    resource_spans = traces.resource_spans[0]
    resource_spans.resource.attributes.extend(attributes())
    span = resource_spans.scope_spans[0].spans[0]
    span.attributes.extend(attributes())
    span.events.add(name="e", attributes=attributes())
    span.links.add(trace_id=TRACE, span_id=SPAN, attributes=attributes())
    logs = ExportLogsServiceRequest()
    records = logs.resource_logs.add().scope_logs.add().log_records
    for value in given.values():
        records.add(time_unix_nano=NOW, body=attribute("", value).value, attributes=attributes())
    send_all(traces, logs)
    wait_stored(place.target, TRACES)
    wait_stored(place.target, LOGS)
    columns = ("ResourceAttributes", "SpanAttributes", "Events.Attributes[1]", "Links.Attributes[1]")
    for column in columns:
        found = place.rows(f"SELECT mapFilter((k, v) -> k IN {tuple(given)}, {column}) AS found FROM otel_traces")
        assert found == [{"found": wanted}] * len(TRANSPORTS), column
    found = place.rows("SELECT LogAttributes AS found, Body AS body FROM otel_logs")
    assert sorted(found, key=str) == sorted(
        ({"found": wanted, "body": text} for text in wanted.values() for _ in TRANSPORTS), key=str
    )


def evaluation(**values: Any) -> ExportLogsServiceRequest:
    message = ExportLogsServiceRequest()
    record = (
        message.resource_logs.add()
        .scope_logs.add()
        .log_records.add(time_unix_nano=NOW, trace_id=TRACE, span_id=SPAN, event_name="gen_ai.evaluation.result")
    )
    given = {
        "gen_ai.evaluation.name": "correct",
        "gen_ai.evaluation.score.value": 0.75,
        "gen_ai.evaluation.score.label": "yes",
        "gen_ai.evaluation.explanation": "it is so",
        "gen_ai.response.id": "r1",
        "monitor.evaluation.source": "judge",
        "monitor.evaluation.evaluator": "m2",
        **values,
    }
    record.attributes.extend(attribute(key, value) for key, value in given.items() if value is not None)
    return message


JUDGED = {
    "trace_id": TRACE.hex(), "span_id": SPAN.hex(), "response_id": "r1", "service": "", "name": "correct", "score": 0.75,
    "label": "yes", "source": "judge", "evaluator": "m2", "explanation": "it is so", "error_type": "",
}  # fmt: skip
FOUND = "SELECT * EXCEPT (timestamp, inserted_at) FROM {} FINAL ORDER BY ALL"


def test_judgements_from_logs_and_span_events(place: Place) -> None:
    # Sent twice: it counts once.
    for _ in range(2):
        send(place.target, LOGS, evaluation(), "json")
        wait_stored(place.target, LOGS)
    old = evaluation()
    record = old.resource_logs[0].scope_logs[0].log_records[0]
    record.event_name = ""
    record.attributes.append(attribute("event.name", "gen_ai.evaluation.result"))
    record.time_unix_nano += 1
    send(place.target, LOGS, old, "grpc")
    # No score that can be a number, and a judgement without a name, which is none.
    send(
        place.target,
        LOGS,
        evaluation(**{"gen_ai.evaluation.score.value": float("nan"), "monitor.evaluation.evaluator": "m3"}),
        "grpc",
    )
    send(place.target, LOGS, evaluation(**{"gen_ai.evaluation.name": None}), "grpc")
    spans = request(1, 2)
    event = (
        spans.resource_spans[0].scope_spans[0].spans[0].events.add(time_unix_nano=NOW, name="gen_ai.evaluation.result")
    )
    event.attributes.append(attribute("gen_ai.evaluation.name", "helpful"))
    event.attributes.append(attribute("gen_ai.evaluation.score.value", 4))
    send(place.target, SIGNALS[0], spans, "grpc")
    wait_stored(place.target, LOGS)
    wait_stored(place.target, SIGNALS[0])
    blank = {"response_id": "", "label": "", "source": "", "evaluator": "", "explanation": ""}
    helpful = {
        **JUDGED, **blank, "trace_id": (1).to_bytes(16, "big").hex(), "span_id": (1).to_bytes(8, "big").hex(),
        "service": "test", "name": "helpful", "score": 4.0,
    }  # fmt: skip
    assert place.rows(FOUND.format("evaluations")) == [
        helpful,
        JUDGED,
        JUDGED,
        {**JUDGED, "score": None, "evaluator": "m3"},
    ]


def test_engagement_from_logs_and_span_events(place: Place) -> None:
    message = ExportLogsServiceRequest()
    record = (
        message.resource_logs.add()
        .scope_logs.add()
        .log_records.add(time_unix_nano=NOW, trace_id=TRACE, span_id=SPAN, event_name="monitor.engagement")
    )
    said = {
        "monitor.engagement.kind": "thumbs", "monitor.engagement.value": "up", "monitor.engagement.comment": "good",
        "session.id": "s", "user.id": "u",
    }  # fmt: skip
    record.attributes.extend(attribute(key, value) for key, value in said.items())
    for transport in TRANSPORTS:
        send(place.target, LOGS, message, transport)
    spans = request(1, 1)
    event = spans.resource_spans[0].scope_spans[0].spans[0].events.add(time_unix_nano=NOW, name="monitor.engagement")
    event.attributes.append(attribute("monitor.engagement.kind", "copy"))
    send(place.target, SIGNALS[0], spans, "protobuf")
    wait_stored(place.target, LOGS)
    wait_stored(place.target, SIGNALS[0])
    row = {
        "trace_id": TRACE.hex(), "span_id": SPAN.hex(), "response_id": "", "service": "", "kind": "thumbs", "value": "up",
        "comment": "good", "session_id": "s", "user_id": "u",
    }  # fmt: skip
    copy = {
        "trace_id": (1).to_bytes(16, "big").hex(), "span_id": (1).to_bytes(8, "big").hex(), "response_id": "",
        "service": "test", "kind": "copy", "value": "", "comment": "", "session_id": "", "user_id": "",
    }  # fmt: skip
    assert place.rows(FOUND.format("engagement_events")) == [copy, row]


LIMITS = Limits(max_attributes=3, max_attribute_bytes=200, max_past_ns=10**15, max_future_ns=10**12)


def test_logs_are_repaired_and_never_left_out() -> None:
    now = time.time_ns()
    message = log_request()
    records = message.resource_logs[0].scope_logs[0].log_records
    records[0].time_unix_nano = 5
    records[1].observed_time_unix_nano = 0
    records.add(time_unix_nano=now, trace_id=b"short", span_id=b"x").body.string_value = "ä" * 400
    checked = LOGS.check(message.SerializeToString(), LIMITS, now)
    assert (checked.items, checked.rejected) == (3, {})
    assert checked.repaired == {"time_clamped": 2, "attributes_dropped": 2, "truncated": 1}
    first, second, third = ExportLogsServiceRequest.FromString(checked.body).resource_logs[0].scope_logs[0].log_records
    assert (first.time_unix_nano, second.time_unix_nano) == (now, now)
    marks = {item.key: item.value.string_value for item in first.attributes}
    assert marks[semconv.TIME_CLAMPED] == "5"
    assert not second.attributes
    assert second.body.string_value == '{"code":500}'
    assert third.body.string_value == "ä" * 100 + "…[truncated]"


def test_data_points_are_repaired_and_never_left_out() -> None:
    now = time.time_ns()
    message = metric_request()
    metrics = message.resource_metrics[0].scope_metrics[0].metrics
    metrics[0].gauge.data_points[0].time_unix_nano = 0
    metrics[1].sum.data_points[0].start_time_unix_nano = 7
    metrics[4].summary.data_points[0].attributes.append(attribute("deep", [[1]]))
    checked = METRICS.check(message.SerializeToString(), LIMITS, now)
    assert (checked.items, checked.rejected, checked.repaired) == (POINTS, {}, {"time_clamped": 2})
    found = ExportMetricsServiceRequest.FromString(checked.body).resource_metrics[0].scope_metrics[0].metrics
    assert found[0].gauge.data_points[0].time_unix_nano == now
    assert found[1].sum.data_points[0].start_time_unix_nano == 0
    assert found[1].sum.data_points[0].time_unix_nano == NOW
    assert found[4].summary.data_points[0].attributes[1].value.string_value == "[[1]]"
    whole = metric_request().SerializeToString()
    assert METRICS.check(whole, LIMITS, now).body is whole


def test_privacy_holds_for_logs_and_metrics(pipeline_url: str, tmp_path: Path) -> None:
    client = connect(pipeline_url)
    message = ExportLogsServiceRequest()
    records = message.resource_logs.add().scope_logs.add().log_records
    for name in ("gen_ai.user.message", "app.started"):
        record = records.add(time_unix_nano=NOW, event_name=name)
        record.body.string_value = "my card is 4111"
        record.attributes.extend([attribute("content", "what I said"), attribute("user.id", "ann")])
    points = metric_request()
    points.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0].attributes.append(
        attribute("user.id", "ann")
    )
    privacy = {"hash_user_ids": True, "salt": "pepper", "redact": [r"\b4111\b"]}
    with receiving(tmp_path / "data", pipeline_url, privacy=privacy) as target:
        send(target, LOGS, message, "grpc")
        send(target, METRICS, points, "grpc")
        wait_stored(target, LOGS)
        wait_stored(target, METRICS)
    hashed = hashlib.sha256(b"pepperann").hexdigest()
    rows = client.query("SELECT EventName, Body, LogAttributes FROM otel_logs ORDER BY EventName").result_rows
    assert rows == [
        ("app.started", "my card is [redacted]", {"content": "what I said", "user.id": hashed}),
        ("gen_ai.user.message", "", {"content": "", "user.id": hashed}),
    ]
    query = "SELECT Attributes FROM otel_metrics_gauge WHERE has(mapKeys(Attributes), 'user.id')"
    assert client.query(query).result_rows == [({"k": "7", "user.id": hashed},)]
    client.close()


def post_json(target: Receiving, content: bytes | str, path: str = "/v1/traces") -> httpx2.Response:
    return HTTP.post(
        f"{target.http}{path}", content=content, headers={"content-type": "application/json; charset=utf-8"}
    )


def test_json_as_senders_write_it(place: Place) -> None:
    """Original names, numbers as text, unknown fields, enums by name, null lists, ids in any case."""
    span = {
        "traceId": TRACE.hex(), "span_id": SPAN.hex().upper(), "parentSpanId": "", "name": "chat", "kind": 3,
        "start_time_unix_nano": str(NOW), "endTimeUnixNano": NOW + 5 * 10**8, "attributes": None, "futureField": {"traceId": "zz"},
        "status": {"code": "STATUS_CODE_ERROR"},
        "events": [{"name": "e", "timeUnixNano": str(NOW), "attributes": [{"key": "traceId", "value": {"stringValue": "not an id"}}]}],
    }  # fmt: skip
    content = {"resource_spans": [{"scopeSpans": [{"spans": [span]}]}], "unknown": [1]}
    answer = post_json(place.target, json.dumps(content))
    assert (answer.status_code, answer.json()) == (200, {})
    wait_stored(place.target, SIGNALS[0])
    (row,) = place.rows(
        "SELECT TraceId, SpanId, SpanKind, Duration, StatusCode, `Events.Attributes` AS said FROM otel_traces"
    )
    assert row == {
        "TraceId": TRACE.hex(), "SpanId": SPAN.hex(), "SpanKind": "Client", "Duration": 5 * 10**8, "StatusCode": "Error",
        "said": [{"traceId": "not an id"}],
    }  # fmt: skip


def test_json_spans_with_bad_ids_are_told(place: Place) -> None:
    spans = otlp_json(request(1, 3))
    bad = spans["resourceSpans"][0]["scopeSpans"][0]["spans"]
    bad[0]["traceId"], bad[1]["spanId"] = "not hex", "abcd"
    answer = post_json(place.target, json.dumps(spans))
    assert answer.status_code == 200
    partial = answer.json()["partialSuccess"]
    assert partial["rejectedSpans"] == "2"
    assert "invalid_span_id: 1, invalid_trace_id: 1" in partial["errorMessage"]
    assert wait_stored(place.target, SIGNALS[0]).stored == 1


BAD_JSON = {
    "no JSON": (b"{", "not JSON"),
    "a list": (b"[]", "must be a JSON object, not a list"),
    "null": (b"null", "not null"),
    "empty": (b"", "not JSON"),
    "not UTF-8": (b'{"a": "\xff"}', "not JSON"),
    "too deep": (b'{"resourceSpans":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "not JSON"),
    "deep": (b'{"resourceSpans":' + b"[" * 300 + b"]" * 300 + b"}", "levels deep"),
    "wrong type": (b'{"resourceSpans": "x"}', "not an ExportTraceServiceRequest"),
    "half a character": (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"\\ud800"}]}]}]}', "in JSON"),
    "half a character in a name": (b'{"resourceSpans":[{"\\ud800": 1}]}', "in JSON"),
    "a number beyond all": (
        b'{"resourceSpans":[{"resource":{"attributes":[{"key":"k","value":{"intValue":' + b"9" * 400 + b"}}]}}]}",
        "in JSON",
    ),
    "half a character for a number": (b'{"resourceSpans":"\\ud800"}', "?"),
    "wrong number": (
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"soon"}]}]}]}',
        "startTimeUnixNano",
    ),
    "NaN": (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":NaN}]}]}]}', "startTimeUnixNano"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json_is_refused_for_good_and_in_json(json_target: Receiving, name: str) -> None:
    content, reason = BAD_JSON[name]
    answer = post_json(json_target, content)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    status = answer.json()
    assert status["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert reason in status["message"]
    assert len(status["message"]) < 400


@pytest.fixture(scope="module")
def json_target(chdb_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiving]:
    keeper = connect(chdb_url)
    migrate(keeper)
    with receiving(tmp_path_factory.mktemp("json") / "data", chdb_url) as found:
        yield found
    empty_all(keeper)
    keeper.close()


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
def test_empty_requests_are_successes(json_target: Receiving, signal: Signal) -> None:
    assert post_json(json_target, b"{}", signal.path).json() == {}
    assert send(json_target, signal, signal.request(), "grpc") == b""
    assert send(json_target, signal, signal.request(), "protobuf") == b""


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
def test_another_signals_path_takes_nothing(json_target: Receiving, signal: Signal) -> None:
    """A body of traces sent to /v1/logs must not be stored as anything."""
    before = json_target.snapshot(signal.name).received
    other = {"traces": log_request, "logs": metric_request, "metrics": lambda: request(1, 1)}[signal.name]()
    kind = {"content-type": "application/x-protobuf"}
    answer = HTTP.post(f"{json_target.http}{signal.path}", content=other.SerializeToString(), headers=kind)
    assert answer.status_code in (200, 400)
    assert json_target.snapshot(signal.name).received == before


def test_each_signal_has_its_own_numbers(json_target: Receiving) -> None:
    send(json_target, LOGS, log_request(), "grpc")
    wait_stored(json_target, LOGS)
    page = HTTP.get(f"{json_target.http}/metrics").text
    assert "monitor_collector_log_records_received_total 2\n" in page
    assert "monitor_collector_log_records_stored_total 2\n" in page
    assert "monitor_collector_data_points_received_total 0\n" in page
    assert 'monitor_collector_requests_refused_total{signal="traces",reason="malformed"}' in page
    # Each family is told once, and together.
    names = [line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_compressed_bodies_of_every_signal(json_target: Receiving, encoding: str) -> None:
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}[encoding]
    for signal, message in ((LOGS, log_request()), (METRICS, metric_request())):
        headers = {"content-type": "application/x-protobuf", "content-encoding": encoding}
        answer = HTTP.post(
            f"{json_target.http}{signal.path}", content=pack(message.SerializeToString()), headers=headers
        )
        assert (answer.status_code, answer.content) == (200, b"")
    for broken in (b"not it", pack(b"x" * 1000)[:-5]):
        answer = HTTP.post(f"{json_target.http}/v1/logs", content=broken, headers=headers)
        assert answer.status_code == 400
        assert encoding in Status.FromString(answer.content).message


def test_a_zstd_bomb_is_refused_while_it_unpacks(json_target: Receiving) -> None:
    bomb = zstd.compress(bytes(80 * 1024 * 1024))
    assert len(bomb) < 20_000
    headers = {"content-type": "application/x-protobuf", "content-encoding": "zstd"}
    answer = HTTP.post(f"{json_target.http}/v1/logs", content=bomb, headers=headers)
    assert answer.status_code == 413
    assert json_target.pipeline.inflight.bytes == 0
    # A frame that wants a window of 1 GiB would take that much memory before it gave a byte.
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 30})
    greedy = packer.compress(b"x" * 100) + packer.flush()
    answer = HTTP.post(f"{json_target.http}/v1/logs", content=greedy, headers=headers)
    assert answer.status_code == 400
    assert "zstd" in Status.FromString(answer.content).message
