"""Users, one row each: those with a call in the window, and those of a day's cohort.

A user is new if the store has no call of them before the window, whatever is filtered on; so the store's retention is the
memory that this has. Days are UTC.

A cohort is the users whose first call was on one day. It belongs to the window in which its day of return ended: a window
of a day, whenever it begins, holds one cohort.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from monitor.kpis.dimensions import DIMENSIONS, WHERE_KEYS
from monitor.kpis.sources.question import Question, Source
from monitor.kpis.sources.sessions import kept_columns, unit_select
from monitor.kpis.units import user_rows
from monitor.store import Client

DAY_NS: Final = 86_400 * 10**9
DAY_SQL: Final = f"intDiv(toUnixTimestamp64Nano(timestamp), {DAY_NS})"


def store_begin_ns() -> str:
    """SQL of the begin of the store's oldest call."""
    return "(SELECT toUnixTimestamp64Nano(min(timestamp)) FROM inferences)"


def _active(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """One row per group and user: `is_new` where the store has no earlier call, and none of an earlier step."""
    found = user_rows(client, question, question.start_ns, question.end_ns, question.by)
    keys = "".join(f"{key}, " for key in question.keys)
    first = "first_step = step" if question.step_ns else "1"
    steps = ", min(step) OVER (PARTITION BY user_id) AS first_step" if question.step_ns else ""
    calls = f"SELECT {', '.join([*question.key_columns, 'user_id', 'sample_weight'])} FROM {found.rows}"
    active = f"SELECT {keys}user_id, max(sample_weight) AS kept_weight FROM ({calls}) GROUP BY {keys}user_id"
    units = f"""SELECT *, {first} AND user_id NOT IN ({found.seen}) AS is_new,
        {store_begin_ns()} >= {question.start_ns} AS all_new
        FROM (SELECT *{steps} FROM ({active}))"""
    return unit_select(question, ingredients, units, share=found.share)


def cohorts_sql(client: Client, question: Question, first_day: int, end_ns: int, columns: tuple[str, ...]) -> Cohorts:
    """Users who came first on `first_day` (days since 1970) or later, up to a moment: rows for each of their hours or calls.

    Beside `timestamp, user_id, sample_weight` and the `columns`, `day` is that of the row, `first_day` and `days` are the
    user's first day and all days with a call.
    """
    found = user_rows(client, question, first_day * DAY_NS, end_ns, columns)
    rows = f"""(
SELECT *, min(day) OVER (PARTITION BY user_id) AS first_day, groupUniqArray(day) OVER (PARTITION BY user_id) AS days
FROM (SELECT *, {DAY_SQL} AS day FROM {found.rows} WHERE user_id NOT IN ({found.seen}))
)"""
    return Cohorts(rows=rows, share=found.share)


class Cohorts(NamedTuple):
    """Sub-select of users' rows, and the share of all users that is looked at."""

    rows: str
    share: float


# Of a window in which no day ends. The statement still has to have its columns.
NO_COHORTS: Final = Cohorts(
    rows="(SELECT *, toInt64(0) AS day, day AS first_day, [day] AS days FROM inferences WHERE 0)", share=1.0
)


def cohort_days(start_ns: int, end_ns: int, after: int) -> range:
    """Days (since 1970) of the cohorts whose day of return ended in the window."""
    first_midnight, last_midnight = start_ns // DAY_NS + 1, end_ns // DAY_NS
    return range(first_midnight - 1 - after, last_midnight - after)


def returned(after: int) -> Source:
    """Users of cohorts, with `returned`: was there a call so many days after the first?"""

    def build(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
        days = cohort_days(question.start_ns, question.end_ns, after)
        columns = [each for each in question.key_columns if not each.endswith(" AS step")]
        if question.step_ns:
            ends_ns = f"(first_day + {after + 1}) * {DAY_NS}"
            columns.append(f"intDiv({ends_ns} - 1 - {question.origin_ns}, {question.step_ns}) AS step")
        keys = "".join(f"{key}, " for key in question.keys)
        end_ns = (days.stop + after) * DAY_NS
        found = cohorts_sql(client, question, days.start, end_ns, question.by) if days else NO_COHORTS
        calls = f"""SELECT {", ".join([*columns, "user_id", "sample_weight"])}, has(days, first_day + {after}) AS back,
            intDiv({store_begin_ns()}, {DAY_NS}) >= first_day AS begun
            FROM {found.rows} WHERE day = first_day AND day < {days.stop}"""
        units = f"""SELECT {keys}user_id, max(back) AS returned, max(begun) AS all_new, max(sample_weight) AS kept_weight
            FROM ({calls}) GROUP BY {keys}user_id"""
        return unit_select(question, ingredients, units, share=found.share)

    return Source(
        name=f"returned_d{after}",
        rows=f"users whose first call in the store was on a day whose {_nth(after)} day after ended in the window",
        nothing="no user's day of return ended in this window with a first call before; ask for a day or more (UTC days)",
        dimensions=DIMENSIONS,
        where_keys=WHERE_KEYS,
        population=kept_columns(),
        build=build,
    )


def _nth(after: int) -> str:
    return {1: "1st", 7: "7th"}.get(after, f"{after}th")


USERS: Final = Source(
    name="users",
    rows="users (`user_id`) with a call in the window; one who uses two models is in both groups",
    nothing="no call of this window says its user",
    dimensions=DIMENSIONS,
    where_keys=WHERE_KEYS,
    population=kept_columns(),
    build=_active,
)
RETURNED_D1: Final = returned(1)
RETURNED_D7: Final = returned(7)

__all__ = ["DAY_NS", "RETURNED_D1", "RETURNED_D7", "USERS", "cohort_days", "cohorts_sql", "returned"]
