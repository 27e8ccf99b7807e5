"""What is asked of a source, and what a source is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from monitor.kpis.dimensions import COHORT, dimension_sql
from monitor.store import Client


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of one source: a checked window, filter and split."""

    start_ns: int
    end_ns: int
    by: tuple[str, ...] = ()
    where: Mapping[str, tuple[str, ...]]
    step_ns: int | None = None
    groups_max: int
    steps_from_ns: int | None = None  # where step 0 begins, if not at the window's start

    @property
    def keys(self) -> list[str]:
        """Names of the columns that tell groups (and time steps) apart."""
        return [*self.group_keys, *(["step"] if self.step_ns else [])]

    @property
    def origin_ns(self) -> int:
        return self.start_ns if self.steps_from_ns is None else self.steps_from_ns

    @property
    def group_keys(self) -> list[str]:
        return [f"g{i}" for i in range(len(self.by))]

    @property
    def key_columns(self) -> list[str]:
        """SQL of the keys over the source's rows."""
        columns = [f"{dimension_sql(name)} AS {key}" for name, key in zip(self.by, self.group_keys, strict=True)]
        if self.step_ns:
            columns.append(f"intDiv(toUnixTimestamp64Nano(timestamp) - {self.origin_ns}, {self.step_ns}) AS step")
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
    cohorts : bool
        Whether its rows know the cohorts of calls: then `cohort.NAME` is a dimension and a filter as well.
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
    cohorts: bool = False

    def fits(self, question: Question) -> bool:
        """Whether its rows can be split and filtered so."""
        return not self.lacks(question)

    def lacks(self, question: Question) -> list[str]:
        """The dimensions and filter keys of a question that it does not know."""
        asked = [(name, self.dimensions) for name in question.by] + [(name, self.where_keys) for name in question.where]
        lacking = [
            name for name, known in asked if name not in known and not (self.cohorts and name.startswith(COHORT))
        ]
        return list(dict.fromkeys(lacking))


def select_list(keys: list[str], ingredients: Mapping[str, str]) -> str:
    return ", ".join([*keys, *(f"{sql} AS {name}" for name, sql in ingredients.items())])


def group_by(question: Question) -> str:
    return f" GROUP BY {', '.join(question.keys)}" if question.keys else ""


def between(start_ns: int, end_ns: int) -> str:
    start, end = (f"fromUnixTimestamp64Nano(toInt64({int(value)}))" for value in (start_ns, end_ns))
    return f"timestamp >= {start} AND timestamp < {end}"
