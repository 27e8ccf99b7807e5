"""Heat map, places and variants against numpy and scipy, from the same calls."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from monitor.errors import BadInput
from monitor.jobs import rollup
from monitor.jobs.cost_sql import insert_hours_sql
from monitor.jobs.job import Context
from monitor.kpis import Window, coverage
from monitor.kpis.compare import compare
from monitor.kpis.compare_render import to_json, to_table
from monitor.kpis.latency_map import compare_places, latency_heatmap, slowest
from monitor.settings import Settings
from monitor.stats.hot_nodes import LogSums
from monitor.stats.places import differences
from monitor.store import Client
from tests.kpis.rows import START, WINDOW, random_calls, store


def test_heat_map_counts_every_call_once(store_client: Client) -> None:
    calls = random_calls(700, seed=51, weights=(1.0, 5.0))
    calls.loc[3, "ttft_s"] = 0.0
    calls.loc[3, "error_type"] = ""
    store(store_client, calls)
    frame = latency_heatmap(store_client, "ttft", window=WINDOW, step_s=600, where={"model": "qwen"})
    mine = calls[(calls["model"] == "qwen") & (calls["error_type"] == "") & calls["ttft_s"].notna()]
    assert frame["n"].sum() == len(mine)
    assert frame["calls"].sum() == pytest.approx(mine["sample_weight"].sum())
    for cell in frame.itertuples():
        inside = (mine["timestamp"] >= cell.time) & (mine["timestamp"] < cell.time + timedelta(minutes=10))
        x = mine.loc[inside, "ttft_s"]
        assert cell.n == ((x == 0).sum() if cell.high_s == 0 else ((x >= cell.low_s) & (x < cell.high_s)).sum())
    filled = frame[frame["high_s"] > 0]
    assert np.allclose(filled["high_s"] / filled["low_s"], 2**0.25)
    assert latency_heatmap(store_client, "e2e", window=WINDOW, step_s=60, where={"model": "none"}).empty


def test_a_heat_map_of_rollups_counts_the_same_calls(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends of bins within 1 % of what they say: up to each, as many calls as lie below a value that near to it."""
    calls = random_calls(3000, seed=57)
    calls.loc[3:9, "ttft_s"] = 0.0
    calls.loc[3:9, "error_type"] = ""
    store(store_client, calls)
    window = hours_around(WINDOW)
    rollup.run(Context(client=store_client, settings=Settings(), now=window.end + timedelta(hours=1)))
    exact = latency_heatmap(store_client, "ttft", window=window, step_s=3600)
    monkeypatch.setattr(coverage, "EXACT_CALLS", 0)
    store_client.command("TRUNCATE TABLE inferences")
    found = latency_heatmap(store_client, "ttft", window=window, step_s=3600)
    assert found["n"].sum() == pytest.approx(exact["n"].sum(), rel=0.02)
    for time, column in exact.groupby("time"):
        mine, x = found[found["time"] == time], first_tokens(calls, time)
        assert (
            mine.loc[mine["high_s"] == 0, "n"].sum() == (x == 0).sum() == column.loc[column["high_s"] == 0, "n"].sum()
        )
        assert set(mine["low_s"].round(9)) <= set((2.0 ** (np.arange(-200, 200) / 4)).round(9)) | {0.0}
        # Cells of less than half a call are not drawn.
        lost = 0.5 * 2 * len(column)
        for end in column["high_s"][column["high_s"] > 0]:
            below = mine.loc[mine["high_s"] <= end * 1.0001, "calls"].sum()
            assert (x < end / 1.021).sum() - lost <= below <= (x < end * 1.021).sum()
        assert mine["calls"].sum() == pytest.approx(len(x), abs=lost)


def test_sampled_calls_are_counted_themselves(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    store(store_client, random_calls(400, seed=58, weights=(1.0, 5.0)))
    window = hours_around(WINDOW)
    rollup.run(Context(client=store_client, settings=Settings(), now=window.end + timedelta(hours=1)))
    exact = latency_heatmap(store_client, "ttft", window=window, step_s=3600)
    monkeypatch.setattr(coverage, "EXACT_CALLS", 0)
    pd.testing.assert_frame_equal(latency_heatmap(store_client, "ttft", window=window, step_s=3600), exact)


def hours_around(window: Window) -> Window:
    hour = timedelta(hours=1)
    return Window(window.start.replace(minute=0, second=0), window.end.replace(minute=0, second=0) + hour)


def first_tokens(calls: pd.DataFrame, hour: Any) -> pd.Series[float]:
    inside = (calls["timestamp"] >= hour) & (calls["timestamp"] < hour + timedelta(hours=1))
    return calls.loc[inside & (calls["error_type"] == ""), "ttft_s"].dropna()


def test_what_a_heat_map_refuses(store_client: Client) -> None:
    with pytest.raises(BadInput, match="there is no latency `ttf`; did you mean `ttft`"):
        latency_heatmap(store_client, "ttf", window=WINDOW, step_s=60)
    with pytest.raises(BadInput, match="too many"):
        latency_heatmap(store_client, window=WINDOW, step_s=0.01)


def test_places_by_welch_and_benjamini_hochberg(store_client: Client) -> None:
    calls = random_calls(900, seed=52)
    calls.loc[calls["node"] == "gpu-3", "ttft_s"] *= 1.6
    store(store_client, calls)
    found = compare_places(store_client, "ttft", window=WINDOW)
    known = calls[(calls["error_type"] == "") & (calls["ttft_s"] > 0)]
    p_values = {}
    for each in found.differences:
        mine, others = (
            np.log(known.loc[same, "ttft_s"]) for same in (known["node"] == each.place, known["node"] != each.place)
        )
        test = stats.ttest_ind(mine, others, equal_var=False)
        p_values[each.place] = test.pvalue
        assert each.n == len(mine)
        assert each.ratio == pytest.approx(math.exp(mine.mean() - others.mean()))
        ends = test.confidence_interval(0.95)
        assert (each.low, each.high) == pytest.approx((math.exp(ends.low), math.exp(ends.high)))
    adjusted = dict(zip(p_values, stats.false_discovery_control(list(p_values.values())), strict=True))
    assert {each.place: each.q_value for each in found.differences} == pytest.approx(adjusted)
    assert found.differences[0].place == "gpu-3"
    assert "gpu-3" in slowest(found)
    assert "insufficient" in compare_places(store_client, window=WINDOW, dimension="region").note


def test_false_discoveries_are_as_rare_as_said() -> None:
    """Twenty places, four of them slower: among those called different at most one in twenty is not."""
    g = np.random.default_rng(53)
    shares, missed = [], 0
    for _ in range(300):
        places = {}
        for i in range(20):
            x = g.normal(0.4 if i < 4 else 0.0, 0.6, 60)
            places[str(i)] = LogSums(n=60, w=60, ww=60, wx=float(x.sum()), wxx=float((x**2).sum()))
        called = [each for each in differences(places) if each.different and each.ratio > 1]
        false = sum(int(each.place) >= 4 for each in called)
        shares.append(false / max(1, len(called)))
        missed += 4 - (len(called) - false)
    assert np.mean(shares) <= 0.06
    assert missed / 1200 < 0.2


@pytest.fixture
def variants(store_client: Client) -> pd.DataFrame:
    """fp8 is a third faster and cheaper, and right as often; int4 is cheaper still, and often wrong."""
    g = np.random.default_rng(54)
    calls = random_calls(3600, seed=55)
    calls["variant"] = g.choice(["fp16", "fp8", "int4"], len(calls))
    speed = calls["variant"].map({"fp16": 1.0, "fp8": 0.67, "int4": 0.6})
    calls["duration_s"] *= speed
    calls["cost_usd"] = g.gamma(8, 0.001, len(calls)) * speed
    calls["right"] = g.random(len(calls)) < calls["variant"].map({"fp16": 0.95, "fp8": 0.955, "int4": 0.8})
    store(store_client, calls.drop(columns=["right"]))
    rows = [
        [call.timestamp, call.trace_id, "correct", "yes" if call.right else "no", "human"]
        for call in calls.itertuples()
    ]
    store_client.insert("evaluations", rows, column_names=["timestamp", "trace_id", "name", "label", "source"])
    return calls


def test_a_variant_that_is_as_good_and_faster(store_client: Client, variants: pd.DataFrame) -> None:
    found = compare(store_client, WINDOW, "variant", "fp16", "fp8")
    a, b = (variants[variants["variant"] == name] for name in ("fp16", "fp8"))
    assert found.found.verdict == "non-inferior and faster and cheaper"
    assert found.judged_by == "labels"
    assert found.found.quality_difference.value == pytest.approx(b["right"].mean() - a["right"].mean())
    assert found.found.quality_difference.n == len(a) + len(b)
    whole = [x[(x["error_type"] == "") & ~x["cancelled"] & (x["duration_s"] > 0)]["duration_s"] for x in (a, b)]
    assert found.found.latency_ratio.value == pytest.approx(stats.gmean(whole[1]) / stats.gmean(whole[0]))
    assert found.found.cost_ratio.value == pytest.approx(b["cost_usd"].mean() / a["cost_usd"].mean())
    record: dict[str, Any] = json.loads(to_json(found))
    assert record["verdict"] == found.found.verdict
    assert record["latency_ratio"]["value"] == found.found.latency_ratio.value
    assert to_table(found).row_count == 3


def test_other_verdicts(store_client: Client, variants: pd.DataFrame) -> None:
    assert compare(store_client, WINDOW, "variant", "fp16", "int4").found.quality == "inferior"
    strict = compare(store_client, WINDOW, "variant", "fp16", "fp8", margin=0.001).found
    assert strict.verdict.startswith("inconclusive: needs about")
    nothing = compare(store_client, WINDOW, "variant", "fp16", "none").found
    assert nothing.verdict.startswith("insufficient: each side needs 10 judged calls")
    for wrong in ({"b": "fp16"}, {"margin": 2.0}, {"dimension": "wariant"}):
        with pytest.raises(BadInput):
            compare(store_client, WINDOW, **{"dimension": "variant", "a": "fp16", "b": "fp8", **wrong})


def test_costs_of_the_job_go_before_reported_ones(store_client: Client, variants: pd.DataFrame) -> None:
    g = np.random.default_rng(57)
    mine = variants.assign(
        cost=(g.gamma(5, 2e6, len(variants)) * variants["variant"].map({"fp16": 1, "fp8": 0.5, "int4": 0.4})).round()
    )
    rows = [
        [c.timestamp, c.trace_id, c.span_id, c.variant, 1.0, None if i % 7 == 0 else int(c.cost), 1]
        for i, c in enumerate(mine.itertuples())
    ]
    columns = ["timestamp", "trace_id", "span_id", "variant", "sample_weight", "cost", "version"]
    store_client.insert("call_costs", rows, column_names=columns)
    # As the job does: of whole hours the sums are read, of ends that are none, the calls.
    store_client.command(insert_hours_sql("1", "1"), parameters={"version": 1})
    mine = mine[np.arange(len(mine)) % 7 != 0]
    minutes = timedelta(minutes=20)
    for window in (WINDOW, Window(WINDOW.start + minutes, WINDOW.end), Window(WINDOW.start - minutes, WINDOW.end)):
        found = compare(store_client, window, "variant", "fp16", "fp8")
        assert found.priced_by == "ledger"
        inside = mine["timestamp"].between(window.start, window.end)
        a, b = (mine.loc[inside & (mine["variant"] == name), "cost"] for name in ("fp16", "fp8"))
        assert found.found.cost_ratio.value == pytest.approx(b.mean() / a.mean())
        assert found.found.cost_ratio.n == len(a) + len(b)
        error = np.sqrt((stats.sem(a) / a.mean()) ** 2 + (stats.sem(b) / b.mean()) ** 2)
        assert found.found.cost_ratio.high == pytest.approx(b.mean() / a.mean() * np.exp(1.959964 * error))


def test_judges_stand_in_where_there_are_few_labels(store_client: Client) -> None:
    calls = random_calls(400, seed=56)
    store(store_client, calls)
    rows = [[START, trace, "correct", 1.0, "judge"] for trace in calls["trace_id"]]
    store_client.insert("evaluations", rows, column_names=["timestamp", "trace_id", "name", "score", "source"])
    found = compare(store_client, WINDOW, "model", "llama", "qwen")
    assert found.judged_by == "judge"
    assert "judges' verdicts" in found.found.quality_difference.note
