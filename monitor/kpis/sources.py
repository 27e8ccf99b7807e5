"""Where KPIs are computed from: each source turns a question into one SELECT, with one row per group and time step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from monitor.kpis.dimensions import DIMENSIONS, WHERE_KEYS, dimension_sql, where_sql
from monitor.kpis.estimators import POPULATION
from monitor.store import Client
from monitor.store.calls import calls_source

# The longest that a call lasts: a span is numbered when it ends, and found by when it began.
REACH_NS: Final = 3600 * 10**9


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of one source: a checked window, filter and split."""

    start_ns: int
    end_ns: int
    by: tuple[str, ...] = ()
    where: Mapping[str, tuple[str, ...]]
    step_ns: int | None = None
    groups_max: int

    @property
    def keys(self) -> list[str]:
        """Names of the columns that tell groups (and time steps) apart."""
        return [*self.group_keys, *(["step"] if self.step_ns else [])]

    @property
    def group_keys(self) -> list[str]:
        return [f"g{i}" for i in range(len(self.by))]

    @property
    def key_columns(self) -> list[str]:
        """SQL of the keys over the source's rows."""
        columns = [f"{dimension_sql(name)} AS {key}" for name, key in zip(self.by, self.group_keys, strict=True)]
        if self.step_ns:
            columns.append(f"intDiv(toUnixTimestamp64Nano(timestamp) - {self.start_ns}, {self.step_ns}) AS step")
        return columns


Build = Callable[[Client, Question, Mapping[str, str]], str]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Rows of one kind.

    Parameters
    ----------
    name, rows, nothing : str
        Name, what a row is, and what to say when there is none, for people.
    dimensions, where_keys : tuple of str
        What its rows can be split by and filtered on; a KPI that is asked for more has no value, and says so.
    population : mapping
        Ingredients that every answer has; `calls__n` is its rows.
    build : callable
        Question and ingredients to a SELECT with the question's keys and the ingredients as columns.
    """

    name: str
    rows: str
    nothing: str
    dimensions: tuple[str, ...]
    where_keys: tuple[str, ...]
    population: Mapping[str, str]
    build: Build


def _calls(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """Aggregates over calls: each call once, however many parties reported it."""
    condition, _ = where_sql(question.where)
    rows = calls_source(client, question.start_ns, question.end_ns)
    return f"SELECT {_list(question.key_columns, ingredients)} FROM {rows} WHERE {condition}{_group_by(question)}"


def _numbered(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """Numbered spans, stored and sent, per emitter.

    Numbers are given when spans end, so a window of beginnings cuts ragged edges into the numbers, and so does a
    filter. Therefore window and filter only say from which number to which to look (per emitter); what is stored
    between the two is counted whenever it began and whatever it is.

    Emitters also report the number up to which all is sent or lost, so that the loss of an emitter's last calls, or of
    all of them, shows too. A report knows where it comes from, but not of which model a lost call was: it counts where
    nothing else is asked.
    """
    condition, _ = where_sql(question.where)
    between = _between(question.start_ns, question.end_ns)
    keys = ", ".join([*question.keys, "emitter"])
    columns = ", ".join([*question.key_columns, "emitter"])
    ends = f"""SELECT {columns}, min(seq) AS first, max(seq) AS last
        FROM inferences WHERE seq > 0 AND {between} AND {condition} GROUP BY {keys}"""
    if set(question.by) | set(question.where) <= set(REPORTED):
        reported = f"""SELECT {columns}, min(settled) + 1 AS first, max(settled) AS last
            FROM sdk_reports WHERE {between} AND {condition} GROUP BY {keys}"""
        ends = f"""SELECT {keys}, min(first) AS first, max(last) AS last
            FROM ({ends} UNION ALL {reported}) GROUP BY {keys} HAVING last >= first"""
    stored = f"""SELECT emitter, arrayCompact(arraySort(groupArray(seq))) AS seqs FROM inferences
        WHERE seq > 0 AND {_between(question.start_ns - REACH_NS, question.end_ns + REACH_NS)} GROUP BY emitter"""
    per_emitter = f"""SELECT {keys}, last - first + 1 AS sent,
        {_place("last")} - {_place("first - 1")} AS stored
    FROM ({ends}) AS ends LEFT JOIN ({stored}) AS stored USING (emitter)"""
    return f"SELECT {_list(question.keys, ingredients)} FROM ({per_emitter}){_group_by(question)}"


def _place(number: str) -> str:
    """How many stored numbers are not above this one."""
    return f"arrayCount(s -> s <= {number}, seqs)"


# What a report says of itself: columns of `sdk_reports`.
REPORTED: Final = (
    "service", "environment", "deployment", "pricing", "region", "node", "gpu", "variant", "release",
)  # fmt: skip


SOURCES: Final[Mapping[str, Source]] = {
    source.name: source
    for source in (
        Source(
            name="calls",
            rows="calls: one row for each model call, however many parties reported it",
            nothing="no call in this window",
            dimensions=DIMENSIONS,
            where_keys=WHERE_KEYS,
            population=POPULATION,
            build=_calls,
        ),
        Source(
            name="numbered",
            rows="calls that the SDK numbered (`emitter`, `seq`)",
            nothing="no call in this window was numbered by the SDK",
            dimensions=DIMENSIONS,
            where_keys=WHERE_KEYS,
            population={"calls__n": "sum(sent)"},
            build=_numbered,
        ),
    )
}


def _list(keys: list[str], ingredients: Mapping[str, str]) -> str:
    return ", ".join([*keys, *(f"{sql} AS {name}" for name, sql in ingredients.items())])


def _group_by(question: Question) -> str:
    return f" GROUP BY {', '.join(question.keys)}" if question.keys else ""


def _between(start_ns: int, end_ns: int) -> str:
    start, end = (f"fromUnixTimestamp64Nano(toInt64({int(value)}))" for value in (start_ns, end_ns))
    return f"timestamp >= {start} AND timestamp < {end}"
