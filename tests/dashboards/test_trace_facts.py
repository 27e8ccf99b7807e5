"""What a trace's page tells beside its spans: cost from the ledger or the emitter, and alerts of its time and group."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dashboards.trace_facts import alerts_of, calls_of
from monitor.store import Client

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
NS = int(AT.timestamp()) * 10**9
TRACE = "a" * 32


def test_cost_and_alerts_of_a_trace(store_client: Client) -> None:
    store_client.insert(
        "inferences",
        [
            [AT, TRACE, "1" * 16, "client", "llama", "gpu-2", 1.0, 0.5],
            [AT + timedelta(seconds=2), TRACE, "2" * 16, "client", "llama", "gpu-1", 1.0, 0.25],
        ],
        column_names=["timestamp", "trace_id", "span_id", "role", "model", "node", "duration_s", "cost_usd"],
    )
    store_client.insert(
        "call_costs",
        [[AT, TRACE, "1" * 16, "llama", 4.0, 8_000_000_000, "EUR", 1]],
        column_names=["timestamp", "trace_id", "span_id", "model", "sample_weight", "cost", "currency", "version"],
    )
    events = [
        # rule, group, filter, before the call, state
        ("slow", {"node": "gpu-2"}, {}, 60, "firing"),
        ("other node", {"node": "gpu-9"}, {}, 60, "firing"),
        ("filtered", {}, {"model": ["llama", "qwen"]}, 60, "firing"),
        ("over", {"node": "gpu-2"}, {}, 600, "firing"),
        ("over", {"node": "gpu-2"}, {}, 300, "inactive"),
        ("never fired", {"node": "gpu-2"}, {}, 60, "pending"),
        ("later", {"node": "gpu-2"}, {}, -60, "firing"),
    ]
    began = {"over": 600}
    rows = [
        [
            AT - timedelta(seconds=s),
            rule,
            rule,
            state,
            AT - timedelta(seconds=began.get(rule, s)),
            group,
            where,
            "above 1 s",
        ]
        for rule, group, where, s, state in events
    ]
    names = ["at", "rule", "fingerprint", "state", "active_at", "grp", "where", "condition"]
    store_client.insert("alert_events", rows, column_names=names)
    calls = calls_of(store_client, TRACE, NS, NS + 2 * 10**9)
    assert calls["cost"].tolist() == [2.0, 0.25]
    assert calls["currency"].tolist() == ["EUR", "USD"]
    found = alerts_of(store_client, calls, NS, NS + 2 * 10**9)
    assert sorted(alert.rule for alert in found) == ["filtered", "slow"]
    assert {alert.began for alert in found} == {AT - timedelta(seconds=60)}
