"""`engagement.` against pandas, from the same calls and events; late ones, and those that name little, included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from monitor.kpis import KpiValue, Window, evaluate, series
from monitor.kpis.retention import retention
from monitor.stats.feedback import AnswerSums, post_stratified
from monitor.stats.intervals import wilson
from monitor.store import Client
from tests.kpis.rows import START, WINDOW, random_calls, store

MIDNIGHT = datetime(2026, 3, 10, tzinfo=UTC)


def tell(client: Client, rows: list[dict[str, Any]]) -> None:
    defaults = {
        "trace_id": "",
        "span_id": "",
        "response_id": "",
        "value": "",
        "comment": "",
        "session_id": "",
        "user_id": "",
    }
    columns = ["timestamp", "kind", *defaults]
    client.insert(
        "engagement_events", [[{**defaults, **row}[name] for name in columns] for row in rows], column_names=columns
    )


@pytest.fixture
def calls(store_client: Client) -> pd.DataFrame:
    """800 calls of 200 sessions and 60 users; a quarter has thumbs, more often when the answer was long or failed."""
    g = np.random.default_rng(31)
    calls = random_calls(800, seed=32).sort_values("timestamp", ignore_index=True)
    calls["service"] = g.choice(["chat", "code"], len(calls))
    calls["session_id"] = [f"s{i}" for i in g.integers(0, 200, len(calls))]
    calls["user_id"] = [f"u{i}" for i in g.integers(0, 60, len(calls))]
    calls.loc[g.random(len(calls)) < 0.1, ["session_id", "user_id"]] = ""
    # An agent asks twice in one trace: its second call is the answer.
    calls.loc[1::10, "trace_id"] = calls.loc[0::10, "trace_id"].to_numpy()
    store(store_client, calls)
    odd = (calls["error_type"] != "") | (calls["output_tokens"] > 150)
    calls["answered"] = g.random(len(calls)) < np.where(odd, 0.6, 0.2)
    calls["up"] = calls["answered"] & (g.random(len(calls)) < np.where(odd, 0.4, 0.9))
    calls["copied"] = g.random(len(calls)) < 0.15
    calls["again"] = g.random(len(calls)) < 0.1
    calls["commented"] = g.random(len(calls)) < 0.05
    calls["left"] = g.random(len(calls)) < 0.03
    late = START + timedelta(days=3)
    last = calls.groupby("trace_id")["timestamp"].transform("max") == calls["timestamp"]
    rows: list[dict[str, Any]] = []
    for call, is_last in zip(calls.itertuples(), last, strict=True):
        # Without a span it is of the trace's last call; the span of something that is no model call is, too.
        about = {
            "trace_id": call.trace_id,
            "span_id": g.choice(["", "f" * 16]) if is_last else call.span_id,
            "timestamp": late,
        }
        if call.answered:
            # The newest thumbs count.
            rows.append({**about, "kind": "thumbs", "value": "down" if call.up else "up", "timestamp": call.timestamp})
            rows.append({**about, "kind": "thumbs", "value": "Up" if call.up else "down"})
        kinds = [("copied", "copy"), ("again", "regenerate"), ("commented", "comment"), ("left", "abandon")]
        rows += [{**about, "kind": kind} for name, kind in kinds if getattr(call, name)]
    tell(store_client, rows)
    return calls


def ask(client: Client, *names: str, window: Window = WINDOW, **asked: Any) -> dict[tuple[str, ...], KpiValue]:
    full = [f"engagement.{name}" for name in names]
    found = evaluate(client, full, window=window, **asked)
    return {(value.name.removeprefix("engagement."), *value.group.values()): value for value in found}


def test_what_users_do_with_answers(store_client: Client, calls: pd.DataFrame) -> None:
    found = ask(store_client, "feedback_rate", "thumbs_up", "regenerate_rate", "copy_rate", by=("model",))
    for model, mine in calls.groupby("model"):
        wanted = {
            "feedback_rate": (mine["answered"] | mine["commented"], len(mine)),
            "thumbs_up": (mine["up"], int(mine["answered"].sum())),
            "regenerate_rate": (mine["again"], len(mine)),
            "copy_rate": (mine["copied"], len(mine)),
        }
        for name, (hits, n) in wanted.items():
            value = found[name, str(model)]
            assert value.n == n
            assert value.value == pytest.approx(hits.sum() / n)
            assert (value.low, value.high) == pytest.approx(wilson(hits.sum(), n))


def test_corrected_thumbs_weight_the_strata_of_all_calls(store_client: Client, calls: pd.DataFrame) -> None:
    value = ask(store_client, "thumbs_up_corrected")[("thumbs_up_corrected",)]
    wait = pd.cut(
        calls["duration_s"], [-1, 1, 3, 10, np.inf], right=False, labels=["1 s", "3 s", "10 s", "slow"]
    ).astype(str)
    wait = np.where(calls["error_type"] != "", "error", np.where(calls["cancelled"], "cancelled", wait))
    length = np.minimum(6, np.floor(np.log2(calls["output_tokens"] + 1) / 2))
    length = ["?" if np.isnan(each) else str(int(each)) for each in length]
    strata = [
        AnswerSums(key=tuple(map(str, key)), calls=len(mine), n=(n := int(mine["answered"].sum())), w=n, ww=n, hits=(h := int(mine["up"].sum())), hits_ww=h)
        for key, mine in calls.groupby([calls["service"], calls["model"], wait, length])
    ]  # fmt: skip
    truth = post_stratified(strata)
    assert value.n == truth.n == calls["answered"].sum()
    assert (value.value, value.low, value.high) == pytest.approx((truth.value, truth.low, truth.high))
    assert value.value is not None
    assert truth.raw.value is not None
    # Those who are annoyed answer more often.
    assert value.value > truth.raw.value + 0.05
    assert f"raw {truth.raw.value:.1%}" in value.note


def test_sessions_are_the_units(store_client: Client, calls: pd.DataFrame) -> None:
    found = ask(store_client, "sessions", "turns_per_session", "session_minutes", "abandon_rate", by=("service",))
    mine_all = calls[calls["session_id"] != ""]
    for service, mine in mine_all.groupby("service"):
        sessions = mine.groupby("session_id")
        ends = mine["timestamp"] + pd.to_timedelta(mine["duration_s"], unit="s")
        minutes = (ends.groupby(mine["session_id"]).max() - sessions["timestamp"].min()).dt.total_seconds() / 60
        turns = sessions["trace_id"].nunique()
        n = len(sessions)
        count = found["sessions", str(service)]
        assert (count.value, count.n) == (n, n)
        for name, values in (("turns_per_session", turns), ("session_minutes", minutes)):
            value = found[name, str(service)]
            assert value.n == n
            assert value.value == pytest.approx(values.mean())
            low, high = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
            assert (value.low, value.high) == pytest.approx((max(0, low), high))
        left = sessions["left"].max().sum()
        value = found["abandon_rate", str(service)]
        assert (value.value, value.n) == (pytest.approx(left / n), n)
        assert (value.low, value.high) == pytest.approx(wilson(left, n))


def test_an_event_of_a_session_alone_belongs_to_its_own_time(store_client: Client) -> None:
    calls = random_calls(3, seed=1).assign(session_id=["a", "a", "b"], model=["llama", "llama", "qwen"], error_type="")
    calls["timestamp"] = [START, START + timedelta(minutes=1), START + timedelta(minutes=2)]
    store(store_client, calls)
    after = START + timedelta(hours=1, minutes=5)
    tell(
        store_client,
        [
            {"timestamp": after, "kind": "abandon", "session_id": "a"},
            {"timestamp": after, "kind": "abandon", "session_id": "nobody knows"},
        ],
    )
    assert ask(store_client, "abandon_rate")[("abandon_rate",)].value == 0.0
    found = ask(store_client, "abandon_rate", "sessions", "turns_per_session", window=Window(WINDOW.end, WINDOW.end + timedelta(hours=1)), by=("model",))  # fmt: skip
    assert (found["abandon_rate", "llama"].value, found["abandon_rate", "llama"].n) == (1.0, 1)
    assert found["sessions", "llama"].value == 0.0
    assert found["turns_per_session", "llama"].value is None
    tell(store_client, [{"timestamp": START + timedelta(minutes=30), "kind": "abandon", "session_id": "b"}])
    assert ask(store_client, "abandon_rate")[("abandon_rate",)].value == 0.5


def test_users_new_and_old(store_client: Client, calls: pd.DataFrame) -> None:
    window = Window(START + timedelta(minutes=30), WINDOW.end)
    users = calls[calls["user_id"] != ""]
    before = set(users.loc[users["timestamp"] < window.start, "user_id"])
    mine = users[users["timestamp"] >= window.start]
    found = ask(store_client, "active_users", "new_users", window=window, by=("model",), where={"service": "code"})
    for model, part in mine[mine["service"] == "code"].groupby("model"):
        now = set(part["user_id"])
        assert found["active_users", str(model)].value == len(now)
        assert found["new_users", str(model)].value == len(now - before)
        assert found["new_users", str(model)].n == len(now)
    young = ask(store_client, "new_users")[("new_users",)]
    assert young.value == users["user_id"].nunique()
    assert "some may not be new" in young.note
    # Each is new in one step only.
    steps = series(store_client, "engagement.new_users", window=WINDOW, step_s=600)
    first = users.groupby("user_id")["timestamp"].min()
    wanted = [((first >= t) & (first < t + timedelta(minutes=10))).sum() for t in steps["time"]]
    assert list(steps["value"].fillna(0)) == wanted


def test_a_response_id_is_enough(store_client: Client) -> None:
    store(store_client, random_calls(2, seed=4).assign(request_id=["chatcmpl-1", "chatcmpl-2"], error_type=""))
    tell(store_client, [{"timestamp": START, "kind": "Copy", "response_id": "chatcmpl-2"}])
    assert ask(store_client, "copy_rate")[("copy_rate",)].value == 0.5


def test_sampled_calls_are_weighted_or_said_to_be_a_bound(store_client: Client) -> None:
    calls = random_calls(300, seed=5, weights=(1.0, 10.0)).assign(session_id=[f"s{i % 40}" for i in range(300)])
    store(store_client, calls)
    tell(store_client, [{"timestamp": START, "kind": "copy", "trace_id": trace} for trace in calls["trace_id"][:60]])
    found = ask(store_client, "copy_rate", "active_users", "sessions", "turns_per_session")
    weight = calls["sample_weight"]
    assert found[("copy_rate",)].value == pytest.approx(weight[:60].sum() / weight.sum())
    assert "worth" in found[("copy_rate",)].note
    for name in ("active_users", "sessions", "turns_per_session"):
        assert "cannot be scaled up" in found[(name,)].note


@pytest.fixture
def visits(store_client: Client) -> pd.DataFrame:
    """Users who come on some of ten days; most on the day after their first."""
    g = np.random.default_rng(41)
    rows = []
    for user in range(120):
        first = int(g.integers(0, 9))
        days = {first} | {day for day in range(first + 1, 10) if g.random() < (0.5 if day == first + 1 else 0.2)}
        rows += [(f"u{user}", day, "llama" if user % 3 else "qwen") for day in sorted(days)]
    visits = pd.DataFrame(rows, columns=["user_id", "day", "model"])
    calls = random_calls(len(visits), seed=42)
    at = [
        MIDNIGHT + timedelta(days=int(day), seconds=float(s))
        for day, s in zip(visits["day"], g.uniform(0, 86_399, len(visits)), strict=True)
    ]
    store(store_client, calls.assign(timestamp=at, user_id=visits["user_id"], model=visits["model"]))
    return visits


@pytest.mark.parametrize("after", [1, 7])
def test_who_comes_back(store_client: Client, visits: pd.DataFrame, after: int) -> None:
    """Cohorts of days 1 and later; the window ends within a day, which is therefore not over."""
    window = Window(MIDNIGHT + timedelta(days=2, hours=6), MIDNIGHT + timedelta(days=9, hours=5))
    first = visits.groupby("user_id")["day"].min().rename("first")
    joined = visits.join(first, on="user_id")
    name = f"return_rate_d{after}"
    found = ask(store_client, name, window=window, by=("model",))
    for model, mine in joined.groupby("model"):
        users = mine.groupby("user_id").agg(first=("first", "first"), days=("day", set))
        users = users[(users["first"] + after >= 2) & (users["first"] + after <= 8)]
        back = sum(row.first + after in row.days for row in users.itertuples(name="Row"))
        value = found[name, str(model)]
        assert value.n == len(users) > 0
        assert value.value == pytest.approx(back / len(users))
        assert (value.low, value.high) == pytest.approx(wilson(back, len(users)))


def test_an_hour_has_no_day_of_return(store_client: Client, visits: pd.DataFrame) -> None:
    window = Window(MIDNIGHT + timedelta(days=3, hours=6), MIDNIGHT + timedelta(days=3, hours=7))
    value = ask(store_client, "return_rate_d1", window=window)[("return_rate_d1",)]
    assert value.value is None
    assert "ask for a day or more" in value.note


def test_returns_by_day(store_client: Client, visits: pd.DataFrame) -> None:
    window = Window(MIDNIGHT + timedelta(days=1), MIDNIGHT + timedelta(days=10))
    steps = series(store_client, "engagement.return_rate_d1", window=window, step_s=86_400)
    first = visits.groupby("user_id")["day"].min()
    days = visits.groupby("user_id")["day"].agg(set)
    for step, (n, value) in enumerate(zip(steps["n"], steps["value"], strict=True)):
        cohort = first[first == step].index
        assert n == len(cohort)
        if n:
            assert value == pytest.approx(np.mean([step + 1 in days[user] for user in cohort]))


def test_matrix_of_cohorts(store_client: Client, visits: pd.DataFrame) -> None:
    window = Window(MIDNIGHT + timedelta(days=1), MIDNIGHT + timedelta(days=9, hours=12))
    frame = retention(store_client, window=window, days=4)
    first = visits.groupby("user_id")["day"].min()
    days = visits.groupby("user_id")["day"].agg(set)
    assert list(frame["day"].unique()) == [0, 1, 2, 3, 4]
    for row in frame.itertuples():
        start = (row.cohort - pd.Timestamp(MIDNIGHT)).days
        cohort = first[first == start].index
        assert row.size == len(cohort)
        if start + row.day >= 9:  # not over when the window ends
            assert np.isnan(row.share)
            continue
        back = sum(start + row.day in days[user] for user in cohort)
        assert row.users == back
        assert row.share == pytest.approx(back / len(cohort))
        assert (row.low, row.high) == pytest.approx(wilson(back, len(cohort)))
    assert frame["cohort"].min() == pd.Timestamp(MIDNIGHT + timedelta(days=1))


def test_an_empty_store_has_no_values(store_client: Client) -> None:
    for value in evaluate(store_client, ["engagement"], window=WINDOW):
        assert value.value is None
        assert value.n == 0
        assert value.note
    assert retention(store_client, window=WINDOW).empty
