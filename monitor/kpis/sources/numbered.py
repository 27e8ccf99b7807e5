"""Calls that the SDK numbered: what was sent, and what of it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from monitor.kpis.dimensions import DIMENSIONS, WHERE_KEYS, where_sql
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
    condition, _ = where_sql(question.where)
    inside = between(question.start_ns, question.end_ns)
    keys = ", ".join([*question.keys, "emitter"])
    columns = ", ".join([*question.key_columns, "emitter"])
    ends = f"""SELECT {columns}, min(seq) AS first, max(seq) AS last
        FROM inferences WHERE seq > 0 AND {inside} AND {condition} GROUP BY {keys}"""
    if set(question.by) | set(question.where) <= set(REPORTED):
        reported = f"""SELECT {columns}, min(settled) + 1 AS first, max(settled) AS last
            FROM sdk_reports WHERE {inside} AND {condition} GROUP BY {keys}"""
        ends = f"""SELECT {keys}, min(first) AS first, max(last) AS last
            FROM ({ends} UNION ALL {reported}) GROUP BY {keys} HAVING last >= first"""
    stored = f"""SELECT emitter, arrayCompact(arraySort(groupArray(seq))) AS seqs FROM inferences
        WHERE seq > 0 AND {between(question.start_ns - REACH_NS, question.end_ns + REACH_NS)} GROUP BY emitter"""
    per_emitter = f"""SELECT {keys}, last - first + 1 AS sent,
        {_place("last")} - {_place("first - 1")} AS stored
    FROM ({ends}) AS ends LEFT JOIN ({stored}) AS stored USING (emitter)"""
    return f"SELECT {select_list(question.keys, ingredients)} FROM ({per_emitter}){group_by(question)}"


def _place(number: str) -> str:
    """How many stored numbers are not above this one."""
    return f"arrayCount(s -> s <= {number}, seqs)"


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
