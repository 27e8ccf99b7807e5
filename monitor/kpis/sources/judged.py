"""Calls that somebody judged, one row each, and single judgements, one row each.

Which call a judgement is about, `monitor.store.judged` says. Of several by one kind of judge the newest counts, ground truth
before what a person says.

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
from monitor.kpis.estimators import POPULATION, W
from monitor.kpis.sources.question import Question, Source, group_by, select_list
from monitor.store import Client
from monitor.store.judged import judged_source

# Labels of `correct` that are a verdict; any other is the right answer's class.
YES: Final = ("yes", "true", "correct", "right", "pass", "passed", "good", "1")
NO: Final = ("no", "false", "incorrect", "wrong", "fail", "failed", "bad", "0")

_PEOPLE: Final = "source IN ('ground_truth', 'human')"
_NAMES: Final = ("correct", "answer", "confidence")
_HOUR_NS: Final = 3600 * 10**9


def _truth_words() -> str:
    """SQL of a verdict in words: 1, 0, or NULL where the label is none."""
    yes, no = (", ".join(_quoted(word) for word in words) for words in (YES, NO))
    return f"multiIf(lower(label) IN ({yes}), 1., lower(label) IN ({no}), 0., NULL)"


# Sums over scores by what is scored.
SCORE_SUMS: Final = {
    f"scored__{sum_}_by_name": f"sumMapIf(map(score_name, toFloat64({value})), isFinite(score_value))"
    for sum_, value in {
        "n": "1", "w": W, "ww": f"{W} * {W}", "wx": f"{W} * score_value", "wwx": f"{W} * {W} * score_value",
        "wwxx": f"{W} * {W} * score_value * score_value",
    }.items()
}  # fmt: skip


def calls_judged(client: Client, question: Question) -> str:
    """One row per judged call, with the columns of `calls` and the verdicts."""
    verdict = f"tuple({_truth_words()}, lower(label), score)"
    columns = {
        "truth": f"argMaxIf({verdict}, (source = 'ground_truth', timestamp), name = 'correct' AND {_PEOPLE})",
        "judge": f"argMaxIf({verdict}, timestamp, name = 'correct' AND source = 'judge')",
        "answered": "argMaxIf(lower(label), timestamp, name = 'answer')",
        "stated": "argMaxIf(score, timestamp, name = 'confidence')",
    }
    rows = judged_source(
        client,
        question.start_ns,
        question.end_ns,
        condition=f"name IN {_NAMES} AND error_type = ''",
        columns=columns,
        every_call=False,
    )
    return f"""(
SELECT *, ifNull(if(truth.1 IS NULL, truth.2, ''), '') AS truth_class, ifNull(answered, '') AS answer_class,
    {_unit("stated")} AS confidence,
    {_right("truth")} AS right_, {_right("judge")} AS verdict
FROM {rows}
)"""


def _right(verdict: str) -> str:
    # A class is right where it is the class that was answered; the score is asked last, as it may be on another scale.
    by_class = f"if({verdict}.2 != '' AND answer_class != '', toFloat64({verdict}.2 = answer_class), NULL)"
    return f"coalesce({verdict}.1, {by_class}, {_unit(f'{verdict}.3')})"


def _unit(value: str) -> str:
    return f"if({value} >= 0 AND {value} <= 1, {value}, NULL)"


def _judged(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    condition, _ = where_sql(question.where)
    columns = select_list(question.key_columns, ingredients)
    return f"SELECT {columns} FROM {calls_judged(client, question)} WHERE {condition}{group_by(question)}"


def _judged_twice(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """Judged calls of each window (or step) and of the one before it, moved on by its length, with `is_before`."""
    condition, _ = where_sql(question.where)
    begin_ns = start_before(question)
    start, end = (f"fromUnixTimestamp64Nano(toInt64({value}))" for value in (question.start_ns, question.end_ns))
    twice = f"(SELECT *, arrayJoin([false, true]) AS is_before FROM {calls_judged(client, replace(question, start_ns=begin_ns))})"
    if question.step_ns:
        length = f"toIntervalNanosecond(if(is_before, {question.step_ns}, 0))"
        moved = f"(SELECT * REPLACE (timestamp + {length} AS timestamp) FROM {twice})"
        inside = f"timestamp >= {start} AND timestamp < {end}"
    else:
        moved, inside = twice, f"is_before = (timestamp < {start})"
    columns = select_list(question.key_columns, ingredients)
    return f"SELECT {columns} FROM (SELECT * FROM {moved} WHERE {inside}) WHERE {condition}{group_by(question)}"


def start_before(question: Question) -> int:
    """Begin (Unix ns) of the window, or of the first step, before: as long; of a day and more from a whole hour on."""
    length_ns = question.step_ns or question.end_ns - question.start_ns
    start_ns = question.start_ns - length_ns
    return start_ns - start_ns % _HOUR_NS if not question.step_ns and length_ns >= 24 * _HOUR_NS else start_ns


def _scores(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """One row per (call, name): the newest score that is no probe's."""
    condition, _ = where_sql(question.where)
    said = judged_source(
        client,
        question.start_ns,
        question.end_ns,
        condition="source != 'probe' AND isNotNull(score) AND error_type = ''",
        columns={"given": "arraySort(groupArray((toString(name), timestamp, assumeNotNull(score))))"},
        every_call=False,
    )
    # In the order of name and time, the newest of a name is the one before the next name.
    newest = "arrayFilter((one, i) -> i = length(given) OR given[i + 1].1 != one.1, given, arrayEnumerate(given))"
    rows = f"(SELECT *, each.1 AS score_name, each.3 AS score_value FROM {said} ARRAY JOIN {newest} AS each)"
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
    cohorts=True,
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
    cohorts=True,
)
