"""What was found by itself in the time of a report: alerts that fired, features that drifted, gaps between cohorts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from monitor.kpis import Window
from monitor.store import Client

ROWS_MAX: Final = 15
# An episode that began longer before the window than this, and has had no event since, is not seen.
_LOOK_BACK: Final = "INTERVAL 60 DAY"
_BETWEEN: Final = "window_end > {start:DateTime64(6, 'UTC')} AND window_end <= {end:DateTime64(6, 'UTC')}"


@dataclass(frozen=True, kw_only=True)
class Fired:
    """A rule: how often it fired (`fired` episodes of `groups` groups), how long in all, and what people said of it."""

    rule: str
    severity: str
    fired: int
    groups: int
    firing_s: float
    last: datetime
    goes_on: bool
    wrong: int
    summary: str


@dataclass(frozen=True, kw_only=True)
class Drifted:
    """A feature: at how many of its looks it had drifted, since when, and its effect at the worst of them."""

    feature: str
    place: str
    drifted: int
    looks: int
    first: datetime
    goes_on: bool
    value: float | None
    threshold: float
    method: str
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A metric that differed between groups of a cohort beyond its tolerance: at how many looks, and the last of them."""

    metric: str
    cohort: str
    gap: str
    place: str
    unfair: int
    looks: int
    goes_on: bool
    worst: str
    best: str
    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """Everything that was found; the counts say how much was looked at, so that nothing found and nothing looked at differ."""

    alerts: tuple[Fired, ...]
    drift: tuple[Drifted, ...]
    gaps: tuple[Gap, ...]
    rules: int
    features: int
    compared: int


def find(client: Client, window: Window) -> Found:
    """Ask the store for it; each list holds the `ROWS_MAX` that matter most."""
    features, compared, rules = (
        int(client.query(query, parameters={"start": window.start, "end": window.end}).result_rows[0][0])
        for query in (
            f"SELECT uniqExact(service, model, feature) FROM drift_results FINAL WHERE {_BETWEEN}",
            f"SELECT uniqExact(service, model, cohort, metric) FROM bias_results FINAL WHERE gap != '' AND {_BETWEEN}",
            "SELECT count() FROM alert_health FINAL",
        )
    )
    return Found(
        alerts=_alerts(client, window),
        drift=_drift(client, window),
        gaps=_gaps(client, window),
        rules=rules,
        features=features,
        compared=compared,
    )


def _alerts(client: Client, window: Window) -> tuple[Fired, ...]:
    """Rules with an episode that touches the window, the most severe and longest first."""
    fired = "state IN ('firing', 'no_data', 'error')"
    rows = client.query(
        "WITH {start:DateTime64(6, 'UTC')} AS start, {end:DateTime64(6, 'UTC')} AS end"
        " SELECT rule, argMax(severity, began) AS severe, count(), uniqExact(fingerprint),"
        " sum(dateDiff('millisecond', greatest(began, start), if(over, ended, end))) / 1000 AS firing_s, max(began),"
        " countIf(NOT over), countIf(mark = 'false'), argMax(summary, began)"
        " FROM (SELECT rule, fingerprint, active_at, argMax(severity, at) AS severity,"
        f" minIf(at, {fired}) AS began, maxIf(at, state IN ('resolved', 'inactive')) AS ended, ended >= began AS over,"
        f" argMaxIf(summary, at, {fired}) AS summary"
        f" FROM alert_events FINAL WHERE at >= start - {_LOOK_BACK} AND at <= end GROUP BY rule, fingerprint, active_at"
        f" HAVING countIf({fired}) > 0 AND (NOT over OR ended >= start)) AS episodes"
        " LEFT JOIN (SELECT fingerprint, active_at, mark FROM alert_marks FINAL WHERE kind = 'verdict') AS marks"
        " USING (fingerprint, active_at) GROUP BY rule"
        " ORDER BY indexOf(['info', 'warning', 'critical'], lower(severe)) DESC, firing_s DESC"
        f" LIMIT {ROWS_MAX}",
        parameters={"start": window.start, "end": window.end},
    ).result_rows
    return tuple(
        Fired(
            rule=str(rule), severity=str(severity), fired=int(count), groups=int(groups), firing_s=float(firing_s),
            last=_aware(last), goes_on=bool(now), wrong=int(wrong), summary=str(summary),
        )
        for rule, severity, count, groups, firing_s, last, now, wrong, summary in rows
    )  # fmt: skip


def _drift(client: Client, window: Window) -> tuple[Drifted, ...]:
    """Features that had drifted at a look, those that matter most first."""
    rows = client.query(
        "SELECT feature, service, model, countIf(drifted) AS times, count(), minIf(window_end, drifted),"
        " argMax(drifted, window_end) AS still, argMaxIf(value, coalesce(value, 0) / greatest(threshold, 1e-9), drifted),"
        " argMaxIf(threshold, coalesce(value, 0) / greatest(threshold, 1e-9), drifted),"
        " argMaxIf(toString(method), coalesce(value, 0) / greatest(threshold, 1e-9), drifted),"
        " argMaxIf(verdict, coalesce(value, 0) / greatest(threshold, 1e-9), drifted)"
        f" FROM drift_results FINAL WHERE {_BETWEEN} GROUP BY feature, service, model HAVING times > 0"
        f" ORDER BY still DESC, argMaxIf(rank, window_end, drifted), times DESC, feature LIMIT {ROWS_MAX}",
        parameters={"start": window.start, "end": window.end},
    ).result_rows
    return tuple(
        Drifted(
            feature=str(feature), place=_place(service, model), drifted=int(times), looks=int(looks), first=_aware(first),
            goes_on=bool(still), value=value, threshold=float(threshold), method=str(method), verdict=str(verdict),
        )
        for feature, service, model, times, looks, first, still, value, threshold, method, verdict in rows
    )  # fmt: skip


def _gaps(client: Client, window: Window) -> tuple[Gap, ...]:
    """Gaps with an alert at a look, those that go on first."""
    unfair = "verdict = 'alert'"
    last = ", ".join(f"argMaxIf({name}, window_end, {unfair})" for name in ("worst", "best"))
    # A NULL would be passed over for an older number.
    ends = ", ".join(f"argMaxIf(tuple({name}), window_end, {unfair}).1" for name in ("value", "low", "high"))
    rows = client.query(
        f"SELECT metric, cohort, gap, service, model, countIf({unfair}) AS times, count(), argMax({unfair}, window_end) AS still,"
        f" {last}, {ends}, argMaxIf(n, window_end, {unfair})"
        f" FROM bias_results FINAL WHERE gap != '' AND {_BETWEEN} GROUP BY metric, cohort, gap, service, model HAVING times > 0"
        f" ORDER BY still DESC, times DESC, metric, cohort, gap LIMIT {ROWS_MAX}",
        parameters={"start": window.start, "end": window.end},
    ).result_rows
    return tuple(
        Gap(
            metric=str(metric), cohort=str(cohort), gap=str(gap), place=_place(service, model), unfair=int(times),
            looks=int(looks), goes_on=bool(still), worst=str(worst), best=str(best), value=value, low=low, high=high, n=int(n),
        )
        for metric, cohort, gap, service, model, times, looks, still, worst, best, value, low, high, n in rows
    )  # fmt: skip


def _place(service: str, model: str) -> str:
    return ", ".join(part for part in (str(service), str(model)) if part) or "all calls"


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
