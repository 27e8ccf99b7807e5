"""The job `cost` on both stores, against costs that are computed row by row from the raw rows."""

from __future__ import annotations

import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from monitor.errors import BadInput, ConfigError
from monitor.jobs import cost
from monitor.jobs.job import Context
from monitor.settings import Budget, NodeRate, OwnPrice, PriceSettings, Settings
from monitor.stats.ledger import split_exactly
from monitor.store import Client
from tests.jobs import workload
from tests.jobs.workload import END, HOURS, NOW, SETTINGS, START

NANO = 10**9


def run(client: Client, settings: Settings = SETTINGS, **keys: Any) -> cost.Outcome:
    return cost.run(Context(client=client, settings=settings, now=keys.pop("now", NOW), **keys))


def table(client: Client, sql: str) -> pd.DataFrame:
    result = client.query(sql)
    return pd.DataFrame(result.result_rows, columns=result.column_names)


def costs(client: Client) -> pd.DataFrame:
    found = table(client, "SELECT trace_id, kind, source, reason, cost, reported FROM call_costs FINAL")
    return found.set_index("trace_id")


def everything(client: Client) -> list[Any]:
    return [
        client.query(f"SELECT * EXCEPT (version) FROM {name} FINAL ORDER BY ALL").result_rows
        for name in ("call_costs", "node_hours", "cost_results")
    ]


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 2.5, 7.0)], ids=["all", "sampled"])
def test_each_call_costs_what_its_row_says(store_client: Client, weights: tuple[float, ...]) -> None:
    calls = workload.calls(weights=weights)
    workload.store(store_client, calls)
    run(store_client)
    found = costs(store_client)
    assert len(found) == len(calls)
    api = calls[calls["node"] == ""]
    for row in api.itertuples():
        wanted, stored = workload.token_cost(row), found.loc[row.trace_id]
        assert stored["kind"] == "token"
        if wanted is None:
            assert pd.isna(stored["cost"]), row
            assert stored["reason"] == ("price" if row.kind == "nowhere" else "tokens")
        else:
            # Half a nano-unit of a call, for each call that the row stands for, and half of one for all.
            assert (
                abs(stored["cost"] - wanted * NANO * int(row.sample_weight * 2) / 2) <= 0.5 + 0.51 * row.sample_weight
            )
            assert stored["source"] == {"told": "reported", "house": "own", "claude": "genai-prices"}[row.kind]
    assert found.loc[calls[calls["kind"] == "strange"]["trace_id"], "cost"].isna().all()
    assert set(found.loc[calls[calls["kind"] == "strange"]["trace_id"], "reason"]) == {"rate"}


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 2.5, 7.0)], ids=["all", "sampled"])
def test_the_ledger_balances_to_the_last_unit(store_client: Client, weights: tuple[float, ...]) -> None:
    calls = workload.calls(weights=weights)
    workload.store(store_client, calls)
    run(store_client)
    found = costs(store_client)
    ledger = table(store_client, "SELECT * FROM node_hours FINAL").set_index(["hour", "node"])
    assert (ledger["used"] + ledger["idle"] == ledger["cost"]).all()
    calls["hour"] = calls["timestamp"].dt.floor("h")
    groups = calls[calls["kind"].isin(["timed-1", "timed-2", "counted"])].groupby(["hour", "node"])
    assert len(groups) == 3 * HOURS
    for (hour, node), rows in groups:
        entry = ledger.loc[(hour.replace(tzinfo=None), node)]
        shares = found.loc[rows["trace_id"], "cost"].astype("int64")
        assert shares.sum() == entry["used"]
        wanted = entry["used"] * workload.work(rows) / workload.work(rows).sum()
        # Within one unit of the exact share, and what a share of ten microseconds of a float may be off.
        assert (abs(shares.to_numpy() - wanted.to_numpy()) <= 1 + 1e-6 * wanted.to_numpy()).all()
        assert entry["basis"] == ("tokens" if node == "counted" else "time")
        starts = [stamp.value for stamp in rows["timestamp"]]
        ends = [
            min(start + round(seconds * 1e9), (hour + timedelta(hours=1)).value)
            for start, seconds in zip(starts, rows["duration_s"], strict=True)
        ]
        minutes = {
            m
            for s, e in zip(starts, ends, strict=True)
            for m in range(s // 60_000_000_000, (e - 1) // 60_000_000_000 + 1)
        }
        billed = 60 if node == "counted" else len(minutes)
        hourly = workload.RATES["counted" if node == "counted" else "timed"] * NANO
        assert entry["minutes"] == billed
        assert abs(entry["cost"] - hourly * billed / 60) <= Decimal("0.5")
        weight = (rows["duration_s"] * rows["sample_weight"]).sum() / rows["duration_s"].sum()
        idle = max(0.0, 1 - workload.occupied(starts, ends) / (billed * 60e9)) ** weight
        assert entry["busy"] == pytest.approx(1 - idle, abs=1e-8)
    assert ledger.xs("timed-1", level="node")["gpus"].eq(2).all()


def test_machines_that_nobody_used_are_idle(store_client: Client) -> None:
    workload.store(store_client, workload.calls(50))
    run(store_client)
    spare = table(store_client, "SELECT * FROM node_hours FINAL WHERE node = 'spare' ORDER BY hour")
    # From the first hour that is known to the one that is open: 0.90 an hour, twenty minutes of the last.
    spare = spare[spare["hour"] >= START.replace(tzinfo=None)]
    assert spare["minutes"].tolist() == [60] * HOURS + [20]
    assert spare["idle"].tolist() == [900_000_000] * HOURS + [300_000_000]
    assert (spare["used"] == 0).all()
    assert spare["pricing"].eq("owned").all()


def test_hours_add_up_to_calls_and_idle_time(store_client: Client) -> None:
    calls = workload.calls(weights=(1.0, 3.0))
    workload.store(store_client, calls)
    run(store_client)
    by_kind = table(
        store_client,
        "SELECT kind, sum(cost) AS cost, sum(requests) AS n, sum(calls) AS w, sum(unpriced) AS u FROM cost_results FINAL GROUP BY kind",
    ).set_index("kind")
    found = costs(store_client)
    idle = table(store_client, "SELECT sum(idle) AS idle FROM node_hours FINAL")["idle"][0]
    for kind in ("token", "gpu"):
        mine = found[found["kind"] == kind]
        assert by_kind.loc[kind, "cost"] == mine["cost"].dropna().astype("int64").sum()
        assert by_kind.loc[kind, "u"] == mine["cost"].isna().sum()
        assert by_kind.loc[kind, "n"] == len(mine)
    assert by_kind.loc["idle", "cost"] == idle
    assert by_kind["w"].sum() == pytest.approx(calls["sample_weight"].sum())


def test_running_again_changes_nothing_and_late_spans_redo_their_hour(store_client: Client) -> None:
    calls = workload.calls()
    late = calls["trace_id"].isin(calls["trace_id"][::9])
    workload.store(store_client, calls[~late])
    run(store_client)
    before = everything(store_client)
    run(store_client)
    assert everything(store_client) == before
    workload.store(store_client, calls[late])
    run(store_client)
    after = everything(store_client)
    assert after != before
    assert len(costs(store_client)) == len(calls)
    # As if all had come in time.
    for name in ("call_costs", "node_hours", "cost_results", "cost_state"):
        store_client.command(f"TRUNCATE TABLE {name}")
    run(store_client)
    for once, again in zip(after, everything(store_client), strict=True):
        different = sorted(set(map(repr, once)) ^ set(map(repr, again)))
        assert not different, "\n".join(different)


def test_what_is_no_call_any_more_costs_nothing(store_client: Client) -> None:
    calls = workload.calls(60)
    api = calls[calls["kind"] == "claude"].iloc[:1]
    workload.store(store_client, api)
    run(store_client, Settings())
    assert len(costs(store_client)) == 1
    # The gateway's span of the same call comes later: it is the outermost, and stands for the call from now on.
    gateway = api.assign(
        span_id="f" * 16,
        role="client",
        provider="",
        model="gateway-name",
        timestamp=api["timestamp"] - timedelta(seconds=1),
    )
    store_client.command(
        "ALTER TABLE inferences UPDATE parent_span_id = 'ffffffffffffffff', role = 'engine' WHERE 1 SETTINGS mutations_sync = 1"
    )
    workload.store(store_client, gateway)
    run(store_client, Settings())
    rows = store_client.query("SELECT span_id, model FROM call_costs FINAL").result_rows
    assert rows == [("f" * 16, "gateway-name")]
    assert store_client.query("SELECT sum(requests), groupArray(model) FROM cost_results FINAL").result_rows == [
        (1, ["gateway-name"])
    ]


def test_repricing_a_past_period_is_reproducible(store_client: Client) -> None:
    workload.store(store_client, workload.calls())
    run(store_client)
    first, total = everything(store_client), cost.period_cost(store_client, START, END)
    double = SETTINGS.model_copy(
        update={"prices": PriceSettings(own=[OwnPrice(model="*", input=Decimal(2), output=Decimal(2))], bundled=False)}
    )
    version, before, after = cost.reprice(store_client, double, since=START, until=END, now=NOW)
    assert before == total != after
    assert set(
        table(
            store_client,
            f"SELECT DISTINCT book FROM cost_results FINAL WHERE hour >= toDateTime({int(START.timestamp())}) AND hour < toDateTime({int(END.timestamp())})",
        )["book"]
    ) == {version}
    assert costs(store_client).query("kind == 'token'")["reason"].isin(["", "tokens"]).all()
    again = cost.reprice(store_client, double, since=START, until=END, now=NOW)
    assert again == (version, after, after)
    _, _, back = cost.reprice(store_client, SETTINGS, since=START, until=END, now=NOW)
    assert back == total
    assert everything(store_client) == first


def test_prices_that_were_used_are_kept(store_client: Client) -> None:
    workload.store(store_client, workload.calls())
    run(store_client)
    rows = store_client.query("SELECT model, batch, above, input, source FROM prices FINAL ORDER BY ALL").result_rows
    assert ("House-7B", False, 0, 378_875_000, "own") in rows  # 0.35 EUR at 1.0825
    assert ("House-7B", True, 2000, 378_875_000, "own") in rows
    assert ("claude-sonnet-4-5", False, 0, 3 * NANO, "genai-prices") in rows
    assert not any(row[0] == "no-such-model" for row in rows)


def test_budgets_say_what_is_spent_and_to_come(store_client: Client) -> None:
    workload.store(store_client, workload.calls())
    run(store_client)
    rows = table(store_client, "SELECT * FROM cost_budgets FINAL").set_index("name")
    total = store_client.query("SELECT sum(cost) FROM cost_results FINAL WHERE hour >= toDateTime(0)").result_rows[0][0]
    chat = store_client.query("SELECT sum(cost) FROM cost_results FINAL WHERE service = 'chat'").result_rows[0][0]
    assert rows.loc["all", "spent"] == pytest.approx(total, abs=1000)
    assert rows.loc["chat", "spent"] == pytest.approx(chat, abs=1000)
    assert rows.loc["all", "forecast"] > total / NANO
    run(store_client, SETTINGS.model_copy(update={"budgets": SETTINGS.budgets[:1]}))
    assert table(store_client, "SELECT name FROM cost_budgets FINAL")["name"].tolist() == ["all"]


def test_a_stopped_run_goes_on_later(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "CHUNK_HOURS", 1)
    calls = workload.calls(50)
    workload.store(store_client, calls)
    stop = threading.Event()
    stop.set()
    assert run(store_client, Settings(), stop=stop).rows == 0
    assert store_client.query("SELECT count() FROM cost_state WHERE name = 'watermark'").result_rows == [(0,)]
    assert run(store_client, Settings()).rows > 0
    assert len(costs(store_client)) == 50


def test_hours_without_new_facts_are_left_alone(store_client: Client) -> None:
    calls = workload.calls(60)
    workload.store(store_client, calls.iloc[:50])
    assert "hours" in run(store_client, Settings()).note
    before = everything(store_client)
    assert run(store_client, Settings()).note == ""
    assert everything(store_client) == before
    workload.store(store_client, calls.iloc[50:])
    assert "hours" in run(store_client, Settings()).note
    assert len(costs(store_client)) == 60


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(budgets=[Budget(name="x", where={"user": "u"}, amount=Decimal(1))]), "budget `x` has `user`"),
        (Settings(budgets=[Budget(name="x", amount=Decimal(1))] * 2), "two budgets `x`"),
        (
            Settings(fleet=[NodeRate(nodes=["a"], rate=Decimal(1), currency="EUR")]),
            r"`fleet\[0\]` has no rate from EUR",
        ),
    ],
)
def test_what_does_not_fit_is_refused(store_client: Client, settings: Settings, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(store_client, settings)


def test_what_is_no_longer_kept_is_not_costed_again(store_client: Client) -> None:
    calls = workload.calls(100)
    workload.store(store_client, calls)
    run(store_client, Settings())
    before = everything(store_client)
    first = f"toStartOfHour(timestamp) = toDateTime({int(START.timestamp())})"
    store_client.command(f"ALTER TABLE inferences DELETE WHERE {first} SETTINGS mutations_sync = 1")
    with pytest.raises(BadInput, match="2026-03-02 10:00 and before are no longer kept"):
        cost.reprice(store_client, Settings(), since=START, until=END, now=NOW)
    store_client.command("TRUNCATE TABLE cost_state")
    run(store_client, Settings())
    assert everything(store_client) == before
    with pytest.raises(BadInput, match="must end after"):
        cost.reprice(store_client, Settings(), since=END, until=START, now=NOW)


def test_shares_are_those_of_the_ledgers_arithmetic(store_client: Client) -> None:
    calls = workload.calls(weights=(1.0, 2.5))
    # Equal calls, so that ties of remainders are told apart by trace ids alone.
    same = calls["kind"] == "timed-1"
    calls.loc[same, ["prefill_s", "decode_s", "error_type", "sample_weight"]] = [0.1, 1.2, "", 1.0]
    workload.store(store_client, calls)
    run(store_client)
    found = costs(store_client)["cost"]
    used = table(store_client, "SELECT hour, node, used FROM node_hours FINAL").set_index(["hour", "node"])["used"]
    calls["hour"] = calls["timestamp"].dt.floor("h")
    for (hour, node), rows in calls[calls["node"].isin(["timed-1", "counted"])].groupby(["hour", "node"]):
        work = [round(each) for each in (workload.work(rows) * 10**6)]
        parts = split_exactly(int(used[hour.replace(tzinfo=None), node]), work, list(rows["trace_id"]))
        assert found.loc[rows["trace_id"]].astype("int64").tolist() == parts


def test_samples_say_how_long_a_node_was_up_and_what_it_has(store_client: Client) -> None:
    rows = [
        [START + timedelta(minutes=minute, seconds=5), "quiet", f"GPU-{gpu}", "NVIDIA H100", ""]
        for minute in range(12, 20) for gpu in range(4)
    ]  # fmt: skip
    rows += [[START + timedelta(minutes=15), "other", "GPU-9", "NVIDIA A10", ""]]
    store_client.insert("gpu_samples", rows, column_names=["timestamp", "node", "gpu", "gpu_model", "parent"])
    rate = NodeRate(nodes=["*"], gpu="*h100*", rate_per_gpu=Decimal("1.5"), kind="spot")
    run(store_client, Settings(fleet=[rate]))
    found = table(store_client, "SELECT node, gpus, minutes, cost, idle, gpu, pricing FROM node_hours FINAL")
    # Four GPUs at 1.50 for eight minutes; the node with another GPU has no rate.
    assert found.to_numpy().tolist() == [["quiet", 4, 8, 800_000_000, 800_000_000, "NVIDIA H100", "spot"]]
    assert store_client.query("SELECT kind, cost FROM cost_results FINAL").result_rows == [("idle", 800_000_000)]


def test_a_call_that_says_how_it_is_paid_for_is_not_paid_twice(store_client: Client) -> None:
    calls = workload.calls(1).iloc[[0] * 4].assign(
        trace_id=[f"{i:032x}" for i in range(4)], node="timed-1", model="house-7b", provider="vllm", sample_weight=1.0,
        input_tokens=1000, cached_tokens=None, output_tokens=10, error_type="", cost_usd=None, prefill_s=0.1, decode_s=1.0,
        pricing=["per_token", "on_demand", "", "owned"], deployment=["", "", "api", ""],
    )  # fmt: skip
    workload.store(store_client, calls)
    run(store_client)
    found = table(store_client, "SELECT pricing, deployment, kind, source FROM call_costs FINAL ORDER BY trace_id")
    assert found.to_numpy().tolist() == [
        ["per_token", "", "token", "own"], ["on_demand", "", "gpu", "ledger"], ["", "api", "token", "own"],
        ["owned", "", "gpu", "ledger"],
    ]  # fmt: skip
