"""The job `safety`: captured answers, looked at once, by rules and then by what people labelled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.jobs import safety
from monitor.jobs.job import Context
from monitor.kpis import Window, evaluate
from monitor.settings import Settings
from monitor.stats.refusal import EVALUATOR
from monitor.store import Client
from tests.stats.test_refusal import labelled

NOW = datetime.now(UTC).replace(microsecond=0)
WINDOW = Window(NOW - timedelta(hours=2), NOW)
REFUSED = "I'm sorry, but I can't help with that."


def run(client: Client, now: datetime = NOW) -> Any:
    return safety.run(Context(client=client, settings=Settings(), now=now))


def call(client: Client, i: int, completion: str = "", **more: Any) -> None:
    calls(client, [{"i": i, "completion": completion, **more}])


def calls(client: Client, given: list[dict[str, Any]]) -> None:
    names = ["timestamp", "trace_id", "span_id", "service", "duration_s", "model", "prompt", "completion", "finish_reason", "error_type"]  # fmt: skip
    rows = []
    for one in given:
        i = one["i"]
        base = {"timestamp": NOW - timedelta(hours=1) + timedelta(milliseconds=i), "trace_id": f"{i:032x}", "span_id": f"{i:016x}"}  # fmt: skip
        row: dict[str, Any] = {"service": "chat", "duration_s": 2.0, "model": "m", "prompt": "", "completion": "", "finish_reason": "stop", "error_type": ""} | base | one  # fmt: skip
        rows.append([row[name] for name in names])
    client.insert("inferences", rows, column_names=names)


def said(client: Client) -> dict[int, tuple[str, float, str, str, str]]:
    rows = client.query("SELECT trace_id, label, score, source, evaluator, explanation FROM evaluations FINAL WHERE source = 'moderation'").result_rows  # fmt: skip
    return {int(str(row[0]), 16): tuple(row[1:]) for row in rows}  # type: ignore[misc]


def test_captured_answers_are_looked_at_once(store_client: Client) -> None:
    call(store_client, 1, REFUSED)
    call(store_client, 2, "Here is the answer.")
    call(store_client, 3)  # not captured: of it nothing is known
    call(store_client, 4, "", prompt="something", finish_reason="content_filter")
    call(
        store_client, 5, "", finish_reason="content_filter"
    )  # stopped, and content is not captured: would be refusals alone
    call(store_client, 6, "half an ans", error_type="timeout")
    call(store_client, 7, "Es tut mir leid, aber dabei kann ich nicht helfen.")
    first = run(store_client)
    assert first.rows == 4
    assert said(store_client) == {
        1: ("yes", 1.0, "moderation", EVALUATOR, "en: i'm sorry, but i can't"),
        2: ("no", 0.0, "moderation", EVALUATOR, ""),
        4: ("yes", 1.0, "moderation", EVALUATOR, "finish reason content_filter"),
        7: ("yes", 1.0, "moderation", EVALUATOR, said(store_client)[7][4]),
    }
    assert said(store_client)[7][4].startswith("de: ")
    before = store_client.query("SELECT count() FROM evaluations").result_rows
    assert run(store_client).rows == 0
    assert store_client.query("SELECT count() FROM evaluations").result_rows == before
    call(store_client, 8, REFUSED)  # comes late
    assert run(store_client, NOW + timedelta(minutes=10)).rows == 1
    (rate,) = evaluate(store_client, ["safety.refusal_rate"], window=WINDOW)
    assert (rate.value, rate.n) == (4 / 5, 5)
    # It is no moderation: nobody looked for anything that a filter would find.
    (flagged,) = evaluate(store_client, ["safety.flagged_rate"], window=WINDOW)
    assert flagged.n == 0
    # What a person says later counts more.
    store_client.insert(
        "evaluations", [[NOW, f"{2:032x}", f"{2:016x}", "refusal", "yes", "human"]],
        column_names=["timestamp", "trace_id", "span_id", "name", "label", "source"],
    )  # fmt: skip
    (rate,) = evaluate(store_client, ["safety.refusal_rate"], window=WINDOW)
    assert rate.value == 1.0


def test_more_answers_than_one_batch(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety, "BATCH", 10)
    calls(store_client, [{"i": i, "completion": REFUSED if i % 3 == 0 else "Yes."} for i in range(1, 36)])
    assert run(store_client).rows == 35
    assert sum(label == "yes" for label, *_ in said(store_client).values()) == 11


def test_labels_make_a_classifier_and_later_labels_a_better_one(store_client: Client) -> None:
    texts, refused = labelled(160, seed=11, house=1.0)
    calls(store_client, [{"i": i, "completion": text} for i, text in enumerate(texts, 1)])
    assert run(store_client).note == f"by {EVALUATOR}"
    assert not any(label == "yes" for label, *_ in said(store_client).values())  # in words that no rule knows

    def label(first: int, last: int, at: datetime) -> None:
        rows = [[at, f"{i:032x}", "" if i % 2 else f"{i:016x}", "refusal", "yes" if refused[i - 1] else "no", "human"] for i in range(first, last)]  # fmt: skip
        store_client.insert("evaluations", rows, column_names=["timestamp", "trace_id", "span_id", "name", "label", "source"])  # fmt: skip

    label(1, 50, NOW - timedelta(minutes=30))
    assert run(store_client).note == f"rules only: 49 labels, {sum(refused[:49])} of them refusals; 100 labels and 20 of each kind are wanted; by {EVALUATOR}"  # fmt: skip
    label(50, 161, NOW - timedelta(minutes=20))
    found = run(store_client, NOW + timedelta(minutes=10))
    assert found.note.startswith("model ")
    assert "by refusal-model/" in found.note
    # New answers are judged by it; what was looked at is left as it is.
    assert found.rows == 0
    new, truth = labelled(40, seed=12, house=1.0)
    calls(store_client, [{"i": 1000 + i, "completion": text} for i, text in enumerate(new)])
    assert run(store_client, NOW + timedelta(minutes=20)).rows == 40
    judged = said(store_client)
    assert [judged[1000 + i][0] == "yes" for i in range(40)] == truth
    assert {judged[1000 + i][3] for i in range(40)} == {found.note.rpartition("by ")[2]}
    rows = store_client.query("SELECT count(), max(n), countIf(model = '') FROM refusal_models").result_rows
    assert rows[0][1:] == (160, 1)
