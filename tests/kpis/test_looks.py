"""KPIs over looks of the jobs `drift` and `bias`: the newest of each counts, and an old one is none."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from monitor.kpis import Window, evaluate, series
from monitor.store import Client
from tests.kpis.rows import START

END = START + timedelta(hours=6)
WINDOW = Window(END - timedelta(hours=1), END)


def drifts(client: Client, *rows: tuple[datetime, str, str, float | None, bool]) -> None:
    data = [
        {
            "window_end": end, "window_s": 3600, "service": service, "model": "", "feature": feature, "method": "jensen_shannon",
            "value": value, "low": None if value is None else value - 0.05, "high": None if value is None else value + 0.05,
            "p_value": None if value is None else 0.5 - value / 2, "threshold": 0.1, "drifted": drifted,
            "verdict": "too few rows: 3" if value is None else "drifted" if drifted else "effect below threshold",
            "n_current": 300, "moved": ["from 10: 0.1 to 0.3"], "rank": 1, "version": 1,
        }
        for end, service, feature, value, drifted in rows
    ]  # fmt: skip
    client.insert("drift_results", [list(row.values()) for row in data], column_names=list(data[0]))


def gaps(client: Client, *rows: dict[str, Any]) -> None:
    shared = {
        "window_end": END,
        "window_s": 3600,
        "cohort": "language",
        "metric": "refusal",
        "gap": "difference",
        "version": 1,
    }
    data = [
        {**shared, "value": 0.1, "low": 0.05, "high": 0.15, "tolerance": 0.05, "verdict": "within", "worst": "de", "best": "en", "n": 90, **row}
        for row in rows
    ]  # fmt: skip
    client.insert("bias_results", [list(row.values()) for row in data], column_names=list(data[0]))


def test_the_newest_look_of_each_feature_counts(store_client: Client) -> None:
    earlier, old = END - timedelta(hours=1), END - timedelta(hours=5)
    drifts(
        store_client,
        (earlier, "chat", "input_tokens", 0.5, True),
        (END, "chat", "input_tokens", 0.05, False),
        (END, "chat", "refusal", 0.3, True),
        (earlier, "search", "refusal", 0.4, True),
        (END, "search", "refusal", None, False),
        (old, "chat", "ttft", 0.9, True),
        (END + timedelta(hours=1), "chat", "e2e", 0.9, True),
    )
    (told,) = evaluate(store_client, ["drift.drifted_features"], window=WINDOW)
    assert (told.value, told.n) == (1.0, 2)
    assert told.note == "refusal (chat); 1 of 3 had too few rows"
    (largest,) = evaluate(store_client, ["drift.effect"], window=WINDOW)
    assert (largest.value, largest.low, largest.high, largest.n) == (0.3, 0.25, 0.35, 300)
    assert largest.note == "of 2: refusal (chat): drifted [from 10: 0.1 to 0.3]"
    found = {
        tuple(value.group.values()): value
        for value in evaluate(store_client, ["drift.effect"], window=WINDOW, by=["feature", "service"])
    }
    assert {key: value.value for key, value in found.items()} == {
        ("input_tokens", "chat"): 0.05, ("refusal", "chat"): 0.3, ("refusal", "search"): None,
    }  # fmt: skip
    assert "too few rows" in found["refusal", "search"].note or "insufficient" in found["refusal", "search"].note
    (p_value,) = evaluate(store_client, ["drift.p_value"], window=WINDOW, where={"feature": "input_tokens"})
    assert p_value.value == pytest.approx(0.475)
    # A day later nobody knows.
    (late,) = evaluate(store_client, ["drift.drifted_features"], window=Window(END, END + timedelta(days=1)))
    assert late.value is None
    assert late.note.startswith("no look yet, or none of late")


def test_a_series_has_the_looks_of_each_step(store_client: Client) -> None:
    drifts(
        store_client,
        *((START + timedelta(hours=hour), "chat", "input_tokens", hour / 10, hour > 2) for hour in (1, 2, 3, 5)),
    )
    window = Window(START, END)
    frame = series(store_client, ["drift.effect", "drift.drifted_features"], window=window, step_s=3600)
    effect = frame[frame["name"] == "drift.effect"]["value"].tolist()
    assert effect[:3] == [0.1, 0.2, 0.3]
    assert effect[4] == 0.5
    assert str(effect[3]) == str(effect[5]) == "nan"
    told = frame[frame["name"] == "drift.drifted_features"]["value"].tolist()
    assert told[:3] == [0.0, 0.0, 1.0]


def test_gaps_of_several_windows(store_client: Client) -> None:
    gaps(
        store_client,
        {"window_s": 86400, "value": 0.06, "worst": "fr"},
        {"window_s": 3600, "value": 0.2, "verdict": "alert"},
        {"window_s": 3600, "value": 0.3, "gap": "worst_group", "verdict": "alert"},
        {"metric": "latency", "value": 0.1, "tolerance": 0.5},
        {"metric": "correct", "value": None, "low": None, "high": None, "verdict": "insufficient"},
        {"metric": "", "gap": "", "value": 0.9, "verdict": ""},
    )
    (unfair,) = evaluate(store_client, ["bias.unfair_gaps"], window=WINDOW)
    assert (unfair.value, unfair.n, unfair.note) == (1.0, 2, "refusal by language; 1 of 3 had too few rows")
    found = {
        tuple(value.group.values()): value
        for value in evaluate(store_client, ["bias.gap"], window=WINDOW, by=["metric", "cohort"])
    }
    # An alarm first, whatever its window.
    assert found["refusal", "language"].value == 0.2
    assert found["refusal", "language"].note == "of 2: refusal by language: de against en, 3600 s, alert"
    assert (found["latency", "language"].value, found["latency", "language"].n) == (0.1, 90)
    assert found["correct", "language"].value is None
    (whole,) = evaluate(store_client, ["bias.gap"], window=WINDOW)
    assert whole.value == 0.2
