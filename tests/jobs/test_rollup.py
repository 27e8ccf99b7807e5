"""Rollups against the calls themselves: the same numbers, whatever comes late, and however often it is run."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.jobs import rollup
from monitor.jobs.job import Context
from monitor.kpis import REGISTRY, KpiValue, Window, coverage, evaluate, series
from monitor.kpis.coverage import Part, Reach, cover, newest_calls, reach_of
from monitor.kpis.grains import DAY, HOUR, MINUTE
from monitor.kpis.histogram import ERROR
from monitor.kpis.rollup import ddl
from monitor.settings import Settings
from monitor.store import Client
from monitor.store.migrate import known_migrations
from tests.kpis.rows import random_calls, store

START = datetime(2026, 3, 1, 21, 30, 30, tzinfo=UTC)
NAMES = [name for name in REGISTRY if REGISTRY[name].source == "calls"]


@pytest.fixture(autouse=True)
def always_rolled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "EXACT_CALLS", 0)


def spread(calls: pd.DataFrame, *, hours: float, seed: int) -> pd.DataFrame:
    """The calls over so many hours from START."""
    g = np.random.default_rng(seed)
    offsets = g.integers(0, int(hours * 3.6e9), len(calls))
    calls["timestamp"] = [START + timedelta(microseconds=int(us)) for us in offsets]
    return calls


def run(client: Client, now: datetime) -> int:
    return rollup.run(Context(client=client, settings=Settings(), now=now)).rows


def exact(client: Client, window: Window, monkeypatch: pytest.MonkeyPatch, **asked: Any) -> list[KpiValue]:
    with monkeypatch.context() as patch:
        patch.setattr(coverage, "EXACT_CALLS", 10**12)
        return evaluate(client, NAMES, window=window, **asked)


def assert_same(rolled: list[KpiValue], truth: list[KpiValue]) -> None:
    """Sums, shares and means to rounding; quantiles within the stated error, with intervals that hold the exact one's."""
    by_key = {(value.name, tuple(value.group.items())): value for value in truth}
    assert {(value.name, tuple(value.group.items())) for value in rolled} == set(by_key)
    for value in rolled:
        true = by_key[value.name, tuple(value.group.items())]
        assert value.n == true.n, value.name
        if value.method == "histogram":
            assert value.value == pytest.approx(true.value, rel=1.0001 * ERROR), value
            if true.low is not None and value.low is not None:
                assert value.low <= true.low * (1 + 1e-9), value
            if true.high is not None and value.high is not None:
                assert value.high >= true.high * (1 - 1e-9), value
        else:
            assert close(value.value, true.value), value
            assert close(value.low, true.low), value
            assert close(value.high, true.high), value


def close(value: float | None, true: float | None) -> bool:
    if value is None or true is None:
        return value is true
    return value == pytest.approx(true, rel=1e-9, abs=1e-12)


def test_the_migration_is_what_the_registry_makes() -> None:
    text = next(migration.text for migration in known_migrations() if migration.name == "rollups")
    assert text == ddl()


@pytest.mark.parametrize("weights", [(1.0,), (4.0,)], ids=["all", "one in four"])
@pytest.mark.parametrize("by", [(), ("node",), ("model", "node")], ids=["whole", "node", "model and node"])
def test_rollups_say_what_the_calls_say(
    store_client: Client, monkeypatch: pytest.MonkeyPatch, by: tuple[str, ...], weights: tuple[float, ...]
) -> None:
    store(store_client, spread(random_calls(1500, seed=3, weights=weights), hours=52, seed=4))
    end = START + timedelta(hours=52)
    assert run(store_client, end - timedelta(minutes=7)) > 0
    window = Window(START + timedelta(minutes=3, seconds=11), end)
    rolled = evaluate(store_client, NAMES, window=window, by=by)
    assert any(value.method == "histogram" for value in rolled)
    assert_same(rolled, exact(store_client, window, monkeypatch, by=by))


def test_a_filter_reaches_the_rollups(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    store(store_client, spread(random_calls(1000, seed=5), hours=30, seed=6))
    run(store_client, START + timedelta(hours=31))
    window = Window(START, START + timedelta(hours=30))
    asked: dict[str, Any] = {"where": {"model": "llama", "node": ["gpu-1", "gpu-3"]}}
    rolled = evaluate(store_client, NAMES, window=window, **asked)
    assert any(value.method == "histogram" for value in rolled)
    assert_same(rolled, exact(store_client, window, monkeypatch, **asked))


def test_any_window_gets_the_same_answer(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random windows, filters and splits over calls of which the last hours are not rolled up yet."""
    store(store_client, spread(random_calls(1200, seed=41), hours=60, seed=42))
    run(store_client, START + timedelta(hours=55))
    g = np.random.default_rng(43)
    rolled_ones = 0
    for _ in range(8):
        first, last = np.sort(g.uniform(-5, 65, 2))
        window = Window(START + timedelta(hours=float(first)), START + timedelta(hours=float(last) + 0.1))
        asked: dict[str, Any] = {
            "by": [(), ("node",), ("model",)][g.integers(3)],
            "where": [{}, {"node": "gpu-1"}, {"model": ["qwen", "llama"]}][g.integers(3)],
        }
        rolled = evaluate(store_client, NAMES, window=window, **asked)
        rolled_ones += any(value.method == "histogram" for value in rolled)
        assert_same(rolled, exact(store_client, window, monkeypatch, **asked))
    assert rolled_ones >= 4


def test_what_the_rollups_do_not_know_is_read_from_the_calls(store_client: Client) -> None:
    store(store_client, spread(random_calls(500, seed=5), hours=30, seed=6))
    run(store_client, START + timedelta(hours=31))
    window = Window(START, START + timedelta(hours=30))
    for asked in ({"where": {"user_id": "u1"}}, {"by": ("finish_reason",)}):
        (value,) = evaluate(store_client, ["latency.ttft.p50"], window=window, **asked)  # type: ignore[arg-type]
        assert value.method == "order-statistics"


@pytest.mark.parametrize("backend_url", ["chdb"], indirect=True)
def test_the_newest_minutes_with_so_many_calls(store_client: Client) -> None:
    """Against a search over the calls in memory; the last hours are not rolled up."""
    calls = spread(random_calls(600, seed=31), hours=20, seed=32)
    store(store_client, calls)
    run(store_client, START + timedelta(hours=17))
    until = next(reach.until for reach in reach_of(store_client) if reach.grain is MINUTE)
    window = Window(START + timedelta(hours=4, minutes=20), START + timedelta(hours=20))
    assert timedelta(hours=2) < window.end - datetime.fromtimestamp(until, UTC) < timedelta(hours=4)
    begins = [calls["timestamp"].max().replace(second=0, microsecond=0) - timedelta(minutes=m) for m in range(20 * 60)]
    for where in ({}, {"model": ("llama",)}):
        mine = calls[calls["model"].isin(where.get("model", ("llama", "qwen")))]
        newer = int((mine["timestamp"] >= datetime.fromtimestamp(until, UTC)).sum())
        for wanted in (5, newer + 1, newer + 60, 300, 100_000):
            found = newest_calls(store_client, window, where, calls=wanted)
            # Minutes in which nothing began are not among those that have so many.
            fits = [at for at in begins if (mine["timestamp"] >= at).sum() >= wanted and at.timestamp() <= until]
            true = max(window.start, fits[0]) if fits and fits[0] > window.start else window.start
            if wanted <= newer:
                true = datetime.fromtimestamp(until, UTC)
            assert found == Window(true, window.end), (where, wanted)
    assert newest_calls(store_client, window, {"user_id": ("u1",)}, calls=1) == window


def test_unequal_weights(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    store(store_client, spread(random_calls(2500, seed=7, weights=(1.0, 3.0, 20.0)), hours=30, seed=8))
    run(store_client, START + timedelta(hours=31))
    window = Window(START, START + timedelta(hours=30))
    truth = {value.name: value for value in exact(store_client, window, monkeypatch)}
    for value in evaluate(store_client, NAMES, window=window):
        true = truth[value.name]
        # Between calls of unequal weight the exact quantile is interpolated, and the histogram's is not.
        slack = 3 * ERROR if value.method == "histogram" else 1e-9
        assert value.value == pytest.approx(true.value, rel=slack), value
        # A bucket counts as a whole, so in a thin tail of heavy calls an end may be another call, or open in one only.
        if value.method == "histogram" and value.low is not None and true.low is not None:
            assert value.low == pytest.approx(true.low, rel=0.1)
        if value.method == "histogram" and value.high is not None and true.high is not None:
            assert value.high == pytest.approx(true.high, rel=0.1)


def test_series_by_the_hour(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    store(store_client, spread(random_calls(1500, seed=9), hours=30, seed=10))
    run(store_client, START + timedelta(hours=29))
    hour = START.replace(minute=0, second=0)
    window = Window(hour, hour + timedelta(hours=31))
    names = ["traffic.requests", "latency.e2e.p90", "traffic.error_rate"]
    rolled = series(store_client, names, window=window, step_s=3600, by=("node",))
    with monkeypatch.context() as patch:
        patch.setattr(coverage, "EXACT_CALLS", 10**12)
        truth = series(store_client, names, window=window, step_s=3600, by=("node",))
    key = ["time", "name", "node"]
    both = rolled.merge(truth, on=key, suffixes=("", "_true"), validate="1:1")
    assert len(both) == len(rolled) == len(truth)
    assert (both["n"] == both["n_true"]).all()
    np.testing.assert_allclose(both["value"], both["value_true"], rtol=1.0001 * ERROR)


def test_late_rows_reroll_their_periods(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = spread(random_calls(1000, seed=11), hours=50, seed=12)
    late = calls["trace_id"].str.endswith(("0", "7"))
    store(store_client, calls[~late])
    window = Window(START, START + timedelta(hours=50))
    run(store_client, window.end + timedelta(hours=1))
    before = evaluate(store_client, ["traffic.requests"], window=window)[0].value
    store(store_client, calls[late])
    run(store_client, window.end + timedelta(hours=1, seconds=30))
    rolled = evaluate(store_client, NAMES, window=window, by=("node",))
    assert_same(rolled, exact(store_client, window, monkeypatch, by=("node",)))
    after = evaluate(store_client, ["traffic.requests"], window=window)[0].value
    assert before == (~late).sum()
    assert after == len(calls)


def test_a_group_that_a_late_row_empties(store_client: Client) -> None:
    """An engine's row is a call of its own, until the client's row says that it is part of one."""
    begin = datetime(2026, 3, 2, 8, 15, 20, tzinfo=UTC)
    engine = {
        "timestamp": begin + timedelta(seconds=1), "trace_id": "a" * 32, "span_id": "2" * 16, "parent_span_id": "1" * 16,
        "role": "engine", "service": "vllm", "duration_s": 1.0,
    }  # fmt: skip
    client_row = {
        **engine,
        "timestamp": begin,
        "span_id": "1" * 16,
        "parent_span_id": "",
        "role": "client",
        "service": "chat",
        "duration_s": 2.0,
    }
    window = Window(begin - timedelta(hours=9), begin + timedelta(days=1))
    for row, groups in ((engine, {"vllm": 1}), (client_row, {"chat": 1})):
        store_client.insert("inferences", [list(row.values())], column_names=list(row))
        run(store_client, begin + timedelta(days=2))
        found = evaluate(store_client, ["traffic.requests"], window=window, by=("service",))
        assert {value.group["service"]: value.n for value in found} == groups


def test_a_run_that_is_repeated_changes_nothing(store_client: Client) -> None:
    store(store_client, spread(random_calls(500, seed=13), hours=30, seed=14))
    now = START + timedelta(hours=31)
    run(store_client, now)
    window = Window(START, START + timedelta(hours=30))
    first = evaluate(store_client, NAMES, window=window)
    assert first[0].n > 0
    # As after a crash between the rollups and their state, and as a second worker would that lost a race.
    store_client.command("TRUNCATE TABLE rollup_state")
    run(store_client, now)
    run(store_client, now)
    again = evaluate(store_client, NAMES, window=window)
    assert_same([replace(value, method="") for value in again], [replace(value, method="") for value in first])


def test_what_retention_took_is_not_rolled_up_anew(store_client: Client) -> None:
    calls = spread(random_calls(1000, seed=15), hours=30, seed=16)
    store(store_client, calls)
    now = START + timedelta(hours=40)
    run(store_client, now)
    store_client.command("TRUNCATE TABLE inferences")
    run(store_client, now + timedelta(minutes=10))
    (value,) = evaluate(store_client, ["traffic.requests"], window=Window(START, START + timedelta(hours=30)))
    # The broken minute at the window's begin is answered by calls alone, and they are gone.
    assert value.value == pytest.approx(len(calls), abs=len(calls) * 30 / (30 * 3600) * 10)


def test_history_older_than_the_minutes_is_rolled_up_by_the_hour(store_client: Client) -> None:
    store(store_client, spread(random_calls(500, seed=17), hours=30, seed=18))
    run(store_client, START + timedelta(days=60))
    assert int(store_client.command("SELECT count() FROM inferences_1m")) == 0
    window = Window(START.replace(minute=0, second=0), START + timedelta(days=3))
    (value,) = evaluate(store_client, ["traffic.requests"], window=window)
    assert value.value == 500
    assert int(store_client.command("SELECT sum(calls__n) FROM inferences_1d FINAL")) == 500


def test_a_run_that_is_stopped_goes_on_where_it_was(store_client: Client) -> None:
    store(store_client, spread(random_calls(500, seed=19), hours=30, seed=20))
    now = START + timedelta(hours=40)
    context = Context(client=store_client, settings=Settings(), now=now)
    context.stop.set()
    rollup.run(context)
    assert rollup.read_state(store_client) is None
    run(store_client, now)
    assert int(store_client.command("SELECT sum(calls__n) FROM inferences_1m FINAL")) == 500


def test_an_empty_store_has_nothing_to_roll_up(store_client: Client) -> None:
    assert run(store_client, START) == 0
    assert rollup.read_state(store_client) is None


REACHES = [
    Reach(grain=grain, since=0, until=grain.floor(10 * DAY.seconds + 7 * 3600 + 600)) for grain in (MINUTE, HOUR, DAY)
]
NS = 10**9


@given(
    start=st.integers(0, 11 * DAY.seconds * NS),
    length=st.integers(1, 11 * DAY.seconds * NS),
    reaches=st.lists(st.sampled_from(REACHES), unique_by=lambda reach: reach.grain.name),
    since=st.integers(0, 10 * DAY.seconds),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_cover_is_the_window_in_pieces(start: int, length: int, reaches: list[Reach], since: int) -> None:
    reaches = [replace(reach, since=since) for reach in reaches]
    parts = cover(start, start + length, reaches)
    assert parts[0].start_ns == start
    assert parts[-1].end_ns == start + length
    assert all(left.end_ns == right.start_ns for left, right in itertools.pairwise(parts))
    assert all(left.grain is not right.grain for left, right in itertools.pairwise(parts))
    for part in parts:
        assert part.start_ns < part.end_ns
        if part.grain is not None:
            reach = next(reach for reach in reaches if reach.grain is part.grain)
            assert part.start_ns % (part.grain.seconds * NS) == part.end_ns % (part.grain.seconds * NS) == 0
            assert since * NS <= part.start_ns
            assert part.end_ns <= reach.until * NS


def test_the_coarsest_that_fits_is_taken() -> None:
    day, hour = DAY.seconds * NS, HOUR.seconds * NS
    start, end = day - 2 * hour - 90 * NS, 3 * day + 2 * hour
    found = [(part.grain.name if part.grain else "calls") for part in cover(start, end, REACHES)]
    assert found == ["calls", "1m", "1h", "1d", "1h"]
    assert cover(start, end, []) == [Part(start_ns=start, end_ns=end, grain=None)]
