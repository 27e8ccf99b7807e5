"""What pages show beside KPIs: changes, objectives, the ledger, nodes, cohorts, jobs and tables. Each answer is kept some seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pandas as pd

from dashboards.data import Where, kept
from monitor.kpis import Window
from monitor.kpis.balance import HotOf
from monitor.kpis.balance import find_hot_nodes as _find_hot_nodes
from monitor.kpis.balance import node_loads as _node_loads
from monitor.kpis.dimensions import where_sql
from monitor.kpis.latency_map import Places
from monitor.kpis.latency_map import compare_places as _compare_places
from monitor.kpis.latency_map import latency_heatmap as _latency_heatmap
from monitor.kpis.retention import retention as _retention
from monitor.store import Client
from monitor.store.changes import Change, changes_between
from monitor.store.objectives import Objective, read_objectives

ROWS_MAX: Final = 500
NANO: Final = 1e9
# Columns of `node_hours` and `cost_budgets` that a filter may name.
LEDGER_KEYS: Final = (
    "service",
    "environment",
    "deployment",
    "region",
    "node",
    "provider",
    "model",
    "variant",
    "release",
)


@kept
def changes(client: Client, window: Window, where: Where = ()) -> list[Change]:
    """Changes in the window that concern what is shown, oldest first."""
    found = changes_between(client, window.start, window.end)
    return [change for change in found if concerns(change, where)]


def concerns(change: Change, where: Where) -> bool:
    """Whether a change may have touched any call that passes the filter."""
    return all(set(change.where[key]) & set(values) for key, values in where if change.where.get(key))


@kept
def objectives(client: Client) -> dict[str, Objective]:
    """Name -> what is promised now."""
    return {name: versions[-1].objective for name, versions in read_objectives(client).items()}


@kept
def hot_nodes(client: Client, window: Window, where: Where = ()) -> list[HotOf]:
    return _find_hot_nodes(client, window=window, where=dict(where))


@kept
def node_loads(client: Client, window: Window, where: Where = ()) -> pd.DataFrame:
    return _node_loads(client, window=window, where=dict(where))


@kept
def latency_map(client: Client, latency: str, window: Window, step_s: float, where: Where = ()) -> pd.DataFrame:
    return _latency_heatmap(client, latency, window=window, step_s=step_s, where=dict(where))


@kept
def places(client: Client, latency: str, window: Window, dimension: str, where: Where = ()) -> Places:
    return _compare_places(client, latency, window=window, dimension=dimension, where=dict(where))


@kept
def cohorts(client: Client, window: Window, days: int, where: Where = ()) -> pd.DataFrame:
    return _retention(client, window=window, days=days, where=dict(where))


@kept
def ledger(client: Client, window: Window, where: Where = ()) -> pd.DataFrame:
    """Machines over the window's hours: `node, gpu, kind, hours, busy_hours, cost, idle, currency`, the dearest first."""
    condition, parameters = where_sql({key: values for key, values in where if key in LEDGER_KEYS})
    columns = ["node", "gpu", "kind", "hours", "busy_hours", "cost", "idle", "currency"]
    rows = client.query(
        "SELECT node, any(gpu), any(pricing), sum(minutes) / 60, sum(busy) / 60, sum(cost) / 1e9 AS paid, sum(idle) / 1e9, any(currency)"
        f" FROM node_hours FINAL WHERE hour >= {{since:DateTime('UTC')}} AND hour < {{until:DateTime('UTC')}} AND {condition}"
        f" GROUP BY node ORDER BY paid DESC, node LIMIT {ROWS_MAX}",
        parameters={**parameters, "since": window.start, "until": window.end},
    ).result_rows
    return pd.DataFrame(rows, columns=columns)


@kept
def budgets(client: Client, month: datetime) -> pd.DataFrame:
    """Budgets of a month: `name, amount, spent, forecast, low, high, method, note, currency`, money in whole units."""
    columns = ["name", "amount", "spent", "forecast", "low", "high", "method", "note", "currency"]
    rows = client.query(
        "SELECT name, amount / 1e9, spent / 1e9, forecast, low, high, method, note, currency"
        f" FROM cost_budgets FINAL WHERE month = {{month:Date}} ORDER BY name LIMIT {ROWS_MAX}",
        parameters={"month": month.date().replace(day=1)},
    ).result_rows
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype(dict.fromkeys(columns[1:6], "float64"))


@kept
def unpriced(client: Client, window: Window, where: Where = ()) -> pd.DataFrame:
    """Calls without a cost: `provider, model, node, reason, calls`, most first."""
    condition, parameters = where_sql(dict(where))
    rows = client.query(
        "SELECT provider, model, node, reason, sum(sample_weight) AS calls FROM call_costs FINAL"
        " WHERE isNull(cost) AND timestamp >= fromUnixTimestamp64Nano({since:Int64})"
        f" AND timestamp < fromUnixTimestamp64Nano({{until:Int64}}) AND {condition}"
        " GROUP BY provider, model, node, reason ORDER BY calls DESC LIMIT 50",
        parameters={**parameters, "since": window.start_ns, "until": window.end_ns},
    ).result_rows
    return pd.DataFrame(rows, columns=["provider", "model", "node", "reason", "calls"])


@kept
def dear_users(client: Client, window: Window, where: Where = ()) -> pd.DataFrame:
    """Users whose calls cost most: `user, cost, calls, tokens, currency`."""
    condition, parameters = where_sql(dict(where))
    rows = client.query(
        "SELECT user_id, sum(cost) / 1e9 AS paid, sum(sample_weight), sum(sample_weight * (ifNull(input_tokens, 0)"
        " + ifNull(output_tokens, 0))), any(currency) FROM call_costs FINAL WHERE user_id != '' AND isNotNull(cost)"
        " AND timestamp >= fromUnixTimestamp64Nano({since:Int64})"
        f" AND timestamp < fromUnixTimestamp64Nano({{until:Int64}}) AND {condition}"
        " GROUP BY user_id ORDER BY paid DESC LIMIT 20",
        parameters={**parameters, "since": window.start_ns, "until": window.end_ns},
    ).result_rows
    return pd.DataFrame(rows, columns=["user", "cost", "calls", "tokens", "currency"])


@kept
def score_names(client: Client) -> list[str]:
    """Names of scores that evaluations of the last 30 days have."""
    rows = client.query(
        "SELECT DISTINCT name FROM evaluations WHERE isNotNull(score) AND timestamp > now() - INTERVAL 30 DAY ORDER BY name LIMIT 50"
    ).result_rows
    return [str(row[0]) for row in rows]


@kept
def cohort_keys(client: Client, window: Window) -> list[str]:
    """Names of cohorts that calls of the window have (`language`), the most frequent first."""
    rows = client.query(
        "SELECT key, count() AS n FROM (SELECT arrayJoin(mapKeys(cohorts)) AS key FROM inferences"
        " WHERE timestamp >= fromUnixTimestamp64Nano({since:Int64}) AND timestamp < fromUnixTimestamp64Nano({until:Int64})"
        " AND notEmpty(cohorts) LIMIT 100000) GROUP BY key ORDER BY n DESC, key LIMIT 20",
        parameters={"since": window.start_ns, "until": window.end_ns},
    ).result_rows
    return [str(row[0]) for row in rows]


@kept
def has_table(client: Client, name: str) -> bool:
    return bool(client.command(f"EXISTS TABLE {name}"))


@kept
def job_runs(client: Client, days: int) -> pd.DataFrame:
    """Runs of jobs, the newest first: `job, state, started_at, duration_s, rows, note, error, worker`."""
    columns = ["job", "state", "started_at", "duration_s", "rows", "note", "error", "worker"]
    rows = client.query(
        f"SELECT {', '.join(columns)} FROM job_runs FINAL WHERE started_at > {{since:DateTime64(6, 'UTC')}}"
        " ORDER BY started_at DESC LIMIT 5000",
        parameters={"since": datetime.now(UTC) - timedelta(days=days)},
    ).result_rows
    frame = pd.DataFrame(rows, columns=columns)
    frame["started_at"] = pd.to_datetime(frame["started_at"], utc=True)
    return frame.astype({"duration_s": "float64"})
