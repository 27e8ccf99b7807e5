"""What charts show beside their lines: changes from outside, thresholds of rules, and when those fired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from dashboards import facts, findings
from dashboards.alerting import rulebook
from dashboards.charts import Firing, Marker, Threshold, Watched
from dashboards.data import Where
from dashboards.tables import records
from dashboards.wording import group_text
from monitor.kpis import Window

MARKERS_MAX: Final = 40


def watched(names: Sequence[str], window: Window, where: Where) -> Watched:
    """For a chart of these KPIs over this time, of the calls that pass this filter."""
    found = facts.changes(window, where)[-MARKERS_MAX:]
    return Watched(
        markers=[Marker(at=change.timestamp, title=f"{change.kind}: {change.title}") for change in found],
        thresholds=thresholds(names, where, rulebook.evaluated()) if names else [],
        firing=firing(names, window, where, findings.firing(window)) if names else [],
    )


def thresholds(names: Sequence[str], where: Where, rules: Sequence[Mapping[str, Any]]) -> list[Threshold]:
    """Thresholds of the rules that watch one of these KPIs, of calls that are shown."""
    return [
        Threshold(value=float(bound), rule=str(rule["name"]))
        for rule in rules
        if rule["kpi"] in names and concerns(rule["where"], where)
        for bound in rule["thresholds"]
    ]


def firing(names: Sequence[str], window: Window, where: Where, known: pd.DataFrame) -> list[Firing]:
    """Times in which such a rule fired for calls that are shown."""
    return merged(
        [
            Firing(
                start=row.start.to_pydatetime(),
                end=window.end if pd.isna(row.end) else row.end.to_pydatetime(),
                rule=named(str(row.rule), row.grp),
            )
            for row in records(known)
            if row.kpi in names and concerns(about(row.grp, row.where), where)
        ],
        window,
    )


def merged(firing: Sequence[Firing], window: Window) -> list[Firing]:
    """The times within the window, each shaded once, however many fire in it; `rule` names all of them."""
    found: list[Firing] = []
    for each in sorted(firing, key=lambda each: each.start):
        start, end = max(each.start, window.start), min(each.end, window.end)
        if end <= start:
            continue
        if found and start <= found[-1].end:
            names = [*found[-1].rule.split(", "), each.rule]
            found[-1] = Firing(start=found[-1].start, end=max(end, found[-1].end), rule=", ".join(dict.fromkeys(names)))
        else:
            found.append(Firing(start=start, end=end, rule=each.rule))
    return found


def about(group: Mapping[str, str], where: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Which calls an alert is about: its rule's filter, narrowed to its group."""
    return {key: list(values) for key, values in where.items()} | {key: [value] for key, value in group.items()}


def concerns(mine: Mapping[str, Sequence[str]], where: Where) -> bool:
    """Whether any call can be of both."""
    return all(set(mine[key]) & set(values) for key, values in where if mine.get(key))


def named(rule: str, group: Mapping[str, str]) -> str:
    """A rule with its group, for people."""
    return f"{rule} ({' · '.join(group_text(value) for value in group.values())})" if group else rule
