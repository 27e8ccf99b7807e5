"""SQL of what people said of calls: pairs of a label and a prediction, and thumbs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from monitor.errors import BadInput
from monitor.kpis.dimensions import where_sql
from monitor.kpis.sources import Question
from monitor.kpis.sources.judged import evaluations_sql, judged_calls
from monitor.kpis.sources.question import group_by, select_list
from monitor.store import Client
from monitor.store.calls import calls_source

EVALUATION_NAME: Final = re.compile(r"[\w./ -]{1,100}")
_SLACK_NS: Final = 3600 * 10**9  # a clock that is behind dates a judgement before its call
_VALUE: Final = "multiIf(label != '', label, isNull(score), '', toString(score))"


def pairs_sql(client: Client, question: Question, label: str | None, prediction: str) -> str:
    """Counts of (group, truth, said): n, Σw and Σw² of calls that have all.

    The truth is the newest label of that name, ground truth before what a person says and that before a judge; what is
    said is the newest of the other name.

    Raises
    ------
    BadInput
        If a name could not be that of an evaluation.
    """
    for name in (label or prediction, prediction):
        if not EVALUATION_NAME.fullmatch(name):
            raise BadInput(f"`{name}` is no name of an evaluation; it has letters, digits, spaces and . _ - / alone")
    condition, _ = where_sql(question.where)
    rank = "(source = 'ground_truth', source = 'human', judged_at)"
    truth = f"argMaxIf({_VALUE}, {rank}, name = '{label}' AND {_VALUE} != '')" if label else "''"
    said = f"argMaxIf({_VALUE}, judged_at, name = '{prediction}' AND {_VALUE} != '')"
    names = tuple(dict.fromkeys(each for each in (label, prediction) if each))
    pairs = f"""
SELECT trace, span, {truth} AS truth, {said} AS said
FROM {evaluations_sql(question.start_ns, question.end_ns, names)} GROUP BY trace, span
HAVING said != ''{" AND truth != ''" if label else ""}"""
    keys = [*question.key_columns, "truth", "said"]
    sums = {"n": "count()", "w": "sum(sample_weight)", "ww": "sum(sample_weight * sample_weight)"}
    return f"""
SELECT {select_list(keys, sums)}
FROM (
    SELECT calls.*, pairs.truth AS truth, pairs.said AS said
    FROM {judged_calls(client, question)} AS calls
    INNER JOIN ({pairs}) AS pairs ON calls.trace_id = pairs.trace AND calls.judged_span = pairs.span
) WHERE {condition} GROUP BY {", ".join([*question.keys, "truth", "said"])}"""


def thumbs_sql(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """Aggregates over calls with a thumb, `up` being 1 or 0; the newest of a call counts.

    A thumb without a span is of the last call of its trace: of the answer.
    """
    condition, _ = where_sql(question.where)
    rows = calls_source(client, question.start_ns, question.end_ns)
    since = f"timestamp >= fromUnixTimestamp64Nano(toInt64({question.start_ns - _SLACK_NS}))"
    given = f"SELECT * FROM engagement_events FINAL WHERE {since} AND kind = 'thumbs' AND value IN ('up', 'down')"
    by_response = f"SELECT response_id FROM ({given}) WHERE trace_id = '' AND response_id != ''"
    responses = f"""
SELECT request_id AS response, any(trace_id) AS trace, any(span_id) AS span
FROM {rows} WHERE request_id != '' AND request_id IN ({by_response}) GROUP BY request_id"""
    thumbs = f"""
SELECT if(e.trace_id = '', r.trace, e.trace_id) AS trace, if(e.trace_id = '', r.span, e.span_id) AS span,
    toUInt8(argMax(e.value = 'up', e.timestamp)) AS up
FROM ({given}) AS e LEFT ANY JOIN ({responses}) AS r ON e.response_id = r.response
GROUP BY trace, span HAVING trace != ''"""
    last = "max((timestamp, span_id)) OVER (PARTITION BY trace_id) = (timestamp, span_id)"
    calls = (
        f"SELECT *, arrayJoin(if(is_last, [span_id, ''], [span_id])) AS judged_span"
        f" FROM (SELECT *, {last} AS is_last FROM {rows})"
    )
    columns = select_list(question.key_columns, ingredients)
    return f"""
SELECT {columns}
FROM (
    SELECT calls.*, thumbs.up AS up
    FROM ({calls}) AS calls INNER JOIN ({thumbs}) AS thumbs ON calls.trace_id = thumbs.trace AND calls.judged_span = thumbs.span
) WHERE {condition}{group_by(question)}"""
