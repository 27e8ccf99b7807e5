"""`fleet.` against plain loops over the same samples and calls."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from monitor.kpis import KpiValue, Window, evaluate, series
from monitor.kpis.balance import find_hot_nodes, node_loads
from monitor.stats.balance import Spread, imbalance
from monitor.stats.batch_means import BATCHES, batch_ratio
from monitor.store import Client
from tests.kpis.rows import START, WINDOW, random_calls, store

EVERY_S = 20


def sample(client: Client, frame: pd.DataFrame) -> None:
    rows = [[None if pd.isna(value) else value for value in row] for row in frame.itertuples(index=False, name=None)]
    client.insert("gpu_samples", rows, column_names=list(frame.columns))


def readings(
    node: str,
    gpu: str,
    *,
    seed: int,
    every_s: float = EVERY_S,
    power: float = 400.0,
    counter: bool = True,
    **values: Any,
) -> pd.DataFrame:
    """An hour of samples that begin a little before the window and end after it."""
    g = np.random.default_rng(seed)
    n = int(3720 / every_s) + 1
    watts = power + g.normal(0, 20, n)
    at = [START - timedelta(seconds=50) + timedelta(seconds=every_s * i) for i in range(n)]
    frame = pd.DataFrame(
        {
            "timestamp": at,
            "node": node,
            "gpu": gpu,
            "region": "eu",
            "environment": "prod",
            "busy": np.clip(g.normal(0.6, 0.1, n), 0, 1),
            "memory_used_bytes": g.uniform(40e9, 60e9, n),
            "memory_limit_bytes": 80e9,
            "power_w": watts,
            "energy_j": 1e6 + np.cumsum(watts * every_s) if counter else np.nan,
            "temperature_c": 60.0,
            "status": "ok",
            "parent": "",
        }
    )
    return frame.assign(**values)


@pytest.fixture
def samples(store_client: Client) -> pd.DataFrame:
    """Three nodes: by counter, by counter that begins anew, by power alone; one GPU is sampled more often than the others."""
    anew = readings("gpu-2", "GPU-b", seed=2, power=300.0)
    half = len(anew) // 2
    anew.loc[half:, "energy_j"] -= anew.loc[half - 1, "energy_j"]
    parts = [
        readings("gpu-1", "GPU-a", seed=1),
        readings("gpu-1", "GPU-a2", seed=4, every_s=10, busy=0.1),
        anew,
        readings("gpu-3", "GPU-c", seed=3, power=250.0, counter=False, region="us"),
        # An instance of a GPU that is split has neither memory nor energy of its own here.
        readings("gpu-3", "MIG-1", seed=5, power=90.0, parent="GPU-c", busy=np.nan, region="us"),
    ]
    frame = pd.concat(parts, ignore_index=True)
    sample(store_client, frame)
    return frame


def inside(frame: pd.DataFrame) -> pd.DataFrame:
    """Samples of the window, with the time since the one before, which may lie before the window."""
    frame = frame.sort_values("timestamp").copy()
    frame["held"] = frame.groupby(["node", "gpu"])["timestamp"].diff().dt.total_seconds()
    found = frame[(frame["timestamp"] >= WINDOW.start) & (frame["timestamp"] < WINDOW.end)].copy()
    found["part"] = [int((t - WINDOW.start).total_seconds() // (3600 / BATCHES)) for t in found["timestamp"]]
    return found


def ask(client: Client, *names: str, **asked: Any) -> dict[tuple[str, ...], KpiValue]:
    found = evaluate(client, [f"fleet.{name}" for name in names], window=WINDOW, **asked)
    return {(value.name.removeprefix("fleet."), *value.group.values()): value for value in found}


def joules(frame: pd.DataFrame) -> pd.DataFrame:
    """Energy of each stretch between samples of whole GPUs, cut to the window, by a plain loop."""
    rows = []
    for (node, gpu), mine in frame[frame["parent"] == ""].sort_values("timestamp").groupby(["node", "gpu"]):
        counted = mine["energy_j"].notna().any()
        previous = None
        for row in mine.itertuples():
            if previous is not None:
                gap = (row.timestamp - previous.timestamp).total_seconds()
                change = row.energy_j - previous.energy_j
                used = (
                    (change if change >= 0 else row.energy_j) if counted else gap * (row.power_w + previous.power_w) / 2
                )
                since, until = max(previous.timestamp, WINDOW.start), min(row.timestamp, WINDOW.end)
                held = (until - since).total_seconds()
                if held > 0 and (counted or gap <= 60):
                    middle = ((since - WINDOW.start).total_seconds() + (until - WINDOW.start).total_seconds()) / 2
                    rows.append((node, gpu, int(middle // (3600 / BATCHES)), held, used * held / gap))
            previous = row
    return pd.DataFrame(rows, columns=["node", "gpu", "part", "seconds", "joules"])


def test_means_over_gpus_and_time(store_client: Client, samples: pd.DataFrame) -> None:
    found = ask(store_client, "gpu_utilization", "gpu_memory", by=("node",))
    mine = inside(samples)
    mine["memory"] = (mine["memory_used_bytes"] / mine["memory_limit_bytes"]).where(mine["parent"] == "")
    for node, part in mine.groupby("node"):
        for name, column in (("gpu_utilization", "busy"), ("gpu_memory", "memory")):
            known = part.dropna(subset=[column])
            sums = pd.DataFrame({"y": known[column] * known["held"], "x": known["held"]}).groupby(known["part"]).sum()
            truth = batch_ratio(sums["y"].to_numpy(), sums["x"].to_numpy(), n=len(known))
            value = found[name, str(node)]
            assert value.n == truth.n
            assert (value.value, value.low, value.high) == pytest.approx((truth.value, truth.low, truth.high))
    # The GPU that is sampled twice as often does not count twice.
    both = mine[mine["node"] == "gpu-1"].groupby("gpu")["busy"].mean()
    assert found["gpu_utilization", "gpu-1"].value == pytest.approx(both.mean(), abs=0.005)


def test_power_is_energy_over_time(store_client: Client, samples: pd.DataFrame) -> None:
    truth = joules(samples)
    found = ask(store_client, "power", by=("node",))
    for node, mine in truth.groupby("node"):
        value = found["power", str(node)]
        assert value.value == pytest.approx(mine["joules"].sum() / mine["seconds"].sum())
        assert value.n == len(mine)
        sums = mine.groupby("part")[["joules", "seconds"]].sum()
        expected = batch_ratio(sums["joules"].to_numpy(), sums["seconds"].to_numpy(), n=len(mine))
        assert (value.low, value.high) == pytest.approx((expected.low, expected.high))
    region = ask(store_client, "power", by=("region",), where={"region": "us"})
    assert region["power", "us"].value == pytest.approx(found["power", "gpu-3"].value)


def test_energy_of_tokens_and_requests(store_client: Client, samples: pd.DataFrame) -> None:
    calls = random_calls(400, seed=7, weights=(1.0, 4.0))
    calls.loc[calls["node"] == "gpu-3", "node"] = "elsewhere"  # so gpu-3 idles, and these calls have no GPU here
    store(store_client, calls)
    truth, served = joules(samples)["joules"], calls[calls["node"] != "elsewhere"]
    found = ask(store_client, "energy_per_token", "energy_per_request")
    tokens = (served["sample_weight"] * served["output_tokens"]).sum()
    value = found[("energy_per_token",)]
    assert value.value == pytest.approx(truth.sum() / tokens)
    assert value.n == served["output_tokens"].notna().sum()
    assert value.low is not None
    assert value.high is not None
    assert value.low < value.value < value.high
    assert "1 of 3 nodes served no call" in value.note
    assert "calls did not say their tokens" in value.note
    value = found[("energy_per_request",)]
    assert value.value == pytest.approx(truth.sum() / served["sample_weight"].sum())
    assert value.n == len(served)
    by = ask(store_client, "energy_per_token", by=("node",))
    assert by["energy_per_token", "gpu-3"].value is None
    assert "does `node` agree" in by["energy_per_token", "gpu-3"].note


def test_steps_add_up_to_the_window(store_client: Client, samples: pd.DataFrame) -> None:
    store(store_client, random_calls(300, seed=8))
    steps = series(store_client, ["fleet.power", "fleet.gpu_utilization"], window=WINDOW, step_s=600)
    whole = ask(store_client, "power", "gpu_utilization")
    for name, tolerance in (("power", 1.0), ("gpu_utilization", 1e-3)):
        mine = steps[steps["name"] == f"fleet.{name}"]
        assert len(mine) == 6
        assert mine["value"].mean() == pytest.approx(whole[(name,)].value, abs=tolerance)
        assert (mine["low"] < mine["value"]).all()


def test_gaps_are_told(store_client: Client) -> None:
    frame = readings("gpu-1", "GPU-a", seed=1, counter=False)
    gap = (frame["timestamp"] > START + timedelta(minutes=10)) & (frame["timestamp"] < START + timedelta(minutes=40))
    sample(store_client, frame[~gap])
    value = ask(store_client, "power")[("power",)]
    assert value.value == pytest.approx(400, abs=10)
    assert "energy is known for 50% of the time of 1 GPUs" in value.note or "49%" in value.note


def balanced(n: int, shares: list[float], seed: int, **slower: float) -> pd.DataFrame:
    calls = random_calls(n, seed=seed)
    g = np.random.default_rng(seed)
    calls["node"] = g.choice([f"gpu-{i}" for i in range(len(shares))], n, p=shares)
    calls["model"], calls["service"] = "llama", "chat"
    for node, factor in slower.items():
        mine = calls["node"] == node.replace("_", "-")
        calls.loc[mine, ["ttft_s", "tpot_s", "duration_s"]] *= factor
    return calls


def test_imbalance_is_pearsons(store_client: Client) -> None:
    calls = balanced(900, [0.4, 0.3, 0.3], 11)
    other = random_calls(300, seed=12).assign(service="code", trace_id=[f"{i:032x}" for i in range(5000, 5300)])
    store(store_client, calls)
    store(store_client, other)
    value = ask(store_client, "imbalance", by=("service",))["imbalance", "chat"]
    load = calls["node"].value_counts().to_numpy()
    x = stats.chisquare(load).statistic
    assert value.value == pytest.approx(math.sqrt((x - 2) / 900))
    assert value.n == 900
    assert value.low is not None
    assert value.low > 0
    assert "random routing gives up to" in value.note
    groups = [calls["node"].value_counts(), *(mine["node"].value_counts() for _, mine in other.groupby("model"))]
    truth = imbalance([Spread(load=list(map(float, each)), effective_n=float(each.sum())) for each in groups])
    whole = ask(store_client, "imbalance")[("imbalance",)]
    assert (whole.value, whole.low, whole.high) == pytest.approx((truth.value, truth.low, truth.high))


def test_an_even_fleet_has_no_hot_node(store_client: Client) -> None:
    store(store_client, balanced(900, [1 / 3] * 3, 21))
    found = ask(store_client, "imbalance", "hot_node")
    assert found[("imbalance",)].low == 0.0
    assert found[("hot_node",)].value == 0.0
    assert found[("hot_node",)].note == "3 nodes compared"


def test_a_hot_node_is_named_with_its_cause(store_client: Client) -> None:
    store(store_client, balanced(1500, [0.25] * 4, 22, gpu_1=1.8))
    value = ask(store_client, "hot_node")[("hot_node",)]
    assert value.value == 1.0
    assert value.n == 1500
    assert value.note.startswith("gpu-1: ")
    assert value.note.endswith("slower at equal traffic")
    sample(store_client, readings("gpu-1", "GPU-a", seed=1, status="degraded", temperature_c=88.0))
    sample(store_client, readings("gpu-2", "GPU-b", seed=2))
    assert ask(store_client, "hot_node")[("hot_node",)].note.endswith("throttled GPU")


def test_more_traffic_than_its_share(store_client: Client) -> None:
    store(store_client, balanced(1500, [0.4, 0.2, 0.2, 0.2], 23))
    value = ask(store_client, "hot_node")[("hot_node",)]
    assert value.value == 1.0
    assert "gpu-0: 1.6" in value.note
    assert "more traffic" in value.note


def test_nodes_side_by_side(store_client: Client) -> None:
    calls = balanced(1000, [0.4, 0.2, 0.2, 0.2], 24)
    store(store_client, calls)
    sample(store_client, readings("gpu-1", "GPU-a", seed=1, temperature_c=71.0))
    frame = node_loads(store_client, window=WINDOW).set_index("node")
    load = calls["node"].value_counts()
    assert dict(frame["calls"]) == dict(load)
    assert frame["share"].sum() == pytest.approx(1)
    assert frame["band_low"].iloc[0] == stats.binom.ppf(0.025, 1000, 0.25) / 1000
    assert frame.loc["gpu-0", "share"] > frame.loc["gpu-0", "band_high"]
    known = calls[(calls["error_type"] == "") & (calls["ttft_s"] > 0)]
    for node, mine in known.groupby("node"):
        assert frame.loc[node, "ttft_s"] == pytest.approx(stats.gmean(mine["ttft_s"]))
    assert frame.loc["gpu-1", "temperature_c"] == 71.0
    assert frame.loc["gpu-1", "throttled"] == 0.0
    assert np.isnan(frame.loc["gpu-2", "temperature_c"])
    (hot,) = find_hot_nodes(store_client, window=WINDOW)
    assert (hot.service, hot.model, hot.hot.node, hot.hot.cause) == ("chat", "llama", "gpu-0", "more traffic")
    assert node_loads(store_client, window=WINDOW, where={"model": "none"}).empty
    assert find_hot_nodes(store_client, window=WINDOW, where={"model": "none"}) == []


def test_nothing_sampled(store_client: Client) -> None:
    for value in evaluate(store_client, ["fleet"], window=WINDOW):
        assert value.value is None
        assert value.note
    later = Window(WINDOW.end, WINDOW.end + timedelta(hours=1))
    store(store_client, random_calls(1, seed=1))
    assert all(value.value is None for value in evaluate(store_client, ["fleet"], window=later))
