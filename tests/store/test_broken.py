"""Writes that the system refuses and the engine does not tell of: found, put right, made again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from collectors.otlp.ids import span_ids
from collectors.otlp.signals import LOGS, TRACES, Signal
from collectors.stats import Stats
from collectors.wal import Segment, encode_record
from collectors.writer import LOOK_S, Writer
from monitor.jobs.job import Context, Job, Outcome
from monitor.jobs.runs import newest_runs
from monitor.jobs.scheduler import Scheduler
from monitor.settings import Settings, load_settings
from monitor.store.broken import WritesFailed, WriteWatch
from monitor.store.client import Client, connect
from monitor.store.flatten import FlattenOptions
from monitor.store.migrate import migrate
from monitor.store.segments import SegmentInserter, is_data_error
from tests.collectors.payloads import body
from tests.collectors.signals import log_request
from tests.conftest import drop_database, empty_all, make_database, with_database
from tests.tools import clickhouse_server
from tests.tools.faults import refused_writes

OPTIONS = FlattenOptions.from_settings(load_settings())
WAIT_S = 30.0


@dataclass(frozen=True)
class Place:
    """A migrated store whose engine runs in a process of ours."""

    url: str
    database: str | None
    pid: Callable[[], int]

    def client(self) -> Client:
        return connect(self.url, database=self.database)

    def inserter(self, signal: str = "traces") -> SegmentInserter:
        return SegmentInserter(self.client(), self.url, OPTIONS, signal)

    def refusing(self) -> AbstractContextManager[None]:
        return refused_writes(self.pid())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clickhouse_server.Server]:
    with clickhouse_server.running(tmp_path_factory.mktemp("refusing") / "clickhouse") as running:
        yield running


@pytest.fixture(params=["chdb", "server"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "chdb":
        base = str(request.getfixturevalue("chdb_url"))
        found = Place(base, make_database(base), os.getpid)
    else:
        server = request.getfixturevalue("server")
        name = make_database(server.url())
        found = Place(with_database(server.url(), name), name, lambda: server.process.pid)
    client = found.client()
    migrate(client)
    client.close()
    yield found
    assert found.database is not None
    drop_database(found.url if request.param == "chdb" else server.url(), found.database)


@pytest.fixture
def client(place: Place) -> Iterator[Client]:
    opened = place.client()
    yield opened
    opened.close()


class Writing:
    """A writer of one signal, with its segments."""

    def __init__(self, place: Place, folder: Path, signal: Signal = TRACES) -> None:
        self._folder = folder / "segments"
        self._folder.mkdir()
        self.stats, self.stored = Stats(), list[Segment]()
        self.writer = Writer(
            threads=1,
            open_inserter=lambda: place.inserter(signal.name),
            is_data_error=is_data_error,
            forget=self.stored.append,
            span_ids=span_ids if signal is TRACES else None,
            normalise=signal.normalise,
            set_aside=folder / "set-aside",
            stats=self.stats,
        )
        self.writer.start()

    def segment(self, name: str, content: bytes, items: int) -> Segment:
        path = self._folder / f"{name}.segment"
        path.write_bytes(encode_record(content, items))
        return Segment(path=path, items=items, bytes=path.stat().st_size)

    def submit(self, segment: Segment) -> None:
        self.stats.accept(segment.items, {}, {})
        self.writer.submit(segment)

    def store(self, segment: Segment) -> None:
        self.submit(segment)
        self.wait_until_stored(len(self.stored) + 1)

    def wait_until_stored(self, segments: int) -> None:
        wait_until(lambda: len(self.stored) >= segments)

    def wait_until_unwritten(self) -> None:
        wait_until(lambda: "space on its disk" in (self.writer.last_error or ""))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def spans_of(client: Client) -> list[tuple[int, int]]:
    """Rows and different spans, of the raw table and of the facts."""
    return [
        client.query(query).result_rows[0]
        for query in (
            "SELECT count(), uniqExact(SpanId) FROM otel_traces",
            "SELECT count(), uniqExact(span_id) FROM inferences FINAL",
        )
    ]


def test_an_insert_that_was_not_written_is_made_again(place: Place, client: Client, tmp_path: Path) -> None:
    writing = Writing(place, tmp_path)
    writing.store(writing.segment("before", body(1, 20), 20))
    meanwhile = writing.segment("meanwhile", body(21, 30), 30)
    with place.refusing():
        writing.submit(meanwhile)
        writing.wait_until_unwritten()
        assert [segment.token for segment in writing.stored] == ["before"]
    writing.wait_until_stored(2)
    writing.store(writing.segment("after", body(51, 10), 10))
    assert writing.writer.last_error is None
    assert spans_of(client) == [(60, 60), (60, 60)]
    assert writing.stats.snapshot().stored == 60
    assert writing.writer.close(10)


def test_what_has_no_ids_is_sent_again_by_another_token(place: Place, client: Client, tmp_path: Path) -> None:
    request = log_request()
    records = sum(len(scope.log_records) for resource in request.resource_logs for scope in resource.scope_logs)
    writing = Writing(place, tmp_path, LOGS)
    writing.store(writing.segment("before", request.SerializeToString(), records))
    meanwhile = writing.segment("meanwhile", request.SerializeToString(), records)
    with place.refusing():
        writing.submit(meanwhile)
        writing.wait_until_unwritten()
    writing.wait_until_stored(2)
    assert client.command("SELECT count() FROM otel_logs") == 2 * records
    assert writing.writer.close(10)


def test_a_merge_that_was_not_written_is_taken_back(place: Place, client: Client, tmp_path: Path) -> None:
    inserter = place.inserter()
    for number in range(4):
        path = tmp_path / f"{number}.segment"
        path.write_bytes(encode_record(body(1 + number * 10, 10), 10))
        inserter.insert(path, path.stem)
    with place.refusing():
        for table in ("otel_traces", "inferences"):
            client.command(f"OPTIMIZE TABLE {table} FINAL")
    with pytest.raises(Exception, match=r"CORRUPTED_DATA|marks|CANNOT"):
        client.query("SELECT count(), any(SpanName) FROM otel_traces WHERE NOT ignore(SpanAttributes)")
    with pytest.raises(WritesFailed, match="could not write files"):
        inserter.look()
    inserter.look()
    assert spans_of(client) == [(40, 40), (40, 40)]
    client.command("OPTIMIZE TABLE otel_traces FINAL")
    assert spans_of(client) == [(40, 40), (40, 40)]
    inserter.close()


def test_the_views_of_a_table_that_was_loaded_anew_are_still_fed(place: Place, client: Client, tmp_path: Path) -> None:
    inserter = place.inserter()
    first, second = tmp_path / "first.segment", tmp_path / "second.segment"
    first.write_bytes(encode_record(body(1, 10), 10))
    second.write_bytes(encode_record(body(11, 10), 10))
    inserter.insert(first, "first")
    with place.refusing():
        client.command("OPTIMIZE TABLE otel_traces FINAL")
    with pytest.raises(WritesFailed):
        inserter.look()
    inserter.insert(second, "second")
    assert spans_of(client) == [(20, 20), (20, 20)]
    inserter.close()


def test_whole_parts_are_left_as_they_are(
    place: Place, client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A write that fails elsewhere, such as of a file that a query makes, is no reason to load a table anew."""
    inserter = place.inserter()
    path = tmp_path / "one.segment"
    path.write_bytes(encode_record(body(1, 10), 10))
    inserter.insert(path, "one")
    client.command("CREATE TABLE elsewhere (a UInt8) ENGINE = MergeTree ORDER BY a")
    with place.refusing():
        client.command("INSERT INTO elsewhere SELECT 1")
    with pytest.raises(WritesFailed):
        inserter.look()
    assert [record.getMessage() for record in caplog.records if "loaded anew" in record.getMessage()] == [
        "table elsewhere has parts that could not be written; it is loaded anew without them"
    ]
    assert spans_of(client) == [(10, 10), (10, 10)]
    inserter.close()


def test_parts_that_a_merge_replaced_are_kept_a_while(chdb_url: str) -> None:
    client = connect(chdb_url)
    kept = client.command("SELECT value FROM system.merge_tree_settings WHERE name = 'old_parts_lifetime'")
    assert int(str(kept)) >= 3 * LOOK_S
    client.close()


def test_a_server_that_was_started_anew_has_counted_nothing(tmp_path: Path) -> None:
    server = clickhouse_server.start(tmp_path / "clickhouse")
    try:
        client = connect(server.url())
        client.command("CREATE TABLE otel_traces (a UInt8) ENGINE = MergeTree ORDER BY a")
        with refused_writes(server.process.pid):
            client.command("INSERT INTO otel_traces SELECT 1")
        watch = WriteWatch(client)
        with refused_writes(server.process.pid):
            client.command("INSERT INTO otel_traces SELECT 2")
        server.kill()
        server = server.restarted()
        watch.look()
        client.command("INSERT INTO otel_traces SELECT 3")
        watch.look()
        assert client.query("SELECT a FROM otel_traces").result_rows == [(3,)]
        with refused_writes(server.process.pid):
            client.command("INSERT INTO otel_traces SELECT 4")
        with pytest.raises(WritesFailed):
            watch.look()
        assert client.query("SELECT a FROM otel_traces").result_rows == [(3,)]
        client.close()
    finally:
        server.kill()


@pytest.mark.parametrize("user", ["few", "fewer"])
def test_a_user_with_few_rights_goes_on(server: clickhouse_server.Server, user: str) -> None:
    """A server tells itself what it could not write, so its users need no more rights than before."""
    admin = connect(server.url())
    admin.command("CREATE DATABASE IF NOT EXISTS few")
    admin.command("CREATE OR REPLACE TABLE few.otel_traces (a UInt8) ENGINE = MergeTree ORDER BY a")
    client = connect(server.url("few", user))
    watch = WriteWatch(client)
    client.command("INSERT INTO otel_traces SELECT 1")
    with refused_writes(server.process.pid):
        client.command("INSERT INTO otel_traces SELECT 2")
    if user == "few":
        with pytest.raises(WritesFailed):
            watch.look()
    watch.look()
    client.close()
    admin.close()


def test_a_job_whose_rows_were_not_written_has_failed(chdb_url: str) -> None:
    client = connect(chdb_url)
    migrate(client)
    refused: list[bool] = []

    def work(context: Context) -> Outcome:
        if refused:
            return Outcome(rows=1)
        refused.append(True)
        with refused_writes(os.getpid()):
            context.client.command("INSERT INTO labels (trace_id) VALUES ('lost')")
        return Outcome(rows=1)

    settings = Settings.model_validate({"store": {"url": chdb_url}})
    scheduler = Scheduler(settings, jobs={"work": Job(name="work", meaning="Writes.", every_s=0.3, run=work)})
    scheduler.start()
    try:
        wait_until(lambda: scheduler.counters.runs("work", "failed") == 1)
        wait_until(lambda: scheduler.counters.runs("work", "ok") >= 1)
    finally:
        scheduler.stop()
    assert newest_runs(client)["work"].state == "ok"
    empty_all(client)
    client.close()
