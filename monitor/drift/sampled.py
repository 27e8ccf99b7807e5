"""A sample of two windows' rows for the domain classifier: all features together, and the captured texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import pandas as pd

from monitor.drift.features import Feature, rows_of
from monitor.kpis import Window
from monitor.kpis.dimensions import where_sql
from monitor.stats.drift import Drift, Options, compare_tables, compare_texts, compare_topics
from monitor.stats.drift.domain import CHARACTERS_MAX, ROWS_MAX
from monitor.stats.drift.tables import EVERYTHING
from monitor.store import Client

TEXTS: Final = ("prompt", "completion")


def compare_sampled(
    client: Client,
    reference: Window,
    current: Window,
    features: Sequence[Feature],
    where: Mapping[str, tuple[str, ...]],
    options: Options,
) -> list[Drift]:
    """One classifier for all features together, and one for each text that both windows have captured.

    The sample is of calls, by the hash of their traces: the same at each look, and, of calls that were sampled with
    weights, as they are stored.
    """
    names = [feature.name for feature in features]
    before, after = (_sample(client, window, features, where) for window in (reference, current))
    known = [name for name in names if before[name].notna().any()]
    found = []
    if known:
        found.append(_traced(compare_tables(EVERYTHING, before[known], after[known], seed=options.seed), before, after))
    for name in TEXTS:
        if before[name].notna().any() and after[name].notna().any():
            told = compare_texts(name, before[name], after[name], level=options.level, seed=options.seed)
            found.append(_traced(told, before, after))
            topics = compare_topics(name, before[name], after[name], level=options.level, seed=options.seed)
            found += [_traced(topics, before, after)] if topics is not None else []
    return [replace(each, threshold=options.thresholds.get(each.method, each.threshold)) for each in found]


def compare_captured(
    client: Client,
    reference: Window,
    current: Window,
    names: Sequence[str],
    where: Mapping[str, tuple[str, ...]],
    *,
    rows: int = ROWS_MAX,
    seed: int = 1,
) -> list[Drift]:
    """One classifier for each of the texts that both windows have captured, on so many calls of each.

    Parameters
    ----------
    names : sequence of str
        Of `TEXTS`.
    """
    before, after = (_sample(client, window, (), where, rows=rows) for window in (reference, current))
    return [
        _traced(compare_texts(name, before[name], after[name], seed=seed), before, after)
        for name in names
        if before[name].notna().any() and after[name].notna().any()
    ]


def _sample(
    client: Client,
    window: Window,
    features: Sequence[Feature],
    where: Mapping[str, tuple[str, ...]],
    *,
    rows: int = ROWS_MAX,
) -> pd.DataFrame:
    columns = [feature.sql if feature.number else f"nullIf({feature.sql}, '')" for feature in features]
    texts = [f"nullIf(leftUTF8({name}, {CHARACTERS_MAX}), '')" for name in TEXTS]
    listed = ", ".join(f"{sql} AS f{i}" for i, sql in enumerate([*columns, *texts]))
    condition, parameters = where_sql(where)
    query = (
        f"SELECT trace_id, {listed} FROM {rows_of(client, window, features)} WHERE {condition}"
        f" ORDER BY cityHash64(trace_id), span_id LIMIT {rows}"
    )
    found = client.query(query, parameters=parameters).result_rows
    names = ["trace_id", *(feature.name for feature in features), *TEXTS]
    table = pd.DataFrame([tuple(row) for row in found], columns=names)
    numbers = [feature.name for feature in features if feature.number]
    return table.astype(dict.fromkeys(numbers, "float64"))


def _traced(found: Drift, before: pd.DataFrame, after: pd.DataFrame) -> Drift:
    """With the traces of the example rows instead of their places in the sample."""
    traces = [
        tuple(str(table["trace_id"].iloc[row]) for row in rows)
        for table, rows in ((before, found.reference_rows), (after, found.current_rows))
    ]
    return replace(found, reference_rows=(), current_rows=(), reference_traces=traces[0], current_traces=traces[1])
