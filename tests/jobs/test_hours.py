"""What is added up by the hour against the facts themselves: the same numbers, whatever comes late; samples within their intervals."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitor.jobs import cost, hours, objectives, rollup
from monitor.jobs.job import Context
from monitor.kpis import (
    REGISTRY,
    KpiValue,
    Window,
    coverage,
    emitters,
    evaluate,
    gpu_periods,
    series,
    source_hours,
    units,
)
from monitor.kpis.balance import find_hot_nodes, node_loads
from monitor.kpis.compare import compare
from monitor.kpis.hours import newest_mark
from monitor.kpis.latency_map import LATENCIES, compare_places
from monitor.kpis.retention import retention
from monitor.settings import ObjectiveSettings, Settings
from monitor.store import Client
from monitor.store.migrate import known_migrations
from monitor.store.objectives import write_objectives
from tests.kpis.rows import random_calls, store

START = datetime(2026, 3, 1, 21, 30, 30, tzinfo=UTC)
HOURS = 26  # a midnight, so that users return
END = START + timedelta(hours=HOURS)
LATER = END + timedelta(hours=3)
FAMILIES = ("engagement", "safety", "accuracy", "fleet")
SCORE_NAMES = ["accuracy.score.confidence", "accuracy.score.a 'very' odd one"]
MODERATION = ["safety.flagged_rate", "safety.blocked_rate", "safety.pii_rate"]
NAMES = [name for name in REGISTRY if name.startswith(FAMILIES)] + ["traffic.completeness", "cost.per_session"]
SINGLE = [name for name in NAMES if name.startswith(("engagement", "safety", "accuracy")) and not name.endswith("_d7")]


@pytest.fixture(autouse=True)
def always_rolled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "EXACT_CALLS", 0)


def calls_of(n: int, *, seed: int, weights: tuple[float, ...] = (1.0,)) -> pd.DataFrame:
    """Calls over the hours, with sessions and users, some without; an agent's two calls have one trace."""
    g = np.random.default_rng(seed)
    calls = random_calls(n, seed=seed, weights=weights)
    calls["timestamp"] = [
        START + timedelta(microseconds=int(us)) for us in np.sort(g.integers(0, int(HOURS * 3.6e9), n))
    ]
    calls["session_id"] = [f"s{i}" for i in g.integers(0, n // 4, n)]
    calls["user_id"] = [f"u{i}" for i in g.integers(0, n // 10, n)]
    calls.loc[g.random(n) < 0.1, ["session_id", "user_id"]] = ""
    calls.loc[1::10, "trace_id"] = calls.loc[0::10, "trace_id"].to_numpy()[: len(calls.loc[1::10])]
    calls["cost_usd"] = g.uniform(0.001, 0.01, n)
    calls["region"] = "eu"
    return calls


def judge(client: Client, calls: pd.DataFrame, *, seed: int) -> None:
    """Labels, verdicts, confidences, moderation, refusals and events of some of the calls."""
    g = np.random.default_rng(seed)
    said, events = [], []
    call: Any
    for call in calls.itertuples():
        about = [call.timestamp + timedelta(minutes=int(g.integers(1, 50))), call.trace_id, call.span_id]
        right = g.random() < 0.7
        for share, name, label, score, source in (
            (0.3, "correct", "yes" if right else "no", None, "human"),
            (0.6, "correct", "yes" if right or g.random() < 0.2 else "no", None, "judge"),
            (0.5, "confidence", "", round(float(g.random()), 3), "judge"),
            (0.5, "refusal", "yes" if g.random() < 0.1 else "no", None, "judge"),
            (0.6, "moderation.pii", "flagged" if g.random() < 0.2 else "passed", None, "moderation"),
            (0.3, "hate", "flagged" if g.random() < 0.3 else "passed", None, "moderation"),
            (0.3, "pii.email", "blocked" if g.random() < 0.3 else "passed", None, "moderation"),
            (0.2, "a 'very' odd one", "", float(g.normal(3, 2)), "human"),
        ):
            if g.random() < share:
                said.append([*about, name, label, score, source, "x"])
        for share, kind, value in (
            (0.2, "thumbs", "up"), (0.1, "thumbs", "down"), (0.1, "copy", ""), (0.05, "abandon", ""), (0.05, "report", "rude"),
        ):  # fmt: skip
            if g.random() < share:
                events.append([*about, kind, value, ""])
    # Of a session alone, with and without a call in its hour.
    for call in calls[calls["session_id"] != ""].iloc[::60].itertuples():
        events.append([call.timestamp + timedelta(minutes=3), "", "", "abandon", "", call.session_id])
    client.insert(
        "evaluations", said,
        column_names=["timestamp", "trace_id", "span_id", "name", "label", "score", "source", "evaluator"],
    )  # fmt: skip
    client.insert(
        "engagement_events", events, column_names=["timestamp", "trace_id", "span_id", "kind", "value", "session_id"]
    )


def sample_gpus(client: Client, *, every_s: int = 45) -> None:
    """Three GPUs, one without a counter, and an instance of one; one is silent for two hours."""
    g = np.random.default_rng(5)
    rows = []
    for place, (node, gpu, parent) in enumerate(
        (("gpu-1", "A", ""), ("gpu-2", "B", ""), ("gpu-3", "C", ""), ("gpu-3", "C1", "C"))
    ):
        for second in range(0, HOURS * 3600, every_s):
            if gpu == "B" and 10 * 3600 < second < 12 * 3600:
                continue
            counter = None if gpu == "C" else 1e6 + 300.0 * second
            rows.append([
                START + timedelta(seconds=second + place), node, gpu, parent, "prod", "eu", float(g.random()), 5e10 + g.random() * 1e10,
                8e10, 300.0 + g.random(), counter, 50 + place, "degraded" if g.random() < 0.1 else "ok",
            ])  # fmt: skip
    columns = [
        "timestamp", "node", "gpu", "parent", "environment", "region", "busy", "memory_used_bytes", "memory_limit_bytes", "power_w",
        "energy_j", "temperature_c", "status",
    ]  # fmt: skip
    client.insert("gpu_samples", rows, column_names=columns)


def run(client: Client, now: datetime = LATER, *jobs: Any) -> None:
    settings = Settings.model_validate({"prices": {"currency": "USD"}})
    for job in jobs or (rollup, hours):
        job.run(Context(client=client, settings=settings, now=now))


def from_facts(monkeypatch: pytest.MonkeyPatch, client: Client, names: list[str], **asked: Any) -> list[KpiValue]:
    with monkeypatch.context() as patch:
        patch.setattr(coverage, "EXACT_CALLS", 10**12)
        return evaluate(client, names, **asked)


def assert_same(rolled: list[KpiValue], truth: list[KpiValue]) -> None:
    """Values, counts and methods are the same; intervals of GPUs are of other parts of the window, and about as wide."""
    by_key = {(value.name, tuple(value.group.items())): value for value in truth}
    assert {(value.name, tuple(value.group.items())) for value in rolled} == set(by_key)
    for value in rolled:
        true = by_key[value.name, tuple(value.group.items())]
        over_time = value.name in ("fleet.gpu_utilization", "fleet.gpu_memory", "fleet.power") or "energy" in value.name
        assert value.method == true.method, value
        assert value.n == true.n or (over_time and abs(value.n - true.n) <= 8), (value, true)
        assert close(value.value, true.value), (value, true)
        if over_time and true.low is not None and value.low is not None:
            assert value.high - value.low == pytest.approx(true.high - true.low, rel=0.8), (value, true)  # type: ignore[operator]
        else:
            assert close(value.low, true.low), (value, true)
            assert close(value.high, true.high), (value, true)


def close(value: float | None, true: float | None) -> bool:
    if value is None or true is None:
        return value is true
    return value == pytest.approx(true, rel=1e-6, abs=1e-9)


def test_the_migration_is_what_the_modules_make() -> None:
    text = next(migration.text for migration in known_migrations() if migration.name == "hours")
    for module in (source_hours, units, emitters, gpu_periods):
        assert module.ddl() in text
    text = next(migration.text for migration in known_migrations() if migration.name == "several")
    assert source_hours.ddl_several() in text


@pytest.mark.parametrize(
    ("backend_url", "weights"),
    [("chdb", (1.0,)), ("clickhouse", (1.0, 4.0))],
    indirect=["backend_url"],
    ids=["chdb-all", "clickhouse-sampled"],
)
def test_hours_say_what_facts_say(
    store_client: Client, monkeypatch: pytest.MonkeyPatch, weights: tuple[float, ...]
) -> None:
    calls = calls_of(400, seed=3, weights=weights)
    store(store_client, calls.drop(index=range(350, 360)))
    judge(store_client, calls, seed=4)
    sample_gpus(store_client)
    run(store_client, LATER, cost)
    run(store_client, END - timedelta(hours=2))
    windows = (Window(START + timedelta(minutes=47), END), Window(START.replace(hour=0, minute=0, second=0), END))
    for window in windows[:1]:
        assert_same(
            evaluate(store_client, NAMES, window=window), from_facts(monkeypatch, store_client, NAMES, window=window)
        )
    for asked in (
        {"by": ("model",)},
        {"where": {"node": ["gpu-1", "gpu-3"]}},
    ):
        rolled = evaluate(store_client, NAMES, window=windows[0], **asked)
        assert_same(rolled, from_facts(monkeypatch, store_client, NAMES, window=windows[0], **asked))
    for asked in ({"by": ("category",)}, {"by": ("model", "category", "region")}, {"where": {"category": ["hate"]}}):
        rolled = evaluate(store_client, MODERATION, window=windows[0], **asked)
        truth = from_facts(monkeypatch, store_client, MODERATION, window=windows[0], **asked)
        assert_same(rolled, truth)
        assert {value.value for value in rolled} - {0.0, None}
    for asked in ({}, {"by": ("model",)}):
        rolled = evaluate(store_client, SCORE_NAMES, window=windows[0], **asked)
        assert all(value.n for value in rolled)
        assert_same(rolled, from_facts(monkeypatch, store_client, SCORE_NAMES, window=windows[0], **asked))
    frame = retention(store_client, window=windows[1])
    with monkeypatch.context() as patch:
        patch.setattr(coverage, "EXACT_CALLS", 10**12)
        pd.testing.assert_frame_equal(frame, retention(store_client, window=windows[1]))


def test_hours_are_what_is_read(store_client: Client) -> None:
    """Facts that are gone after they were added up make no difference to whole hours."""
    calls = calls_of(300, seed=6)
    store(store_client, calls)
    judge(store_client, calls, seed=7)
    sample_gpus(store_client, every_s=300)
    run(store_client, LATER, cost, rollup, hours)
    window = Window(START.replace(minute=0, second=0), END.replace(minute=0, second=0))
    names = [name for name in NAMES if not name.endswith("agreement_change")]
    by_category = evaluate(store_client, ["safety.flagged_rate"], window=window, by=("category",))
    scores = evaluate(store_client, SCORE_NAMES, window=window)
    before = evaluate(store_client, names, window=window)
    # What is scored at all, evaluations tell.
    for table in ("engagement_events", "gpu_samples", "call_costs"):
        store_client.command(f"TRUNCATE TABLE {table}")
    store_client.command("TRUNCATE TABLE inferences")
    assert_same(evaluate(store_client, SCORE_NAMES, window=window), scores)
    assert all(value.n for value in scores)
    store_client.command("TRUNCATE TABLE evaluations")
    assert_same(evaluate(store_client, ["safety.flagged_rate"], window=window, by=("category",)), by_category)
    assert {value.group["category"] for value in by_category} >= {"hate", "pii.email"}
    after = evaluate(store_client, names, window=window)
    for old, new in zip(before, after, strict=True):
        assert (new.value, new.n) == (old.value, old.n), old


@pytest.mark.parametrize("backend_url", ["chdb"], indirect=True)
def test_hours_that_are_not_over_answer_up_to_their_mark(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """For windows that end at it, without the facts; calls after it are in none, calls that come late are with the next run."""
    calls = calls_of(400, seed=21, weights=(1.0, 3.0))
    write_objectives(
        store_client,
        [ObjectiveSettings(name="right", kind="accuracy", evaluation="correct", labels=["yes"], target=0.5)],
        now=START,
    )
    now = END - timedelta(minutes=17)
    mark = now.replace(second=0, microsecond=0)
    assert (mark + timedelta(seconds=30) <= now, mark.minute) == (True, 13)
    # The last hours are full, so that something depends on the mark.
    calls.loc[300:, "timestamp"] = [END - timedelta(minutes=2.4 * k) for k in range(99, -1, -1)]
    late = calls["timestamp"].between(mark - timedelta(minutes=9), mark - timedelta(minutes=4))
    assert late.sum() >= 2
    store(store_client, calls[~late])
    judge(store_client, calls, seed=22)
    run(store_client, now, cost, rollup, objectives, hours)
    assert newest_mark(store_client) == mark.timestamp()
    names = [*SINGLE, "fleet.imbalance", "objective.right.attainment"]
    start = START.replace(minute=0, second=0) + timedelta(hours=1)
    ends = (mark, mark + timedelta(minutes=5), mark - timedelta(minutes=3))
    for end in ends:
        for by in ((), ("model",)):
            asked: dict[str, Any] = {"window": Window(start, end), "by": by}
            assert_same(evaluate(store_client, names, **asked), from_facts(monkeypatch, store_client, names, **asked))
    steps: dict[str, Any] = {"window": Window(start, mark), "step_s": 3600}
    stepped = ["safety.flagged_rate", "engagement.sessions", "accuracy.correct"]
    rolled = series(store_client, stepped, **steps)
    with monkeypatch.context() as patch:
        patch.setattr(coverage, "EXACT_CALLS", 10**12)
        pd.testing.assert_frame_equal(rolled, series(store_client, stepped, **steps))
    store(store_client, calls[late])
    window = Window(start, mark)
    old = evaluate(store_client, ["engagement.feedback_rate"], window=window)[0].n
    run(store_client, now + timedelta(seconds=20), objectives, hours)
    new = evaluate(store_client, names, window=window)
    assert evaluate(store_client, ["engagement.feedback_rate"], window=window)[0].n == old + late.sum()
    assert_same(new, from_facts(monkeypatch, store_client, names, window=window))
    for table in ("evaluations", "engagement_events", "call_costs", "inferences"):
        store_client.command(f"TRUNCATE TABLE {table}")
    without = [value for value in new if not value.name.endswith(("agreement_change", "new_users"))]
    for value in without:
        (again,) = evaluate(store_client, [value.name], window=window)
        assert (again.value, again.n) == (pytest.approx(value.value) if value.value is not None else None, value.n), (
            value
        )
    # An hour later it is over, and the mark with it.
    run(store_client, LATER, objectives, hours)
    assert newest_mark(store_client) != mark.timestamp()


@pytest.mark.parametrize("backend_url", ["chdb"], indirect=True)
def test_a_page_ends_where_hours_are_added_up(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    day = timedelta(days=1)
    assert coverage.settled(store_client, now=END, reach=day) is None
    store(store_client, calls_of(300, seed=23))
    run(store_client, END)
    mark = (END - timedelta(seconds=30)).replace(second=0)
    assert coverage.settled(store_client, now=END + timedelta(minutes=14), reach=day) == mark
    assert coverage.settled(store_client, now=END + timedelta(minutes=16), reach=day) is None
    assert coverage.settled(store_client, now=mark - timedelta(seconds=1), reach=day) is None
    monkeypatch.setattr(coverage, "EXACT_CALLS", 300)
    assert coverage.settled(store_client, now=END, reach=timedelta(days=3)) is None


def test_steps(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of(400, seed=8)
    store(store_client, calls)
    judge(store_client, calls, seed=9)
    run(store_client)
    hour = START.replace(minute=0, second=0)
    asked: dict[str, Any] = {"window": Window(hour, hour + timedelta(hours=24)), "step_s": 7200, "by": ("model",)}
    names = [
        "engagement.active_users",
        "engagement.new_users",
        "engagement.sessions",
        "engagement.feedback_rate",
        "safety.flagged_rate",
    ]
    rolled = series(store_client, names, **asked)
    with monkeypatch.context() as patch:
        patch.setattr(coverage, "EXACT_CALLS", 10**12)
        truth = series(store_client, names, **asked)
    pd.testing.assert_frame_equal(rolled, truth)


@pytest.mark.parametrize("backend_url", ["chdb"], indirect=True)
def test_two_sides_of_a_comparison_are_the_same(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of(400, seed=17, weights=(1.0, 3.0))
    calls.loc[::9, "node"] = ""
    store(store_client, calls)
    judge(store_client, calls, seed=18)
    run(store_client)
    window = Window(START, END)
    (a, b) = sorted(set(calls["model"]))[:2]
    rolled = compare(store_client, window, "model", a, b)
    places = compare_places(store_client, "e2e", window=window, dimension="model").differences
    with monkeypatch.context() as patch:
        patch.setattr(coverage, "EXACT_CALLS", 10**12)
        truth = compare(store_client, window, "model", a, b)
        true_places = compare_places(store_client, "e2e", window=window, dimension="model").differences
    assert [asdict(each) for each in places] == [pytest.approx(asdict(each)) for each in true_places]
    assert rolled.judged_by == "labels"
    assert rolled.a.quality.n > 30
    for one, other in ((rolled.a, truth.a), (rolled.b, truth.b)):
        assert asdict(one.quality) == pytest.approx(asdict(other.quality))
        assert asdict(one.latency) == pytest.approx(asdict(other.latency))
    for table in ("evaluations", "inferences"):
        store_client.command(f"TRUNCATE TABLE {table}")
    left = compare(store_client, window, "model", a, b)
    assert left.a.quality.n > 0.8 * rolled.a.quality.n, "hours are not read"
    assert left.a.latency.n > 0.8 * rolled.a.latency.n, "hours are not read"


@pytest.mark.parametrize("backend_url", ["clickhouse"], indirect=True)
def test_late_rows_make_their_hours_anew(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of(200, seed=10)
    late = calls["trace_id"].str.endswith(("0", "7"))
    store(store_client, calls[~late])
    run(store_client)
    window = Window(START, END)
    before = {value.name: value for value in evaluate(store_client, SINGLE, window=window)}
    store(store_client, calls[late])
    judge(store_client, calls, seed=11)
    run(store_client, LATER + timedelta(seconds=30))
    rolled = evaluate(store_client, SINGLE, window=window)
    assert_same(rolled, from_facts(monkeypatch, store_client, SINGLE, window=window))
    after = {value.name: value for value in rolled}
    assert before["engagement.feedback_rate"].n < after["engagement.feedback_rate"].n == len(calls)
    assert before["accuracy.correct"].n == 0 < after["accuracy.correct"].n


@pytest.mark.parametrize("backend_url", ["chdb"], indirect=True)
def test_a_run_again_changes_nothing_and_what_is_gone_counts_no_more(
    store_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(200, seed=12)
    store(store_client, calls)
    judge(store_client, calls, seed=13)
    run(store_client)
    window = Window(START, END)
    store_client.command("TRUNCATE TABLE hour_state")
    # An engine that served one of the calls tells so only now.
    store_client.command(
        "INSERT INTO inferences (timestamp, trace_id, span_id, parent_span_id, role, service, user_id, session_id)"
        " SELECT timestamp, trace_id, 'abc', '', 'engine', 'vllm', 'lost', 'lost' FROM inferences WHERE user_id != '' LIMIT 1"
    )
    run(store_client)
    second = evaluate(store_client, SINGLE, window=window)
    assert_same(second, from_facts(monkeypatch, store_client, SINGLE, window=window))


def test_a_sample_of_users_and_sessions_is_near_all(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a fifth of them looked at, the share of 95 % intervals that hold the truth is as it should be."""
    calls = calls_of(6000, seed=14)
    calls["user_id"] = [f"u{i}" for i in np.random.default_rng(15).integers(0, 1500, len(calls))]
    store(store_client, calls)
    run(store_client, LATER, cost, rollup, hours)
    midnight = START.replace(hour=0, minute=0, second=0)
    window = Window(midnight, midnight + timedelta(days=2))  # to the end of the day of return
    names = [
        "engagement.active_users",
        "engagement.sessions",
        "engagement.turns_per_session",
        "engagement.return_rate_d1",
        "cost.per_session",
    ]
    truth = {value.name: value for value in from_facts(monkeypatch, store_client, names, window=window)}
    monkeypatch.setattr(units, "UNITS_MAX", 1000)
    monkeypatch.setattr(units, "_PROBED", units.BUCKETS)
    held = []
    for value in evaluate(store_client, names, window=window):
        true = truth[value.name]
        assert "from a sample of 1 in" in value.note
        assert value.n < 0.6 * true.n
        assert value.value == pytest.approx(true.value, rel=0.15)
        held.append(value.low <= true.value <= value.high)  # type: ignore[operator]
    assert sum(held) >= 4
    assert {value.method for value in evaluate(store_client, names[:2], window=window)} == {"sample"}


def test_goodput_beside_gpus_and_costs(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    store(store_client, calls_of(300, seed=16))
    sample_gpus(store_client, every_s=120)
    goal = ObjectiveSettings(name="fast", kind="latency", latency="ttft", threshold_s=0.4, target=0.9)
    write_objectives(store_client, [goal], now=START - timedelta(days=1))
    run(store_client, LATER, cost, rollup, hours, objectives)
    names = ["objective.goodput_per_gpu_hour", "objective.goodput_per_dollar", "cost.per_goodput_request"]
    asked: dict[str, Any]
    for asked in ({}, {"by": ("node",)}, {"where": {"node": "gpu-1"}}):
        window = Window(START + timedelta(minutes=10), END - timedelta(minutes=7))
        rolled = evaluate(store_client, names, window=window, **asked)
        assert_same(rolled, hidden(monkeypatch, store_client, names, window=window, **asked))
        assert all(value.value is not None for value in rolled[:1])


def hidden(monkeypatch: pytest.MonkeyPatch, client: Client, names: list[str], **asked: Any) -> list[KpiValue]:
    """From facts, objectives included."""
    with monkeypatch.context() as patch:
        patch.setattr("monitor.kpis.query.counted_select", lambda *_: None)
        return from_facts(monkeypatch, client, names, **asked)


def test_an_empty_store_has_nothing_to_add_up(store_client: Client) -> None:
    run(store_client)
    assert json.loads(str(store_client.command("SELECT toJSONString(groupArray(name)) FROM hour_state"))) == []


def test_nodes_side_by_side_are_the_same(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's look at nodes takes the hours, and what it finds in them is what the calls say."""
    calls = calls_of(3000, seed=31)
    calls.loc[calls["node"] == calls["node"].iloc[0], "ttft_s"] *= 3
    store(store_client, calls)
    run(store_client)
    window = Window(START + timedelta(minutes=7), END)
    asked: list[str] = []
    query = store_client.query
    monkeypatch.setattr(store_client, "query", lambda text, **more: (asked.append(text), query(text, **more))[1])
    frame, hot = node_loads(store_client, window=window), find_hot_nodes(store_client, window=window)
    asked.clear()
    places = {name: compare_places(store_client, name, window=window) for name in LATENCIES}
    assert sum("FROM source_hours" in text for text in asked) == 3, "of queue, prefill and decode, hours know nothing"
    assert any("FROM source_hours" in text for text in asked), "the premise"
    monkeypatch.setattr(coverage, "EXACT_CALLS", 10**12)
    truth, hot_truth = node_loads(store_client, window=window), find_hot_nodes(store_client, window=window)
    for name, found in places.items():
        true = compare_places(store_client, name, window=window).differences
        assert [(each.place, each.n, each.different) for each in found.differences] == [
            (each.place, each.n, each.different) for each in true
        ]
        assert [each.ratio for each in found.differences] == pytest.approx([each.ratio for each in true], nan_ok=True)
        assert len(true) == 3
    order = ["service", "model", "node"]
    pd.testing.assert_frame_equal(
        frame.sort_values(order, ignore_index=True), truth.sort_values(order, ignore_index=True)
    )
    assert hot, "the premise"
    assert [(each.service, each.model, each.hot.node) for each in hot] == [
        (each.service, each.model, each.hot.node) for each in hot_truth
    ]
