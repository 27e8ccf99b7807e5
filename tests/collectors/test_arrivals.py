"""A request that is sent again counts once, though the clock was set in between."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collectors.otlp.arrivals import MOST, REMEMBER_S, Arrivals, make_note, request_key
from collectors.otlp.check import check_logs, check_metrics
from collectors.otlp.checked import Limits
from collectors.otlp.signals import LOGS, TRACES
from monitor.errors import StoreAway
from monitor.store.client import connect
from tests.collectors.payloads import request
from tests.collectors.receiving import receiving, send, wait_stored

DAY_NS = 86_400 * 10**9
NOW = 1_800_000_000 * 10**9
LIMITS = Limits(max_attributes=16, max_attribute_bytes=1000, max_past_ns=DAY_NS, max_future_ns=DAY_NS)


class Passing:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_the_clock_of_the_first_arrival_is_remembered_for_a_while() -> None:
    passing = Passing()
    arrivals = Arrivals(passing)
    assert arrivals.first_ns(1, NOW) == NOW
    passing.now_s += REMEMBER_S / 2 - 1
    assert arrivals.first_ns(2, NOW + 5) == NOW + 5
    passing.now_s += 1
    assert (arrivals.first_ns(1, 9), arrivals.first_ns(2, 9), arrivals.first_ns(3, 9)) == (NOW, NOW + 5, 9)
    passing.now_s += REMEMBER_S / 2
    assert arrivals.first_ns(4, 10) == 10
    assert [arrivals.first_ns(key, 11) for key in (1, 2, 3, 4)] == [11, 11, 9, 10]
    passing.now_s += 10 * REMEMBER_S
    arrivals.first_ns(5, 12)
    assert len(arrivals) == 1, "after a long silence nothing is worth remembering"


def test_memory_is_bounded() -> None:
    arrivals = Arrivals(Passing())
    for key in range(1, 3 * MOST):
        assert arrivals.first_ns(key, NOW + key) == NOW + key
        assert len(arrivals) <= MOST
    for key in range(3 * MOST - MOST // 2, 3 * MOST):
        assert arrivals.first_ns(key, 1) == NOW + key, "at least the latest half is remembered"


def test_the_note_takes_it_to_the_next_process() -> None:
    arrivals = Arrivals()
    arrivals.recover(b"a request" + make_note(2**64 - 1, NOW))
    arrivals.recover(memoryview(b"another" + make_note(7, NOW + 1)))
    assert (arrivals.first_ns(2**64 - 1, 1), arrivals.first_ns(7, 1)) == (NOW, NOW + 1)


@pytest.mark.parametrize("logged", [b"", b"short", request(1, 5).SerializeToString(), make_note(1, 2)[:-1]])
def test_a_request_without_a_note_says_nothing(logged: bytes) -> None:
    arrivals = Arrivals()
    arrivals.recover(logged)
    assert len(arrivals) == 0


def test_requests_have_keys_of_their_own() -> None:
    bodies = [request(first, spans, now_ns=NOW).SerializeToString() for first in range(1, 200) for spans in (0, 1, 100)]
    assert len({request_key(body) for body in bodies}) == len(set(bodies)) == 2 * 199 + 1
    assert all(0 <= request_key(body) < 2**64 for body in (b"", b"\xff" * 100_000, *bodies))


def test_no_time_at_all_becomes_the_time_of_this_arrival() -> None:
    """The same log line may be sent twice without a time; the same line with the same time is sent again."""
    logs = ExportLogsServiceRequest()
    scope_logs = logs.resource_logs.add().scope_logs.add()
    for given in (0, 5):
        scope_logs.log_records.add().time_unix_nano = given
    checked = check_logs(logs.SerializeToString(), LIMITS, NOW, NOW + DAY_NS)
    found = ExportLogsServiceRequest.FromString(checked.body).resource_logs[0].scope_logs[0].log_records
    assert [record.time_unix_nano for record in found] == [NOW + DAY_NS, NOW]

    metrics = ExportMetricsServiceRequest()
    gauge = metrics.resource_metrics.add().scope_metrics.add().metrics.add().gauge
    for given in (0, 5):
        gauge.data_points.add().time_unix_nano = given
    checked = check_metrics(metrics.SerializeToString(), LIMITS, NOW, NOW + DAY_NS)
    metric = ExportMetricsServiceRequest.FromString(checked.body).resource_metrics[0].scope_metrics[0].metrics[0]
    assert [point.time_unix_nano for point in metric.gauge.data_points] == [NOW + DAY_NS, NOW]


def evaluations(now_ns: int) -> ExportLogsServiceRequest:
    message = ExportLogsServiceRequest()
    record = message.resource_logs.add().scope_logs.add().log_records.add()
    record.event_name, record.time_unix_nano, record.trace_id = "gen_ai.evaluation.result", now_ns, b"t" * 16
    for key, text in {"gen_ai.evaluation.name": "correct", "gen_ai.evaluation.score.label": "yes"}.items():
        attribute = record.attributes.add()
        attribute.key, attribute.value.string_value = key, text
    return message


class MovedClock:
    """The wall clock of this process, which a test may set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_ns = 0
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() + self.ahead_ns)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MovedClock:
    return MovedClock(monkeypatch)


def counts(url: str) -> list[int]:
    """Rows of spans, calls, log records, evaluations."""
    client = connect(url)
    tables = ("otel_traces", "inferences FINAL", "otel_logs", "evaluations FINAL")
    found = [int(client.command(f"SELECT count() FROM {table}")) for table in tables]
    client.close()
    return found


@pytest.mark.parametrize("days", [(0, -2), (-2, 0), (-2, -3)], ids=["believed", "not believed", "never believed"])
def test_the_clock_is_set_before_a_request_is_sent_again(
    pipeline_url: str, tmp_path: Path, clock: MovedClock, days: tuple[int, int]
) -> None:
    """In the same process, and over whichever way it comes."""
    spans, judged = request(1, 20), evaluations(time.time_ns())
    with receiving(tmp_path / "data", pipeline_url) as target:
        for ahead, transport in zip(days, ("grpc", "protobuf"), strict=True):
            clock.ahead_ns = ahead * DAY_NS
            send(target, TRACES, spans, transport)
            send(target, LOGS, judged, transport)
            wait_stored(target, TRACES)
            wait_stored(target, LOGS)
    assert counts(pipeline_url) == [40, 20, 2, 1]


class Away:
    """A store that does not answer."""

    def absent(self, spans: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        return set()

    def insert(self, path: Path, token: str) -> None:
        raise StoreAway("ClickHouse is away")

    def close(self) -> None:
        pass


@pytest.mark.parametrize("days", [(0, -2), (-2, 0), (-2, -3)], ids=["believed", "not believed", "never believed"])
def test_the_clock_is_set_while_the_process_is_away(
    pipeline_url: str, tmp_path: Path, clock: MovedClock, days: tuple[int, int]
) -> None:
    """It was killed with the request in its log and the answer not sent; the next one gets the request again."""
    spans, judged = request(1, 20), evaluations(time.time_ns())
    clock.ahead_ns = days[0] * DAY_NS
    with receiving(tmp_path / "data", pipeline_url, inserter=Away) as target:
        send(target, TRACES, spans, "grpc")
        send(target, LOGS, judged, "grpc")
    clock.ahead_ns = days[1] * DAY_NS
    with receiving(tmp_path / "data", pipeline_url) as target:
        assert target.snapshot().recovered == 20
        send(target, TRACES, spans, "grpc")
        send(target, LOGS, judged, "grpc")
        wait_stored(target, TRACES)
        wait_stored(target, LOGS)
    assert counts(pipeline_url) == [40, 20, 2, 1]
