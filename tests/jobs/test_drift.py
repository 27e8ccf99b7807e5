"""The jobs `drift` and `bias` on a month without incidents, and on the incidents that the demo has.

Each run has nothing but the store: what it knows of earlier looks, it reads there.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from monitor.jobs import bias, drift
from monitor.jobs.job import Context
from monitor.kpis import KpiValue, Window, evaluate
from monitor.settings import Settings
from monitor.store import Client
from tests.jobs.replay import START, fill

FEATURES = ["input_tokens", "output_tokens", "e2e", "finish_reason", "refusal", "cohort.language", "prompt"]
SETTINGS = Settings.model_validate(
    {"drift": {"features": FEATURES}, "cohorts": {"outcomes": ["error", "refusal", "latency"]}}
)
DAYS = 30
INCIDENT = (DAYS * 24 + 10, DAYS * 24 + 16)  # hours since the start
EMBEDDED = pytest.mark.parametrize("backend_url", ["chdb"], indirect=True)


def at(client: Client, hours: float, settings: Settings = SETTINGS) -> Context:
    """A run so many hours after the start; ten minutes later, when the last calls have arrived."""
    return Context(client=client, settings=settings, now=START + timedelta(hours=hours, minutes=10))


@EMBEDDED
def test_a_quiet_month_and_then_incidents(store_client: Client) -> None:
    fill(store_client, days=DAYS + 1, per_hour=420, shifts=f"hour >= {INCIDENT[0]} AND hour < {INCIDENT[1]}")
    for day in range(5, DAYS + 1, 5):
        drift.run(at(store_client, 24 * day))
    for day in range(4, DAYS, 5):
        bias.run(at(store_client, 24 * day + 12))
    _nothing_is_told(store_client)
    _incidents_are_found(store_client)
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
    assert of("drift.drifted_features", service="chat").note.startswith(
        "finish_reason (chat)" if "finish_reason" in names else "input_tokens (chat)"
    )
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


@pytest.mark.parametrize("reference", ["previous", "pinned", "seasonal"])
@EMBEDDED
def test_each_reference(store_client: Client, reference: str) -> None:
    """Longer prompts from the second hour of the third day on; the load is the same at all hours."""
    fill(store_client, days=3, per_hour=900, shifts="hour >= 50", even=True)
    pinned = {"pinned_start": START.isoformat(), "pinned_end": (START + timedelta(hours=30)).isoformat()}
    settings = Settings.model_validate(
        {
            "drift": {
                "features": ["input_tokens", "output_tokens", "cohort.language"],
                "reference": reference,
                "rolling": "1d",
                **pinned,
            }
        }
    )
    for hour in (48, 52):
        drift.run(at(store_client, hour, settings))
    found = store_client.query(
        "SELECT dateDiff('hour', toDateTime({start:UInt32}, 'UTC'), window_end) AS hour, feature FROM drift_results FINAL WHERE drifted ORDER BY hour",
        parameters={"start": int(START.timestamp())},
    ).result_rows
    assert found == [(51, "input_tokens"), (52, "input_tokens")]
    n = store_client.query(
        "SELECT n_reference FROM drift_results FINAL WHERE feature = 'input_tokens' ORDER BY window_end DESC LIMIT 1"
    ).result_rows[0][0]
    hours = {"previous": 24, "pinned": 30, "seasonal": 2}[reference]
    assert n == pytest.approx(900 * hours, abs=1)


def test_services_by_themselves_and_a_feature_that_is_new(store_client: Client) -> None:
    """One of two services changes; a score begins later, and has bins of its own from then on."""
    for service, shifts in (("chat", "0"), ("search", "hour >= 26")):
        fill(store_client, days=2, per_hour=300, shifts=shifts, even=True, service=service, seed=len(service))
    begin, lower = (f"toDateTime({int((START + timedelta(hours=hours)).timestamp())})" for hours in (14, 27))
    store_client.command(
        f"""INSERT INTO evaluations (timestamp, trace_id, span_id, service, name, score, source)
        SELECT timestamp, trace_id, span_id, service, 'helpful', (cityHash64(trace_id) % 100) / if(timestamp >= {lower}, 300, 100), 'judge'
        FROM inferences WHERE timestamp >= {begin} AND service = 'chat'"""
    )
    settings = Settings.model_validate({"drift": {"reference": "previous", "off": ["prompt", "model"]}})
    drift.run(at(store_client, 12, settings))
    cut = "SELECT fitted FROM drift_bins FINAL WHERE feature = 'input_tokens' AND service = 'chat'"
    fitted = store_client.query(cut).result_rows
    drift.run(at(store_client, 26, settings))
    drift.run(at(store_client, 28, settings))
    assert store_client.query(cut).result_rows == fitted
    found = store_client.query(
        "SELECT DISTINCT service, feature FROM drift_results FINAL WHERE drifted ORDER BY 1, 2"
    ).result_rows
    assert set(found) >= {("chat", "score.helpful"), ("search", "input_tokens"), ("search", "refusal")}
    assert {feature for service, feature in found if service == "chat"} == {"score.helpful"}
    known = store_client.query("SELECT DISTINCT feature FROM drift_results FINAL WHERE service = 'search'").result_rows
    names = {name for (name,) in known}
    assert names >= {
        "input_tokens",
        "output_tokens",
        "ttft",
        "e2e",
        "cost",
        "finish_reason",
        "error_type",
        "refusal",
        "cohort.language",
    }
    assert not names & {"service", "release", "cached_tokens", "queue", "score.helpful"}


@EMBEDDED
def test_a_cohort_that_is_no_longer_sent(store_client: Client) -> None:
    fill(store_client, days=2, per_hour=300, even=True, unlabelled="hour >= 26")
    settings = Settings.model_validate({"drift": {"reference": "previous", "off": ["prompt"]}})
    for hour in (26, 27, 28):
        drift.run(at(store_client, hour, settings))
    found = store_client.query(
        "SELECT feature, moved FROM drift_results FINAL WHERE drifted AND window_end = (SELECT max(window_end) FROM drift_results)"
    ).result_rows
    assert found == [("cohort.language.missing", ["share 0.037 to 1"])]


@pytest.mark.parametrize("kind", ["model", "judge", "both", "none"])
@EMBEDDED
def test_judge_and_model_drift_are_told_apart(store_client: Client, kind: str) -> None:
    """9 of 10 right, and a judge that errs once in 20; on the tenth day one of them, or both, get worse."""
    rng = np.random.default_rng(5)
    calls, said = [], []
    for day in range(10):
        for i in range(500):
            moment = START + timedelta(days=day, seconds=i * 170)
            trace = f"{day * 1000 + i + 1:032x}"
            calls.append([moment, trace, f"{i + 1:016x}", "client", "chat"])
            late = day == 9
            right = rng.random() < (0.7 if late and kind in ("model", "both") else 0.9)
            agrees = rng.random() < (0.7 if late and kind in ("judge", "both") else 0.95)
            for source, score in (("human", right), ("judge", right == agrees)):
                said.append([moment, trace, f"{i + 1:016x}", "correct", float(score), source])
    store_client.insert("inferences", calls, column_names=["timestamp", "trace_id", "span_id", "role", "service"])
    store_client.insert(
        "evaluations", said, column_names=["timestamp", "trace_id", "span_id", "name", "score", "source"]
    )
    settings = Settings.model_validate({"drift": {"features": ["finish_reason"]}})
    drift.run(at(store_client, 24 * 9 + 2, settings))
    drift.run(at(store_client, 24 * 10 + 2, settings))
    found = {
        name.removeprefix("performance."): (value, low, high, drifted, note)
        for name, value, low, high, drifted, note in store_client.query(
            "SELECT feature, value, low, high, drifted, note FROM drift_results FINAL WHERE startsWith(feature, 'performance.')"
            f" AND window_end = toDateTime({int((START + timedelta(days=10)).timestamp())})"
        ).result_rows
    }
    assert {name for name in ("accuracy", "judge_agreement") if found[name][3]} == {
        "model": {"accuracy"}, "judge": {"judge_agreement"}, "both": {"accuracy", "judge_agreement"}, "none": set(),
    }[kind]  # fmt: skip
    told = {note.split(":")[0] for *_, drifted, note in found.values() if drifted}
    words = {"model": "model drift", "judge": "judge drift", "both": "model drift and judge drift"}
    assert told == ({words[kind]} if kind in words else set())
    value, low, high, *_ = found["accuracy"]
    assert low < value < high
    assert value == pytest.approx(-0.2 if kind in ("model", "both") else 0.0, abs=0.06)


def test_nothing_to_look_at(store_client: Client) -> None:
    assert drift.run(at(store_client, 5)).rows == 0
    assert bias.run(at(store_client, 5)).rows == 0
    window = Window(START, START + timedelta(hours=1))
    for value in evaluate(store_client, ["drift", "bias"], window=window):
        assert value.value is None
        assert value.note.startswith("no look yet")
