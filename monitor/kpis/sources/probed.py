"""What the newest run of probes found: one row for each comparison, or score of BBQ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from monitor.kpis.dimensions import where_sql
from monitor.kpis.sources.question import Question, Source, between, group_by, select_list
from monitor.store import Client

_DIMENSIONS: Final = ("metric", "cohort", "model")


def _newest(kind: str) -> Callable[[Client, Question, Mapping[str, str]], str]:
    def build(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
        """Aggregates over the rows of the newest run of each model in the window, or in each of its steps."""
        condition, _ = where_sql(question.where)
        step = [column for column in question.key_columns if column.endswith(" AS step")]
        rows = (
            "SELECT *, toDateTime64(run_at, 9, 'UTC') AS timestamp FROM probe_results FINAL"
            f" WHERE kind = '{kind}' AND {condition}"
        )
        stepped = ", ".join(["*", *(each.replace(" AS step", " AS at_step") for each in step)])
        within = f"SELECT {stepped} FROM ({rows}) WHERE {between(question.start_ns, question.end_ns)}"
        partition = ", ".join(["model", "endpoint", *(["at_step"] if step else [])])
        newest = f"SELECT *, max(run_at) OVER (PARTITION BY {partition}) AS newest FROM ({within})"
        columns = select_list(question.key_columns, ingredients)
        return f"SELECT {columns} FROM ({newest}) WHERE run_at = newest{group_by(question)}"

    return build


def _source(kind: str, rows: str, nothing: str) -> Source:
    return Source(
        name=f"probes_{kind}",
        rows=rows,
        nothing=nothing,
        dimensions=_DIMENSIONS,
        where_keys=_DIMENSIONS,
        population={"calls__n": "count()"},
        build=_newest(kind),
    )


PROBES_PAIRED: Final = _source(
    "paired", "comparisons of the newest run of probes in the window", "no probes were sent in this window"
)
PROBES_BBQ: Final = _source("bbq", "scores of the newest run of BBQ in the window", "BBQ was not asked in this window")
