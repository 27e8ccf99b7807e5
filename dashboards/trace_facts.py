"""What the store knows of the model calls of one trace beside its spans: tokens, cost, judgements, feedback, datasets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboards import store
from monitor.store import Client
from monitor.store.calls import calls_source
from monitor.store.datasets import datasets_with

HOUR_NS: Final = 3600 * 10**9
ROWS_MAX: Final = 500
_CALLS: Final = (
    "span_id", "service", "model", "variant", "node", "input_tokens", "cached_tokens", "output_tokens", "ttft_s",
    "duration_s", "finish_reason", "error_type", "cost_usd", "request_id", "prompt", "completion",
)  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """`calls`: one row each, `cost` in `currency`; `judgements` and `feedback`: one row each, newest first."""

    calls: pd.DataFrame
    judgements: pd.DataFrame
    feedback: pd.DataFrame
    datasets: tuple[str, ...]


@st.cache_data(ttl=5, max_entries=50, show_spinner=False)
def trace_facts(url: str, trace_id: str, start_ns: int, end_ns: int) -> Facts:
    """Facts of the trace with spans begun from `start_ns` to `end_ns`."""
    with store.reading() as client:
        calls = _calls(client, trace_id, start_ns, end_ns)
        answers = [str(each) for each in calls["request_id"] if each]
        return Facts(
            calls=calls,
            judgements=_said(client, "evaluations", _JUDGEMENTS, trace_id, answers, start_ns),
            feedback=_said(client, "engagement_events", _FEEDBACK, trace_id, answers, start_ns),
            datasets=tuple(datasets_with(client, trace_id)),
        )


def _calls(client: Client, trace_id: str, start_ns: int, end_ns: int) -> pd.DataFrame:
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
