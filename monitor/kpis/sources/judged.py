"""Calls that somebody judged, one row each, and single judgements, one row each.

A judgement belongs to the call whose trace (and span, if it names one) it has; one that knows only the provider's response
id, to the call that had this response. Of several by one kind of judge the newest counts, ground truth before what a
person says. A judgement of a trace with several calls, without a span, is of the last of them: of the answer.

A window is that in which the *call* began, however late the label comes.

Columns of `judged` beside those of `calls`:

- `right_` : 1 right, 0 wrong, or a score between; NULL where no person and no ground truth says. From the label of
  `correct` where that is yes or no in words; else, where it is a class, from whether it is that of `answer`; else its score.
- `verdict` : the same as a judge says.
- `truth_class`, `answer_class` : labels of `correct` and `answer` where they are classes.
- `confidence` : the score of `confidence`, the model's own probability that it is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from monitor.kpis.dimensions import DIMENSIONS, WHERE_KEYS, where_sql
from monitor.kpis.estimators import POPULATION
from monitor.kpis.sources.question import Question, Source, group_by, select_list
from monitor.store import Client
from monitor.store.calls import calls_source

# Labels of `correct` that are a verdict; any other is the right answer's class.
YES: Final = ("yes", "true", "correct", "right", "pass", "passed", "good", "1")
NO: Final = ("no", "false", "incorrect", "wrong", "fail", "failed", "bad", "0")

# A clock that is behind dates a judgement before its call.
_SLACK_NS: Final = 3600 * 10**9
_PEOPLE: Final = "source IN ('ground_truth', 'human')"
_NAMES: Final = ("correct", "answer", "confidence")


def evaluations_sql(start_ns: int, end_ns: int, names: tuple[str, ...] = ()) -> str:
    """Sub-select of judgements since a window's begin, with the trace of each: that of its response where it has none."""
    since = f"timestamp >= fromUnixTimestamp64Nano(toInt64({start_ns - _SLACK_NS}))"
    named = f"name IN ({', '.join(_quoted(name) for name in names)})" if names else "1"
    wanted = f"{since} AND {named} AND error_type = ''"
    traceless = f"SELECT response_id FROM evaluations WHERE {wanted} AND trace_id = '' AND response_id != ''"
    window = (
        f"timestamp >= fromUnixTimestamp64Nano(toInt64({start_ns}))"
        f" AND timestamp < fromUnixTimestamp64Nano(toInt64({end_ns}))"
    )
    return f"""(
SELECT if(e.trace_id = '', r.trace, e.trace_id) AS trace, if(e.trace_id = '', r.span, e.span_id) AS span,
    e.timestamp AS judged_at, e.name AS name, e.score AS score, lower(e.label) AS label, e.source AS source, e.evaluator AS evaluator
FROM (SELECT * FROM evaluations FINAL WHERE {wanted}) AS e
LEFT ANY JOIN
(
    SELECT request_id AS response, any(trace_id) AS trace, any(span_id) AS span
    FROM inferences WHERE {window} AND request_id != '' AND request_id IN ({traceless}) GROUP BY request_id
) AS r ON e.response_id = r.response
WHERE trace != ''
)"""


def _truth_words() -> str:
    """SQL of a verdict in words: 1, 0, or NULL where the label is none."""
    yes, no = (", ".join(_quoted(word) for word in words) for words in (YES, NO))
    return f"multiIf(label IN ({yes}), 1., label IN ({no}), 0., NULL)"


def _calls_judged(client: Client, question: Question) -> str:
    """One row per judged call, with the columns of `calls` and the verdicts."""
    newest = "judged_at"
    truth = f"name = 'correct' AND {_PEOPLE}"
    rank = f"(source = 'ground_truth', {newest})"
    verdicts = f"""
SELECT trace, span,
    argMaxIf(tuple({_truth_words()}, label, score), {rank}, {truth}) AS truth,
    argMaxIf(tuple({_truth_words()}, label, score), {newest}, name = 'correct' AND source = 'judge') AS judge,
    argMaxIf(label, {newest}, name = 'answer') AS answer_class,
    argMaxIf(score, {newest}, name = 'confidence') AS confidence
FROM {evaluations_sql(question.start_ns, question.end_ns, _NAMES)}
GROUP BY trace, span"""
    return f"""(
SELECT calls.*,
    if(truth.1 IS NULL, truth.2, '') AS truth_class, verdicts.answer_class AS answer_class,
    {_right("truth")} AS right_, {_right("judge")} AS verdict, {_unit("verdicts.confidence")} AS confidence
FROM {judged_calls(client, question)} AS calls
INNER JOIN ({verdicts}) AS verdicts ON calls.trace_id = verdicts.trace AND calls.judged_span = verdicts.span
)"""


def judged_calls(client: Client, question: Question) -> str:
    """Calls of the window that judgements can name, with `judged_span`: their own, and '' for the last of each trace."""
    rows = calls_source(client, question.start_ns, question.end_ns)
    since = f"timestamp >= fromUnixTimestamp64Nano(toInt64({question.start_ns - _SLACK_NS}))"
    named = f"SELECT trace_id FROM evaluations WHERE {since} AND trace_id != ''"
    by_response = f"SELECT response_id FROM evaluations WHERE {since} AND trace_id = '' AND response_id != ''"
    some = f"SELECT * FROM {rows} WHERE trace_id IN ({named}) OR request_id IN ({by_response})"
    last = "max((timestamp, span_id)) OVER (PARTITION BY trace_id) = (timestamp, span_id)"
    return f"(SELECT *, arrayJoin(if(is_last, [span_id, ''], [span_id])) AS judged_span FROM (SELECT *, {last} AS is_last FROM ({some})))"


def _right(verdict: str) -> str:
    # A class is right where it is the class that was answered; the score is asked last, as it may be on another scale.
    by_class = (
        f"if({verdict}.2 != '' AND verdicts.answer_class != '', toFloat64({verdict}.2 = verdicts.answer_class), NULL)"
    )
    return f"coalesce({verdict}.1, {by_class}, {_unit(f'{verdict}.3')})"


def _unit(value: str) -> str:
    return f"if({value} >= 0 AND {value} <= 1, {value}, NULL)"


def _judged(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    condition, _ = where_sql(question.where)
    columns = select_list(question.key_columns, ingredients)
    return f"SELECT {columns} FROM {_calls_judged(client, question)} WHERE {condition}{group_by(question)}"


def _judged_twice(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """Judged calls of each window (or step) and of the one before it, moved on by its length, with `is_before`."""
    condition, _ = where_sql(question.where)
    length_ns = question.step_ns or question.end_ns - question.start_ns
    earlier = replace(question, start_ns=question.start_ns - length_ns)
    start, end = (f"fromUnixTimestamp64Nano(toInt64({value}))" for value in (question.start_ns, question.end_ns))
    moved = f"""(
SELECT * REPLACE (timestamp + toIntervalNanosecond(if(is_before, {length_ns}, 0)) AS timestamp)
FROM (SELECT *, arrayJoin([false, true]) AS is_before FROM {_calls_judged(client, earlier)})
)"""
    inside = f"timestamp >= {start} AND timestamp < {end}"
    columns = select_list(question.key_columns, ingredients)
    return f"SELECT {columns} FROM (SELECT * FROM {moved} WHERE {inside}) WHERE {condition}{group_by(question)}"


def _scores(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """One row per (call, name): the newest score that is no probe's."""
    condition, _ = where_sql(question.where)
    newest = f"""
SELECT trace, span, name AS score_name, argMax(score, judged_at) AS score_value
FROM {evaluations_sql(question.start_ns, question.end_ns)}
WHERE source != 'probe' AND isNotNull(score) GROUP BY trace, span, name"""
    rows = f"""(
SELECT calls.*, scores.score_name AS score_name, scores.score_value AS score_value
FROM {judged_calls(client, question)} AS calls
INNER JOIN ({newest}) AS scores ON calls.trace_id = scores.trace AND calls.judged_span = scores.span
)"""
    columns = select_list(question.key_columns, ingredients)
    return f"SELECT {columns} FROM {rows} WHERE {condition}{group_by(question)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


JUDGED: Final = Source(
    name="judged",
    rows="calls that somebody judged as `correct`, or whose `answer` or `confidence` is known",
    nothing="no call of this window is judged",
    dimensions=DIMENSIONS,
    where_keys=WHERE_KEYS,
    population=POPULATION,
    build=_judged,
)
JUDGED_TWICE: Final = replace(
    JUDGED,
    name="judged_twice",
    rows="judged calls of the window and of the one before it",
    nothing="no call of this window or of the one before is judged",
    build=_judged_twice,
)
SCORES: Final = Source(
    name="scores",
    rows="the newest score of each name of each call",
    nothing="no call of this window has a score",
    dimensions=DIMENSIONS,
    where_keys=WHERE_KEYS,
    population=POPULATION,
    build=_scores,
)
