"""Looks of the jobs `drift` and `bias`: of each feature, or gap, the newest one at or before the window's end.

A look is over its own window, whichever is asked for; `timestamp` is its end. It counts for as long again as its window
(at least an hour) after the next one was due: what a job that has stopped once said is no news. In a series each step has
the looks that ended in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from monitor.kpis.dimensions import where_sql
from monitor.kpis.sources.question import Question, Source, group_by, select_list
from monitor.store import Client

_S: Final = 10**9
_LASTS: Final = "2 * greatest(window_s, 3600) + 3600"
DRIFT_DIMENSIONS: Final = ("service", "model", "feature")
BIAS_DIMENSIONS: Final = ("service", "model", "metric", "cohort")


def _newest(question: Question, table: str, keys: str, condition: str) -> str:
    """Rows of the newest look of each key; in a series, of each step."""
    # Windows are half-open, and a look that ends with the window is in it.
    moment = "toDateTime64(window_end, 9, 'UTC') - toIntervalNanosecond(1) AS timestamp"
    end_s = -(-question.end_ns // _S)
    if question.step_ns:
        start_s = question.start_ns // _S
        inside = f"window_end > toDateTime({start_s}, 'UTC') AND window_end <= toDateTime({end_s}, 'UTC')"
        step = f", intDiv(toUnixTimestamp64Nano(timestamp) - {question.origin_ns}, {question.step_ns})"
    else:
        inside = f"window_end <= toDateTime({end_s}, 'UTC') AND toUnixTimestamp(window_end) + {_LASTS} > {end_s}"
        step = ""
    return f"""(SELECT *, {moment} FROM {table} FINAL WHERE {inside} AND {condition}
        ORDER BY window_end DESC, window_s DESC LIMIT 1 BY {keys}{step})"""


def _drifts(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    condition, _ = where_sql(question.where)
    rows = _newest(question, "drift_results", "service, model, feature, method", condition)
    return f"SELECT {select_list(question.key_columns, ingredients)} FROM {rows}{group_by(question)}"


def _gaps(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    condition, _ = where_sql(question.where)
    rows = _newest(
        question, "bias_results", "service, model, cohort, metric, gap, window_s", f"gap != '' AND {condition}"
    )
    return f"SELECT {select_list(question.key_columns, ingredients)} FROM {rows}{group_by(question)}"


DRIFTS: Final = Source(
    name="drift_looks",
    rows="the newest look of the job `drift` at each feature (`drift_results`)",
    nothing="no look yet, or none of late: the job `drift` looks each hour (`monitor jobs`)",
    dimensions=DRIFT_DIMENSIONS,
    where_keys=DRIFT_DIMENSIONS,
    population={"calls__n": "count()"},
    build=_drifts,
)
GAPS: Final = Source(
    name="bias_looks",
    rows="the newest look of the job `bias` at each gap (`bias_results`)",
    nothing="no look yet, or none of late: the job `bias` looks each hour, where calls carry cohorts (`monitor jobs`)",
    dimensions=BIAS_DIMENSIONS,
    where_keys=BIAS_DIMENSIONS,
    population={"calls__n": "count()"},
    build=_gaps,
)
