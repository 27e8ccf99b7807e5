"""Every KPI computed a second time, from the same rows by other means."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from monitor.kpis import REGISTRY, KpiValue, evaluate, series
from monitor.stats import intervals as iv
from monitor.store import Client
from tests.kpis.rows import WINDOW, random_calls, store

LATENCY_COLUMNS = {
    "ttft": "ttft_s", "tpot": "tpot_s", "e2e": "duration_s", "queue": "queue_s", "prefill": "prefill_s", "decode": "decode_s",
}  # fmt: skip
OF_CALLS = {name for name in REGISTRY if name.startswith(("traffic.", "latency."))} - {"traffic.completeness"}
CUT_SHORT = ("tpot", "e2e", "decode")


def latencies(calls: pd.DataFrame, name: str) -> pd.DataFrame:
    """The calls that count for a latency, with it as `x` and their weight as `w`."""
    kept = calls[calls["error_type"] == ""]
    if name in CUT_SHORT:
        kept = kept[~kept["cancelled"]]
    kept = kept.assign(x=kept[LATENCY_COLUMNS[name]], w=kept["sample_weight"])
    return kept.dropna(subset="x")[["x", "w"]]


def expected_values(calls: pd.DataFrame, seconds: float) -> dict[str, tuple[float | None, int]]:
    """Value and n of every KPI but completeness."""
    w = calls["sample_weight"]
    failed, cancelled = calls["error_type"] != "", calls["cancelled"].astype(bool)
    n = len(calls)
    known_in, known_out = calls["input_tokens"].notna(), calls["output_tokens"].notna()
    tokens_in = float((w * calls["input_tokens"])[known_in].sum())
    tokens_out = float((w * calls["output_tokens"])[known_out].sum())
    found: dict[str, tuple[float | None, int]] = {
        "traffic.requests": (float(w.sum()), n),
        "traffic.request_rate": (float(w.sum()) / seconds, n),
        "traffic.input_tokens": (tokens_in, int(known_in.sum())),
        "traffic.output_tokens": (tokens_out, int(known_out.sum())),
        "traffic.token_rate": (tokens_out / seconds, int(known_out.sum())),
        "traffic.errors": (float(w[failed].sum()), n),
        "traffic.error_rate": (float(np.average(failed, weights=w)), n),
        "traffic.cancelled_rate": (float(np.average(cancelled, weights=w)), n),
    }
    for name in LATENCY_COLUMNS:
        rows = latencies(calls, name)
        for level in (0.5, 0.9, 0.95, 0.99):
            found[f"latency.{name}.p{level * 100:.0f}"] = (quantile(rows, level), len(rows))
        found[f"latency.{name}.mean"] = (float(np.average(rows["x"], weights=rows["w"])), len(rows))
    return found


def quantile(rows: pd.DataFrame, level: float) -> float:
    weights = rows["w"].to_numpy()
    if weights.min() == weights.max():
        return float(np.quantile(rows["x"], level))
    if (weights == weights.astype(int)).all() and weights.min() == 1:
        return float(np.quantile(np.repeat(rows["x"].to_numpy(), weights.astype(int)), level))
    return iv.weighted_quantile(rows["x"].to_numpy(), weights, level)


def by_name(values: list[KpiValue]) -> dict[str, KpiValue]:
    return {value.name: value for value in values}


@pytest.mark.parametrize(
    "weights", [(1.0,), (4.0,), (1.0, 2.0, 5.0), (1.3, 3.3, 7.25)], ids=["plain", "even", "whole", "uneven"]
)
def test_every_value_and_n(store_client: Client, weights: tuple[float, ...]) -> None:
    calls = random_calls(900, seed=11, weights=weights)
    store(store_client, calls)
    found = by_name(evaluate(store_client, ["traffic", "latency"], window=WINDOW))
    expected = expected_values(calls, 3600)
    assert set(found) == OF_CALLS | {"traffic.completeness"}
    assert set(expected) == OF_CALLS
    for name, (value, n) in expected.items():
        assert found[name].value == pytest.approx(value, rel=1e-9), name
        assert found[name].n == n, name
        low, high = found[name].low, found[name].high
        assert low is None or value is None or low <= value * (1 + 1e-12), name
        assert high is None or value is None or high >= value * (1 - 1e-12), name


def test_plain_intervals(store_client: Client) -> None:
    calls = random_calls(900, seed=12)
    store(store_client, calls)
    found = by_name(evaluate(store_client, ["traffic", "latency"], window=WINDOW))
    errors = int((calls["error_type"] != "").sum())
    wilson = stats.binomtest(errors, 900).proportion_ci(method="wilson")
    assert (found["traffic.error_rate"].low, found["traffic.error_rate"].high) == pytest.approx(wilson)
    garwood = (stats.chi2.ppf(0.025, 2 * 900) / 2 / 3600, stats.chi2.ppf(0.975, 2 * 901) / 2 / 3600)
    assert (found["traffic.request_rate"].low, found["traffic.request_rate"].high) == pytest.approx(garwood)
    for name in ("traffic.requests", "traffic.input_tokens", "traffic.output_tokens", "traffic.errors"):
        assert (found[name].low, found[name].high, found[name].method) == (None, None, "exact")
    for name in LATENCY_COLUMNS:
        x = np.sort(latencies(calls, name)["x"].to_numpy())
        student = stats.t.interval(0.95, len(x) - 1, loc=x.mean(), scale=stats.sem(x))
        mean = found[f"latency.{name}.mean"]
        assert (mean.low, mean.high) == pytest.approx((max(0, student[0]), student[1]), rel=1e-7)
        for level in (0.5, 0.9, 0.95, 0.99):
            low, high = (int(stats.binom.ppf(tail, len(x), level)) for tail in (0.025, 0.975))
            value = found[f"latency.{name}.p{level * 100:.0f}"]
            # Exactly the order statistics: no rounding may have moved a rank. A rank of high + 1 is at index high.
            assert value.low == x[low - 1]
            assert value.high == (x[high] if high < len(x) else None)
            assert value.method == "order-statistics"
            assert ("too few calls" in value.note) == (high >= len(x))


def test_weighted_intervals(store_client: Client) -> None:
    calls = random_calls(900, seed=13, weights=(1.3, 3.3, 7.25))
    store(store_client, calls)
    found = by_name(evaluate(store_client, ["traffic", "latency"], window=WINDOW))
    w = calls["sample_weight"].to_numpy()
    failed = (calls["error_type"] != "").to_numpy()
    share = np.average(failed, weights=w)
    variance = (w**2 * (failed - share) ** 2).sum() / w.sum() ** 2
    effective = share * (1 - share) / variance
    rate = found["traffic.error_rate"]
    assert (rate.low, rate.high) == pytest.approx(iv.wilson(share * effective, effective))
    half = 1.959963984540054 * math.sqrt((w * (w - 1)).sum())
    requests = found["traffic.requests"]
    assert (requests.low, requests.high) == pytest.approx((max(900, w.sum() - half), w.sum() + half))
    assert requests.method == "horvitz-thompson"
    for name in LATENCY_COLUMNS:
        rows = latencies(calls, name)
        x, w = rows["x"].to_numpy(), rows["w"].to_numpy()
        mean = found[f"latency.{name}.mean"]
        student = iv.student_t(x, w)
        assert student is not None
        assert (mean.low, mean.high) == pytest.approx((max(0, student.low or 0), student.high), rel=1e-6)
        for level in (0.5, 0.9, 0.95, 0.99):
            value = found[f"latency.{name}.p{level * 100:.0f}"]
            woodruff = iv.weighted_quantile_interval(x, w, level)
            assert (value.low, value.high, value.method) == (*woodruff, "woodruff")
            assert "sampled: worth" in value.note


def test_groups_are_the_same_as_filters(store_client: Client) -> None:
    calls = random_calls(600, seed=14, weights=(1.0, 3.0))
    # One group in which all weights are equal, among others in which they are not.
    calls.loc[calls["node"] == "gpu-3", "sample_weight"] = 1.0
    store(store_client, calls)
    grouped = evaluate(store_client, ["traffic", "latency"], window=WINDOW, by=["node", "model"])
    names = OF_CALLS
    seen = 0
    for key, rows in calls.groupby(calls["node"] + "/" + calls["model"]):
        node, _, model = str(key).partition("/")
        mine = {v.name: v for v in grouped if v.group == {"node": node, "model": model}}
        alone = by_name(
            evaluate(store_client, ["traffic", "latency"], window=WINDOW, where={"node": [node], "model": model})
        )
        expected = expected_values(rows, 3600)
        for name in names:
            assert mine[name].value == pytest.approx(expected[name][0], rel=1e-9), name
            assert mine[name].n == expected[name][1], name
            for end in ("low", "high"):
                grouped_end, alone_end = getattr(mine[name], end), getattr(alone[name], end)
                assert (grouped_end is None) == (alone_end is None), name
                assert grouped_end is None or grouped_end == pytest.approx(alone_end, rel=1e-9), name
        seen += 1
    assert seen == 6
    sizes = [value.n for value in grouped if value.name == "traffic.requests"]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 3.0)], ids=["plain", "weighted"])
def test_steps_are_small_windows(store_client: Client, weights: tuple[float, ...]) -> None:
    calls = random_calls(500, seed=15, weights=weights)
    store(store_client, calls)
    # 3600 s are five whole steps of 700 s and one of 100 s.
    frame = series(store_client, ["traffic", "latency.ttft"], window=WINDOW, step_s=700, by=["model"])
    assert set(frame["name"]) == {n for n in REGISTRY if n.startswith(("traffic.", "latency.ttft."))}
    start = pd.Timestamp(WINDOW.start)
    step = (calls["timestamp"] - start).dt.total_seconds() // 700
    for key, rows in calls.groupby(calls["model"] + "/" + step.astype(int).astype(str)):
        model, _, index = str(key).partition("/")
        expected = expected_values(rows, 100 if index == "5" else 700)
        at = frame[(frame["model"] == model) & (frame["time"] == start + pd.Timedelta(seconds=700 * int(index)))]
        found = at.set_index("name")
        for name in set(found.index) - {"traffic.completeness"}:
            assert found.loc[name, "value"] == pytest.approx(expected[name][0], rel=1e-9), (name, model, index)
            assert found.loc[name, "n"] == expected[name][1]
    assert len(frame) == 6 * 2 * frame["name"].nunique()
