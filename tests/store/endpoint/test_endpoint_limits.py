"""Heavy queries, many queries, and clients that go away: stopped, and without harm to the others."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx2
import pytest

if TYPE_CHECKING:
    from conftest import Served

# Minutes of work without memory; the comment finds it in system.processes.
HEAVY = "SELECT count() FROM numbers(100000000000) WHERE sipHash64(number) = 1"
STREAM = "SELECT number, repeat('x', 50) FROM numbers(1000000000)"


def _code(answer: httpx2.Response) -> str | None:
    return answer.headers.get("X-ClickHouse-Exception-Code")


def _eventually(holds: Callable[[], bool], *, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.05)
    return holds()


def _running(served: Served, text: str) -> int:
    return int(
        served.value(
            f"SELECT count() FROM system.processes WHERE position(query, '{text}') > 0 AND position(query, 'system.processes') = 0"
        )
    )


def _rss_bytes(served: Served) -> int:
    return int(Path(f"/proc/{served.pid}/statm").read_text().split()[1]) * 4096


def test_time_limit(served: Served) -> None:
    start = time.monotonic()
    answer = served.ask(HEAVY, on="narrow")
    assert (answer.status_code, _code(answer)) == (408, "159")
    assert 1.5 < time.monotonic() - start < 6


def test_shorter_time_limit_of_the_query(served: Served) -> None:
    start = time.monotonic()
    assert _code(served.ask(HEAVY, max_execution_time="0.3")) == "159"
    assert time.monotonic() - start < 3


def test_memory_limit(served: Served) -> None:
    answer = served.ask("SELECT length(groupArray(number)) FROM numbers(1000000000)", on="narrow")
    assert (answer.status_code, _code(answer)) == (500, "241")


def test_complete_answers_are_limited_and_streams_are_not(served: Served) -> None:
    sql = "SELECT number FROM numbers(2000000) FORMAT "
    assert _code(served.ask(sql + "JSON", on="narrow")) == "396"
    assert _code(served.ask(sql + "Parquet", on="narrow")) == "396"
    answer = served.ask(sql + "TSV", on="narrow")
    assert (answer.status_code, answer.text.count("\n")) == (200, 2_000_000)


def test_long_query_text_is_refused(served: Served) -> None:
    assert served.ask("SELECT '" + "x" * 1_200_000 + "'").status_code == 400


def test_a_long_stream_takes_little_memory(served: Served) -> None:
    served.ask("SELECT number FROM numbers(1000)")
    before, highest, size = _rss_bytes(served), 0, 0
    with served.http.stream(
        "POST", served.url(), content=b"SELECT number, repeat('x', 50) FROM numbers(5000000)"
    ) as answer:
        for piece in answer.iter_raw():
            size += len(piece)
            highest = max(highest, _rss_bytes(served))
    assert size > 280_000_000
    assert highest - before < 150_000_000


def test_heavy_queries_do_not_stall_ingest(served: Served) -> None:
    """All places of the open endpoint are busy with queries that only a limit ends; rows keep coming in."""
    with ThreadPoolExecutor(4) as pool, served.ingesting():
        assert _eventually(lambda: served.value("SELECT count() FROM shop.ticks") != "0", within_s=10)
        start_ns = time.time_ns()
        answers = list(pool.map(lambda _: served.ask(HEAVY, max_execution_time="4"), range(4)))
        end_ns = time.time_ns()
    assert [_code(answer) for answer in answers] == ["159"] * 4
    ticks = served.value(
        f"SELECT at_ns FROM shop.ticks WHERE at_ns BETWEEN {start_ns} AND {end_ns} ORDER BY at_ns"
    ).split()
    times = [start_ns, *map(int, ticks), end_ns]
    gaps_s = [(later - earlier) / 1e9 for earlier, later in itertools.pairwise(times)]
    # One row every 20 ms when idle; this is a loaded machine, but a stall would last the four seconds.
    assert len(ticks) > 20
    assert max(gaps_s) < 1.5, sorted(gaps_s)[-5:]


def test_other_readers_are_answered_beside_a_heavy_one(served: Served) -> None:
    with ThreadPoolExecutor(1) as pool:
        heavy = pool.submit(served.ask, HEAVY, max_execution_time="3")
        assert _eventually(lambda: _running(served, "100000000000") == 1, within_s=2)
        start = time.monotonic()
        assert served.value("SELECT count() FROM shop.calls") == "1000"
        assert time.monotonic() - start < 1
        assert served.http.get(served.url() + "ping").text == "Ok.\n"
        assert _code(heavy.result()) == "159"


def test_too_many_queries(served: Served) -> None:
    """Two places and one may wait half a second: of five long ones two run, three are refused, soon."""
    with ThreadPoolExecutor(5) as pool:
        start = time.monotonic()
        answers = list(pool.map(lambda _: (served.ask(HEAVY, on="narrow"), time.monotonic() - start), range(5)))
    codes = sorted(str(_code(answer)) for answer, _ in answers)
    assert codes == ["159", "159", "202", "202", "202"]
    for answer, after_s in answers:
        if _code(answer) == "202":
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "1"
            assert "TOO_MANY_SIMULTANEOUS_QUERIES" in answer.text
            assert after_s < 1.5
    # The places are free again.
    assert served.ask("SELECT 1", on="narrow").text == "1\n"


def test_a_waiting_query_gets_its_turn(served: Served) -> None:
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: served.ask("SELECT sleep(0.2)", on="narrow"), range(3)))
    assert [answer.status_code for answer in answers] == [200] * 3


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param(
            "SELECT count(), 'gone' FROM numbers(100000000000) WHERE sipHash64(number) = 1", id="before the first row"
        ),
        pytest.param(
            "SELECT count(), 'gone' FROM numbers(100000000000) WHERE sipHash64(number) = 1 FORMAT JSON",
            id="complete answer",
        ),
        pytest.param("SELECT number, 'gone' FROM numbers(100000000000)", id="stream"),
    ],
)
def test_client_that_goes_away_stops_its_query(served: Served, sql: str) -> None:
    with socket.create_connection(("127.0.0.1", served.ports["open"])) as connection:
        connection.sendall(f"GET /?query={quote(sql)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert _eventually(lambda: _running(served, "gone") == 1, within_s=5)
    assert _eventually(lambda: _running(served, "gone") == 0, within_s=5)


def test_clients_that_stop_reading_lose_their_place_at_the_time_limit(served: Served) -> None:
    """Both places are held by clients that never read; after limit and grace (2 + 5 s) somebody else gets one."""
    request = f"GET /?query={quote(STREAM)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    stuck = [socket.create_connection(("127.0.0.1", served.ports["narrow"])) for _ in range(2)]
    try:
        for connection in stuck:
            connection.sendall(request)
        assert _eventually(lambda: served.ask("SELECT 1", on="narrow").status_code == 503, within_s=3)
        assert _eventually(lambda: served.ask("SELECT 1", on="narrow").status_code == 200, within_s=12)
    finally:
        for connection in stuck:
            connection.close()


def test_many_readers_at_once(served: Served) -> None:
    """More clients than places; everybody gets the right answer to the own question."""
    wrong: list[str] = []

    def ask(number: int) -> None:
        answer = served.ask("SELECT {n:UInt64}, sum(number) FROM numbers({n:UInt64})", param_n=str(number))
        if answer.text != f"{number}\t{number * (number - 1) // 2}\n":
            wrong.append(answer.text)

    threads = [
        threading.Thread(target=lambda low=low: [ask(low * 100 + step) for step in range(1, 20)]) for low in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
