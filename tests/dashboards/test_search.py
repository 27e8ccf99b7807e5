"""SQL of traces and distributions, on the embedded engine and on a real server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from dashboards import traces_query
from dashboards.distribution import BINS_PER_DECADE, read_histogram
from dashboards.traces_query import Search
from monitor.errors import MonitorError
from monitor.jobs import rollup
from monitor.jobs.job import Context
from monitor.kpis import Window, coverage
from monitor.settings import Settings
from monitor.store import Client

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=1))
COLUMNS = [
    "Timestamp", "TraceId", "SpanId", "ParentSpanId", "SpanName", "SpanKind", "ServiceName", "ResourceAttributes",
    "SpanAttributes", "Duration", "StatusCode", "StatusMessage",
]  # fmt: skip


def trace_id(number: int) -> str:
    return f"{number:032x}"


def rows(
    number: int, *, ttft_s: float = 0.2, long_s: float = 1.0, error: str = "", user: str = "u1"
) -> list[list[Any]]:
    """A server's span with a model call in it."""
    at = START + timedelta(seconds=number)
    resource = {"service.name": "chat", "monitor.node": f"gpu-{number % 2}"}
    call = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.response.time_to_first_chunk": str(ttft_s),
        "user.id": user,
        "session.id": f"s{number}",
    } | ({"error.type": error} if error else {})
    status = "Error" if error else "Unset"
    ns = round(long_s * 1e9)
    return [
        [at, trace_id(number), f"{number:015x}a", "", "POST /chat", "Server", "chat", resource, {}, ns + 5, "Unset", ""],
        [at, trace_id(number), f"{number:015x}b", f"{number:015x}a", f"chat m{number}", "Client", "chat", resource, call, ns,
         status, "it broke" if error else ""],
    ]  # fmt: skip


@pytest.fixture
def client(store_client: Client) -> Client:
    """Ten traces, one second apart; number 3 failed, 4 is slow, 5 is another user's; 6 was sent twice."""
    data = [row for number in range(10) if number not in (3, 4, 5) for row in rows(number)]
    data += rows(3, error="Timeout") + rows(4, long_s=9.0) + rows(5, user="o'Neil\\") + rows(6)
    store_client.insert("otel_traces", data, column_names=COLUMNS)
    return store_client


def search(**more: Any) -> Search:
    return Search(**{"kind": "calls", "start_ns": WINDOW.start_ns, "end_ns": WINDOW.end_ns} | more)


def found(client: Client, what: Search) -> list[int]:
    return [int(value, 16) for value in traces_query.find(client, what, page=1)["trace_id"]]


CASES: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
    ({"errors": True}, [3]),
    ({"min_s": 5.0}, [4]),
    ({"user": "o'Neil\\"}, [5]),
    ({"user": "' OR 1 = 1 --"}, []),
    ({"session": "s7"}, [7]),
    ({"text": "CHAT M8"}, [8]),
    ({"text": "%"}, []),
    ({"where": (("node", ("gpu-1",)),)}, [9, 7, 5, 3, 1]),
    ({"where": (("service", ("chat", "x")), ("node", ("gpu-0",))), "min_s": 5.0}, [4]),
    ({"where": (("service", ("x",)),)}, []),
    ({"end_ns": WINDOW.start_ns + 2 * 10**9}, [1, 0]),
]


def test_search(client: Client, subtests: pytest.Subtests) -> None:
    for kind in ("calls", "traces"):
        for more, numbers in CASES:
            with subtests.test(kind=kind, **more):
                assert found(client, search(kind=kind, **more)) == numbers


def test_the_slowest_come_first_and_pages_follow_each_other(store_client: Client) -> None:
    data = [row for number in range(120) for row in rows(number, long_s=1 + (number * 7 % 120))]
    store_client.insert("otel_traces", data, column_names=COLUMNS)
    what = search(order="slowest")
    assert traces_query.count(store_client, what) == 120
    pages = [traces_query.find(store_client, what, page=page) for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [50, 50, 20, 0]
    seconds = [value for page in pages for value in page["duration_s"]]
    assert seconds == sorted(seconds, reverse=True)
    assert len(set(seconds)) == 120


@pytest.mark.parametrize("order", ["newest", "slowest"])
def test_what_is_read_first_is_what_a_whole_reading_finds(store_client: Client, order: str) -> None:
    """Many at the end of the time, few before, some sent twice: every page, whether its part fills it or not."""
    numbers = [*range(0, 3400, 20), *range(3400, 3600)]
    data = [row for number in numbers for row in rows(number, long_s=1 + number * 7 % 120)]
    store_client.insert("otel_traces", data + data[::7], column_names=COLUMNS)
    for kind in ("calls", "traces"):
        for more in ({}, {"where": (("node", ("gpu-0",)),)}, {"min_s": 60.0}, {"user": "nobody"}):
            what = search(kind=kind, order=order, **more)
            key = ["start_ns"] if order == "newest" else ["duration_s", "start_ns"]
            every = [int(row) for row in _starts(store_client, what)]
            for page in (1, 2, 5, 8):
                found = traces_query.find(store_client, what, page=page)
                assert list(found["start_ns"]) == every[50 * (page - 1) : 50 * page], (kind, more, page)
                assert found.sort_values(key, ascending=False, kind="stable").equals(found)


def _starts(client: Client, what: Search) -> list[int]:
    """Begins of all that a search finds, in its order, sorted here."""
    query = traces_query._matching(what)
    calls = what.kind == "calls"
    at, seconds, span = (
        ("toUnixTimestamp64Nano(timestamp)", "duration_s", "span_id")
        if calls
        else ("toUnixTimestamp64Nano(Timestamp)", "Duration / 1e9", "SpanId")
    )
    found = set(
        client.query(f"SELECT {at}, {seconds}, {span} FROM {query.rows}", parameters=query.parameters).result_rows
    )
    by = (lambda row: -row[0]) if what.order == "newest" else (lambda row: (-row[1], -row[0]))
    return [row[0] for row in sorted(found, key=by)]


def test_a_trace_with_its_first_tokens(client: Client) -> None:
    trace = traces_query.trace(client, trace_id(6))
    assert [(span.name, span.parent_id[-1:]) for span in trace.spans] == [("POST /chat", ""), ("chat m6", "a")]
    assert trace.total == 2, "a span that was sent twice is one"
    assert trace.spans[0].duration_ns == 10**9 + 5
    assert traces_query.first_tokens(client, trace_id(6), trace.spans) == {f"{6:015x}b": 0.2}
    failed = traces_query.trace(client, trace_id(3)).spans[1]
    assert (failed.failed, failed.message, failed.resource["monitor.node"]) == (True, "it broke", "gpu-1")
    assert traces_query.trace(client, trace_id(99)).spans == ()
    assert traces_query.trace(client, "' OR 1 = 1 --").total == 0


def test_of_a_trace_of_thousands_of_spans_the_first_are_read(store_client: Client) -> None:
    at = START
    data = [
        [at, trace_id(1), f"{index:016x}", "", "s", "Internal", "x", {}, {}, 1, "Unset", ""] for index in range(5200)
    ]
    store_client.insert("otel_traces", data, column_names=COLUMNS)
    trace = traces_query.trace(store_client, trace_id(1))
    assert (len(trace.spans), trace.total) == (traces_query.SPANS_MAX, 5200)


def test_newest_and_options(client: Client) -> None:
    call, span = traces_query.newest(client)
    assert call == span == WINDOW.start_ns + 9 * 10**9
    options = traces_query.dimension_values(client, WINDOW, ("node", "region", "stream"))
    assert options == {"node": ["gpu-0", "gpu-1"], "region": [""], "stream": [""]}


def test_options_of_hours_that_are_added_up_and_of_newer_calls(store_client: Client) -> None:
    """Hours tell their values, calls since then theirs; a dimension that hours do not know is asked of the calls."""
    store_client.insert("otel_traces", [row for number in range(10) for row in rows(number)], column_names=COLUMNS)
    names = ("node", "service", "stream")
    before = traces_query.dimension_values(store_client, WINDOW, names)
    now = START + timedelta(hours=3)
    rollup.run(Context(client=store_client, settings=Settings(), now=now))
    newer = rows(2 * 3600 + 3500)
    for row in newer:
        row[6], row[7] = "search", {"service.name": "search", "monitor.node": "gpu-9"}
    store_client.insert("otel_traces", newer, column_names=COLUMNS)
    asked: list[str] = []
    query = store_client.query
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_client, "query", lambda text, **more: (asked.append(text), query(text, **more))[1])
        assert traces_query.dimension_values(store_client, WINDOW, names) == before
    assert any("FROM inferences_1h WHERE" in text for text in asked), "the premise"
    found = traces_query.dimension_values(store_client, Window(START, now), names)
    assert found == {"node": ["gpu-0", "gpu-1", "gpu-9"], "service": ["chat", "search"], "stream": [""]}
    assert traces_query.dimension_values(store_client, Window(START + timedelta(hours=2), now), ("node",)) == {
        "node": ["gpu-9"]
    }


def test_an_empty_store_has_nothing(store_client: Client) -> None:
    assert traces_query.newest(store_client) == (None, None)
    assert traces_query.dimension_values(store_client, WINDOW, ("node",)) == {"node": []}
    assert read_histogram(store_client, "ttft", WINDOW, where={}, groups_max=8).bins.empty
    for kind in ("calls", "traces"):
        assert traces_query.count(store_client, search(kind=kind)) == 0
        assert traces_query.find(store_client, search(kind=kind), page=1).empty


def test_a_histogram_counts_as_numpy_does(store_client: Client) -> None:
    ttft_s = np.random.default_rng(5).lognormal(-1.5, 0.8, 400).round(6)
    data = [row for number, value in enumerate(ttft_s) for row in rows(number, ttft_s=float(value), long_s=30.0)]
    data += [row for number in range(400, 500) for row in rows(number, ttft_s=0.0, long_s=30.0)]
    store_client.insert("otel_traces", data, column_names=COLUMNS)
    histogram = read_histogram(store_client, "ttft", WINDOW, where={}, groups_max=8)
    assert histogram.totals == {"": 500}
    assert histogram.zeros[""] == pytest.approx(0.2)
    assert histogram.bins["share"].sum() == pytest.approx(0.8)
    edges = 10 ** (np.arange(-6 * BINS_PER_DECADE, 6 * BINS_PER_DECADE + 1) / BINS_PER_DECADE)
    counts, _ = np.histogram(ttft_s, edges)
    expected = counts[counts.nonzero()[0].min() : counts.nonzero()[0].max() + 1] / 500
    assert histogram.bins["share"].to_numpy() == pytest.approx(expected)
    split = read_histogram(store_client, "ttft", WINDOW, by="node", where={"node": "gpu-1"}, groups_max=8)
    assert split.totals == {"gpu-1": 250}
    few = read_histogram(store_client, "ttft", WINDOW, by="node", where={}, groups_max=1)
    assert (len(few.totals), few.left_out) == (1, 1)


def test_a_histogram_of_rollups_is_within_one_percent(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    ttft_s = np.random.default_rng(6).lognormal(-1.5, 0.8, 900).round(6)
    data = [row for number, value in enumerate(ttft_s) for row in rows(number, ttft_s=float(value), long_s=30.0)]
    data += [row for number in range(900, 1000) for row in rows(number, ttft_s=0.0, long_s=30.0)]
    store_client.insert("otel_traces", data, column_names=COLUMNS)
    hour = timedelta(hours=1)
    window = Window(WINDOW.start.replace(minute=0, second=0), WINDOW.end.replace(minute=0, second=0) + hour)
    rollup.run(Context(client=store_client, settings=Settings(), now=window.end + hour))
    exact = read_histogram(store_client, "ttft", window, where={}, groups_max=8)
    split = read_histogram(store_client, "ttft", window, by="node", where={}, groups_max=1)
    monkeypatch.setattr(coverage, "EXACT_CALLS", 0)
    store_client.command("TRUNCATE TABLE inferences")
    found = read_histogram(store_client, "ttft", window, where={}, groups_max=8)
    assert (found.totals, found.left_out) == (exact.totals, 0)
    assert found.zeros[""] == pytest.approx(exact.zeros[""])
    below = found.bins["share"].cumsum() * 1000
    for high, sum_ in zip(found.bins["high"], below, strict=True):
        assert (ttft_s < high / 1.021).sum() - 1e-6 <= sum_ <= (ttft_s < high * 1.021).sum() + 1e-6
    again = read_histogram(store_client, "ttft", window, by="node", where={}, groups_max=1)
    assert (again.totals, again.left_out) == (split.totals, split.left_out)
    assert again.left_out == 1


def test_an_unknown_filter_is_refused(store_client: Client) -> None:
    with pytest.raises(MonitorError, match="there is no filter key `nod`"):
        read_histogram(store_client, "ttft", WINDOW, where={"nod": "x"}, groups_max=8)
