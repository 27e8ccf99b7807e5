"""What jobs found: drift, gaps between cohorts, alerts. Empty where a store has no such results yet."""

from __future__ import annotations

from typing import Final

import pandas as pd

from dashboards.data import kept
from monitor.kpis import Window
from monitor.store import Client

ROWS_MAX: Final = 1000
_LOOK_BACK: Final = "INTERVAL 8 DAY"

_DRIFT: Final = {
    "at": "window_end",
    "service": "service",
    "model": "model",
    "feature": "feature",
    "method": "method",
    "value": "value",
    "low": "low",
    "high": "high",
    "p_value": "p_value",
    "threshold": "threshold",
    "drifted": "drifted",
    "verdict": "verdict",
    "n_reference": "n_reference",
    "n_current": "n_current",
    "moved": "moved",
    "reference_traces": "reference_traces",
    "current_traces": "current_traces",
    "impact": "impact",
    "rank": "rank",
    "note": "note",
    "reference_start": "reference_start",
    "reference_end": "reference_end",
    "window_s": "window_s",
}
_BIAS: Final = {
    "at": "window_end",
    "service": "service",
    "model": "model",
    "cohort": "cohort",
    "metric": "metric",
    "gap": "gap",
    "worst": "worst",
    "best": "best",
    "value": "value",
    "low": "low",
    "high": "high",
    "n": "n",
    "verdict": "verdict",
    "reason": "reason",
    "tolerance": "tolerance",
    "traces": "traces",
    "note": "note",
}
_ALERTS: Final = {
    "rule": "rule",
    "state": "toString(state)",
    "since": "since",
    "severity": "toString(severity)",
    "kpi": "toString(kpi)",
    "unit": "toString(unit)",
    "value": "value",
    "threshold": "threshold",
    "summary": "summary",
    "runbook": "runbook",
    "labels": "labels",
}


@kept
def drift_looks(client: Client) -> pd.DataFrame:
    """The latest look at each feature, those that matter most first; columns as in `drift_results`, `at` is its end."""
    frame = _newest(client, "drift_results", _DRIFT, "service, model, feature, method")
    if frame.empty:
        return frame
    frame["drifted"] = frame["drifted"].astype(bool)
    return frame.sort_values(["drifted", "rank", "value"], ascending=[False, True, False], ignore_index=True)


@kept
def drift_history(client: Client, window: Window) -> pd.DataFrame:
    """Looks that ended in the window: `at, feature, method, service, model, value, low, high, threshold, drifted, n`."""
    columns = ["at", "feature", "method", "service", "model", "value", "low", "high", "threshold", "drifted", "n"]
    if not _exists(client, "drift_results"):
        return pd.DataFrame(columns=columns)
    rows = client.query(
        "SELECT window_end, feature, method, service, model, value, low, high, threshold, drifted, n_current FROM drift_results FINAL"
        " WHERE window_end >= {start:DateTime('UTC')} AND window_end <= {end:DateTime('UTC')}"
        " ORDER BY window_end LIMIT 20000",
        parameters={"start": window.start, "end": window.end},
    ).result_rows
    frame = pd.DataFrame(rows, columns=columns)
    frame["at"] = pd.to_datetime(frame["at"], utc=True)
    return frame.astype(dict.fromkeys(("value", "low", "high", "threshold"), "float64"))


@kept
def bias_gaps(client: Client) -> pd.DataFrame:
    """The latest look at each gap, those with an alert first; columns as in `bias_results`, and `unfair`."""
    frame = _newest(client, "bias_results", _BIAS, "service, model, cohort, metric, gap", "AND gap != ''")
    frame["unfair"] = [verdict == "alert" for verdict in frame["verdict"]]
    return frame.sort_values(["unfair", "metric", "cohort"], ascending=[False, True, True], ignore_index=True)


@kept
def alerts_now(client: Client) -> pd.DataFrame:
    """Instances of rules that are pending or fire, the longest first."""
    if not _exists(client, "alert_state"):
        return pd.DataFrame(columns=list(_ALERTS))
    rows = client.query(
        f"SELECT {_list(_ALERTS)} FROM alert_state FINAL WHERE state NOT IN ('inactive', 'resolved') ORDER BY since LIMIT {ROWS_MAX}"
    ).result_rows
    frame = pd.DataFrame(rows, columns=list(_ALERTS))
    frame["since"] = pd.to_datetime(frame["since"], utc=True)
    return frame


@kept
def thresholds(client: Client) -> pd.DataFrame:
    """Thresholds as rules met them lately: `kpi, rule, threshold`."""
    columns = ["kpi", "rule", "threshold"]
    if not _exists(client, "alert_events"):
        return pd.DataFrame(columns=columns)
    rows = client.query(
        "SELECT toString(kpi), rule, argMax(threshold, evaluated_at) FROM alert_state FINAL WHERE isNotNull(threshold) GROUP BY kpi, rule"
        f" LIMIT {ROWS_MAX}"
    ).result_rows
    return pd.DataFrame(rows, columns=columns)


@kept
def firing(client: Client, window: Window) -> pd.DataFrame:
    """Episodes that touch the window: `rule, kpi, start, end`; an end of NaT: it goes on."""
    columns = ["rule", "kpi", "start", "end"]
    if not _exists(client, "alert_events"):
        return pd.DataFrame(columns=columns)
    rows = client.query(
        "SELECT rule, any(toString(kpi)), minIf(at, state = 'firing') AS began, maxIf(at, state IN ('resolved', 'inactive')) AS ended"
        " FROM alert_events FINAL WHERE at >= {start:DateTime64(6, 'UTC')} - INTERVAL 7 DAY AND at < {end:DateTime64(6, 'UTC')}"
        " GROUP BY rule, fingerprint, active_at HAVING countIf(state = 'firing') > 0 ORDER BY began LIMIT 1000",
        parameters={"start": window.start, "end": window.end},
    ).result_rows
    frame = pd.DataFrame(rows, columns=columns)
    for name in ("start", "end"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    # The greatest of no moment is 1970.
    frame["end"] = frame["end"].where(frame["end"] >= frame["start"])
    return frame[frame["end"].isna() | (frame["end"] >= window.start)]


def _newest(client: Client, table: str, columns: dict[str, str], key: str, condition: str = "") -> pd.DataFrame:
    if not _exists(client, table):
        return pd.DataFrame(columns=list(columns))
    rows = client.query(
        f"SELECT {_list(columns)} FROM {table} FINAL WHERE window_end > now() - {_LOOK_BACK} {condition}"
        f" ORDER BY window_end DESC LIMIT 1 BY {key} LIMIT {ROWS_MAX}"
    ).result_rows
    frame = pd.DataFrame(rows, columns=list(columns))
    frame["at"] = pd.to_datetime(frame["at"], utc=True)
    return frame.astype({"value": "float64", "low": "float64", "high": "float64"})


def _exists(client: Client, table: str) -> bool:
    return bool(client.command(f"EXISTS TABLE {table}"))


def _list(columns: dict[str, str]) -> str:
    return ", ".join(f"{sql} AS `{name}`" if sql != name else name for name, sql in columns.items())
