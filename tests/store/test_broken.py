"""Writes that the system refuses and the engine does not tell of: found, put right, made again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from collectors.otlp.signals import LOGS
from collectors.writer import LOOK_S
from monitor.jobs.job import Context, Job, Outcome
from monitor.jobs.runs import newest_runs
from monitor.jobs.scheduler import Scheduler
from monitor.settings import Settings, load_settings
from monitor.store.broken import WritesFailed, WriteWatch
from monitor.store.client import Client, connect
from monitor.store.flatten import FlattenOptions
from monitor.store.migrate import migrate
from monitor.store.segments import SegmentInserter
from tests.collectors.payloads import body
from tests.collectors.signals import log_request
from tests.collectors.writing import Writing, write_segment
from tests.conftest import drop_database, empty_all, make_database, with_database
from tests.tools import clickhouse_server
from tests.tools.faults import refused_writes
from tests.tools.waiting import WAIT_S, wait_until

OPTIONS = FlattenOptions.from_settings(load_settings())
UNWRITTEN = "space on its disk"


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
    writing = Writing(tmp_path, place.inserter, threads=1)
    writing.submit(write_segment(tmp_path / "wal", "before", [(body(1, 20), 20)]))
    writing.wait(1, WAIT_S)
    meanwhile = write_segment(tmp_path / "wal", "meanwhile", [(body(21, 30), 30)])
    with place.refusing():
        writing.submit(meanwhile)
        writing.wait_for_error(UNWRITTEN, WAIT_S)
        assert [segment.token for segment in writing.stored] == ["before"]
    writing.wait(2, WAIT_S)
    writing.submit(write_segment(tmp_path / "wal", "after", [(body(51, 10), 10)]))
    writing.wait(3, WAIT_S)
    assert writing.writer.last_error is None
    assert spans_of(client) == [(60, 60), (60, 60)]
    assert writing.stats.snapshot().stored == 60
    assert writing.writer.close(10)


def test_what_has_no_ids_is_sent_again_by_another_token(place: Place, client: Client, tmp_path: Path) -> None:
    request = log_request()
    records = sum(len(scope.log_records) for resource in request.resource_logs for scope in resource.scope_logs)
    bodies = [(request.SerializeToString(), records)]
    writing = Writing(tmp_path, lambda: place.inserter("logs"), signal=LOGS, threads=1)
    writing.submit(write_segment(tmp_path / "wal", "before", bodies))
    writing.wait(1, WAIT_S)
    meanwhile = write_segment(tmp_path / "wal", "meanwhile", bodies)
    with place.refusing():
        writing.submit(meanwhile)
        writing.wait_for_error(UNWRITTEN, WAIT_S)
    writing.wait(2, WAIT_S)
    assert client.command("SELECT count() FROM otel_logs") == 2 * records
    assert writing.writer.close(10)


def test_a_merge_that_was_not_written_is_taken_back(place: Place, client: Client, tmp_path: Path) -> None:
    inserter = place.inserter()
    for number in range(4):
        inserter.insert(write_segment(tmp_path, f"{number}", [(body(1 + number * 10, 10), 10)]).path, f"{number}")
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
    inserter.insert(write_segment(tmp_path, "first", [(body(1, 10), 10)]).path, "first")
    with place.refusing():
        client.command("OPTIMIZE TABLE otel_traces FINAL")
    with pytest.raises(WritesFailed):
        inserter.look()
    inserter.insert(write_segment(tmp_path, "second", [(body(11, 10), 10)]).path, "second")
    assert spans_of(client) == [(20, 20), (20, 20)]
    inserter.close()


def test_whole_parts_are_left_as_they_are(
    place: Place, client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A write that fails elsewhere, such as of a file that a query makes, is no reason to load a table anew."""
    inserter = place.inserter()
    inserter.insert(write_segment(tmp_path, "one", [(body(1, 10), 10)]).path, "one")
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
