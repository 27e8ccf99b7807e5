"""SQL of what people said of calls: pairs of a label and a prediction, and thumbs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from monitor.errors import BadInput
from monitor.kpis.dimensions import where_sql
from monitor.kpis.sources import Question
from monitor.kpis.sources.question import group_by, select_list
from monitor.store import Client
from monitor.store.judged import judged_source

EVALUATION_NAME: Final = re.compile(r"[\w./ -]{1,100}")
_VALUE: Final = "multiIf(label != '', lower(label), isNull(score), '', toString(score))"


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
    rank = "(source = 'ground_truth', source = 'human', timestamp)"
    columns = {"said": f"argMaxIf({_VALUE}, timestamp, name = '{prediction}' AND {_VALUE} != '')"}
    if label:
        columns["truth"] = f"argMaxIf({_VALUE}, {rank}, name = '{label}' AND {_VALUE} != '')"
    names = ", ".join(f"'{each}'" for each in dict.fromkeys((label or prediction, prediction)))
    judged = judged_source(
        client,
        question.start_ns,
        question.end_ns,
        condition=f"name IN ({names}) AND error_type = ''",
        columns=columns,
        every_call=False,
    )
    # Of a window without a judgement both are NULL, and no row is left.
    known = "said != '' AND truth != ''" if label else "said != ''"
    rows = judged if label else f"(SELECT *, '' AS truth FROM {judged})"
    keys = [*question.key_columns, "truth", "said"]
    sums = {"n": "count()", "w": "sum(sample_weight)", "ww": "sum(sample_weight * sample_weight)"}
    return f"""
SELECT {select_list(keys, sums)}
FROM {rows} WHERE {known} AND {condition} GROUP BY {", ".join([*question.keys, "truth", "said"])}"""


def thumbs_sql(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """Aggregates over calls with a thumb, `up` being 1 or 0; the newest of a call counts.

    Which call a thumb is of, `monitor.store.judged` says.
    """
    condition, _ = where_sql(question.where)
    rows = judged_source(
        client,
        question.start_ns,
        question.end_ns,
        condition="kind = 'thumbs' AND value IN ('up', 'down')",
        columns={"up": "toUInt8(argMax(value = 'up', timestamp))"},
        table="engagement_events",
        every_call=False,
    )
    columns = select_list(question.key_columns, ingredients)
    return f"SELECT {columns} FROM {rows} WHERE {condition}{group_by(question)}"
