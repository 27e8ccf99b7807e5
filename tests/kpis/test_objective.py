"""Objectives and goodput, computed a second time from the same rows by other means."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from monitor.errors import BadInput
from monitor.kpis import KpiValue, Window, evaluate, series
from monitor.serve.objectives import store_objectives
from monitor.serve.up import open_store
from monitor.settings import ObjectiveSettings, Settings
from monitor.stats import intervals as iv
from monitor.store import Client
from monitor.store.changes import changes_between, record_change
from monitor.store.client import connect
from monitor.store.objectives import read_objectives, write_objectives
from tests.kpis.rows import START, WINDOW, random_calls, store

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
OBJECTIVES = [
    {"name": "first-token", "kind": "latency", "latency": "ttft", "threshold_s": 0.5, "target": 0.9},
    {"name": "speed", "kind": "latency", "latency": "tpot", "threshold_s": 0.02, "target": 0.8, "where": {"model": "llama"}},
    {"name": "whole", "kind": "latency", "latency": "e2e", "threshold_s": 2.5, "target": 0.5, "where": {"node": ["gpu-1", "gpu-2"]}},
    {"name": "availability", "kind": "error", "target": 0.95},
    {"name": "price", "kind": "cost", "ceiling_usd": 0.02, "target": 0.99},
    {"name": "right", "kind": "accuracy", "evaluation": "correct", "labels": ["yes", "it's"], "target": 0.7},
    {"name": "good_score", "kind": "accuracy", "evaluation": "helpful", "score_from": 0.25, "sources": ["judge"], "target": 0.6},
    {"name": "clean", "kind": "safety", "target": 0.9},
]  # fmt: skip


def configure(client: Client, objectives: list[dict[str, Any]], *, now: datetime = LONG_AGO) -> list[str]:
    return write_objectives(client, [ObjectiveSettings(**one) for one in objectives], now=now)


def evaluations_of(calls: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Judgements of some of the calls: of their spans, several and late ones among them."""
    g = np.random.default_rng(seed)
    rows = []

    def say(i: int, after_s: float, **what: Any) -> None:
        call = calls.iloc[i]
        at = call["timestamp"] + timedelta(seconds=after_s)
        rows.append({"timestamp": at, "trace_id": call["trace_id"], "span_id": call["span_id"], **what})

    for i in np.flatnonzero(g.random(len(calls)) < 0.3):
        say(i, 1, name="correct", label=str(g.choice(["yes", "no", "it's"])), source="human")
        if g.random() < 0.3:
            say(i, 86400 * 3, name="correct", label=str(g.choice(["yes", "no"])), source="human")
        if g.random() < 0.3:  # later still, and yet less than a human's
            say(i, 86400 * 4, name="correct", label="no", source="judge")
        say(i, 2, name="helpful", score=float(g.random()), source=str(g.choice(["judge", "user"])))
    for i in np.flatnonzero(g.random(len(calls)) < 0.6):
        for stage in ("input", "output"):
            label = str(g.choice(["allowed", "flagged", "blocked"], p=[0.9, 0.06, 0.04]))
            say(
                i,
                0.5,
                name=f"moderation.{stage}",
                label=label,
                source="moderation",
                explanation="" if label == "allowed" else "insult",
            )
            if label != "allowed":
                say(i, 0.5, name="insult", label=label, score=0.9, source="moderation", explanation=stage)
    frame = pd.DataFrame(rows)
    frame["score"] = frame["score"].astype(object).where(frame["score"].notna(), None)
    return frame.fillna({"label": "", "explanation": ""})


def judge(client: Client, said: pd.DataFrame, table: str = "evaluations") -> None:
    client.insert(table, said.astype(object).where(said.notna(), None).values.tolist(), column_names=list(said.columns))


def sample(client: Client, *, n: int = 700, seed: int = 3, weights: tuple[float, ...] = (1.0,)) -> pd.DataFrame:
    """Calls and judgements, stored; the frame has what the oracle needs beside the calls' columns."""
    calls = random_calls(n, seed=seed, weights=weights)
    g = np.random.default_rng(seed + 1)
    calls["cost_usd"] = np.where(g.random(n) < 0.2, np.nan, g.gamma(2, 0.005, n))
    store(client, calls)
    said = evaluations_of(calls, seed=seed + 2)
    judge(client, said)
    return known_of(calls, said)


def known_of(calls: pd.DataFrame, said: pd.DataFrame) -> pd.DataFrame:
    """What an attentive reader with a pencil would note of each call."""
    calls = calls.copy()
    rank = {"ground_truth": 2, "human": 1}
    by_span = dict(iter(said.groupby("span_id")))
    right, helpful, moderated, flagged, blocked = [], [], [], [], []
    for span in calls["span_id"]:
        rows = by_span.get(span, said.iloc[:0])
        judged = [
            (rank.get(r.source, 0), r.timestamp, r.label in ("yes", "it's"))
            for r in rows.itertuples()
            if r.name == "correct"
        ]
        right.append(max(judged)[2] if judged else None)
        scored = [
            (r.timestamp, r.score >= 0.25) for r in rows.itertuples() if r.name == "helpful" and r.source == "judge"
        ]
        helpful.append(max(scored)[1] if scored else None)
        labels = [r.label for r in rows.itertuples() if r.source == "moderation"]
        moderated.append(bool(labels))
        flagged.append(bool({"flagged", "blocked"} & set(labels)))
        blocked.append("blocked" in labels)
    return calls.assign(right=right, helpful=helpful, moderated=moderated, flagged=flagged, blocked=blocked)


def outcome(call: Any, objective: Mapping[str, Any], *, with_errors: bool = False) -> bool | str | None:
    """True, False, None (cannot be told) or "other" (not about this call)."""
    for key, values in objective.get("where", {}).items():
        if getattr(call, key) not in ([values] if isinstance(values, str) else values):
            return "other"
    kind = objective["kind"]
    if kind == "error":
        return bool(call.error_type == "")
    if kind == "cost":
        return None if np.isnan(call.cost_usd) else bool(call.cost_usd <= objective["ceiling_usd"])
    if kind == "safety":
        return (not call.flagged) if call.moderated else None
    if kind == "accuracy":
        return call.right if objective["name"] == "right" else call.helpful
    if call.error_type and not with_errors:
        return "other"
    limit = objective["threshold_s"]
    gave_up = call.cancelled and call.duration_s > limit
    if objective["latency"] == "ttft":
        if call.stream is False and np.isnan(call.ttft_s):
            return "other"
        if np.isnan(call.ttft_s):
            return False if gave_up else None
        return bool(call.ttft_s <= limit)
    if objective["latency"] == "tpot":
        if (call.stream is False and np.isnan(call.tpot_s)) or call.output_tokens < 2:
            return "other"
        return None if np.isnan(call.tpot_s) or call.cancelled else bool(call.tpot_s <= limit)
    if call.cancelled:
        return False if gave_up else None
    return bool(call.duration_s <= limit)


def good(call: Any) -> bool | str | None:
    """Goodput's verdict on one call."""
    found = [outcome(call, one, with_errors=True) for one in OBJECTIVES if one["kind"] == "latency"]
    if all(one == "other" for one in found):
        return "other"
    if call.error_type or call.blocked or any(one is False for one in found):
        return False
    return None if any(one is None for one in found) else True


def share(calls: pd.DataFrame, verdicts: list[Any]) -> tuple[float, float, float, int]:
    """Weighted share of True among True and False, Wilson's ends, and n."""
    told = np.array([verdict is True or verdict is False for verdict in verdicts])
    hits = np.array([verdict is True for verdict in verdicts])[told]
    w = calls["sample_weight"].to_numpy()[told]
    value = float(np.average(hits, weights=w))
    variance = (w**2 * (hits - value) ** 2).sum() / w.sum() ** 2
    effective = value * (1 - value) / variance if 0 < value < 1 else w.sum() ** 2 / (w**2).sum()
    return (value, *iv.wilson(value * effective, effective), int(told.sum()))


def by_name(values: list[KpiValue]) -> dict[str, KpiValue]:
    return {value.name: value for value in values}


def same(found: KpiValue, value: float | None, low: float | None, high: float | None, n: int) -> None:
    assert found.n == n, found.name
    got = [found.value, found.low, found.high]
    assert got == [x if x is None else pytest.approx(x, rel=1e-9) for x in (value, low, high)], found.name


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 2.0, 5.5)], ids=["plain", "weighted"])
def test_every_objective(store_client: Client, weights: tuple[float, ...]) -> None:
    configure(store_client, OBJECTIVES)
    calls = sample(store_client, weights=weights)
    found = by_name(evaluate(store_client, ["objective"], window=WINDOW))
    for objective in OBJECTIVES:
        front, target = f"objective.{objective['name']}", objective["target"]
        verdicts = [outcome(call, objective) for call in calls.itertuples()]
        value, low, high, n = share(calls, verdicts)
        assert 0 < value < 1, "a case that shows nothing"
        same(found[f"{front}.attainment"], value, low, high, n)
        same(found[f"{front}.burn_rate"], *((1 - x) / (1 - target) for x in (value, high, low)), n)
        same(found[f"{front}.error_budget"], *(1 - (1 - x) / (1 - target) for x in (value, low, high)), n)
        others, unknown = verdicts.count("other"), verdicts.count(None)
        note = found[f"{front}.attainment"].note
        assert (f"{others} of {len(calls)} calls are none that it is about" in note) == bool(others)
        assert (f"{unknown} of {len(calls) - others} calls " in note) == bool(unknown)
    assert ("sampled: worth" in found["objective.availability.attainment"].note) == (len(weights) > 1)
    verdicts = [good(call) for call in calls.itertuples()]
    value, low, high, n = share(calls, verdicts)
    same(found["objective.goodput"], value, low, high, n)
    w = calls["sample_weight"].to_numpy()
    about = w[[verdict != "other" for verdict in verdicts]].sum()
    hit, unknown = (w[[verdict is wanted for verdict in verdicts]].sum() for wanted in (True, None))
    assert f"between {hit / about:.1%} and {(hit + unknown) / about:.1%}" in found["objective.goodput"].note


def test_plain_attainment_is_scipys_wilson(store_client: Client) -> None:
    configure(store_client, OBJECTIVES)
    calls = sample(store_client)
    found = by_name(evaluate(store_client, ["objective.availability"], window=WINDOW))[
        "objective.availability.attainment"
    ]
    hits = int((calls["error_type"] == "").sum())
    assert (found.low, found.high) == pytest.approx(stats.binomtest(hits, len(calls)).proportion_ci(method="wilson"))


def test_groups_and_filters(store_client: Client) -> None:
    configure(store_client, OBJECTIVES)
    calls = sample(store_client, weights=(1.0, 3.0))
    values = evaluate(store_client, ["objective"], window=WINDOW, by=["node", "model"])
    for (node, model), rows in calls.groupby(["node", "model"]):
        mine = by_name([value for value in values if value.group == {"node": node, "model": model}])
        for objective in OBJECTIVES:
            name = f"objective.{objective['name']}.attainment"
            verdicts = [outcome(call, objective) for call in rows.itertuples()]
            if all(verdict == "other" for verdict in verdicts):
                assert mine[name].value is None
                assert mine[name].note == f"it is about none of these {len(rows)} calls"
                continue
            same(mine[name], *share(rows, verdicts))
        same(mine["objective.goodput"], *share(rows, [good(call) for call in rows.itertuples()]))
    alone = evaluate(store_client, ["objective"], window=WINDOW, where={"node": "gpu-1", "model": "qwen"})
    mine = by_name([value for value in values if value.group == {"node": "gpu-1", "model": "qwen"}])
    for value in alone:
        if not value.name.endswith("_per_gpu_hour"):
            same(value, *(getattr(mine[value.name], part) for part in ("value", "low", "high", "n")))


def plain_calls(seconds: list[float], **columns: Any) -> pd.DataFrame:
    n = len(seconds)
    base: dict[str, Any] = {
        "timestamp": [START + timedelta(seconds=second) for second in seconds],
        "trace_id": [f"{i:032x}" for i in range(n)],
        "span_id": [f"{i:016x}" for i in range(n)],
        "duration_s": 1.0,
    }
    return pd.DataFrame(base | columns)


def test_a_budget_by_hand(store_client: Client) -> None:
    """99 % of 1000 calls a week leave 10 errors; 4 of them are 40 % of the budget; 2 of 100 in an hour burn at twice the rate."""
    configure(store_client, [{"name": "up", "kind": "error", "target": 0.99, "period": "7d"}])
    day_before = [-86400.0 + i for i in range(900)]
    last_hour = [10.0 * i for i in range(100)]
    errors = ["timeout"] * 2 + [""] * 898 + ["timeout"] * 2 + [""] * 98
    store(store_client, plain_calls(day_before + last_hour, error_type=errors))
    # A week and a day ago: out of the period.
    store(store_client, plain_calls([-8 * 86400.0], error_type=["timeout"], trace_id=["f" * 32]))
    found = by_name(evaluate(store_client, ["objective.up"], window=WINDOW))
    assert found["objective.up.attainment"].value == pytest.approx(0.98)
    assert found["objective.up.burn_rate"].value == pytest.approx(2.0)
    budget = found["objective.up.error_budget"]
    assert (budget.value, budget.n) == (pytest.approx(0.6), 1000)
    assert (budget.start, budget.end) == (WINDOW.end - timedelta(days=7), WINDOW.end)
    low, high = stats.binomtest(4, 1000).proportion_ci(method="wilson")
    assert (budget.low, budget.high) == pytest.approx((1 - high / 0.01, 1 - low / 0.01))


def test_an_overdrawn_budget_and_an_untouched_one(store_client: Client) -> None:
    configure(
        store_client,
        [
            {"name": "up", "kind": "error", "target": 0.9},
            {"name": "e2e", "kind": "latency", "latency": "e2e", "threshold_s": 1, "target": 0.9},
        ],
    )
    store(store_client, plain_calls([1.0, 2.0], error_type=["timeout", ""]))
    found = by_name(evaluate(store_client, ["objective"], window=WINDOW))
    assert found["objective.up.error_budget"].value == pytest.approx(-4)
    assert found["objective.up.burn_rate"].value == pytest.approx(5)
    # A duration of exactly the threshold is good; the error is not about latency.
    e2e = found["objective.e2e.attainment"]
    assert (e2e.value, e2e.n, e2e.high) == (1, 1, 1)
    assert e2e.low == pytest.approx(stats.binomtest(1, 1).proportion_ci(method="wilson").low)
    assert found["objective.e2e.error_budget"].value == 1
    assert found["objective.goodput"].value == 0.5


def test_no_calls_and_none_that_can_be_told(store_client: Client) -> None:
    configure(store_client, OBJECTIVES)
    for value in evaluate(store_client, ["objective"], window=WINDOW):
        assert (value.value, value.n, value.note) == (None, 0, "no call in this window")
    store(store_client, plain_calls([1.0], node="gpu-9"))
    found = by_name(evaluate(store_client, ["objective"], window=WINDOW))
    assert found["objective.first-token.attainment"].value is None
    assert "1 of 1 calls did not report it: neither good nor bad" in found["objective.first-token.attainment"].note
    assert found["objective.whole.attainment"].note == "it is about none of these 1 calls"
    assert "1 of 1 calls were not moderated" in found["objective.clean.attainment"].note
    assert "1 of 1 calls were not judged" in found["objective.right.attainment"].note
    assert found["objective.goodput"].value is None


def test_no_objectives(store_client: Client) -> None:
    configure(store_client, [])
    store(store_client, plain_calls([1.0]))
    values = evaluate(store_client, ["objective"], window=WINDOW)
    assert [value.name for value in values] == [
        f"objective.goodput{end}" for end in ("", "_per_gpu_hour", "_per_dollar")
    ]
    for value in values:
        assert value.value is None
        assert "set one under `objectives` in monitor.yaml" in value.note
    with pytest.raises(BadInput, match=r"there is no KPI `objective\.up\.attainment`"):
        evaluate(store_client, ["objective.up.attainment"], window=WINDOW)


def test_a_changed_objective_judges_from_then_on(store_client: Client) -> None:
    slow, fast = (
        {"name": "e2e", "kind": "latency", "latency": "e2e", "threshold_s": t, "target": 0.5} for t in (2, 0.5)
    )
    assert configure(store_client, [slow]) == ["objective e2e set"]
    assert configure(store_client, [slow], now=START) == []
    changed = configure(store_client, [fast | {"target": 0.9}], now=START + timedelta(minutes=30))
    assert changed == ["objective e2e changed: target 0.5 → 0.9, threshold_s 2.0 → 0.5"]
    store(store_client, plain_calls([60.0, 120.0, 3000.0]))  # each takes a second
    found = by_name(evaluate(store_client, ["objective"], window=WINDOW))
    assert found["objective.e2e.attainment"].value == pytest.approx(2 / 3)
    assert found["objective.e2e.burn_rate"].value == pytest.approx(1 / 3 / 0.1)  # the target is today's
    assert found["objective.goodput"].value == pytest.approx(2 / 3)
    configure(store_client, [], now=START + timedelta(minutes=40))
    assert read_objectives(store_client) == {}
    configure(store_client, [fast], now=START + timedelta(minutes=50))
    versions = read_objectives(store_client)["e2e"]
    assert [version.objective.threshold_s for version in versions] == [2, 0.5]
    assert versions[0].start_ns is None
    assert versions[1].end_ns is None


def test_the_service_stores_what_is_configured(pipeline_url: str) -> None:
    settings = Settings(
        store={"url": pipeline_url},
        objectives=[{"name": "up", "kind": "error", "target": 0.9}],
        # Tables that other tests use keep their old rows.
        retention=dict.fromkeys(("raw_days", "facts_days", "minutes_days", "hours_days", "days_days"), 20_000),
    )

    async def start() -> None:
        async with contextlib.AsyncExitStack() as stack:
            await open_store(settings, stack, on_open=partial(store_objectives, settings))

    for _ in range(2):
        asyncio.run(start())
    client = connect(pipeline_url)
    assert [versions[-1].objective.target for versions in read_objectives(client).values()] == [0.9]
    assert client.command("SELECT count() FROM changes") == 1
    client.close()


def test_changes_are_recorded_once(store_client: Client) -> None:
    up = {"name": "up", "kind": "error", "target": 0.99, "where": {"service": "chat"}}
    for now in (START, START + timedelta(minutes=1)):
        configure(store_client, [up], now=now)
    configure(store_client, [], now=START + timedelta(minutes=2))
    found = changes_between(store_client, START, START + timedelta(hours=1))
    assert [(change.timestamp, change.kind, change.title) for change in found] == [
        (START, "config", "objective up set"),
        (START + timedelta(minutes=2), "config", "objective up removed"),
    ]
    assert found[0].where == {"service": ["chat"]}
    assert found[0].source == "monitor.yaml"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "depoly"}, "no kind of change `depoly`; it is one of deploy, price, config"),
        ({"title": " "}, "a change needs a title"),
        ({"timestamp": datetime(2026, 3, 1)}, "has no time zone"),
    ],
)
def test_changes_that_are_none(store_client: Client, options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        record_change(store_client, **{"timestamp": START, "kind": "deploy", "title": "v2", **options})


def test_a_change_that_is_reported_again_is_one(store_client: Client) -> None:
    for link in ("", "https://example.org/2"):
        record_change(
            store_client,
            timestamp=START,
            kind="deploy",
            title="v2",
            author="ann",
            link=link,
            where={"service": ["chat"], "model": ["a", "b"]},
        )
    (change,) = changes_between(store_client, START, START + timedelta(microseconds=1))
    assert (change.author, change.link, change.where) == (
        "ann",
        "https://example.org/2",
        {"service": ["chat"], "model": ["a", "b"]},
    )
    assert changes_between(store_client, START - timedelta(hours=1), START) == []


def test_text_of_objectives_reaches_the_store_as_it_is(store_client: Client) -> None:
    ugly = "it's \\ 100% {x:String} `;-- \n"
    configure(store_client, [{"name": "up", "kind": "error", "target": 0.9, "where": {"model": ugly, "stream": True}}])
    store(store_client, plain_calls([1.0, 2.0], model=[ugly, "other"], stream=[True, True], error_type=["", "timeout"]))
    for where in ({}, {"node": ""}):
        found = by_name(evaluate(store_client, ["objective.up"], window=WINDOW, where=where))
        assert (found["objective.up.attainment"].value, found["objective.up.attainment"].n) == (1, 1)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 4.0)], ids=["plain", "weighted"])
def test_a_series_of_budgets_is_a_budget_at_each_step(store_client: Client, weights: tuple[float, ...]) -> None:
    configure(store_client, [{"name": "up", "kind": "error", "target": 0.9, "period": "1d"}])
    calls = random_calls(400, seed=5, weights=weights)
    # Over two days, so that calls drop out of the period within the window.
    offsets = (calls["timestamp"] - pd.Timestamp(START)).dt.total_seconds() * 48 - 86400
    calls["timestamp"] = [START + timedelta(seconds=second) for second in offsets]
    store(store_client, calls)
    window = Window(START, START + timedelta(hours=23))
    frame = series(store_client, ["objective.up.error_budget"], window=window, step_s=4 * 3600, by=["model"])
    assert len(frame) == 6 * 2
    for row in frame.itertuples():
        end = min(row.time.to_pydatetime() + timedelta(hours=4), window.end)
        one = Window(end - timedelta(minutes=1), end)
        (found,) = evaluate(store_client, ["objective.up.error_budget"], window=one, where={"model": row.model})
        assert (row.value, row.low, row.high) == pytest.approx((found.value, found.low, found.high), rel=1e-9)
        assert row.n == found.n


def test_goodput_per_gpu_hour(store_client: Client) -> None:
    configure(store_client, [{"name": "e2e", "kind": "latency", "latency": "e2e", "threshold_s": 2, "target": 0.5}])
    store(
        store_client,
        plain_calls([float(i) for i in range(10)], node=["a"] * 6 + ["b"] * 4, duration_s=[1.0] * 8 + [3.0] * 2),
    )
    samples = [
        [START + timedelta(seconds=second), node, gpu, parent, 0.5]
        # 30 minutes of two GPUs of node a, every 10 s; one minute of a slice of a GPU that is there itself.
        for node, gpu, parent, seconds in [
            ("a", "g1", "", range(0, 1800, 10)),
            ("a", "g2", "", range(0, 1800, 10)),
            ("a", "g2/1", "g2", range(0, 60, 10)),
            ("b", "g1", "", range(0, 3600, 10)),
        ]
        for second in seconds
    ]
    store_client.insert("gpu_samples", samples, column_names=["timestamp", "node", "gpu", "parent", "busy"])
    (whole,) = evaluate(store_client, ["objective.goodput_per_gpu_hour"], window=WINDOW)
    assert (whole.value, whole.n) == (pytest.approx(8 / 2), 10)
    garwood = (stats.chi2.ppf(0.025, 16) / 2 / 2, stats.chi2.ppf(0.975, 18) / 2 / 2)
    assert (whole.low, whole.high) == pytest.approx(garwood)
    by_node = evaluate(store_client, ["objective.goodput_per_gpu_hour"], window=WINDOW, by=["node"])
    assert {value.group["node"]: value.value for value in by_node} == {"a": pytest.approx(6), "b": pytest.approx(2)}
    (one,) = evaluate(store_client, ["objective.goodput_per_gpu_hour"], window=WINDOW, where={"node": "b"})
    assert one.value == pytest.approx(2)
    (split,) = evaluate(store_client, ["objective.goodput_per_gpu_hour"], window=WINDOW, by=["model"])
    assert "cannot be split by" in split.note
    steps = series(store_client, ["objective.goodput_per_gpu_hour"], window=WINDOW, step_s=1800)
    assert steps["value"].iloc[0] == pytest.approx(8 / 1.5)
    store_client.command("TRUNCATE TABLE gpu_samples")
    (none,) = evaluate(store_client, ["objective.goodput_per_gpu_hour"], window=WINDOW)
    assert none.value is None
    assert "no GPU was reported" in none.note


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 4.0)], ids=["plain", "weighted"])
def test_goodput_per_dollar(store_client: Client, weights: tuple[float, ...]) -> None:
    configure(store_client, OBJECTIVES)
    calls = sample(store_client, weights=weights)
    (found,) = evaluate(store_client, ["objective.goodput_per_dollar"], window=WINDOW)
    verdicts = [good(call) for call in calls.itertuples()]
    told = [
        verdict in (True, False) and not np.isnan(cost)
        for verdict, cost in zip(verdicts, calls["cost_usd"], strict=True)
    ]
    rows = calls[told]
    hits = np.array([verdict is True for verdict in verdicts])[told]
    w, cost = rows["sample_weight"].to_numpy(), rows["cost_usd"].to_numpy()
    ratio = (w * hits).sum() / (w * cost).sum()
    half = 1.959963984540054 * np.sqrt((w**2 * (hits - ratio * cost) ** 2).sum()) / (w * cost).sum()
    assert found.n == len(rows)
    assert (found.value, found.low, found.high) == pytest.approx((ratio, max(0, ratio - half), ratio + half), rel=1e-7)
