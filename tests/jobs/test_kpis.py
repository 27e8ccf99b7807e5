"""What the jobs keep of KPIs: the values that `evaluate` gives, for each minute, also after a pause."""

from __future__ import annotations

from datetime import timedelta

import pytest

from monitor.jobs import kpis
from monitor.jobs.job import Context
from monitor.kpis import REGISTRY, Window, evaluate
from monitor.settings import Settings
from monitor.store import Client
from tests.kpis.rows import START, random_calls, store

NOW = START + timedelta(hours=1, minutes=2, seconds=20)
END = START + timedelta(hours=1)


def run(client: Client, *, minutes: int = 0) -> kpis.Outcome:
    return kpis.run_kpis(Context(client=client, settings=Settings(), now=NOW + timedelta(minutes=minutes)))


def test_what_is_kept_is_what_was_asked(store_client: Client) -> None:
    store(store_client, random_calls(400, seed=31))
    outcome = run(store_client)
    kept = {
        (name, *group.values()): (value, low, high, n, method)
        for name, group, value, low, high, n, method in store_client.query(
            "SELECT name, grp, value, low, high, n, method FROM kpi_results FINAL"
        ).result_rows
    }
    assert outcome.rows == len(kept)
    window = Window(END - timedelta(hours=1), END)
    names = [name for name, kpi in REGISTRY.items() if kpi.window == "1h"]
    for value in evaluate(store_client, names, window=window):
        assert kept[(value.name,)] == (value.value, value.low, value.high, value.n, value.method)
    for value in evaluate(store_client, ["latency.ttft", "traffic.errors"], window=window, by=kpis.SPLIT):
        assert kept[(value.name, *value.group.values())] == (value.value, value.low, value.high, value.n, value.method)


def test_a_pause_is_made_up_and_nothing_is_twice(store_client: Client) -> None:
    store(store_client, random_calls(50, seed=32))
    run(store_client)
    run(store_client)
    run(store_client, minutes=3)
    ends = store_client.query(
        "SELECT window_end, count() FROM kpi_results FINAL WHERE name = 'traffic.requests' AND empty(grp) GROUP BY 1 ORDER BY 1"
    ).result_rows
    assert [(end.replace(tzinfo=END.tzinfo), count) for end, count in ends] == [
        (END + timedelta(minutes=minute), 1) for minute in range(4)
    ]


def test_a_long_pause_is_made_up_in_parts(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kpis, "MADE_UP_MAX", 2)
    run(store_client)
    assert run(store_client, minutes=3).note == "left for the next runs: 1 windows"
    assert run(store_client, minutes=3).note == ""


def test_an_empty_store_keeps_that_there_was_nothing(store_client: Client) -> None:
    run(store_client)
    rows = store_client.query("SELECT value, n FROM kpi_results FINAL WHERE name = 'traffic.requests'").result_rows
    assert rows == [(0.0, 0)]
