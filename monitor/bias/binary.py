"""Labels, predictions and outcomes as people write them, as 0 and 1, or numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from monitor.errors import BadInput
from monitor.kpis.sources.judged import NO, YES
from monitor.stats.bias.measures import Kind

Array = npt.NDArray[np.float64]
_YES: Final = frozenset({*YES, "y", "t", "up", "approved", "approve", "accepted", "selected"})
_NO: Final = frozenset({*NO, "n", "f", "down", "denied", "deny", "rejected", "declined"})


@dataclass(frozen=True, kw_only=True)
class Classes:
    """Labels and predictions as 0, 1 and NaN; or, of more than two classes, only whether both agree (`right`)."""

    label: Array | None = None
    prediction: Array | None = None
    right: Array | None = None
    note: str = ""


def read_classes(label: pd.Series | None, prediction: pd.Series, *, positive: str | None) -> Classes:
    """Labels against predictions.

    Raises
    ------
    BadInput
        If the positive class does not occur, or there are no labels and predictions are not yes and no.
    """
    truth = None if label is None else text(label)
    said = text(prediction)
    if positive is not None:
        wanted = positive.strip().lower()
        if not any((each == wanted).any() for each in (truth, said) if each is not None):
            raise BadInput(f"no label and no prediction is `{positive}`; give one of their values as --positive")
        return Classes(label=None if truth is None else _is(truth, wanted), prediction=_is(said, wanted))
    sides = [each for each in (truth, said) if each is not None]
    if all(_is_binary(each) for each in sides):
        return Classes(label=None if truth is None else _yes(truth), prediction=_yes(said))
    if truth is None:
        raise BadInput("the predictions are not yes and no; say with --positive which one counts as selected")
    if _looks_like_scores(said):
        raise BadInput("the predictions are scores, not classes; give them as --outcome, or write the classes")
    right = np.where(truth.isna() | said.isna(), np.nan, (truth == said).fillna(False).to_numpy(dtype=np.float64))
    return Classes(
        right=right, note="labels are not yes and no: accuracy alone is compared; --positive VALUE adds the rates"
    )


def read_outcome(column: pd.Series) -> tuple[Kind, Array]:
    """An outcome as a share of yes and no, or as numbers; what is missing or not finite is NaN.

    Raises
    ------
    BadInput
        If a value is neither.
    """
    found = text(column)
    if _is_binary(found):
        return "share", _yes(found)
    numbers = pd.to_numeric(found, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.isnan(numbers) & found.notna().to_numpy() & (found != "nan").fillna(False).to_numpy(dtype=bool)
    if wrong.any():
        raise BadInput(
            f"`{found[wrong].iloc[0]}` in the column `{column.name}` is neither a number nor yes or no; correct it"
        )
    return "mean", np.where(np.isfinite(numbers), numbers, np.nan)


def text(column: pd.Series) -> pd.Series:
    """Values as lower-case text; 1, 1.0 and True are the same for what follows."""
    series = column.reset_index(drop=True)
    if pd.api.types.is_float_dtype(series.dtype) and (series.dropna() % 1 == 0).all():
        series = series.astype("Int64")
    found = series.astype("string").str.strip().str.lower()
    return found.where(found != "").replace({"1.0": "1", "0.0": "0"})


def _is_binary(values: pd.Series) -> bool:
    return set(values.dropna().unique()) <= _YES | _NO


def _yes(values: pd.Series) -> Array:
    return np.where(values.isna(), np.nan, values.isin(_YES).to_numpy(dtype=np.float64))


def _is(values: pd.Series, wanted: str) -> Array:
    return np.where(values.isna(), np.nan, (values == wanted).fillna(False).to_numpy(dtype=np.float64))


def _looks_like_scores(values: pd.Series) -> bool:
    numbers = pd.to_numeric(values.dropna(), errors="coerce")
    return bool(len(numbers) and numbers.notna().all() and (numbers % 1 != 0).any())
