"""What the SDK says of itself, sent to a real collector, and what `traffic.completeness` makes of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData, Sum
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from monitor import semconv
from monitor.kpis import Window, evaluate
from monitor.sdk.pipeline import Counts
from monitor.sdk.report import FAILURES_MAX, Reporter, reading
from monitor.store.client import Client, connect
from monitor.store.migrate import migrate
from tests.collectors.receiving import Receiving, receiving
from tests.conftest import empty_all
from tests.tools.service import ROOT, environment

SCOPE = InstrumentationScope("monitor.sdk", "1", "https://schema")
COUNTS = Counts(last_seq=9, settled=7, offered=12, dropped=2, exported=6, failed=3, waiting=1)


def values(data: MetricsData) -> dict[tuple[str, str], Any]:
    """(name, error type) -> value."""
    found = {}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            found[metric.name, str((point.attributes or {}).get(semconv.ERROR_TYPE, ""))] = point.value  # type: ignore[union-attr]
            assert isinstance(metric.data, Sum) == (
                metric.name not in ("monitor.sdk.calls.open", "otel.sdk.processor.span.queue.size")
            )
    return found


def test_a_reading_holds_every_count() -> None:
    data = reading(COUNTS, (10, 8, 2, 1), Resource({"k": "v"}), SCOPE, start_ns=5, now_ns=9)
    assert values(data) == {
        ("monitor.sdk.calls.started", ""): 10,
        ("monitor.sdk.calls.ended", ""): 8,
        ("monitor.sdk.calls.unsampled", ""): 1,
        ("monitor.sdk.calls.settled", ""): 7,
        ("monitor.sdk.calls.open", ""): 2,
        ("otel.sdk.processor.span.processed", ""): 9,
        ("otel.sdk.processor.span.processed", "queue_full"): 2,
        ("otel.sdk.exporter.span.exported", ""): 6,
        ("otel.sdk.exporter.span.exported", "_OTHER"): 3,
        ("otel.sdk.processor.span.queue.size", ""): 1,
    }
    point = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0]
    assert (point.start_time_unix_nano, point.time_unix_nano) == (5, 9)  # type: ignore[union-attr]


class Refusing(MetricExporter):
    """A collector that takes no metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        self.asked += 1
        return MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None: ...


def test_a_collector_that_takes_no_metrics_is_left_alone() -> None:
    exporter = Refusing()
    reporter = Reporter(exporter=exporter, scope=SCOPE, calls=lambda: (1, 1, 0, 0), started_ns=1)
    for _ in range(10):
        reporter.send(COUNTS, Resource({}), 2)
    assert exporter.asked == FAILURES_MAX


# A program with calls, of which the queue loses some; it says at its end what it knows of itself.
PROGRAM = """
import json, sys, time
import monitor
from monitor import sdk
endpoint, node, calls, queue = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
monitor.init(service="reports", endpoint=endpoint, node=node, queue_size=queue, interval_s=30)
for _ in range(calls):
    with monitor.inference(model="m") as call:
        call.finish(input_tokens=1, output_tokens=1)
sdk.shutdown()
print(json.dumps(sdk.stats().__dict__))
"""


@pytest.fixture
def place(chdb_url: str, tmp_path: Path) -> Iterator[tuple[Receiving, Client]]:
    client = connect(chdb_url)
    migrate(client)
    empty_all(client)  # of what others left there
    with receiving(tmp_path / "data", chdb_url) as target:
        yield target, client
    empty_all(client)
    client.close()


def run(endpoint: str, node: str, calls: int, queue: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, endpoint, node, str(calls), str(queue)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_completeness_of_each_node(place: tuple[Receiving, Client], transport: str) -> None:
    target, client = place
    endpoint = {"grpc": f"http://{target.grpc}", "http": f"{target.http}/v1/traces"}[transport]
    start = datetime.now(UTC) - timedelta(seconds=1)
    whole = run(endpoint, "whole", 20, 2048)
    # The oldest are dropped when the queue is full, so none of the last is missing.
    leaky = run(endpoint, "leaky", 50, 10)
    assert (whole["dropped"], whole["exported"]) == (0, 20)
    assert leaky["dropped"] + leaky["exported"] == 50
    assert leaky["dropped"] > 0
    deadline = time.monotonic() + 30
    while target.pipeline.waiting or client.command("SELECT count() FROM sdk_reports FINAL WHERE settled > 0") != 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    reports = client.query("SELECT node, service, settled FROM sdk_reports FINAL ORDER BY node, settled").result_rows
    assert reports == [
        ("leaky", "reports", 0),
        ("leaky", "reports", 50),
        ("whole", "reports", 0),
        ("whole", "reports", 20),
    ]
    window = Window(start=start, end=datetime.now(UTC) + timedelta(seconds=1))
    found = {
        value.group["node"]: value for value in evaluate(client, ["traffic.completeness"], window=window, by=["node"])
    }
    assert (found["whole"].value, found["whole"].n) == (1.0, 20)
    assert found["leaky"].n == 50
    assert found["leaky"].value == pytest.approx(leaky["exported"] / 50)
    assert found["leaky"].note == f"{leaky['dropped']} of 50 calls are missing"
    # Asked by model, a lost call is of none; the gaps between those that came are all that is known.
    (by_model,) = evaluate(client, ["traffic.completeness"], window=window, by=["model"])
    assert by_model.n <= 70
