"""Calls that the SDK numbered: what was sent, and what of it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from monitor.kpis.coverage import whole_hours
from monitor.kpis.dimensions import DIMENSIONS, WHERE_KEYS, where_sql
from monitor.kpis.emitters import EMITTER_ENDS, EMITTER_HOURS, runs_sql, stored_between
from monitor.kpis.hours import hour_keys
from monitor.kpis.sources.question import Question, Source, between, group_by, select_list
from monitor.store import Client

# The longest that a call lasts: a span is numbered when it ends, and found by when it began.
REACH_NS: Final = 3600 * 10**9


def _build(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """Numbered spans, stored and sent, per emitter.

    Numbers are given when spans end, so a window of beginnings cuts ragged edges into the numbers, and so does a
    filter. Therefore window and filter only say from which number to which to look (per emitter); what is stored
    between the two is counted whenever it began and whatever it is.

    Emitters also report the number up to which all is sent or lost, so that the loss of an emitter's last calls, or of
    all of them, shows too. A report knows where it comes from, but not of which model a lost call was: it counts where
    nothing else is asked.
    """
    found = whole_hours(client, question, EMITTER_ENDS)
    keys = ", ".join([*question.keys, "emitter"])
    ends = f"""SELECT {keys}, min(first) AS first, max(last) AS last
        FROM ({" UNION ALL ".join(_ends(question, found))}) GROUP BY {keys} HAVING last >= first"""
    stored = f"""SELECT emitter, groupUniqArrayArray(runs) AS runs
        FROM ({" UNION ALL ".join(_runs(question, found))}) GROUP BY emitter"""
    per_emitter = f"""SELECT {keys}, last - first + 1 AS sent, {stored_between("runs", "first", "last")} AS stored
    FROM ({ends}) AS ends LEFT JOIN ({stored}) AS stored USING (emitter)"""
    return f"SELECT {select_list(question.keys, ingredients)} FROM ({per_emitter}){group_by(question)}"


def _ends(question: Question, found: tuple[int, int] | None) -> list[str]:
    """SELECTs of the first and last number of emitters, by calls and, where that may be asked, by their reports."""
    condition, _ = where_sql(question.where)
    reported = set(question.by) | set(question.where) <= set(REPORTED)
    columns = ", ".join([*question.key_columns, "emitter"])
    keys = ", ".join([*question.keys, "emitter"])
    pieces = []
    for start_ns, end_ns in _rest(question.start_ns, question.end_ns, found):
        inside = between(start_ns, end_ns)
        pieces.append(f"""SELECT {columns}, min(seq) AS first, max(seq) AS last
            FROM inferences WHERE seq > 0 AND {inside} AND {condition} GROUP BY {keys}""")
        if reported:
            pieces.append(f"""SELECT {columns}, min(settled) + 1 AS first, max(settled) AS last
            FROM sdk_reports WHERE {inside} AND {condition} GROUP BY {keys}""")
    if found is not None:
        told = "1" if reported else "told_by = 'calls'"
        rows = (
            f"SELECT * FROM {EMITTER_ENDS.table} FINAL WHERE {EMITTER_ENDS.inside(*found)} AND {told} AND {condition}"
        )
        pieces.append(f"""SELECT {", ".join([*hour_keys(question), "emitter"])}, min(first_min) AS first, max(last_max) AS last
            FROM ({rows}) GROUP BY {keys}""")
    return pieces


def _runs(question: Question, found: tuple[int, int] | None) -> list[str]:
    """SELECTs of the numbers that are stored, of the window and of what was begun a little before or after it."""
    start_ns, end_ns = question.start_ns - REACH_NS, question.end_ns + REACH_NS
    pieces = [f"SELECT emitter, runs FROM ({runs_sql(*end)})" for end in _rest(start_ns, end_ns, found)]
    if found is not None:
        hours = EMITTER_HOURS
        pieces.append(f"SELECT emitter, runs FROM {hours.table} FINAL WHERE {hours.inside(*found)}")
    return pieces


def _rest(start_ns: int, end_ns: int, found: tuple[int, int] | None) -> list[tuple[int, int]]:
    """What the whole hours found leave of a stretch, in Unix ns."""
    if found is None:
        return [(start_ns, end_ns)]
    return [(start, end) for start, end in ((start_ns, found[0] * 10**9), (found[1] * 10**9, end_ns)) if start < end]


# What a report says of itself: columns of `sdk_reports`.
REPORTED: Final = (
    "service", "environment", "deployment", "pricing", "region", "node", "gpu", "variant", "release",
)  # fmt: skip


NUMBERED: Final = Source(
    name="numbered",
    rows="calls that the SDK numbered (`emitter`, `seq`)",
    nothing="no call in this window was numbered by the SDK",
    dimensions=DIMENSIONS,
    where_keys=WHERE_KEYS,
    population={"calls__n": "sum(sent)"},
    build=_build,
)
