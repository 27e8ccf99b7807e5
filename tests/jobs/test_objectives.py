"""Counts by hour: the same numbers as from the calls, whatever comes late or is changed."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from monitor.jobs import objectives
from monitor.jobs.job import Context
from monitor.kpis import KpiValue, Window, evaluate, series
from monitor.kpis.objective_counts import HOUR_S, TABLE, read_states, steps_of
from monitor.settings import Settings
from monitor.store import Client
from tests.kpis.rows import START, random_calls, store
from tests.kpis.test_objective import OBJECTIVES, configure, evaluations_of, judge, plain_calls

SOME = [one for one in OBJECTIVES if one["name"] in ("first-token", "right", "clean")]
ASKED = [
    *(f"objective.{name}.attainment" for name in ("first-token", "right", "clean")), "objective.right.error_budget", "objective.goodput",
]  # fmt: skip
UP = ["objective.up.attainment", "objective.goodput"]
DAY = Window(START - timedelta(hours=10, minutes=17), START + timedelta(hours=13, minutes=43))
LATER = START + timedelta(days=2)


def run(client: Client, now: datetime = LATER) -> None:
    objectives.run(Context(client=client, settings=Settings(), now=now))


def over_a_day(
    client: Client, *, weights: tuple[float, ...] = (1.0,), seed: int = 31
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Calls over the 24 hours of DAY and judgements of them, stored."""
    calls = random_calls(600, seed=seed, weights=weights)
    calls["timestamp"] = [DAY.start + (at - START) * 24 for at in calls["timestamp"]]
    said = evaluations_of(calls, seed=seed + 1)
    store(client, calls)
    judge(client, said)
    return calls, said


def ask(client: Client, window: Window = DAY, *, names: list[str] = ASKED, **options: Any) -> list[KpiValue]:
    return evaluate(client, names, window=window, **options)


def from_calls(client: Client, window: Window = DAY, **options: Any) -> list[KpiValue]:
    """The same without what is added up."""
    state = client.query(f"SELECT * FROM {TABLE}_state FINAL")
    client.command(f"TRUNCATE TABLE {TABLE}_state")
    values = ask(client, window, **options)
    client.insert(f"{TABLE}_state", state.result_rows, column_names=list(state.column_names))
    return values


def same(left: list[KpiValue], right: list[KpiValue]) -> None:
    assert [(value.name, value.group, value.n, value.note) for value in left] == [
        (value.name, value.group, value.n, value.note) for value in right
    ]
    for one, two in zip(left, right, strict=True):
        for end in ("value", "low", "high"):
            a, b = getattr(one, end), getattr(two, end)
            assert (a is None) == (b is None), one.name
            assert a is None or a == pytest.approx(b, rel=1e-9), one.name


def tamper(client: Client) -> None:
    """Make what is added up wrong, to see that it is what answers."""
    columns = "objective, period, service, environment, deployment, region, node, provider, model, variant, release"
    client.command(
        f"INSERT INTO {TABLE} ({columns}, version, calls__n, calls__w, calls__ww, calls__w_min, calls__w_max)"
        f" SELECT {columns}, version + 1, 7, 7, 7, 1, 1 FROM {TABLE} FINAL"
    )


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 2.0, 5.5)], ids=["plain", "weighted"])
def test_counts_are_the_numbers_of_the_calls(store_client: Client, weights: tuple[float, ...]) -> None:
    configure(store_client, SOME)
    over_a_day(store_client, weights=weights)
    expected = ask(store_client)
    split = ask(store_client, by=["node", "model"], where={"model": "llama"})
    run(store_client)
    assert {state.since for state in read_states(store_client).values()} == {0}
    same(ask(store_client), expected)
    same(ask(store_client, by=["node", "model"], where={"model": "llama"}), split)
    hours = Window(START - timedelta(hours=12), START + timedelta(hours=12))
    frame = series(store_client, ["objective.right", "objective.goodput"], window=hours, step_s=3 * 3600, by=["model"])
    tamper(store_client)
    assert ask(store_client)[0].value != expected[0].value
    store_client.command(f"TRUNCATE TABLE {TABLE}_state")
    again = series(store_client, ["objective.right", "objective.goodput"], window=hours, step_s=3 * 3600, by=["model"])
    pd.testing.assert_frame_equal(frame, again, rtol=1e-9)


def test_late_spans_and_judgements_are_added(store_client: Client) -> None:
    configure(store_client, SOME)
    calls, _ = over_a_day(store_client)
    run(store_client)
    before = ask(store_client)
    run(store_client)
    same(ask(store_client), before)
    late = random_calls(40, seed=41)
    late["timestamp"] = [DAY.start + (at - START) * 24 for at in late["timestamp"]]
    late["trace_id"], late["span_id"] = "f" + late["trace_id"].str[1:], "f" + late["span_id"].str[1:]
    store(store_client, late)
    # Days later: a human says of 30 calls that they were right; of 5 by the trace, of 5 by the answer's id.
    some = calls.iloc[::20]
    rows = pd.DataFrame(
        {
            "timestamp": [LATER] * len(some),
            "trace_id": list(some["trace_id"][:-5]) + [""] * 5,
            "span_id": [""] * 5 + list(some["span_id"][5:-5]) + [""] * 5,
            "response_id": [""] * (len(some) - 5) + ["answer"] * 5,
            "name": "correct",
            "label": "yes",
            "source": "ground_truth",
        }
    )
    judge(store_client, rows)
    run(store_client)
    found = ask(store_client)
    same(found, from_calls(store_client))
    right = {value.name: value for value in found}["objective.right.attainment"]
    assert right.value is not None
    assert right.value > ({value.name: value for value in before}["objective.right.attainment"].value or 1)
    tamper(store_client)
    assert ask(store_client)[0].value != found[0].value


def test_a_call_that_was_two_is_one(store_client: Client) -> None:
    """The client's span comes after the engine's was added up, on another node: nothing of the old group may stay."""
    configure(store_client, [{"name": "up", "kind": "error", "target": 0.9}])
    store(store_client, plain_calls([60.0], role="engine", parent_span_id="c" * 16, node="gpu-1", service="vllm"))
    run(store_client)
    store(store_client, plain_calls([59.0], span_id=["c" * 16], role="client", service="chat", duration_s=3.0))
    run(store_client)
    values = ask(store_client, names=["objective.up"], by=["service"])
    assert {(value.group["service"], value.n) for value in values if value.name == "objective.up.attainment"} == {
        ("chat", 1)
    }


def test_new_and_changed_objectives_get_their_history_day_by_day(
    store_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectives, "BACK_DAYS", 1)
    configure(store_client, [{"name": "up", "kind": "error", "target": 0.9}])
    for days in (0, 1, 5):
        calls = plain_calls([60.0], error_type=["timeout"], trace_id=[f"{days}" * 32])
        calls["timestamp"] -= timedelta(days=days)
        store(store_client, calls)
    month = Window(LATER - timedelta(days=30), LATER)
    for calls_counted in (1, 2, 3):
        run(store_client)
        (state,) = read_states(store_client).values()
        counted = store_client.query(f"SELECT sum(calls__n) FROM {TABLE} FINAL").result_rows[0][0]
        assert counted == calls_counted
        assert ask(store_client, month, names=UP)[0].n == 3
    run(store_client)
    assert read_states(store_client)["up"].since == 0
    changed = [{"name": "up", "kind": "error", "target": 0.5, "where": {"service": ["chat"]}}]
    configure(store_client, changed, now=START - timedelta(days=3))
    assert ask(store_client, month, names=UP)[0].n == 1  # by the calls: what was added up is by another rule
    for _ in range(4):
        run(store_client)
        same(ask(store_client, month, names=UP), from_calls(store_client, month, names=UP))
    assert read_states(store_client)["up"].since == 0
    assert state.since > 0


def test_only_closed_hours_and_a_stop_between_two(store_client: Client) -> None:
    configure(store_client, [{"name": "up", "kind": "error", "target": 0.9}])
    store(store_client, plain_calls([60.0, 3660.0]))
    run(store_client, START + timedelta(hours=1, minutes=4))
    assert read_states(store_client)["up"].until == int(START.timestamp())
    run(store_client, START + timedelta(hours=1, minutes=5))
    assert read_states(store_client)["up"].until == int(START.timestamp()) + HOUR_S
    stop = threading.Event()
    stop.set()
    objectives.run(Context(client=store_client, settings=Settings(), now=LATER, stop=stop))
    assert read_states(store_client)["up"].until == int(START.timestamp()) + HOUR_S
    run(store_client)
    assert read_states(store_client)["up"].until == int(LATER.timestamp()) - HOUR_S


def test_no_objectives_and_no_calls(store_client: Client) -> None:
    outcome = objectives.run(Context(client=store_client, settings=Settings(), now=LATER))
    assert outcome.note == "no objectives"
    configure(store_client, SOME)
    run(store_client)
    assert {value.note for value in ask(store_client)} == {"no call in this window"}


def test_hours_as_stretches() -> None:
    assert steps_of([]) == []
    assert steps_of([7200, 0, 3600, 3600, 14400]) == [(0, 10800), (14400, 18000)]
    assert steps_of([hour * HOUR_S for hour in range(30)]) == [(0, 24 * HOUR_S), (24 * HOUR_S, 30 * HOUR_S)]
