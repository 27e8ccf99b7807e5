"""The measured load against the same computed from the rows."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from monitor.errors import BadInput
from monitor.kpis import Window
from monitor.plan import load_from_store, models_seen
from monitor.store import Client
from tests.kpis.rows import START, WINDOW, random_calls, store


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 10.0)])
def test_load_by_other_means(store_client: Client, weights: tuple[float, ...]) -> None:
    calls = random_calls(3000, seed=4, weights=weights)
    store(store_client, calls)
    load = load_from_store(store_client, WINDOW, where={"model": "llama"})
    mine = calls[calls["model"] == "llama"]
    weight = mine["sample_weight"]
    assert load.calls == len(mine)
    assert load.slots == 12
    assert load.seconds == 3600
    assert load.calls_rps.mean() * 3600 == pytest.approx(weight.sum())
    minutes = ((mine["timestamp"] - START).dt.total_seconds() // 300).astype(int)
    by_slot = weight.groupby(minutes).sum().reindex(range(12), fill_value=0).to_numpy()
    assert load.calls_rps.mean(axis=1) * 300 == pytest.approx(by_slot)
    for name, rate in (("input_tokens", load.mean_input_tokens), ("output_tokens", load.mean_output_tokens)):
        told = mine[name].notna()
        assert rate == pytest.approx(np.average(mine.loc[told, name], weights=weight[told]))
    told = mine["input_tokens"].notna()
    exact = np.quantile(np.repeat(mine.loc[told, "input_tokens"], weight[told].astype(int)), (np.arange(16) + 0.5) / 16)
    assert load.prompt_nodes == pytest.approx(exact * load.mean_input_tokens / exact.mean(), rel=0.05, abs=15)
    assert load.start_hour == 12.0
    assert load.note == ""


def test_days(store_client: Client) -> None:
    calls = random_calls(4000, seed=5)
    rng = np.random.default_rng(1)
    calls["timestamp"] = [START + timedelta(seconds=float(s)) for s in rng.uniform(0, 3 * 86_400, 4000)]
    store(store_client, calls)
    load = load_from_store(store_client, Window(START - timedelta(days=4), START + timedelta(days=3)), level_error=0.1)
    assert (load.slot_s, load.slots, len(np.unique(load.block))) == (3600.0, 72, 3)
    assert load.requests_per_day == pytest.approx(4000 / 3, rel=0.01)
    assert "72.0 of the window's 168.0 hours" in load.note
    assert load.level_error == 0.1


@pytest.mark.parametrize(("lead_s", "tail_s"), [(0, 0), (200, 30), (7200, 130), (90, 5000)])
def test_silence_around_a_short_stretch_does_not_lower_the_rates(
    store_client: Client, lead_s: int, tail_s: int
) -> None:
    calls = random_calls(3600, seed=8)
    calls["timestamp"] = [START + timedelta(seconds=i + 0.5) for i in range(3600)]
    store(store_client, calls)
    window = Window(START - timedelta(seconds=lead_s), START + timedelta(seconds=3600 + tail_s))
    load = load_from_store(store_client, window)
    assert load.calls_rps == pytest.approx(1.0, abs=0.1)
    assert load.requests_per_day == pytest.approx(86_400, rel=0.01)


def test_models_seen(store_client: Client) -> None:
    calls = random_calls(500, seed=6)
    store(store_client, calls)
    assert models_seen(store_client, WINDOW) == calls["model"].value_counts().to_dict()


def test_nothing_to_plan_from(store_client: Client) -> None:
    with pytest.raises(BadInput, match="--requests-per-day"):
        load_from_store(store_client, WINDOW)
    calls = random_calls(50, seed=7).drop(columns=["input_tokens"])
    store(store_client, calls)
    with pytest.raises(BadInput, match="how many prompt tokens"):
        load_from_store(store_client, WINDOW)
    with pytest.raises(BadInput, match="did you mean `model`"):
        load_from_store(store_client, WINDOW, where={"modl": "x"})
