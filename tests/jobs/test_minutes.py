"""What is added up by the minute against the facts themselves: the same numbers, whatever comes late."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from monitor.jobs import cost, hours, minutes, objectives, rollup
from monitor.jobs.job import Context, Outcome
from monitor.kpis import REGISTRY, KpiValue, Window, coverage, evaluate, objective_counts, series, source_hours, units
from monitor.kpis.hours import State, newest_minute, write_states
from monitor.settings import ObjectiveSettings, Settings
from monitor.store import Client
from monitor.store.migrate import known_migrations
from monitor.store.objectives import write_objectives
from tests.jobs.test_hours import END, MODERATION, SCORE_NAMES, SINGLE, START, assert_same, calls_of, judge
from tests.kpis.rows import store

NOW = END - timedelta(hours=2, minutes=17) + timedelta(seconds=11)
UNTIL = (NOW - timedelta(seconds=minutes.VISIBLE_S)).replace(second=0)
WINDOW = Window(UNTIL - timedelta(hours=6, minutes=7), UNTIL)
OBJECTIVES = ["objective.right.attainment", "objective.right.error_budget", "objective.up.attainment"]
NAMES = [*SINGLE, "fleet.imbalance", "safety.user_reports", *OBJECTIVES]
SOME = ["engagement.feedback_rate", "engagement.sessions", "engagement.new_users", "safety.flagged_rate", *OBJECTIVES]
TABLES = ("source_minutes", "user_minutes", "session_minutes", "objective_minutes")


@pytest.fixture(autouse=True)
def minutes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of few calls, too, and never the hours."""
    monkeypatch.setattr(coverage, "EXACT_SAID", 0)
    monkeypatch.setattr(minutes, "EXACT_SAID", 0)
    monkeypatch.setattr(coverage, "EXACT_CALLS", 10**12)


def prepared(client: Client, calls: pd.DataFrame, *, seed: int) -> None:
    """Calls, what is said of them, objectives; nothing is added up."""
    write_objectives(
        client,
        [
            ObjectiveSettings(
                name="right", kind="accuracy", evaluation="correct", labels=["yes"], target=0.5, period="1d"
            ),
            ObjectiveSettings(name="up", kind="error", target=0.9),
        ],
        now=START - timedelta(days=2),
    )
    store(client, calls)
    judge(client, calls, seed=seed)
    run(client, NOW, cost)


def run(client: Client, now: datetime, *jobs: Any) -> Outcome:
    settings = Settings.model_validate({"prices": {"currency": "USD"}})
    outcomes = [job.run(Context(client=client, settings=settings, now=now)) for job in jobs or (rollup, minutes)]
    last: Outcome = outcomes[-1]
    return last


def from_facts(client: Client, names: list[str], **asked: Any) -> list[KpiValue]:
    """As long as nothing is added up."""
    assert newest_minute(client) is None
    return evaluate(client, names, **asked)


def rows_of(client: Client) -> list[int]:
    return [int(client.query(f"SELECT count() FROM {table}").result_rows[0][0]) for table in TABLES]


def test_the_migration_is_what_the_modules_make() -> None:
    text = next(migration.text for migration in known_migrations() if migration.name == "minutes")
    assert source_hours.ddl_minutes() in text
    assert units.ddl_minutes() in text
    for name in objective_counts.COUNTS:
        assert f"    {name} " in text[text.index("objective_minutes") :]


@pytest.mark.parametrize(
    ("backend_url", "weights"),
    [("chdb", (1.0,)), ("clickhouse", (1.0, 4.0))],
    indirect=["backend_url"],
    ids=["chdb-all", "clickhouse-sampled"],
)
def test_minutes_say_what_facts_say(store_client: Client, weights: tuple[float, ...]) -> None:
    prepared(store_client, calls_of(700, seed=31, weights=weights), seed=32)
    asked: list[tuple[list[str], dict[str, Any]]] = [
        (NAMES, {}),
        (NAMES, {"by": ("model",)}),
        (SINGLE, {"where": {"node": ["gpu-1", "gpu-3"]}}),
        (MODERATION, {"by": ("category",)}),
        (SCORE_NAMES, {"by": ("model",)}),
    ]
    truth = [from_facts(store_client, names, window=WINDOW, **how) for names, how in asked]
    stepped = ["safety.flagged_rate", "engagement.sessions", "accuracy.correct", "objective.up.attainment"]
    windows = {"window": Window(UNTIL - timedelta(hours=2), UNTIL), "step_s": 600}
    lines = series(store_client, stepped, **windows)  # type: ignore[arg-type]
    assert run(store_client, NOW).rows > 0
    assert newest_minute(store_client) == UNTIL.timestamp()
    for (names, how), true in zip(asked, truth, strict=True):
        assert_same(evaluate(store_client, names, window=WINDOW, **how), true)
    assert {value.value for value in truth[0]} - {0.0, None}
    assert all(value.n for value in truth[-1])
    pd.testing.assert_frame_equal(series(store_client, stepped, **windows), lines)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend_url", ["chdb"], indirect=True)
def test_minutes_are_what_is_read(store_client: Client) -> None:
    """Facts that are gone make no difference to a window that minutes have all of; to one a second longer, they do."""
    prepared(store_client, calls_of(500, seed=33), seed=34)
    run(store_client, NOW, rollup, hours, objectives, minutes)
    names = [name for name in NAMES if not name.endswith("agreement_change")]
    before = evaluate(store_client, names, window=WINDOW)
    for table in ("evaluations", "engagement_events", "call_costs"):
        store_client.command(f"TRUNCATE TABLE {table}")
    store_client.command("ALTER TABLE inferences DELETE WHERE 1 SETTINGS mutations_sync = 2")
    after = evaluate(store_client, names, window=WINDOW)
    for old, new in zip(before, after, strict=True):
        # When the store began is asked of the calls.
        if old.name != "engagement.new_users":
            assert (new.value, new.n) == (old.value, old.n), old
    longer = evaluate(store_client, ["safety.flagged_rate"], window=Window(WINDOW.start, UNTIL + timedelta(seconds=1)))
    assert longer[0].n == 0
    # A window that begins before the first minute is asked of facts as a whole, too.
    reach = timedelta(seconds=minutes.REACH_S)
    for start, there in ((UNTIL - reach, True), (UNTIL - reach - timedelta(minutes=1), False)):
        value = evaluate(store_client, ["safety.flagged_rate"], window=Window(start, UNTIL))[0]
        assert bool(value.n) is there


@pytest.mark.parametrize("backend_url", ["chdb"], indirect=True)
def test_what_comes_late_is_added_up_with_the_next_run(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of(600, seed=35)
    inside = calls["timestamp"].between(WINDOW.start, WINDOW.end)
    late = inside & (calls.index % 7 == 0)
    unsaid = inside & (calls.index % 5 == 0) & ~late
    assert late.sum() > 10
    assert unsaid.sum() > 10
    prepared(store_client, calls[~late & ~unsaid], seed=36)
    store(store_client, calls[unsaid])
    run(store_client, NOW)
    few = evaluate(store_client, ["engagement.feedback_rate"], window=WINDOW)[0].n
    store(store_client, calls[late])
    judge(store_client, calls[late | unsaid], seed=37)
    run(store_client, NOW, cost)
    again = evaluate(store_client, ["engagement.feedback_rate"], window=WINDOW)[0].n
    assert again == few, "not looked at yet"
    run(store_client, NOW + timedelta(seconds=5))
    found = evaluate(store_client, NAMES, window=WINDOW)
    number = {value.name: value.n for value in found}["engagement.feedback_rate"]
    assert number == few + late.sum()
    monkeypatch.setattr(coverage, "EXACT_SAID", 10**12)
    store_client.command("TRUNCATE TABLE objective_counts_state")
    assert_same(found, evaluate(store_client, NAMES, window=WINDOW))


@pytest.mark.parametrize("backend_url", ["chdb"], indirect=True)
def test_each_run_goes_on_and_one_that_is_stopped_is_made_up(store_client: Client) -> None:
    prepared(store_client, calls_of(400, seed=38), seed=39)
    run(store_client, NOW)
    minute = timedelta(minutes=1)
    before = rows_of(store_client)
    # Nothing came, nothing passed: what is written again is at most what was inserted just now.
    run(store_client, NOW + timedelta(minutes=30))
    assert newest_minute(store_client) == (UNTIL + 30 * minute).timestamp()
    assert all(new > old for new, old in zip(rows_of(store_client), before, strict=True))
    stop = threading.Event()
    stop.set()
    later = NOW + timedelta(hours=1)
    context = Context(client=store_client, settings=Settings(), now=later, stop=stop)
    assert minutes.run(context) == Outcome(rows=0, note="stopped")
    assert newest_minute(store_client) == (UNTIL + 30 * minute).timestamp()
    run(store_client, later)
    window = Window(UNTIL - timedelta(hours=1), UNTIL + timedelta(hours=1))
    found = evaluate(store_client, SOME, window=window)
    for table in ("hour_state", "objective_counts_state"):
        store_client.command(f"TRUNCATE TABLE {table}")
    assert_same(found, from_facts(store_client, SOME, window=window))
    # So long after that nothing of it is within reach, it begins anew.
    since, until = int(WINDOW.start.timestamp()), int(UNTIL.timestamp())
    write_states(
        store_client,
        {each.name: State(rule=each.rule, since=since, until=until, seen_ms=1000 * until) for each in minutes.PRODUCTS},
    )
    assert newest_minute(store_client) == until
    far = later + timedelta(seconds=2 * minutes.REACH_S)
    store(store_client, calls_of(50, seed=40).assign(timestamp=[far - timedelta(minutes=k) for k in range(50)]))
    run(store_client, far)
    states = store_client.query(
        "SELECT DISTINCT toUnixTimestamp(since) FROM hour_state FINAL WHERE name LIKE 'minutes:%'"
    ).result_rows
    assert states == [(int((UNTIL + (far - NOW)).timestamp()) - minutes.REACH_S,)]


@pytest.mark.parametrize("backend_url", ["chdb"], indirect=True)
def test_very_many_users_are_sampled_and_history_leaves_enough_of_them(
    store_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of users' history count a tenth: else the sample of an hour would be of next to nobody."""
    calls = calls_of(4000, seed=43).assign(user_id=[f"u{i}" for i in range(4000)])
    store(store_client, calls)
    names = ["engagement.active_users", "engagement.new_users"]
    truth = from_facts(store_client, names, window=WINDOW)
    run(store_client, NOW, rollup, hours, minutes)
    monkeypatch.setattr(units, "_PROBED", units.BUCKETS)
    inside = int(calls["timestamp"].between(WINDOW.start, WINDOW.end).sum())
    before = int((calls["timestamp"] < WINDOW.start).sum())
    assert min(inside, before) > 500
    monkeypatch.setattr(units, "UNITS_MAX", inside // 2)
    share = (inside // 2) / (inside + before / 10)
    for value, true in zip(evaluate(store_client, names, window=WINDOW), truth, strict=True):
        assert value.method == "sample"
        assert value.n == pytest.approx(share * inside, rel=0.15)
        assert value.low <= true.value <= value.high  # type: ignore[operator]


@pytest.mark.parametrize("backend_url", ["chdb"], indirect=True)
def test_few_calls_are_read(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of(100, seed=41)
    calls["timestamp"] = [UNTIL - timedelta(seconds=20 * (k + 1)) for k in range(99, -1, -1)]
    store(store_client, calls)
    write_objectives(store_client, [ObjectiveSettings(name="up", kind="error", target=0.9)], now=START)
    monkeypatch.setattr(minutes, "EXACT_SAID", 100)
    assert "few" in run(store_client, NOW).note
    assert rows_of(store_client) == [0] * 4
    monkeypatch.setattr(minutes, "EXACT_SAID", 90)
    run(store_client, NOW + timedelta(minutes=2))
    assert rows_of(store_client)[0] > 0

    def settled(after: timedelta, reach: timedelta) -> datetime | None:
        return coverage.settled_minute(store_client, now=NOW + after, reach=reach)

    end = UNTIL + timedelta(minutes=2)
    monkeypatch.setattr(coverage, "EXACT_SAID", 90)
    assert settled(timedelta(minutes=3), timedelta(hours=1)) == end
    assert settled(timedelta(minutes=3), timedelta(minutes=15)) is None, "45 calls"
    assert settled(timedelta(minutes=8), timedelta(hours=1)) is None, "the job is late"
    # When they become few, nothing is answered by minutes any more: nobody adds what is said later.
    monkeypatch.setattr(coverage, "EXACT_SAID", 0)
    window = Window(UNTIL - timedelta(minutes=20), UNTIL)
    asked = ["engagement.feedback_rate", "objective.up.attainment"]
    had = evaluate(store_client, asked, window=window)
    assert min(value.n for value in had) == 60
    monkeypatch.setattr(minutes, "EXACT_SAID", 100)
    assert "few" in run(store_client, NOW + timedelta(minutes=3)).note
    assert settled(timedelta(minutes=4), timedelta(hours=1)) is None
    store_client.command("ALTER TABLE inferences DELETE WHERE 1 SETTINGS mutations_sync = 2")
    assert [value.n for value in evaluate(store_client, asked, window=window)] == [0, 0]


def test_stretches() -> None:
    assert minutes.stretches([]) == []
    assert minutes.stretches([120, 60, 60]) == [(60, 180)]
    assert minutes.stretches([0, 660]) == [(0, 720)], "ten minutes between"
    assert minutes.stretches([0, 720]) == [(0, 60), (720, 780)]
    long = minutes.stretches(range(0, 3 * 3600, 60))
    assert long == [(0, 3600), (3600, 7200), (7200, 10800)]


def test_every_product_of_calls_is_there() -> None:
    """What a page asks of hours, it asks of minutes over a shorter time."""
    by_hour = {product.name for product in hours.PRODUCTS if product.open_too}
    assert {product.name for product in minutes.PRODUCTS} == {f"minutes:{name}" for name in by_hour}
    assert {kpi.source for kpi in REGISTRY.values()} >= {"users", "sessions", *source_hours.KEPT} - {
        "node_sums",
        "scores",
    }
