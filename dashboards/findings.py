"""What jobs found: drift, gaps between cohorts, alerts. Empty where a store has no such results yet."""

from __future__ import annotations

from typing import Final

import pandas as pd

from dashboards.data import kept
from monitor.kpis import Window
from monitor.store import Client

ROWS_MAX: Final = 1000
_LOOK_BACK: Final = "INTERVAL 8 DAY"
# States in which people are told.
ALARMING: Final = "('firing', 'no_data', 'error')"

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
    "fingerprint": "fingerprint",
    "state": "toString(state)",
    "since": "since",
    "active_at": "active_at",
    "fired_at": "fired_at",
    "evaluated_at": "evaluated_at",
    "window_start": "window_start",
    "window_end": "window_end",
    "severity": "toString(severity)",
    "kpi": "toString(kpi)",
    "unit": "toString(unit)",
    "value": "value",
    "low": "low",
    "high": "high",
    "n": "n",
    "threshold": "threshold",
    "condition": "condition",
    "summary": "summary",
    "reason": "reason",
    "runbook": "runbook",
    "receivers": "receivers",
    "labels": "labels",
    "grp": "grp",
    "where": "`where`",
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
        f"SELECT {_list(_ALERTS)} FROM alert_state FINAL WHERE state != 'inactive' ORDER BY since LIMIT {ROWS_MAX}"
    ).result_rows
    frame = pd.DataFrame(rows, columns=list(_ALERTS))
    for name in ("since", "active_at", "fired_at", "evaluated_at", "window_start", "window_end"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame.astype(dict.fromkeys(("value", "low", "high", "threshold"), "float64"))


_SPELLS: Final = {
    "rule": "rule",
    "fingerprint": "fingerprint",
    "active_at": "active_at",
    "kpi": "any(toString(kpi))",
    "unit": "any(toString(unit))",
    "severity": "argMax(toString(severity), at)",
    "labels": "any(labels)",
    "grp": "any(grp)",
    "where": "any(`where`)",
    "condition": "argMax(condition, at)",
    "summary": f"argMinIf(summary, at, state IN {ALARMING})",
    "value": f"argMinIf(value, at, state IN {ALARMING})",
    "threshold": f"argMinIf(threshold, at, state IN {ALARMING})",
    "start": f"minIf(at, state IN {ALARMING})",
    "end": "maxIf(at, state IN ('inactive', 'pending') AND before IN ('firing', 'no_data', 'error', 'recovering'))",
}
SPELLS_MAX: Final = 1000


@kept
def firing(client: Client, window: Window) -> pd.DataFrame:
    """Alerts that touch the window, the oldest first; an `end` of NaT: it goes on. Columns as in `_SPELLS`."""
    columns = list(_SPELLS)
    if not _exists(client, "alert_events"):
        return pd.DataFrame(columns=columns)
    rows = client.query(
        f"SELECT {_list(_SPELLS)} FROM alert_events FINAL"
        " WHERE at >= {start:DateTime64(6, 'UTC')} - INTERVAL 30 DAY AND at < {end:DateTime64(6, 'UTC')}"
        f" GROUP BY rule, fingerprint, active_at HAVING countIf(state IN {ALARMING}) > 0"
        f" AND (`end` < `start` OR `end` >= {{start:DateTime64(6, 'UTC')}}) ORDER BY `start` DESC LIMIT {SPELLS_MAX}",
        parameters={"start": window.start, "end": window.end},
    ).result_rows
    frame = pd.DataFrame(reversed(rows), columns=columns)
    for name in ("active_at", "start", "end"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    # The greatest of no moment is 1970.
    frame["end"] = frame["end"].where(frame["end"] >= frame["start"])
    return frame.astype({"value": "float64", "threshold": "float64"})


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
