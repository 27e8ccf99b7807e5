"""What the store knows of the model calls of one trace beside its spans: tokens, cost, judgements, feedback, datasets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pandas as pd

from dashboards import store
from dashboards.memory import remembered
from monitor.store import Client
from monitor.store.calls import calls_source
from monitor.store.datasets import datasets_with

HOUR_NS: Final = 3600 * 10**9
ROWS_MAX: Final = 500
_CALLS: Final = (
    "span_id", "service", "model", "variant", "release", "region", "environment", "provider", "deployment", "node",
    "input_tokens", "cached_tokens", "output_tokens", "ttft_s", "duration_s", "finish_reason", "error_type", "cost_usd",
    "request_id", "prompt", "completion",
)  # fmt: skip


@dataclass(frozen=True)
class Alert:
    """An alert that was active when a call of the trace began, and whose group and filter the call fits."""

    rule: str
    condition: str
    began: datetime


@dataclass(frozen=True)
class Facts:
    """`calls`: one row each, `cost` in `currency`; `judgements` and `feedback`: one row each, newest first."""

    calls: pd.DataFrame
    judgements: pd.DataFrame
    feedback: pd.DataFrame
    datasets: tuple[str, ...]
    alerts: tuple[Alert, ...] = ()


@remembered(ttl_s=5, entries_max=50)
def trace_facts(url: str, trace_id: str, start_ns: int, end_ns: int) -> Facts:
    """Facts of the trace with spans begun from `start_ns` to `end_ns`."""
    with store.reading() as client:
        calls = calls_of(client, trace_id, start_ns, end_ns)
        answers = [str(each) for each in calls["request_id"] if each]
        return Facts(
            calls=calls,
            judgements=_said(client, "evaluations", _JUDGEMENTS, trace_id, answers, start_ns),
            feedback=_said(client, "engagement_events", _FEEDBACK, trace_id, answers, start_ns),
            datasets=tuple(datasets_with(client, trace_id)),
            alerts=alerts_of(client, calls, start_ns, end_ns),
        )


def calls_of(client: Client, trace_id: str, start_ns: int, end_ns: int) -> pd.DataFrame:
    """Model calls of a trace, the first first, with what each cost."""
    parameters: dict[str, Any] = {"trace_id": trace_id}
    source = calls_source(client, start_ns, end_ns + 1)
    rows = client.query(
        f"SELECT {', '.join(_CALLS)} FROM {source} WHERE trace_id = {{trace_id:String}} ORDER BY timestamp LIMIT {ROWS_MAX}",
        parameters=parameters,
    ).result_rows
    frame = pd.DataFrame(rows, columns=list(_CALLS))
    costs = client.query(
        "SELECT span_id, toFloat64(cost) / 1e9 / sample_weight, toString(currency) FROM call_costs FINAL"
        " WHERE trace_id = {trace_id:String} AND timestamp >= fromUnixTimestamp64Nano({start:Int64})"
        " AND timestamp < fromUnixTimestamp64Nano({end:Int64}) AND isNotNull(cost)",
        parameters={**parameters, "start": start_ns - HOUR_NS, "end": end_ns + HOUR_NS},
    ).result_rows
    known = {str(span_id): (float(cost), str(currency)) for span_id, cost, currency in costs}
    # What the ledger does not know yet, the emitter may have said.
    frame["cost"] = [
        known.get(span, (cost, ""))[0] for span, cost in zip(frame["span_id"], frame["cost_usd"], strict=True)
    ]
    frame["currency"] = [known.get(span, (None, "USD"))[1] for span in frame["span_id"]]
    return frame


def alerts_of(client: Client, calls: pd.DataFrame, start_ns: int, end_ns: int) -> tuple[Alert, ...]:
    """Alerts of the time, by their events: each is active from its first event to the one that ends it."""
    rows = client.query(
        "SELECT toString(rule), toUnixTimestamp64Milli(active_at) AS began, any(grp), any(`where`), argMax(condition, at),"
        " toUnixTimestamp64Milli(maxOrNullIf(at, state = 'inactive'))"
        " FROM alert_events FINAL WHERE at >= fromUnixTimestamp64Nano({since:Int64}) AND at < fromUnixTimestamp64Nano({until:Int64})"
        " GROUP BY rule, fingerprint, active_at HAVING has(groupArray(toString(state)), 'firing') ORDER BY began LIMIT 200",
        parameters={"since": start_ns - 24 * HOUR_NS, "until": end_ns + 24 * HOUR_NS},
    ).result_rows
    found = []
    for rule, began, group, where, condition, ended in rows:
        active = began * 10**6 <= end_ns and (ended is None or ended * 10**6 >= start_ns)
        wanted = {**{key: [value] for key, value in group.items()}, **where}
        # What the trace does not tell of its calls is not held against it.
        known = {key: values for key, values in wanted.items() if key in calls.columns}
        if active and any(
            all(call[key] in values for key, values in known.items()) for call in calls.to_dict("records")
        ):
            found.append(Alert(rule=rule, condition=condition, began=datetime.fromtimestamp(began / 1000, UTC)))
    return tuple(found)


_JUDGEMENTS: Final = ("name", "score", "label", "source", "evaluator", "explanation", "span_id")
_FEEDBACK: Final = ("kind", "value", "comment", "span_id")


def _said(
    client: Client, table: str, columns: tuple[str, ...], trace_id: str, answers: list[str], start_ns: int
) -> pd.DataFrame:
    rows = client.query(
        f"SELECT toUnixTimestamp64Milli(timestamp) AS at, {', '.join(columns)} FROM {table} FINAL"
        " WHERE timestamp >= fromUnixTimestamp64Nano({since:Int64}) AND (trace_id = {trace_id:String}"
        " OR (trace_id = '' AND response_id != '' AND response_id IN {answers:Array(String)}))"
        f" ORDER BY timestamp DESC LIMIT {ROWS_MAX}",
        parameters={"since": start_ns - HOUR_NS, "trace_id": trace_id, "answers": answers[:50]},
    ).result_rows
    return pd.DataFrame(rows, columns=["at", *columns])
