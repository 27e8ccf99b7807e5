"""Faults, with real processes: `monitor up`, a ClickHouse server, and clients that send all the while.

Whatever breaks, what was acknowledged is stored once, what was not may be sent again, `/readyz` and `monitor check` say
what is wrong while it is, recovery needs no hand, and nothing ever says a secret (`Scene.finish` holds all of this).
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.tools.faults import Clock, Mode, small_disk
from tests.tools.scene import TOKEN, WRONG_PASSWORD, Engine, running_engine, scene
from tests.tools.sending import make_request, send_grpc, trace_service
from tests.tools.waiting import wait_until

SMALL_LOG = {"MONITOR_COLLECTORS__MAX_WAL_BYTES": str(1024 * 1024)}
DAY_S = 86_400


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One server for all, each time with empty tables; `scene` repairs what the last test broke."""
    with running_engine(tmp_path_factory.mktemp("faults") / "clickhouse") as running:
        yield running


def test_clickhouse_is_killed_under_load(tmp_path: Path, engine: Engine) -> None:
    """Also for so long that the write-ahead log is full: then clients are told to come again."""
    with scene(tmp_path, engine, padding="x" * 1000, env=SMALL_LOG) as now:
        now.wait_for_acknowledged()
        engine.kill()
        now.wait_until_troubled("ClickHouse", "refused")
        now.wait_for_refusals(with_text="write-ahead log holds its limit")
        now.assert_check_fails("ClickHouse")
        engine.restart()
        now.wait_until_ready()
        now.wait_for_acknowledged()
        now.finish()


def test_clickhouse_is_killed_again_and_again(tmp_path: Path, engine: Engine) -> None:
    """At moments of chance, so that inserts end half way."""
    chance = random.Random(4)
    with scene(tmp_path, engine) as now:
        for _ in range(4):
            now.wait_for_acknowledged(100)
            time.sleep(chance.uniform(0.0, 0.3))
            engine.restart()
        now.wait_for_acknowledged()
        now.finish()


def test_clickhouse_hangs_for_longer_than_the_timeout(tmp_path: Path, engine: Engine) -> None:
    """What it was given again and again meanwhile it does all at once when it goes on."""
    with scene(tmp_path, engine) as now:
        now.wait_for_acknowledged()
        engine.server.suspend()
        now.wait_for_acknowledged()
        now.wait_until_troubled("ClickHouse", "timed out")
        now.assert_check_fails("ClickHouse", "timed out")
        wait_until(lambda: now.metric("insert_retries_total") >= 4, lambda: "nothing is tried again")
        engine.server.resume()
        now.wait_until_ready()
        now.wait_for_acknowledged()
        now.finish()


def test_the_service_stops_while_clickhouse_hangs(tmp_path: Path, engine: Engine) -> None:
    """In good time, and what waits is stored by the next one."""
    with scene(tmp_path, engine) as now:
        now.wait_for_acknowledged()
        engine.server.suspend()
        now.wait_for_acknowledged()
        begun = time.monotonic()
        assert now.service.stop() == 0
        assert time.monotonic() - begun < 30
        engine.server.resume()
        recovered = now.start_service().metric("spans_recovered_total")
        assert recovered >= 400
        now.wait_for_acknowledged()
        now.finish()


def test_the_password_is_changed_at_the_server(tmp_path: Path, engine: Engine) -> None:
    with scene(tmp_path, engine) as now:
        now.wait_for_acknowledged()
        engine.restart(password="another-one")
        now.wait_until_troubled("password")
        now.wait_for_acknowledged()
        now.assert_check_fails("refused the user or password of store.url")
        engine.restart()
        now.wait_until_ready()
        now.wait_for_acknowledged()
        now.finish()


def test_a_service_with_a_wrong_password_does_not_start(tmp_path: Path, engine: Engine) -> None:
    """It says so and ends, and with the right one it takes up what the log holds."""
    with scene(tmp_path, engine) as now:
        now.wait_for_acknowledged()
        engine.server.suspend()
        now.wait_for_acknowledged()
        now.service.kill()
        engine.server.resume()
        wrong = engine.url(password=WRONG_PASSWORD)
        refused = now.spawn_service(MONITOR_STORE__URL=wrong)
        assert refused.wait(20) == 1
        log = (tmp_path / "data.log").read_text()
        assert "refused the user or password of store.url; correct them" in log.splitlines()[-1]
        assert now.start_service().metric("spans_recovered_total") > 0
        now.wait_for_acknowledged()
        now.finish()


def test_answers_are_lost_after_the_insert_was_done(tmp_path: Path, engine: Engine) -> None:
    """The classic maker of duplicates: the store has the rows, and the collector cannot know."""
    with scene(tmp_path, engine, proxied=True) as now:
        assert now.proxy is not None
        now.wait_for_acknowledged()
        now.proxy.mode = Mode.DROP_ANSWERS
        now.wait_until_troubled("ClickHouse")
        now.wait_for_acknowledged()
        wait_until(lambda: now.proxy is not None and now.proxy.harmed >= 6, lambda: "no answer was lost")
        now.proxy.mode = Mode.PASS
        now.wait_until_ready()
        now.wait_for_acknowledged()
        now.finish()


def test_requests_to_clickhouse_are_cut_in_the_middle(tmp_path: Path, engine: Engine) -> None:
    with scene(tmp_path, engine, proxied=True) as now:
        assert now.proxy is not None
        now.wait_for_acknowledged()
        now.proxy.mode = Mode.CUT_REQUESTS
        now.wait_until_troubled("ClickHouse")
        now.wait_for_acknowledged()
        wait_until(lambda: now.proxy is not None and now.proxy.harmed >= 6, lambda: "no request was cut")
        now.proxy.mode = Mode.PASS
        now.wait_until_ready()
        now.wait_for_acknowledged()
        now.finish()


def test_clickhouse_is_slow(tmp_path: Path, engine: Engine) -> None:
    """Slow, but not too slow: nothing is refused, and it catches up."""
    with scene(tmp_path, engine, proxied=True, env={"MONITOR_COLLECTORS__INSERT_TIMEOUT_S": "10"}) as now:
        assert now.proxy is not None
        for mode in (Mode.DELAY, Mode.THROTTLE):
            now.proxy.mode = mode
            now.wait_for_acknowledged(1000)
        now.proxy.mode = Mode.PASS
        now.wait_until_ready()
        assert {answer.outcome for client in now.clients for answer in client.answers} == {"acknowledged"}
        now.finish()


def test_the_user_may_only_read_for_a_while(tmp_path: Path, engine: Engine) -> None:
    with scene(tmp_path, engine) as now:
        now.wait_for_acknowledged()
        engine.restart(read_only=True)
        now.wait_until_troubled("readonly")
        now.wait_for_acknowledged()
        now.assert_check_fails("readonly")
        engine.restart()
        now.wait_until_ready()
        now.wait_for_acknowledged()
        now.finish()


def test_the_disk_of_clickhouse_is_full(tmp_path: Path) -> None:
    folder = tmp_path / "clickhouse"
    with small_disk(folder, 64) as disk, running_engine(folder) as engine, scene(tmp_path, engine) as now:
        now.wait_for_acknowledged()
        disk.fill()
        now.wait_until_troubled("ClickHouse does not take spans", "space")
        now.wait_for_acknowledged()
        now.assert_check_fails("space")
        disk.free()
        now.wait_until_ready()
        now.wait_for_acknowledged()
        now.finish()


def test_the_disk_of_the_write_ahead_log_is_full(tmp_path: Path, engine: Engine) -> None:
    with small_disk(tmp_path / "data", 16) as disk, scene(tmp_path, engine, padding="x" * 1000) as now:
        now.wait_for_acknowledged()
        disk.fill()
        now.wait_for_refusals(with_text="disk full")
        now.wait_until_troubled("write-ahead log", "disk full")
        now.assert_check_fails("0.0 GiB free")
        disk.free()
        now.wait_until_ready()
        now.wait_for_acknowledged()
        now.finish()


def test_the_collector_is_killed_while_clickhouse_is_away(tmp_path: Path, engine: Engine) -> None:
    with scene(tmp_path, engine) as now:
        now.wait_for_acknowledged()
        engine.kill()
        now.wait_for_acknowledged()
        now.service.kill()
        # Started again, it takes what comes, and says that nobody takes it from there.
        assert now.start_service().metric("spans_recovered_total") >= 400
        now.wait_for_acknowledged()
        assert "does not answer (connection refused)" in now.wait_until_troubled("ClickHouse")
        engine.restart()
        now.wait_for_acknowledged()
        now.finish()


def test_the_clock_jumps(tmp_path: Path, engine: Engine) -> None:
    """Two days ahead, then two days back: inserts, retries and recovery go by how much time has passed."""
    clock = Clock(tmp_path)
    with scene(tmp_path, engine, env=clock.environment) as now:
        now.wait_for_acknowledged()
        for seconds in (2 * DAY_S, -2 * DAY_S):
            engine.kill()
            now.wait_until_troubled("ClickHouse")
            clock.jump(seconds)
            engine.restart()
            now.wait_until_ready()
            stored = now.metric("spans_stored_total")
            now.wait_for_acknowledged()
            wait_until(
                lambda least=stored + 200: now.metric("spans_stored_total") >= least,  # type: ignore[misc]
                lambda: "nothing is inserted",
            )
        now.assert_check_fails("ClickHouse's clock is +17", "set both by NTP")
        # What a process leaves behind whose clock is behind that of the next one, and of what it has left before.
        engine.server.suspend()
        now.wait_for_acknowledged()
        now.service.kill()
        engine.server.resume()
        clock.jump(0)
        assert now.start_service().metric("spans_recovered_total") >= 400
        now.wait_for_acknowledged()
        # Jobs whose turn the killed process had are late until that turn ends.
        wait_until(lambda: "FAIL  job " not in now.check()[1], lambda: "jobs are late for good")
        now.finish()


def test_spans_that_are_sent_again_count_once(tmp_path: Path, engine: Engine) -> None:
    """The same request again, and the same spans in other batches, before and after they are stored."""
    with scene(tmp_path, engine) as now:
        now.wait_for_acknowledged()
        address, first = now.service.addresses["grpc"], 10**12
        now_ns = time.time_ns()
        with grpc.insecure_channel(address) as channel:
            stub = trace_service(channel)
            batches = [(first, 30), (first, 30), (first + 10, 30), (first + 20, 5), (first, 40)]
            for start, spans in batches:
                answer = send_grpc(stub, make_request(start, spans, now_ns=now_ns), TOKEN)
                assert answer.outcome == "acknowledged"
                time.sleep(0.3)  # a segment of its own
        now.wait_for_acknowledged()
        for client in now.clients:
            client.stop()
        now.service.wait_until_stored()
        facts = engine.count_by_id("inferences FINAL", "trace_id")
        raw = engine.count_by_id("otel_traces", "TraceId")
        sent_again = range(first, first + 40)
        assert [facts[number] for number in sent_again] == [1] * 40
        assert sum(raw[number] for number in sent_again) == sum(spans for _, spans in batches)
        now.clients[0].acknowledged.extend(sent_again)
        now.clients[0].unsure.update(dict.fromkeys(sent_again, 5))
        now.finish()
