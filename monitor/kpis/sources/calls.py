"""Model calls: one row each, however many parties reported it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from monitor.kpis.dimensions import DIMENSIONS, WHERE_KEYS, where_sql
from monitor.kpis.estimators import POPULATION
from monitor.kpis.sources.question import Question, Source, group_by, select_list
from monitor.store import Client
from monitor.store.calls import calls_source


def _build(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """Aggregates over calls: each call once, however many parties reported it."""
    condition, _ = where_sql(question.where)
    rows = calls_source(client, question.start_ns, question.end_ns)
    return f"SELECT {select_list(question.key_columns, ingredients)} FROM {rows} WHERE {condition}{group_by(question)}"


CALLS: Final = Source(
    name="calls",
    rows="calls: one row for each model call, however many parties reported it",
    nothing="no call in this window",
    dimensions=DIMENSIONS,
    where_keys=WHERE_KEYS,
    population=POPULATION,
    build=_build,
    cohorts=True,
)
