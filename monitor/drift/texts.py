"""Texts at one look: a classifier tells today's prompts from those of the reference, and names the words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from monitor.drift.plan import DAY_S, WEEK_S, Plan, window_of
from monitor.drift.sampled import TEXTS, compare_captured
from monitor.kpis import Window
from monitor.kpis.dimensions import where_sql
from monitor.kpis.sources.question import between
from monitor.stats.drift import Drift
from monitor.store import Client

ROWS: Final = 1000  # of each side: a second of work, and enough to tell an area of 0.6 from chance


def text_drifts(
    client: Client, plan: Plan, where: Mapping[str, tuple[str, ...]], start_s: int
) -> Iterator[tuple[Drift, Window]]:
    """Drift of each captured text, with the window that it was held against."""
    names = [name for name in TEXTS if plan.watches(name)]
    current = window_of(start_s, plan.window_s)
    names = [name for name in names if _captured(client, name, current, where) >= plan.rows_min]
    for name in names:
        for before in _references(plan, start_s):
            if _captured(client, name, before, where) < plan.rows_min:
                continue
            for found in compare_captured(client, before, current, [name], where, rows=ROWS):
                yield replace(found, threshold=plan.text_threshold), before
            break


def _references(plan: Plan, start_s: int) -> list[Window]:
    """The first that has enough texts is taken."""
    if plan.reference == "pinned":
        assert plan.pinned is not None
        return [plan.pinned]
    if plan.reference == "previous":
        length = min(plan.rolling_s, max(DAY_S, plan.window_s))
        return [window_of(start_s - length, length)]
    return [window_of(start_s - back, plan.window_s) for back in (WEEK_S, max(DAY_S, plan.window_s))]


def _captured(client: Client, name: str, window: Window, where: Mapping[str, tuple[str, ...]]) -> int:
    condition, parameters = where_sql(where)
    query = (
        f"SELECT countIf({name} != '') FROM inferences WHERE {between(window.start_ns, window.end_ns)} AND {condition}"
    )
    return int(client.query(query, parameters=parameters).result_rows[0][0])
