"""From rows, or from counts of combinations, to families of groups: each column by itself, and all columns together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from monitor.stats.bias.measures import Better, Kind, Measure, confusion_measures, outcome
from monitor.stats.bias.records import Family
from monitor.stats.bias.sums import Sums, check_weights

UNKNOWN: Final = "unknown"
JOINED: Final = " & "


def names(column: Sequence[Any] | pd.Series) -> npt.NDArray[np.object_]:
    """Group names as text; None, NaN and the empty string are `unknown`. 1, 1.0 and "1" are one group."""
    series = pd.Series(column).reset_index(drop=True)
    if pd.api.types.is_float_dtype(series.dtype) and (series.dropna() % 1 == 0).all():
        series = series.astype("Int64")
    text = series.astype("string").fillna("").str.strip()
    return text.where(text != "", UNKNOWN).to_numpy(dtype=object)


def families(columns: Mapping[str, npt.NDArray[np.object_]], measures: Sequence[Measure]) -> list[Family]:
    """Families of groups from measures of each combination of the columns' values.

    Parameters
    ----------
    columns : mapping
        Name -> values, one for each combination; combinations may repeat.
    measures : sequence of Measure
        One entry for each combination.

    Returns
    -------
    list of Family
        One for each column, then one for their combinations if there are several columns; groups in the order of their names.
    """
    wanted = [(name, [name]) for name in columns]
    if len(columns) > 1:
        wanted.append((",".join(columns), list(columns)))
    return [_family(by, [columns[name] for name in parts], measures) for by, parts in wanted]


def _family(by: str, parts: list[npt.NDArray[np.object_]], measures: Sequence[Measure]) -> Family:
    keys = pd.MultiIndex.from_arrays(parts) if len(parts) > 1 else pd.Index(parts[0])
    codes, unique = pd.factorize(keys, sort=True)
    found = [JOINED.join(map(str, key)) if isinstance(key, tuple) else str(key) for key in unique]
    merged = tuple(measure.merged(codes.astype(np.int64), len(found)) for measure in measures)
    return Family(by=by, groups=tuple(found), measures=merged)


def families_of_rows(
    groups: Mapping[str, Sequence[Any] | pd.Series],
    *,
    label: npt.ArrayLike | None = None,
    prediction: npt.ArrayLike | None = None,
    outcomes: Mapping[str, tuple[Kind, npt.ArrayLike]] | None = None,
    weights: npt.ArrayLike | None = None,
    counts: npt.ArrayLike | None = None,
    better: Better | None = None,
) -> list[Family]:
    """Families of groups from rows in memory.

    Parameters
    ----------
    groups : mapping
        Column name -> value of each row; missing ones are the group `unknown`.
    label, prediction : array of shape (n,), optional
        1, 0 or NaN (left out). Without labels there is the selection rate alone.
    outcomes : mapping, optional
        Name -> ("share" or "mean", value of each row; NaN is left out).
    weights : array of shape (n,), optional
        Calls that each row stands for, > 0.
    counts : array of shape (n,), optional
        How often each row occurs: of rows that were counted before.
    better : {"higher", "lower"}, optional
        Which end of the outcomes is good, where the name does not tell.

    Raises
    ------
    ValueError
        If lengths differ, or labels, predictions or shares are not 0 and 1.
    """
    columns = {name: names(values) for name, values in groups.items()}
    if not columns:
        raise ValueError("at least one column of groups is needed")
    n = len(next(iter(columns.values())))
    w, c = (np.ones(n) if each is None else np.asarray(each, dtype=np.float64) for each in (weights, counts))
    given = [x for x in (label, prediction, *(value for _, value in (outcomes or {}).values())) if x is not None]
    if any(len(np.asarray(x)) != n for x in (*columns.values(), *given, w, c)):
        raise ValueError("groups, labels, predictions, outcomes and weights must be of one length")
    codes, unique = pd.factorize(pd.MultiIndex.from_arrays(list(columns.values())))
    codes = codes.astype(np.int64)
    combinations = {name: np.array([key[i] for key in unique], dtype=object) for i, name in enumerate(columns)}
    found = table_measures(codes, len(unique), label=label, prediction=prediction, weights=w, counts=c)
    for name, (kind, values) in (outcomes or {}).items():
        x = np.asarray(values, dtype=np.float64)
        if kind == "share" and not np.isin(x[np.isfinite(x)], (0.0, 1.0)).all():
            raise ValueError(f"the outcome `{name}` is a share, but has values other than 0 and 1")
        found.append(outcome(name, kind, Sums.of_rows(codes, len(unique), x, w, c), better=better))
    return families(combinations, found)


def table_measures(
    codes: npt.NDArray[np.int64],
    groups: int,
    *,
    label: npt.ArrayLike | None,
    prediction: npt.ArrayLike | None,
    weights: npt.ArrayLike,
    counts: npt.ArrayLike | None = None,
) -> list[Measure]:
    """Rates of labels against predictions; the selection rate alone where there are no labels."""
    if prediction is None:
        if label is not None:
            raise ValueError("labels need predictions to be compared with")
        return []
    predicted = _binary(prediction, "predictions")
    w = np.asarray(weights, dtype=np.float64)
    c = np.ones_like(w) if counts is None else np.asarray(counts, dtype=np.float64)
    if label is None:
        sums = Sums.of_rows(codes, groups, predicted, w, c)
        return [Measure(name="selection_rate", kind="share", better="higher", sums=sums, verb="is selected")]
    truth = _binary(label, "labels")
    there = np.isfinite(truth) & np.isfinite(predicted)
    check_weights(w[there], c[there])
    cell = (codes[there] * 4 + truth[there] * 2 + predicted[there]).astype(np.int64)
    tables = [
        np.bincount(cell, weights=c[there] * w[there] ** power, minlength=4 * groups).reshape(groups, 2, 2)
        for power in (0, 1, 2)
    ]
    return confusion_measures(*tables)


def _binary(values: npt.ArrayLike, what: str) -> npt.NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64)
    if not np.isin(found[np.isfinite(found)], (0.0, 1.0)).all():
        raise ValueError(f"{what} must be 0, 1 or NaN")
    return found
