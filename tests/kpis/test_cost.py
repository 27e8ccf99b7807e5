"""KPIs of costs on both stores, against pandas over the rows that the workload was made from."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pandas as pd
import pytest
from scipy import stats

from monitor.jobs import cost
from monitor.jobs.job import Context
from monitor.kpis import KpiValue, Window, evaluate, series
from monitor.settings import ObjectiveSettings, Settings
from monitor.settings.fleet import NodeRate
from monitor.store import Client
from monitor.store.objectives import write_objectives
from tests.jobs import workload
from tests.jobs.workload import END, NOW, SETTINGS, START
from tests.kpis.rows import random_calls, store

WHOLE = Window(START, END)
RAGGED = Window(START + timedelta(minutes=17), END - timedelta(minutes=44))


@pytest.fixture
def calls(store_client: Client) -> pd.DataFrame:
    """A workload that is stored and costed, with what each call cost in USD (all that it stands for) and its tokens."""
    frame = workload.calls(600, weights=(1.0, 2.5))
    workload.store(store_client, frame)
    cost.run(Context(client=store_client, settings=SETTINGS, now=NOW))
    api = {row.trace_id: workload.token_cost(row) for row in frame[frame["node"] == ""].itertuples()}
    shares = store_client.query(
        "SELECT trace_id, cost / 1e9 FROM call_costs FINAL WHERE kind = 'gpu' AND cost IS NOT NULL"
    )
    per_call = {key: None if value is None else float(value) for key, value in api.items()}
    frame["cost"] = frame["trace_id"].map(per_call).astype(float) * frame["sample_weight"]
    # The shares of machines are held to the raw rows in tests/jobs/test_cost.py.
    frame["cost"] = frame["cost"].fillna(frame["trace_id"].map(dict(shares.result_rows)).astype(float))
    frame["tokens"] = frame["input_tokens"].fillna(0) + frame["output_tokens"].fillna(0)
    return frame


def ledger(client: Client) -> pd.DataFrame:
    result = client.query("SELECT * FROM node_hours FINAL")
    return pd.DataFrame(result.result_rows, columns=result.column_names)


def idle(client: Client, window: Window, node: str | None = None) -> float:
    """Idle cost minute by minute, as the window cuts them."""
    total = 0.0
    for row in ledger(client).itertuples():
        if node is None or row.node == node:
            minutes = (row.hour + timedelta(minutes=m) for m in range(60))
            start, end = (moment.replace(tzinfo=None) for moment in (window.start, window.end))
            total += row.idle / 1e9 / 60 * sum(start <= minute < end for minute in minutes)
    return total


def inside(calls: pd.DataFrame, window: Window) -> pd.DataFrame:
    return calls[(calls["timestamp"] >= window.start) & (calls["timestamp"] < window.end)]


def one(client: Client, name: str, window: Window = WHOLE, **keys: object) -> KpiValue:
    (value,) = evaluate(client, [name], window=window, **keys)  # type: ignore[arg-type]
    return value


@pytest.mark.parametrize("window", [WHOLE, RAGGED], ids=["whole hours", "ragged"])
def test_totals_and_ratios(store_client: Client, calls: pd.DataFrame, window: Window) -> None:
    mine = inside(calls, window)
    priced = mine.dropna(subset=["cost"])
    nobody = idle(store_client, window)
    total = priced["cost"].sum() + nobody
    found = {value.name: value for value in evaluate(store_client, ["cost"], window=window)}

    assert found["cost.total"].value == pytest.approx(total, rel=1e-6)
    api = priced[priced["node"] == ""]
    spread = (api["cost"] ** 2 * (1 - 1 / api["sample_weight"])).sum() ** 0.5
    assert found["cost.total"].high == pytest.approx(total + 1.959964 * spread, rel=1e-5)
    assert found["cost.total"].n == len(priced)
    assert "USD" in found["cost.total"].note
    assert f"{len(mine) - len(priced)} of {len(mine)} calls are unpriced" in found["cost.total"].note
    assert found["cost.unpriced"].value == pytest.approx(mine.loc[mine["cost"].isna(), "sample_weight"].sum())

    weights = priced["sample_weight"]
    for name, units in (("cost.per_request", weights), ("cost.per_million_tokens", weights * priced["tokens"] / 1e6)):
        value, n = found[name], len(priced)
        assert value.value == pytest.approx(total / units.sum(), rel=1e-6)
        ratio = priced["cost"].sum() / units.sum()
        error = math.sqrt(((priced["cost"] - ratio * units) ** 2).sum() * n / (n - 1)) / units.sum()
        effective = weights.sum() ** 2 / (weights**2).sum()
        assert value.high - value.value == pytest.approx(stats.t.ppf(0.975, effective - 1) * error, rel=1e-4)

    sessions = mine[mine["session_id"] != ""].groupby("session_id")["cost"]
    sums = sessions.sum(min_count=1).dropna()
    assert found["cost.per_session"].value == pytest.approx(sums.mean(), rel=1e-6)
    assert found["cost.per_session"].n == len(sums)
    assert found["cost.per_session"].high == pytest.approx(
        sums.mean() + stats.t.ppf(0.975, len(sums) - 1) * sums.sem(), rel=1e-6
    )

    good = mine[mine["error_type"] == ""]
    assert found["cost.per_goodput_request"].value == pytest.approx(total / good["sample_weight"].sum(), rel=1e-6)
    assert found["cost.per_goodput_request"].n == len(good)


def test_splits_and_filters(store_client: Client, calls: pd.DataFrame) -> None:
    by_node = {
        value.group["node"]: value for value in evaluate(store_client, ["cost.total"], window=WHOLE, by=["node"])
    }
    for node, mine in calls.groupby("node"):
        if mine["cost"].notna().any():
            assert by_node[node].value == pytest.approx(mine["cost"].sum() + idle(store_client, WHOLE, node), rel=1e-6)
    assert by_node["strange"].value is None
    assert "none of" in by_node["strange"].note
    assert by_node["spare"].value == pytest.approx(2.7)
    # Of one session, which is in no rollup: no idle time belongs to it.
    mine = calls[calls["session_id"] == "s7"]
    assert one(store_client, "cost.total", where={"session_id": "s7"}).value == pytest.approx(
        mine["cost"].sum(), rel=1e-6
    )
    assert one(store_client, "cost.total", where={"cancelled": "true"}).value is None
    # From calls and from hours alike; each node serves both services, so that its idle time is of neither.
    for where in ({"service": "chat", "finish_reason": ""}, {"service": "chat"}):
        found = one(store_client, "cost.total", where=where)
        assert found.value == pytest.approx(calls.loc[calls["service"] == "chat", "cost"].sum(), rel=1e-6)


def test_steps_add_up(store_client: Client, calls: pd.DataFrame) -> None:
    total = one(store_client, "cost.total").value
    for step_s in (3600.0, 900.0):
        frame = series(store_client, "cost.total", window=WHOLE, step_s=step_s)
        assert len(frame) == 3 * 3600 / step_s
        assert frame["value"].sum() == pytest.approx(total, rel=1e-9)


def test_the_ledger(store_client: Client, calls: pd.DataFrame) -> None:
    hours = ledger(store_client)
    hours = hours[(hours["hour"] >= START.replace(tzinfo=None)) & (hours["hour"] < END.replace(tzinfo=None))]
    found = one(store_client, "cost.gpu_hour")
    assert found.value == pytest.approx(hours["cost"].sum() / 1e9 / (hours["minutes"] * hours["gpus"] / 60).sum())
    assert one(store_client, "cost.gpu_hour", where={"node": "timed-1"}).value == pytest.approx(3.21 / 2, rel=1e-6)
    assert one(store_client, "cost.idle_share").value == pytest.approx(hours["idle"].sum() / hours["cost"].sum())
    assert one(store_client, "cost.idle_share", where={"node": "spare"}).value == 1.0
    assert "cannot be split" in one(store_client, "cost.gpu_hour", by=["finish_reason"]).note


def test_the_month(store_client: Client, calls: pd.DataFrame) -> None:
    window = Window(START, NOW)
    found = one(store_client, "cost.forecast_month", window)
    result = store_client.query(
        "SELECT hour, sum(cost) / 1e9 FROM cost_results FINAL GROUP BY hour ORDER BY hour"
    ).result_rows
    hourly = [value for hour, value in result if hour.replace(tzinfo=None) < END.replace(tzinfo=None)]
    left = 31 * 24 - 24 - 13  # 2 March, 13 o'clock
    assert found.n == len(hourly)
    assert found.method == "hourly-rate"
    assert found.value == pytest.approx(sum(hourly) + sum(hourly) / len(hourly) * left, rel=1e-9)
    assert found.low < found.value < found.high
    chat = one(store_client, "cost.forecast_month", window, where={"service": "chat"})
    assert chat.value is None  # the first two of those hours are of machines alone
    assert "3 hours of cost are known" in chat.note
    used = one(store_client, "cost.budget_used", window)
    spent = store_client.query("SELECT sum(cost) / 1e9 FROM cost_results FINAL WHERE service = 'chat'").result_rows[0][
        0
    ]
    assert used.value == pytest.approx(spent / 0.01)
    assert "budget `chat`" in used.note
    assert one(store_client, "cost.budget_used", window, where={"service": "search"}).value is None
    other = one(store_client, "cost.budget_used", window, where={"service": ""})
    assert other.value == pytest.approx(sum(value for _, value in result) / 100, rel=1e-6)


def test_nothing_costed_is_said(store_client: Client) -> None:
    found = {value.name: value for value in evaluate(store_client, ["cost"], window=WHOLE)}
    assert found.pop("cost.unpriced").value == 0
    assert all(value.value is None and value.note for value in found.values())


def test_unknown_models_are_never_zero(store_client: Client) -> None:
    frame = workload.calls(400)
    workload.store(store_client, frame[frame["kind"] == "nowhere"])
    cost.run(Context(client=store_client, settings=Settings(), now=NOW))
    n = int((frame["kind"] == "nowhere").sum())
    found = {value.name: value for value in evaluate(store_client, ["cost"], window=WHOLE)}
    assert found["cost.unpriced"].value == n
    for name in ("cost.total", "cost.per_request", "cost.per_million_tokens"):
        assert found[name].value is None
        assert found[name].note == f"none of {n} calls has a price"
    assert found["cost.per_session"].value is None


def test_two_currencies_are_not_added(store_client: Client) -> None:
    workload.store(store_client, workload.calls(100))
    cost.run(Context(client=store_client, settings=Settings(), now=NOW))
    euros = Settings.model_validate({"prices": {"currency": "EUR", "rates": {"USD": Decimal("0.9")}}})
    dollars = one(store_client, "cost.total").value
    cost.reprice(store_client, euros, since=START, until=START + timedelta(hours=1), now=NOW)
    assert "EUR and USD" in one(store_client, "cost.total").note
    cost.reprice(store_client, euros, since=START, until=END, now=NOW)
    assert one(store_client, "cost.total").value == pytest.approx(0.9 * dollars, rel=1e-6)


def test_good_is_what_the_objectives_say(store_client: Client, calls: pd.DataFrame) -> None:
    """With an objective on latency, a slow call is paid for and not good."""
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    threshold = float(calls["duration_s"].median())
    objective = ObjectiveSettings(name="whole", kind="latency", latency="e2e", threshold_s=threshold, target=0.9)
    write_objectives(store_client, [objective], now=long_ago)
    value = one(store_client, "cost.per_goodput_request")
    fast = calls[(calls["error_type"] == "") & (calls["duration_s"] <= threshold)]
    assert 0 < len(fast) < len(calls)
    assert value.n == len(fast)
    assert value.value == pytest.approx(one(store_client, "cost.total").value / fast["sample_weight"].sum(), rel=1e-6)


def test_an_hour_that_is_not_over_costs_what_has_passed(store_client: Client) -> None:
    """By the clock as it is: a node with a rate of 1 a minute, hardly used, in the hour that is running."""
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    rate = NodeRate(nodes=["gpu-idle"], kind="owned", rate=60.0, billed="always", valid_from=hour.date())
    store(store_client, random_calls(1, seed=1).assign(timestamp=[now], node=["gpu-idle"]))
    cost.run(Context(client=store_client, settings=Settings(fleet=[rate]), now=now))
    (spent,) = ledger(store_client).query("hour == @hour.replace(tzinfo=None)")["cost"] / 1e9
    total = one(store_client, "cost.total", Window(hour, now + timedelta(seconds=30)))
    assert spent == pytest.approx((now - hour).total_seconds() / 60, abs=1.1)
    assert total.value == pytest.approx(spent, abs=1.1)
