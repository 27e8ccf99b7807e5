"""Holding groups of users against each other again and again: what the job `bias` does, without a clock.

Intervals that are shown hold with 95 %. Verdicts are by wider ones, which hold for all gaps of the look and for all looks
of thirty days at once (Bonferroni), so that looking every hour alarms no more often than looking once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from monitor.bias.window import dimension_of, families_from_store
from monitor.kpis import Window
from monitor.kpis.dimensions import dimension_sql, where_sql
from monitor.kpis.sources.moderated import IS_REFUSED
from monitor.kpis.sources.question import between
from monitor.stats.bias import Family, Gap, GroupValue, Options, assess
from monitor.store import Client
from monitor.store.calls import calls_source

HELD_S: Final = 30 * 86400  # time over which false alarms are held down
KEYS_MAX: Final = 10
VALUES_MAX: Final = 50  # a cohort of more values is an id
TRACES_MAX: Final = 5
_BAD: Final = {"refusal": f"{IS_REFUSED} AND error_type = ''", "error": "error_type != ''"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is compared, as configured; see `cohorts` in the settings."""

    keys: tuple[str, ...] = ()
    together: tuple[tuple[str, ...], ...] = ()
    off: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ("error", "refusal", "latency", "correct", "thumbs_up")
    windows_s: tuple[int, ...] = (3600, 6 * 3600, 86400)
    tolerance: float = 0.05
    tolerances: Mapping[str, float] = field(default_factory=dict)
    ratio_tolerance: float = 0.0
    min_n: int = 30
    split: tuple[str, ...] = ()
    groups_max: int = 20
    alpha: float = 0.05
    every_s: int = 3600
    grace_s: int = 300


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A gap as it is shown, and as it is judged: by an interval that holds over all gaps and looks."""

    shown: Gap
    strict: Gap
    n: int
    traces: tuple[str, ...] = ()


def run_looks(client: Client, plan: Plan, *, now: datetime) -> int:
    """Make the newest look, unless it is there; how many rows were written.

    Looks that were missed are not made up: the newest one is over the time of those before it.
    """
    end_s = int(now.timestamp() - plan.grace_s) // plan.every_s * plan.every_s
    end = datetime.fromtimestamp(end_s, UTC)
    rows: list[dict[str, Any]] = []
    for window_s in plan.windows_s:
        if _last_look(client, window_s) >= end_s:
            continue
        window = Window(end - timedelta(seconds=window_s), end)
        for group, where in _groups(client, plan, window):
            values, gaps = look(client, plan, window, where)
            rows += [{**_shared(end, window_s, group), **_value_row(value)} for value in values]
            rows += [{**_shared(end, window_s, group), **_gap_row(gap)} for gap in gaps]
    if rows:
        version = int(client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows[0][0])
        client.insert(
            "bias_results",
            [[*row.values(), version] for row in rows],
            column_names=[*rows[0], "version"],
        )
    return len(rows)


def look(
    client: Client, plan: Plan, window: Window, where: Mapping[str, tuple[str, ...]]
) -> tuple[list[GroupValue], list[Judged]]:
    """The groups' values, and the gaps between them, over one window with calls."""
    by = [(key,) for key in _keys(client, plan, window, where)] + list(plan.together)
    if not by:
        return [], []
    families, _ = families_from_store(client, window, by=by, where=where, outcomes=plan.outcomes)
    families = list({family.by: family for family in families}.values())
    values = list(assess(families, Options(min_n=plan.min_n)).values)
    measures = sum(len(family.measures) for family in families)
    # Differences, worst groups and, where they may alarm, ratios.
    comparisons = measures * (3 if plan.ratio_tolerance else 2) * len(plan.windows_s)
    looks = HELD_S / plan.every_s
    level = 1 - plan.alpha / (looks * max(1, comparisons))
    gaps = [
        judged
        for family in families
        for measure in family.measures
        for judged in _gaps(family, measure.name, plan, level)
    ]
    return values, [replace(each, traces=_examples(client, window, where, each.strict)) for each in gaps]


def _gaps(family: Family, metric: str, plan: Plan, level: float) -> Iterator[Judged]:
    alone = replace(family, measures=tuple(each for each in family.measures if each.name == metric))
    options = Options(
        tolerance=plan.tolerances.get(metric, plan.tolerance), ratio_tolerance=plan.ratio_tolerance, min_n=plan.min_n
    )
    report = assess([alone], options)
    shown, n = report.gaps, sum(value.n for value in report.values if value.sufficient)
    strict = assess([alone], replace(options, level=level)).gaps
    for one, other in zip(shown, strict, strict=True):
        if one.gap != "ratio" or plan.ratio_tolerance:
            yield Judged(shown=one, strict=other, n=n)


def _examples(client: Client, window: Window, where: Mapping[str, tuple[str, ...]], gap: Gap) -> tuple[str, ...]:
    """Newest traces of what happened to the group that fares worst, of alerts."""
    if gap.verdict != "alert" or gap.metric not in _BAD or "," in gap.by:
        return ()
    condition, parameters = where_sql(where)
    dimension = dimension_sql(dimension_of(client, window, gap.by))
    named = f"if({dimension} = '', 'unknown', {dimension}) AS named"
    query = (
        f"SELECT trace_id, {named} FROM {calls_source(client, window.start_ns, window.end_ns)}"
        f" WHERE {condition} AND {_BAD[gap.metric]} AND named = {{worst:String}}"
        f" ORDER BY timestamp DESC LIMIT {TRACES_MAX}"
    )
    rows = client.query(query, parameters={**parameters, "worst": gap.worst}).result_rows
    return tuple(str(trace) for trace, _ in rows)


def _keys(client: Client, plan: Plan, window: Window, where: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The cohorts to compare that calls of this window have."""
    condition, parameters = where_sql(where)
    rows = client.query(
        f"SELECT pair.1 AS key, count() AS calls, uniq(pair.2) AS groups FROM inferences"
        " ARRAY JOIN arrayZip(mapKeys(cohorts), mapValues(cohorts)) AS pair"
        f" WHERE {between(window.start_ns, window.end_ns)} AND {condition} GROUP BY key ORDER BY calls DESC, key",
        parameters=parameters,
    ).result_rows
    seen = {str(key): int(groups) for key, _, groups in rows}
    if plan.keys:
        return [key for key in plan.keys if key in seen and key not in plan.off]
    return [key for key, groups in seen.items() if key not in plan.off and groups <= VALUES_MAX][:KEYS_MAX]


def _groups(client: Client, plan: Plan, window: Window) -> list[tuple[tuple[str, str], Mapping[str, tuple[str, ...]]]]:
    """Services and models to judge each by itself, with calls in the window."""
    names = [dimension_sql(name) if name in plan.split else "''" for name in ("service", "model")]
    rows = client.query(
        f"SELECT {names[0]} AS first, {names[1]} AS second, count() AS calls FROM inferences"
        f" WHERE {between(window.start_ns, window.end_ns)} GROUP BY first, second ORDER BY calls DESC, first, second"
        f" LIMIT {plan.groups_max if plan.split else 1}"
    ).result_rows
    found: list[tuple[tuple[str, str], Mapping[str, tuple[str, ...]]]] = []
    for service, model, _ in rows:
        pairs = {"service": (str(service),), "model": (str(model),)}
        found.append(((str(service), str(model)), {name: pairs[name] for name in plan.split}))
    return found


def _last_look(client: Client, window_s: int) -> int:
    return int(
        client.query(
            f"SELECT toUnixTimestamp(max(window_end)) FROM bias_results WHERE window_s = {window_s}"
        ).result_rows[0][0]
        or 0
    )


def _shared(end: datetime, window_s: int, group: Sequence[str]) -> dict[str, Any]:
    return {"window_end": end, "window_s": window_s, "service": group[0], "model": group[1]}


def _value_row(value: GroupValue) -> dict[str, Any]:
    return {
        "cohort": value.by,
        "metric": value.metric,
        "gap": "",
        "grp": value.group,
        "worst": "",
        "best": "",
        "value": value.value,
        "low": value.low,
        "high": value.high,
        "strict_low": None,
        "strict_high": None,
        "corrected": value.shrunk,
        "n": value.n,
        "n_groups": 0,
        "sufficient": value.sufficient,
        "p_value": value.p_value,
        "q_value": value.q_value,
        "tolerance": None,
        "verdict": "" if value.sufficient else "insufficient",
        "reason": value.direction,
        "traces": [],
        "note": value.note,
    }


def _gap_row(judged: Judged) -> dict[str, Any]:
    shown, strict = judged.shown, judged.strict
    return {
        "cohort": shown.by,
        "metric": shown.of,
        "gap": shown.gap,
        "grp": "",
        "worst": shown.worst,
        "best": shown.best,
        "value": shown.value,
        "low": shown.low,
        "high": shown.high,
        "strict_low": strict.low,
        "strict_high": strict.high,
        "corrected": shown.corrected,
        "n": judged.n,
        "n_groups": shown.groups,
        "sufficient": shown.verdict != "insufficient",
        "p_value": None,
        "q_value": None,
        "tolerance": shown.tolerance,
        "verdict": strict.verdict,
        "reason": strict.reason,
        "traces": list(judged.traces),
        "note": "",
    }
