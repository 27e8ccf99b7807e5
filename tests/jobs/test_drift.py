"""The jobs `drift` and `bias` on a month without incidents, and on the incidents that the demo has.

Each run has nothing but the store: what it knows of earlier looks, it reads there.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from monitor.jobs import bias, drift
from monitor.jobs.job import Context
from monitor.kpis import KpiValue, Window, evaluate
from monitor.settings import Settings
from monitor.store import Client
from tests.jobs.replay import START, fill

FEATURES = ["input_tokens", "output_tokens", "e2e", "finish_reason", "refusal", "cohort.language", "prompt"]
SETTINGS = Settings.model_validate({"drift": {"features": FEATURES}})
DAYS = 30
INCIDENT = (DAYS * 24 + 10, DAYS * 24 + 16)  # hours since the start
EMBEDDED = pytest.mark.parametrize("backend_url", ["chdb"], indirect=True)


def at(client: Client, hours: float, settings: Settings = SETTINGS) -> Context:
    """A run so many hours after the start; ten minutes later, when the last calls have arrived."""
    return Context(client=client, settings=settings, now=START + timedelta(hours=hours, minutes=10))


@EMBEDDED
def test_a_quiet_month_and_then_incidents(store_client: Client) -> None:
    import time
    t = time.time()
    fill(store_client, days=DAYS + 1, per_hour=420, shifts=f"hour >= {INCIDENT[0]} AND hour < {INCIDENT[1]}")
    print("fill", time.time() - t)
    for day in range(5, DAYS + 1, 5):
        drift.run(at(store_client, 24 * day))
    print("drift", time.time() - t)
    for day in range(3, DAYS, 3):
        bias.run(at(store_client, 24 * day + 12))
    print("bias", time.time() - t)
    _nothing_is_told(store_client)
    _incidents_are_found(store_client)
    print("inc", time.time() - t)
    _what_is_over_is_over(store_client)


def _nothing_is_told(client: Client) -> None:
    looks, rows, told, drifted, judged, naive = client.query(
        "SELECT uniqExact(window_end), count(), uniqExactIf(feature, told), countIf(drifted),"
        " countIf(NOT startsWith(verdict, 'too few')), countIf(p_look <= 0.05) FROM drift_results FINAL"
    ).result_rows[0]
    alerts, gaps = client.query(
        "SELECT countIf(verdict = 'alert'), countIf(verdict != 'insufficient') FROM bias_results FINAL WHERE gap != ''"
    ).result_rows[0]
    print(
        f"\n{looks} hourly looks over {DAYS} days, {rows} comparisons, {judged} with enough rows: {drifted} false alarms"
        f" (nominal: any in 5 % of such months); features whose game told: {told}; a test a look: {naive} alarms."
        f"\nbias: {gaps} gaps judged, {alerts} false alarms"
    )
    assert looks == DAYS * 24
    assert judged > rows / 2
    assert naive > 100
    assert (drifted, told, alerts) == (0, 0, 0)


def _incidents_are_found(client: Client) -> None:
    """Drift within the first look after it began; the gap, of 110 German calls an hour, within the third."""
    drift.run(at(client, INCIDENT[0]))
    drift.run(at(client, INCIDENT[0] + 1))
    found = {
        name: (moved, brings, rank, traces, reference)
        for name, moved, brings, rank, traces, reference in client.query(
            "SELECT feature, moved, brings, rank, current_traces, reference FROM drift_results FINAL WHERE drifted"
        ).result_rows
    }
    assert {"input_tokens", "prompt"} <= set(found) <= {"input_tokens", "prompt", "refusal", "finish_reason"}
    assert "+refund" in found["prompt"][0]
    assert all(trace for trace in found["prompt"][3])
    prompt = "SELECT prompt FROM inferences WHERE trace_id IN {traces:Array(String)}"
    texts = client.query(prompt, parameters={"traces": found["prompt"][3]}).result_rows
    assert all("refund" in text for (text,) in texts)
    assert found["input_tokens"][1]["cost"] > 0
    assert found["input_tokens"][2] == 1
    assert found["input_tokens"][4] == "same hours of 4 weeks"
    for hour in range(1, 4):
        bias.run(at(client, INCIDENT[0] + hour))
    gaps = client.query(
        "SELECT cohort, metric, worst, window_end, window_s, traces, gap FROM bias_results FINAL WHERE verdict = 'alert' ORDER BY window_end"
    ).result_rows
    assert {gap[:3] for gap in gaps} == {("language", "refusal", "de")}
    gap = gaps[0]
    print(f"refusals: first told at {gap[3]}, of {gap[4]} s, {len(gaps)} in all")
    refused = client.query(
        "SELECT DISTINCT finish_reason, cohorts['language'] FROM inferences WHERE trace_id IN {traces:Array(String)}",
        parameters={"traces": gap[5]},
    ).result_rows
    assert refused == [("content_filter", "de")]
    _kpis_say_so(client, set(found))


def _kpis_say_so(client: Client, names: set[str]) -> None:
    end = START + timedelta(hours=INCIDENT[0] + 1)
    window = Window(end - timedelta(hours=1), end)

    def of(name: str, **by: str) -> KpiValue:
        (value,) = [each for each in evaluate(client, [name], window=window, by=list(by)) if each.group == by]
        return value

    assert of("drift.drifted_features").value == len(names)
    assert of("drift.drifted_features", service="chat").note.startswith("finish_reason (chat)" if "finish_reason" in names else "input_tokens (chat)")
    effect = of("drift.effect", feature="input_tokens")
    assert effect.low is not None
    assert effect.value is not None
    assert 0.1 < effect.low < effect.value
    assert "drifted" in effect.note
    p_value = of("drift.p_value", feature="input_tokens").value
    assert p_value is not None
    assert p_value < 0.01
    window = Window(end - timedelta(hours=1), end + timedelta(hours=2))
    assert of("bias.unfair_gaps").value == 1
    assert of("bias.unfair_gaps").note.startswith("refusal by language")
    gap = of("bias.gap", metric="refusal", cohort="language")
    assert gap.value is not None
    assert gap.value > 0.15
    assert "de against" in gap.note


def _what_is_over_is_over(client: Client) -> None:
    drift.run(at(client, INCIDENT[1]))
    drift.run(at(client, INCIDENT[1] + 4))
    rows = client.query(
        "SELECT window_end, drifted, told, looks FROM drift_results FINAL WHERE feature = 'input_tokens'"
        f" AND window_end > toDateTime({int((START + timedelta(hours=INCIDENT[0])).timestamp())}) ORDER BY window_end"
    ).result_rows
    assert [row[1] for row in rows] == [True] * 6 + [False] * 4
    # The game that had told begins anew, so that the next drift is found as fast.
    assert [row[2] for row in rows] == [True] * 6 + [False] * 4
    assert rows[6][3] == 0
    assert drift.run(at(client, INCIDENT[1] + 4)).rows == 0
