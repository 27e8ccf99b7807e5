"""What explains an alert, against the same numbers by pandas; and the whole message on a slow node."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from datetime import timedelta
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from alerts.chart import draw
from alerts.message import as_text, compose
from alerts.model import Instance, State
from alerts.pipeline import explain as explain_in_words
from alerts.slices import explain, in_words
from monitor.jobs.job import Context
from monitor.kpis import Window, evaluate
from monitor.settings import Settings
from monitor.store import Client
from monitor.store.changes import record_change
from tests.kpis.rows import WINDOW, random_calls, store

END = WINDOW.end
BEGAN = END - timedelta(minutes=20)


def slow_node(n: int = 6000, weights: tuple[float, ...] = (1.0,)) -> pd.DataFrame:
    """One of four nodes is slow since 20 minutes, for one of two models; its region has another node, which is not."""
    calls = random_calls(n, seed=3, weights=weights)
    g = np.random.default_rng(5)
    calls["node"] = g.choice(["gpu-1", "gpu-2", "gpu-3", "gpu-4"], n)
    calls["region"] = np.where(np.isin(calls["node"], ["gpu-1", "gpu-2"]), "eu", "us")
    calls["release"] = g.choice(["1.3", "1.4"], n)
    calls["provider"] = "vllm"
    calls["ttft_s"] = g.lognormal(-2, 0.4, n)
    late = calls["timestamp"] >= BEGAN
    bad = late & (calls["node"] == "gpu-2") & (calls["model"] == "llama")
    calls.loc[bad, "ttft_s"] *= 6
    calls.loc[late & (calls["release"] == "1.4"), "ttft_s"] *= 1.05  # a little slower: not what is wrong
    calls["cohorts"] = [{"plan": "free" if i % 3 else "paid"} for i in range(n)]
    return calls


def firing(client: Client, kpi: str, *, threshold: float | None, where: dict[str, list[str]], **more: Any) -> Instance:
    window = Window(BEGAN, END)
    value = evaluate(client, [kpi], window=window, where=where)[0]
    group = {key: values[0] for key, values in where.items()}
    found = Instance(
        rule="slow-first-token",
        labels={"alertname": "slow-first-token", "severity": "page", **group},
        group=group,
        state=State.FIRING,
        active_at=BEGAN + timedelta(minutes=1),
        fired_at=BEGAN + timedelta(minutes=2),
        evaluated_at=END,
        window_start=window.start,
        window_end=window.end,
        kpi=kpi,
        unit=value.unit,
        value=value.value,
        low=value.low,
        high=value.high,
        n=value.n,
        condition="above 500 ms for 1m",
        threshold=threshold,
        summary="Callers of llama wait too long for the first token.",
        severity="page",
        runbook="https://wiki.example/slow",
    )
    return replace(found, **more)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 4.0)], ids=["all", "sampled"])
def test_the_slow_node_of_a_model_comes_first(store_client: Client, weights: tuple[float, ...]) -> None:
    calls = slow_node(weights=weights)
    store(store_client, calls)
    instance = firing(store_client, "latency.ttft.p95", threshold=0.5, where={"model": ["llama"]})
    found = explain(store_client, instance)
    assert found.kind == "beyond"
    first = found.slices[0]
    assert (first.dimension, first.value) == ("node", "gpu-2")
    ruled = calls[(calls["timestamp"] >= BEGAN) & (calls["error_type"] == "")]
    assert [each.value for each in found.slices].count("llama") == 1
    for each in found.slices:
        # Of the alert's own group: against all calls that the rule is about.
        mine = ruled if each.dimension == "model" else ruled[ruled["model"] == "llama"]
        slow, w = mine["ttft_s"] > 0.5, mine["sample_weight"]
        inside = mine[each.dimension] == each.value
        v, u = np.average(slow[inside], weights=w[inside]), np.average(slow[~inside], weights=w[~inside])
        f = w[inside].sum() / w.sum()
        assert each.inside == pytest.approx(v)
        assert each.outside == pytest.approx(u)
        assert each.share == pytest.approx(f)
        assert each.adds == pytest.approx(np.average(slow, weights=w) - u)
        assert each.part == pytest.approx(w[inside & slow].sum() / w[slow].sum())
        assert each.score == pytest.approx((v - u) * sqrt(f * (1 - f)))
    # Neither what is everything, nor what differs by chance.
    assert all(each.dimension not in ("provider", "release") for each in found.slices)
    line = in_words(found, instance)[0]
    assert line.startswith("node gpu-2: ")
    assert "of its calls are above 500 ms, elsewhere " in line


def test_the_group_of_the_alert_is_set_beside_the_others(store_client: Client) -> None:
    calls = slow_node()
    store(store_client, calls)
    instance = firing(store_client, "latency.ttft.p95", threshold=0.5, where={"node": ["gpu-2"], "model": ["llama"]})
    found = explain(store_client, instance)
    (first,) = found.slices
    assert first.name == "node gpu-2, model llama"
    ruled = calls[(calls["timestamp"] >= BEGAN) & (calls["error_type"] == "")]
    own = (ruled["node"] == "gpu-2") & (ruled["model"] == "llama")
    slow = ruled["ttft_s"] > 0.5
    assert (first.inside, first.outside) == pytest.approx((slow[own].mean(), slow[~own].mean()))
    assert (first.share, first.part) == pytest.approx((own.mean(), slow[own].sum() / slow.sum()))
    assert in_words(found, instance)[0].startswith("node gpu-2, model llama: ")
    # Only those that the rule is about: other models are not.
    narrow = explain(store_client, replace(instance, where={"model": ["llama"]}, group={"node": "gpu-2"})).slices[0]
    others = slow[~own & (ruled["model"] == "llama")]
    assert (narrow.name, narrow.outside) == ("node gpu-2", pytest.approx(others.mean()))


def test_totals_of_the_alerts_own_group(store_client: Client) -> None:
    calls = slow_node()
    before = (calls["timestamp"] < BEGAN) & (calls["timestamp"] >= BEGAN - (END - BEGAN))
    calls = calls[~before | (calls["model"] != "llama") | (calls["release"] == "1.3")]
    store(store_client, calls)
    found = explain(store_client, firing(store_client, "traffic.requests", threshold=100, where={"model": ["llama"]}))
    assert found.kind == "total"
    own = next(each for each in found.slices if each.name == "model llama")
    now = calls[(calls["timestamp"] >= BEGAN) & (calls["timestamp"] < END)]
    was = calls[(calls["timestamp"] < BEGAN) & (calls["timestamp"] >= BEGAN - (END - BEGAN))]
    mine = now[now["model"] == "llama"]["sample_weight"].sum()
    grown = mine - was[was["model"] == "llama"]["sample_weight"].sum()
    assert (own.inside, own.adds) == pytest.approx((mine, grown))
    assert own.part == pytest.approx(grown / (now["sample_weight"].sum() - was["sample_weight"].sum()))


def test_errors_means_and_cohorts(store_client: Client) -> None:
    calls = slow_node()
    late = calls["timestamp"] >= BEGAN
    free = np.array([cohorts["plan"] == "free" for cohorts in calls["cohorts"]])
    g = np.random.default_rng(8)
    calls["error_type"] = np.where(late & free & (g.random(len(calls)) < 0.3), "timeout", "")
    store(store_client, calls)
    found = explain(store_client, firing(store_client, "traffic.error_rate", threshold=0.05, where={}))
    assert (found.kind, found.slices[0].dimension, found.slices[0].value) == ("share", "cohort.plan", "free")
    assert found.slices[0].part == pytest.approx(1)
    instance = firing(store_client, "latency.ttft.mean", threshold=0.2, where={"model": ["llama"]})
    found = explain(store_client, instance)
    assert (found.kind, found.slices[0].value) == ("mean", "gpu-2")
    mine = calls[late & (calls["model"] == "llama") & (calls["error_type"] == "")]
    assert found.slices[0].inside == pytest.approx(mine[mine["node"] == "gpu-2"]["ttft_s"].mean())
    # The other way round: what is too low is explained by what is lower.
    low = replace(instance, threshold=10.0)
    assert explain(store_client, low).slices[0].value != "gpu-2"


def test_totals_by_what_they_grew(store_client: Client) -> None:
    calls = slow_node()
    calls = calls[(calls["timestamp"] >= BEGAN) | (calls["release"] == "1.3")]
    store(store_client, calls)
    instance = firing(store_client, "traffic.requests", threshold=100, where={})
    found = explain(store_client, instance)
    assert found.kind == "total"
    assert (found.slices[0].dimension, found.slices[0].value) == ("release", "1.4")
    now = calls[(calls["timestamp"] >= BEGAN) & (calls["release"] == "1.4")]
    assert found.slices[0].adds == pytest.approx(now["sample_weight"].sum())


def test_nothing_stands_out_or_nothing_is_there(store_client: Client) -> None:
    instance = firing(store_client, "latency.ttft.p95", threshold=0.5, where={}, value=0.9)
    assert explain(store_client, instance).slices == ()
    assert draw(store_client, instance) == ""
    assert explain(store_client, replace(instance, kpi="")).slices == ()


def test_the_whole_message(store_client: Client) -> None:
    store(store_client, slow_node())
    begin = BEGAN + timedelta(minutes=1)
    changes = (
        (begin - timedelta(minutes=12), "deploy 1.4", {"model": ["llama"]}),
        (begin - timedelta(minutes=5), "other model", {"model": ["qwen"]}),
        (begin - timedelta(hours=3), "long ago", {}),
    )
    for moment, title, where in changes:
        record_change(store_client, timestamp=moment, kind="deploy", title=title, where=where, author="ci")
    instance = firing(store_client, "latency.ttft.p95", threshold=0.5, where={"model": ["llama"]})
    context = Context(client=store_client, settings=Settings(), now=END)
    explained = explain_in_words(context, instance)
    assert explained.changes == ["deploy 1.4 (deploy, by ci, model llama) 12 min before it began"]
    message = compose(
        firing=[instance],
        resolved=[],
        explained={instance.fingerprint: explained},
        dashboard_url="https://dash.example",
        now=END,
    )
    text = as_text(message)
    for what in (
        "PAGE: slow-first-token · model llama",
        "Callers of llama wait too long for the first token.",
        "Fires: above 500 ms for 1m",
        "Since: 12:41 UTC (19 min)",
        "- node gpu-2: ",
        "- deploy 1.4 (deploy, by ci, model llama) 12 min before it began",
        "https://dash.example/latency?range=custom&start=2026-03-01T12%3A10%3A00Z&end=2026-03-01T13%3A10%3A00Z&model=llama",
        "https://wiki.example/slow",
        "https://dash.example/alerts?silence=alertname%3Dslow-first-token&silence=model%3Dllama",
    ):
        assert what in text, what
    picture = Image.open(io.BytesIO(base64.b64decode(draw(store_client, instance))))
    assert picture.width > 900
