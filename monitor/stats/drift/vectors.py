"""Columns of vectors: lists of numbers, or their JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from monitor.stats.drift.effects import Array


def are_vectors(head: pd.Series[Any]) -> bool:
    """Lists of the same number of numbers, two or more."""
    lengths = {len(_vector(value)) for value in head}
    return len(lengths) == 1 and min(lengths) > 1


def vectors_of(column: pd.Series[Any], *, like: Array | None = None) -> Array:
    """Rows of a matrix from lists of numbers, or their JSON; a row of NaN where there is none of the usual length.

    Raises
    ------
    ValueError
        If `like` is given and no row is as long as its rows.
    """
    found = [_vector(value) for value in column]
    lengths = [len(each) for each in found if len(each)]
    width = like.shape[1] if like is not None else max(set(lengths), key=lengths.count, default=0)
    if like is not None and lengths and width not in lengths:
        raise ValueError(f"vectors have {width} numbers in the reference and {lengths[0]} in the current rows")
    rows = np.full((len(found), width), np.nan)
    for i, each in enumerate(found):
        if len(each) == width:
            rows[i] = each
    return rows


def _vector(value: Any) -> Array:
    """Empty where it is none."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.startswith("[") else []
        except ValueError:
            return np.empty(0)
    if not isinstance(value, list | tuple | np.ndarray):
        return np.empty(0)
    try:
        found = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError):
        return np.empty(0)
    return found if found.ndim == 1 else np.empty(0)
