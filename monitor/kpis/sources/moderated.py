"""Calls that were moderated, looked at for a refusal, or reported by a user; with the category of what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from monitor.kpis.dimensions import DIMENSIONS, WHERE_KEYS, where_sql
from monitor.kpis.estimators import POPULATION
from monitor.kpis.sources.outcomes import IS_BLOCKED, IS_FLAGGED, IS_MODERATION
from monitor.kpis.sources.question import Question, Source, group_by, select_list
from monitor.store import Client
from monitor.store.judged import judged_source

CATEGORY: Final = "category"
_WHERE: Final = f"{{where_{CATEGORY}:Array(String)}}"
# The decision on a whole text names the category of its gravest finding; each finding is named by its own.
_FOUND: Final = "if(startsWith(name, 'moderation.'), explanation, toString(name))"
_FINDINGS: Final = f"maxMapIf(map({_FOUND}, toUInt8({IS_BLOCKED})), {IS_FLAGGED} AND {_FOUND} != '')"
# Sums over moderated calls by what was found in them: of all findings, and of those that blocked.
CATEGORY_SUMS: Final = {
    f"{what}__{sum_}_by_category": f"sumMap(mapApply((c, b) -> (c, toFloat64({value})), {findings}))"
    for what, findings in (("found", "findings"), ("barred", "mapFilter((c, b) -> b > 0, findings)"))
    for sum_, value in (("n", "1"), ("w", "sample_weight"), ("ww", "sample_weight * sample_weight"))
}
# Name of a measure of moderated calls -> its sums by category.
_MEASURES: Final = {"safety_flagged": "found", "safety_blocked": "barred", "safety_pii": "found"}
_PII: Final = "({0} = 'pii' OR startsWith({0}, 'pii.'))"
# Finish reasons of answers that a filter or the model itself stopped.
STOPPED: Final = ("content_filter", "refusal", "safety", "content_filtered", "guardrail_intervened")
IS_REFUSED: Final = f"(lower(finish_reason) IN {STOPPED!r})"
_REFUSED_LABELS: Final = "('yes', 'true', '1', 'refusal', 'refused')"
_NO_REFUSAL_LABELS: Final = "('no', 'false', '0', 'answered', 'complied', 'not_refused')"
# SQL of an evaluation named `refusal`: 1, 0, or NULL where it says neither.
SAID_REFUSAL: Final = (
    f"multiIf(lower(label) IN {_REFUSED_LABELS}, 1, lower(label) IN {_NO_REFUSAL_LABELS}, 0,"
    " isNotNull(score), score >= 0.5, NULL)"
)


def _moderated(client: Client, question: Question) -> str:
    columns = {
        "flagged": f"countIf({IS_FLAGGED}) > 0",
        "blocked": f"countIf({IS_BLOCKED}) > 0",
        "findings": _FINDINGS,
    }
    return judged_source(
        client,
        question.start_ns,
        question.end_ns,
        condition=IS_MODERATION,
        columns=columns,
        late=False,
        every_call=False,
    )


def _build_moderated(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """Aggregates over moderated calls.

    By category, each category's calls stand over all moderated calls: those in which it was not found are in it too.
    """
    rows = _moderated(client, question)
    everything = replace(question, where={key: values for key, values in question.where.items() if key != CATEGORY})
    condition, _ = where_sql(everything.where)
    chosen = _WHERE if CATEGORY in question.where else ""
    if CATEGORY in question.by:
        return _by_category(rows, everything, condition, chosen, ingredients)
    if chosen:
        named = f"mapFilter((c, b) -> c IN {chosen}, findings) AS named"
        blocked = "arrayExists(b -> b > 0, mapValues(named))"
        rows = f"(SELECT * REPLACE(notEmpty(named) AS flagged, {blocked} AS blocked), {named} FROM {rows})"
        found = "named"
    else:
        found = "findings"
    rows = f"(SELECT *, arrayExists(c -> {_PII.format('c')}, mapKeys({found})) AS pii FROM {rows})"
    return f"SELECT {select_list(question.key_columns, ingredients)} FROM {rows} WHERE {condition}{group_by(question)}"


def _by_category(rows: str, question: Question, condition: str, chosen: str, ingredients: Mapping[str, str]) -> str:
    population = {name: sql for name, sql in ingredients.items() if name in POPULATION}
    others = {name: sql for name, sql in ingredients.items() if name not in POPULATION}
    # Keys but for the category's own.
    at = f"g{question.by.index(CATEGORY)}"
    columns = [column for column in question.key_columns if not column.endswith(f" AS {at}")]
    keys = [key for key in question.keys if key != at]
    wanted = f"AND {CATEGORY} IN {chosen}" if chosen else ""
    spread = f"""(SELECT * REPLACE(1 AS flagged, found.2 > 0 AS blocked), found.1 AS {CATEGORY}, {_PII.format("found.1")} AS pii
        FROM {rows} ARRAY JOIN CAST(findings, 'Array(Tuple(String, UInt8))') AS found WHERE {condition} {wanted})"""
    group = f" GROUP BY {', '.join(keys)}" if keys else ""
    all_calls = f"SELECT {select_list(columns, population)} FROM {rows} WHERE {condition}{group}"
    categories = f"SELECT DISTINCT toString({CATEGORY}) AS {at} FROM {spread}"
    hits = f"SELECT {select_list(question.key_columns, others)} FROM {spread}{group_by(question)}"
    picked = ", ".join([*question.keys, *population, *(f"hits.{name} AS {name}" for name in others)])
    return f"""SELECT {picked}
    FROM (SELECT * FROM ({all_calls}) AS calls CROSS JOIN ({categories}) AS categories WHERE calls__n > 0) AS everything
    LEFT ANY JOIN ({hits}) AS hits USING ({", ".join(question.keys)})"""


def categories_select(question: Question, sums: str, wanted: Mapping[str, str]) -> str | None:
    """As `_by_category`, from a SELECT of the population and `CATEGORY_SUMS` by the other keys; None if more is wanted."""
    place = question.by.index(CATEGORY)
    columns = [f"{CATEGORY} AS g{place}" if key == f"g{place}" else key for key in question.keys]
    # The other keys are numbered without the category.
    for key in reversed(question.group_keys[place + 1 :]):
        columns[columns.index(key)] = f"kept.g{int(key[1:]) - 1} AS {key}"
    for name in wanted:
        measure, _, sum_ = name.partition("__")
        if name in POPULATION:
            columns.append(name)
        elif measure in _MEASURES and sum_ in ("n", "w", "ww"):
            value = f"{_MEASURES[measure]}__{sum_}_by_category[{CATEGORY}]"
            value = f"if({_PII.format(CATEGORY)}, {value}, 0)" if measure == "safety_pii" else value
            columns.append(f"{f'toUInt64({value})' if sum_ == 'n' else value} AS {name}")
        else:
            return None
    every = "groupUniqArrayArray(mapKeys(found__n_by_category)) OVER () AS every"
    return f"SELECT {', '.join(columns)} FROM (SELECT *, {every} FROM ({sums}) WHERE calls__n > 0) AS kept ARRAY JOIN every AS {CATEGORY}"


def _build_refusals(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    condition, _ = where_sql(question.where)
    said = "name = 'refusal' AND source != 'probe'"
    rows = judged_source(
        client,
        question.start_ns,
        question.end_ns,
        condition=f"{said} AND error_type = '' AND isNotNull({SAID_REFUSAL})",
        columns={"refused": f"argMax(ifNull({SAID_REFUSAL}, 0), timestamp) > 0"},
        every_call=False,
    )
    return f"SELECT {select_list(question.key_columns, ingredients)} FROM {rows} WHERE {condition}{group_by(question)}"


def _build_reports(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """Reported calls, each once in each category; the category is what the report's `value` says."""
    condition, _ = where_sql(question.where)
    rows = judged_source(
        client,
        question.start_ns,
        question.end_ns,
        table="engagement_events",
        condition="kind = 'report'",
        columns={"categories": "groupUniqArray(toString(value))"},
        every_call=False,
    )
    if CATEGORY in question.by:
        rows = f"(SELECT *, {CATEGORY} FROM {rows} ARRAY JOIN categories AS {CATEGORY})"
    elif CATEGORY in question.where:
        rows = f"(SELECT *, arrayFirst(c -> c IN {_WHERE}, categories) AS {CATEGORY} FROM {rows} WHERE hasAny(categories, {_WHERE}))"
    return f"SELECT {select_list(question.key_columns, ingredients)} FROM {rows} WHERE {condition}{group_by(question)}"


MODERATED: Final = Source(
    name="moderated",
    rows="calls that were moderated (evaluations of the source `moderation`)",
    nothing="no call in this window was moderated",
    dimensions=(*DIMENSIONS, CATEGORY),
    where_keys=(*WHERE_KEYS, CATEGORY),
    population=POPULATION,
    build=_build_moderated,
    cohorts=True,
)

REFUSAL_CHECKED: Final = Source(
    name="refusal_checked",
    rows="calls that somebody looked at for a refusal (evaluations named `refusal`)",
    nothing="no call in this window was looked at for a refusal",
    dimensions=DIMENSIONS,
    where_keys=WHERE_KEYS,
    population=POPULATION,
    build=_build_refusals,
    cohorts=True,
)

REPORTED: Final = Source(
    name="reported",
    rows="calls that a user reported (engagement events of the kind `report`)",
    nothing="no call in this window was reported by a user",
    dimensions=(*DIMENSIONS, CATEGORY),
    where_keys=(*WHERE_KEYS, CATEGORY),
    population=POPULATION,
    build=_build_reports,
    cohorts=True,
)
