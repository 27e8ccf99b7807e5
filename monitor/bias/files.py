"""Rows of a file as groups with their sums."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from monitor.bias.binary import Classes, read_classes, read_outcome
from monitor.errors import BadInput
from monitor.kpis.dimensions import refuse
from monitor.stats.bias import Family, families, names, outcome
from monitor.stats.bias.groups import table_measures
from monitor.stats.bias.measures import Better, Measure
from monitor.stats.bias.sums import Sums

GROUPS_MAX: Final = 5000
ENDINGS: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def read_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A CSV, TSV, JSON Lines (each also .gz) or Parquet file, or some of its columns.

    Raises
    ------
    BadInput
        If the file cannot be read, has no rows, or lacks a column.
    """
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    try:
        frame = _read(path, kind)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}; check the name") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not UTF-8 text; save it as such") from None
    except (ValueError, EOFError) as error:  # what pandas and pyarrow raise for broken contents
        raise BadInput(f"{path} is not what its name says ({str(error).splitlines()[0]}); check the file") from None
    for name in columns or ():
        if name not in frame.columns:
            refuse(f"column in {path}:", name, [str(column) for column in frame.columns])
    if not len(frame):
        raise BadInput(f"{path} has no rows; a CSV file begins with a line of column names")
    return frame if columns is None else frame[list(dict.fromkeys(columns))]


def _read(path: Path, kind: str) -> pd.DataFrame:
    if kind in ("csv", "tsv"):
        # As text: `NA` is a country, and `01` is not 1.
        separator = "\t" if kind == "tsv" else ","
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8-sig")
    if kind in ("jsonl", "ndjson"):
        return pd.read_json(path, lines=True, dtype=False, precise_float=True)
    if kind == "parquet":
        return pd.read_parquet(path)
    raise BadInput(f"{path} is no file of rows; its name must end in {', '.join(ENDINGS)}, or one of these and .gz")


def read_families(
    path: Path,
    *,
    by: Sequence[Sequence[str]],
    label: str | None = None,
    prediction: str | None = None,
    positive: str | None = None,
    outcomes: Sequence[str] = (),
    weight: str | None = None,
    count: str | None = None,
    better: Better | None = None,
) -> tuple[list[Family], list[str]]:
    """Families of groups of a file's rows, and what to know about them.

    Parameters
    ----------
    path : Path
    by : sequence of sequences of str
        Columns to split by; columns that stand together are also combined.
    label, prediction, weight, count : str, optional
        Columns; a weight is the calls that a row stands for, a count how often it occurs.
    positive : str, optional
        The class that rates are of, where labels are not yes and no.
    outcomes : sequence of str
        Columns of outcomes: yes and no, or numbers.
    better : {"higher", "lower"}, optional
        Which end of the outcomes is good.

    Raises
    ------
    BadInput
        If the file, a column or a value does not fit.
    """
    columns = [name for together in by for name in together]
    given = [name for name in (label, prediction, weight, count) if name]
    frame = read_table(path, [*columns, *given, *outcomes])
    w, c = _weights(frame, weight, path), _weights(frame, count, path)
    notes: list[str] = []
    found = []
    for together in by:
        split = {name: names(frame[name]) for name in together}
        codes, combinations = _combinations(split)
        measures: list[Measure] = []
        if prediction:
            truth = None if label is None else frame[label]
            classes = read_classes(truth, frame[prediction], positive=positive)
            measures += class_measures(classes, codes, len(next(iter(combinations.values()))), w, c)
            notes += [classes.note] if classes.note else []
        groups = len(next(iter(combinations.values())))
        for name in outcomes:
            kind, x = read_outcome(frame[name])
            measures.append(outcome(name, kind, Sums.of_rows(codes, groups, x, w, c), better=better))
        found += families(combinations, measures)
    return found, list(dict.fromkeys(notes))


def class_measures(
    classes: Classes,
    codes: npt.NDArray[np.int64],
    groups: int,
    w: npt.NDArray[np.float64],
    c: npt.NDArray[np.float64] | None = None,
) -> list[Measure]:
    """Rates where labels are yes and no; else the accuracy alone."""
    if classes.right is not None:
        return [outcome("accuracy", "share", Sums.of_rows(codes, groups, classes.right, w, c), better="higher")]
    return table_measures(codes, groups, label=classes.label, prediction=classes.prediction, weights=w, counts=c)


def _combinations(
    split: dict[str, npt.NDArray[np.object_]],
) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[np.object_]]]:
    codes, unique = pd.factorize(pd.MultiIndex.from_arrays(list(split.values())))
    if len(unique) > GROUPS_MAX:
        raise BadInput(
            f"{', '.join(split)} make {len(unique)} groups, and {GROUPS_MAX} are compared at most; choose columns with fewer values"
        )
    return codes.astype(np.int64), {
        name: np.array([key[i] for key in unique], dtype=object) for i, name in enumerate(split)
    }


def _weights(frame: pd.DataFrame, weight: str | None, path: Path) -> npt.NDArray[np.float64]:
    if weight is None:
        return np.ones(len(frame))
    found: Any = pd.to_numeric(frame[weight], errors="coerce").to_numpy(dtype=np.float64)
    if not (np.isfinite(found).all() and (found > 0).all()):
        raise BadInput(f"{path}: the column `{weight}` has a value that is no number above 0; correct it")
    return np.asarray(found)
