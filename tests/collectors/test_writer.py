"""Segments into real stores: retries, bad requests, tokens."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from monitor.settings import load_settings
from monitor.store.client import Client, connect
from monitor.store.flatten import FlattenOptions
from monitor.store.migrate import ensure_database, migrate
from monitor.store.segments import SegmentInserter, is_data_error
from tests.collectors.payloads import body, request
from tests.collectors.writing import Writing, write_segment
from tests.conftest import empty_all, with_database
from tests.tools import clickhouse_server

OPTIONS = FlattenOptions.from_settings(load_settings())


def counts(client: Client) -> tuple[int, ...]:
    return tuple(
        int(client.command(f"SELECT count() FROM {table}"))
        for table in ("otel_traces", "otel_traces_trace_id_ts", "inferences")
    )


@pytest.fixture
def open_inserter(store_client: Client, backend_url: str, database: str) -> Callable[[], SegmentInserter]:
    def open_() -> SegmentInserter:
        return SegmentInserter(connect(backend_url, database=database), backend_url, OPTIONS)

    return open_


def test_a_token_counts_once_in_every_table(
    open_inserter: Callable[[], SegmentInserter], store_client: Client, tmp_path: Path
) -> None:
    inserter = open_inserter()
    first = write_segment(tmp_path, "a", [(body(1, 20), 20), (body(21, 20), 20)])
    second = write_segment(tmp_path, "b", [(body(41, 5), 5)])
    for segment in (first, first, second, first, second):
        inserter.insert(segment.path, segment.token)
    inserter.close()
    assert counts(store_client) == (45, 45, 45)


def test_a_segment_over_many_days_is_one_insert_each_time(
    open_inserter: Callable[[], SegmentInserter], store_client: Client, tmp_path: Path
) -> None:
    """More days than ClickHouse takes in one insert by default."""
    day, now = 86_400 * 10**9, time.time_ns()
    bodies = [(request(number, 1, now_ns=now - number * day).SerializeToString(), 1) for number in range(1, 151)]
    segment = write_segment(tmp_path, "days", bodies)
    inserter = open_inserter()
    inserter.insert(segment.path, segment.token)
    inserter.insert(segment.path, segment.token)
    inserter.close()
    assert counts(store_client) == (150, 150, 150)


def test_the_embedded_engine_leaves_the_working_folder_alone(
    chdb_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be one in which nobody can write, as that of a service often is."""
    client = connect(chdb_url)
    migrate(client)
    segment = write_segment(tmp_path, "anywhere", [(body(1, 3), 3)])
    working = tmp_path / "working"
    working.mkdir()
    for folder in (working, Path("/proc")):
        monkeypatch.chdir(folder)
        inserter = SegmentInserter(connect(chdb_url), chdb_url, OPTIONS)
        inserter.insert(segment.path, folder.name)
        inserter.close()
    assert list(working.iterdir()) == []
    assert counts(client)[0] == 6
    monkeypatch.undo()
    empty_all(client)
    client.close()


def _lax() -> bytes:
    """A request that the protobuf parser takes and ClickHouse does not: `name` with the wire type of a number."""
    content = request(100, 1).SerializeToString()
    span = request(100, 1).resource_spans[0].scope_spans[0].spans[0].SerializeToString()
    broken = span + b"\x28\x07"  # field 5, varint
    message = ExportTraceServiceRequest.FromString(content)
    scope_spans = message.resource_spans[0].scope_spans[0]
    del scope_spans.spans[:]
    inner = b"\x12" + bytes([len(broken) & 0x7F | 0x80, len(broken) >> 7]) + broken
    resource = message.resource_spans[0].resource.SerializeToString()
    outer = b"\x0a" + bytes([len(resource)]) + resource + b"\x12" + _length(inner) + inner
    return b"\x0a" + _length(outer) + outer


def _length(content: bytes) -> bytes:
    return bytes([len(content) & 0x7F | 0x80, len(content) >> 7])


def test_a_request_that_only_clickhouse_cannot_read_is_stored(
    open_inserter: Callable[[], SegmentInserter], store_client: Client, tmp_path: Path
) -> None:
    bodies = [(body(1, 3), 3), (_lax(), 1), (body(11, 3), 3), (body(21, 3), 3)]
    segment = write_segment(tmp_path, "lax", bodies)
    direct = open_inserter()
    with pytest.raises(Exception, match="rotobuf") as caught:
        direct.insert(segment.path, "direct")
    direct.close()
    assert is_data_error(caught.value), "the premise: ClickHouse refuses the segment for what is in it"
    writing = Writing(tmp_path, open_inserter)
    writing.submit(segment)
    writing.wait(1)
    assert writing.writer.close(10)
    snapshot = writing.stats.snapshot()
    assert (snapshot.stored, snapshot.waiting, dict(snapshot.rejected)) == (10, 0, {})
    assert counts(store_client)[0] == 10
    assert not writing.set_aside.exists()


def test_a_hopeless_request_is_set_aside_alone(
    open_inserter: Callable[[], SegmentInserter], store_client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should even the rewritten form be refused, the others of the segment are stored, and that one is kept as a file."""
    segment = write_segment(tmp_path, "hopeless", [(body(1, 3), 3), (_lax(), 1), (body(11, 3), 3)])
    writing = Writing(tmp_path, open_inserter)
    monkeypatch.setattr(writing.writer, "_normalise", lambda content: content)
    writing.submit(segment)
    writing.wait(1)
    assert writing.writer.close(10)
    snapshot = writing.stats.snapshot()
    assert (snapshot.stored, snapshot.waiting, dict(snapshot.rejected)) == (6, 0, {"unreadable": 1})
    assert counts(store_client)[0] == 6
    kept = list(writing.set_aside.iterdir())
    assert len(kept) == 1
    assert kept[0].stat().st_mode & 0o777 == 0o600


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[clickhouse_server.Server]:
    with clickhouse_server.running(tmp_path / "clickhouse") as server:
        yield server


def test_a_killed_server_is_waited_for_and_nothing_doubles(
    own_server: clickhouse_server.Server, tmp_path: Path
) -> None:
    admin = connect(own_server.url())
    ensure_database(admin, "killed")
    url = with_database(own_server.url(), "killed")
    client = connect(url)
    migrate(client)
    client.close()
    admin.close()
    writing = Writing(tmp_path, lambda: SegmentInserter(connect(url, timeout_s=20), url, OPTIONS))
    segments = [write_segment(tmp_path / "wal", f"{n:03d}", [(body(1 + n * 50, 50), 50)]) for n in range(40)]
    restarted = []

    def kill_and_restart() -> None:
        own_server.process.kill()
        own_server.process.wait()
        time.sleep(0.5)
        restarted.append(clickhouse_server.start(own_server.path, own_server.port))

    killer = threading.Timer(0.4, kill_and_restart)
    killer.start()
    for segment in segments:
        writing.submit(segment)
        time.sleep(0.03)
    killer.join()
    try:
        writing.wait(40)
        assert writing.writer.close(10)
        assert writing.writer.last_error is None
        snapshot = writing.stats.snapshot()
        assert snapshot.retried_inserts > 0, "the kill must have been felt"
        assert (snapshot.stored, snapshot.waiting) == (2000, 0)
        client = connect(url)
        assert client.query("SELECT count(), uniqExact(SpanId) FROM otel_traces").result_rows == [(2000, 2000)]
        assert client.command("SELECT count() FROM inferences") == 2000
        client.close()
    finally:
        for server in restarted:
            server.process.terminate()
            server.process.wait()


def test_a_wrong_password_is_retried_until_it_is_right(clickhouse_url: str, database: str, tmp_path: Path) -> None:
    """An operator who corrects the server's side needs no restart here."""
    good = connect(clickhouse_url, database="default")
    ensure_database(good, database)
    url = with_database(clickhouse_url, database)
    client = connect(url)
    migrate(client)
    passwords = iter(["wrong", "wrong too"])

    def open_() -> SegmentInserter:
        password = next(passwords, None)
        if password is None:
            return SegmentInserter(connect(url), url, OPTIONS)
        return SegmentInserter(
            connect(url.replace(clickhouse_server.PASSWORD.replace(":", "%3A").replace("@", "%40"), password)),
            url,
            OPTIONS,
        )

    writing = Writing(tmp_path, open_)
    writing.submit(write_segment(tmp_path, "password", [(body(1, 3), 3)]))
    writing.wait(1)
    assert writing.writer.close(10)
    assert writing.stats.snapshot().retried_inserts == 2
    assert counts(client)[0] == 3
    client.close()
    good.close()


@pytest.mark.parametrize("lost", [["otel_traces"], ["inferences"], ["otel_traces", "inferences"]], ids=" ".join)
@pytest.mark.parametrize("how", ["sent again", "recovered"])
def test_what_a_kill_left_of_an_insert_is_made_whole(
    own_server: clickhouse_server.Server, tmp_path: Path, lost: list[str], how: str
) -> None:
    """A server killed between noting a token and naming its part has the one without the other: the state that is made here."""
    admin = connect(own_server.url())
    ensure_database(admin, "torn")
    url = with_database(own_server.url(), "torn")
    client = connect(url)
    migrate(client)
    before = write_segment(tmp_path / "wal", "before", [(body(1001, 50), 50)])
    torn = write_segment(tmp_path / "wal", "torn", [(body(1, 50), 50), (body(51, 50), 50)])
    SegmentInserter(client, url, OPTIONS).insert(before.path, before.token)
    old = {path for (path,) in client.query(_PARTS).result_rows}
    SegmentInserter(client, url, OPTIONS).insert(torn.path, torn.token)
    parts = client.query(f"{_PARTS} AND table IN {{tables:Array(String)}}", parameters={"tables": lost}).result_rows
    own_server.kill()
    for (path,) in parts:
        if path not in old:
            shutil.rmtree(path)
    server = own_server.restarted()
    try:
        client = connect(url)
        kind = _OnceBroken if how == "sent again" else SegmentInserter
        writing = Writing(tmp_path, lambda: kind(connect(url), url, OPTIONS))
        writing.submit(replace(torn, recovered=how == "recovered"))
        writing.wait(1)
        assert writing.writer.close(10)
        for table, column in (("otel_traces", "SpanId"), ("inferences FINAL", "span_id")):
            rows = client.query(f"SELECT count(), uniqExact({column}) FROM {table}").result_rows
            assert rows == [(150, 150)], table
    finally:
        server.stop()


_PARTS = "SELECT path FROM system.parts WHERE database = 'torn' AND active"


class _OnceBroken(SegmentInserter):
    """Its connection was lost with the first insert."""

    broken = False

    def insert(self, path: Path, token: str) -> None:
        if not self.broken:
            self.broken = True
            raise OSError("connection reset")
        super().insert(path, token)
