"""Drift of every column of a table against a reference table, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pandas as pd

from monitor.stats.drift.bins import CategoryBins, NumberBins, finite
from monitor.stats.drift.domain import DOMAIN, compare_tables, compare_texts, looks_like_text
from monitor.stats.drift.effects import Array
from monitor.stats.drift.embeddings import compare_embeddings
from monitor.stats.drift.methods import DEFAULT, METHODS, compare_counts, compare_shares, compare_values
from monitor.stats.drift.topics import topics_of
from monitor.stats.drift.vectors import are_vectors, vectors_of
from monitor.stats.drift.verdict import ALPHA, ROWS_MIN, Drift, judge

NUMBER, CATEGORY, TEXT, VECTOR, IDENTIFIER, TIME = "number", "category", "text", "vector", "identifier", "time"
EVERYTHING: Final = "(all features)"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How tables are compared.

    Parameters
    ----------
    methods : tuple of str
        Of `METHODS`, or `domain_classifier`. A method that needs ordered values is `jensen_shannon` for categories.
    thresholds : mapping
        Method -> threshold, where it is not the default.
    alpha : float
        Share of false ones among the drifts that are told, at most.
    level : float
        Confidence of the intervals.
    rows_min : int
        Fewer rows on a side give no verdict.
    seed : int
        Of all that is drawn by lot.
    """

    methods: tuple[str, ...] = (DEFAULT,)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    alpha: float = ALPHA
    level: float = 0.95
    rows_min: int = ROWS_MIN
    seed: int = 1

    def __post_init__(self) -> None:
        known = (*METHODS, DOMAIN)
        for name in (*self.methods, *self.thresholds):
            if name not in known:
                raise ValueError(f"there is no drift method `{name}`; known are {', '.join(known)}")
        if not self.methods:
            raise ValueError("no drift method is given")
        if not 0 < self.alpha < 1 or not 0 < self.level < 1:
            raise ValueError("alpha and level are shares between 0 and 1")


DEFAULTS: Final = Options()


def compare(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    *,
    columns: Sequence[str] = (),
    chunk: int | None = None,
    options: Options = DEFAULTS,
) -> list[Drift]:
    """Every feature of two tables, with verdicts that hold for all of them together.

    Parameters
    ----------
    reference, current : pandas.DataFrame
        Rows of both sides.
    columns : sequence of str
        Features; none means all columns that both have, but for identifiers and times.
    chunk : int, optional
        Rows of the current side per comparison, in their order; the last may be shorter.
    options : Options
        Methods, thresholds, levels.

    Returns
    -------
    list of Drift
        By column, method and chunk. Where a side has missing values, `COLUMN.missing` compares their share, and where
        the current side has categories that the reference lacks, `COLUMN.new` compares theirs with what a fresh window
        of the reference would have.

    Raises
    ------
    ValueError
        If a column is not in both tables, or the chunk is no positive number.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"a chunk has at least one row, not {chunk}")
    names = _columns(reference, current, columns)
    found: list[Drift] = []
    for name in names:
        found += _compare_column(name, reference[name], current[name], chunk, options)
    if DOMAIN in options.methods:
        for at, part in _parts(current[names], chunk):
            whole = compare_tables(EVERYTHING, reference[names], part, seed=options.seed, level=options.level)
            found.append(_in_chunk(_limited(whole, options, at * (chunk or 0)), at, chunk))
    return judge(found, alpha=options.alpha, rows_min=options.rows_min)


def kind_of(reference: pd.Series[Any], current: pd.Series[Any] | None = None) -> str:
    """What a column is: `number`, `category`, `text`, `vector`, `identifier` or `time`.

    An identifier is text without spaces, or whole numbers, that hardly ever repeats; numbers must also be in order.
    """
    if pd.api.types.is_bool_dtype(reference):
        return CATEGORY
    if pd.api.types.is_datetime64_any_dtype(reference):
        return TIME
    if pd.api.types.is_numeric_dtype(reference):
        return IDENTIFIER if _counts_rows(reference) and (current is None or _counts_rows(current)) else NUMBER
    if are_vectors(reference.dropna().head(20)):
        return VECTOR
    head = reference.dropna().head(5000).astype(str)
    if looks_like_text(head):
        return TEXT
    if len(head) >= ROWS_MIN and head.nunique() > 0.9 * len(head):
        return TIME if _are_times(head) else IDENTIFIER
    return TIME if _are_times(head) else CATEGORY


def left_out(reference: pd.DataFrame, current: pd.DataFrame) -> dict[str, str]:
    """Columns that `compare` leaves out unless asked for, and why."""
    shared = [name for name in reference.columns if name in current.columns]
    why = {name: kind_of(reference[name], current[name]) for name in shared}
    only = [str(name) for name in reference.columns if name not in current.columns]
    only += [str(name) for name in current.columns if name not in reference.columns]
    return {str(name): kind for name, kind in why.items() if kind in (IDENTIFIER, TIME)} | dict.fromkeys(
        only, "on one side only"
    )


def _columns(reference: pd.DataFrame, current: pd.DataFrame, wanted: Sequence[str]) -> list[str]:
    for side, table in (("reference", reference), ("current", current)):
        missing = [name for name in wanted if name not in table.columns]
        if missing:
            raise ValueError(
                f"the {side} table has no column `{missing[0]}`; it has {', '.join(map(str, table.columns))}"
            )
    if wanted:
        return list(dict.fromkeys(wanted))
    out = left_out(reference, current)
    return [name for name in reference.columns if str(name) not in out]


def _compare_column(
    name: str, reference: pd.Series[Any], current: pd.Series[Any], chunk: int | None, options: Options
) -> Iterator[Drift]:
    kind = kind_of(reference)
    if kind == NUMBER or (kind == IDENTIFIER and pd.api.types.is_numeric_dtype(reference)):
        if not pd.api.types.is_numeric_dtype(current):
            current = pd.to_numeric(current, errors="coerce")  # what is no number counts as missing
        yield from _numbers(name, reference, current, chunk, options)
    elif kind == TEXT:
        for at, part in _parts(current, chunk):
            found = compare_texts(name, reference, part, seed=options.seed, level=options.level)
            yield _in_chunk(_limited(found, options, at * (chunk or 0)), at, chunk)
        yield from _topics(name, reference, current, chunk, options)
    elif kind == VECTOR:
        own = vectors_of(reference)
        for at, part in _parts(vectors_of(current, like=own), chunk):
            for found in compare_embeddings(name, own, part, level=options.level, seed=options.seed):
                limited = _limited(found, options, at * (chunk or 0)) if found.method == DOMAIN else found
                yield _in_chunk(limited, at, chunk)
    elif kind == TIME:
        as_numbers = [pd.to_datetime(side, errors="coerce", utc=True) for side in (reference, current)]
        seconds = [each.astype("int64").where(each.notna()) / 1e9 for each in as_numbers]
        yield from _numbers(name, seconds[0], seconds[1], chunk, options)
    else:
        yield from _categories(name, reference, current, chunk, options)
    yield from _missing(name, reference, current, chunk)


def _topics(
    name: str, reference: pd.Series[Any], current: pd.Series[Any], chunk: int | None, options: Options
) -> Iterator[Drift]:
    """None where the reference has no topics."""
    chosen = next((each for each in options.methods if each in METHODS), DEFAULT)
    limit = options.thresholds.get(DEFAULT if METHODS[chosen].ordered else chosen)
    topics = topics_of(reference, seed=options.seed)
    if topics is None:
        return
    for at, part in _parts(current, chunk):
        found = topics.compare(name, part, method=chosen, threshold=limit, level=options.level, seed=options.seed)
        rows = tuple(at * (chunk or 0) + row for row in found.current_rows)
        yield _in_chunk(replace(found, current_rows=rows), at, chunk)


def _numbers(
    name: str, reference: pd.Series[Any], current: pd.Series[Any], chunk: int | None, options: Options
) -> Iterator[Drift]:
    mine = finite(_floats(reference))
    values = _floats(current)
    ordered = np.empty(0)
    for method in (METHODS[each] for each in options.methods if each in METHODS):
        bins = None if method.ordered else NumberBins.fit(mine, method.bins)
        if bins is None and not len(ordered):
            ordered = np.sort(mine)
        for at, part in _parts(values, chunk):
            given = finite(part)
            limit = options.thresholds.get(method.name)
            if bins is None:
                found = compare_values(
                    name, ordered, np.sort(given), method.name, threshold=limit, level=options.level, seed=options.seed
                )
            else:
                found = compare_counts(
                    name, bins.count(given), method.name, threshold=limit, level=options.level, seed=options.seed
                )
            yield _in_chunk(found, at, chunk)


def _categories(
    name: str, reference: pd.Series[Any], current: pd.Series[Any], chunk: int | None, options: Options
) -> Iterator[Drift]:
    bins = CategoryBins.fit(reference.dropna())
    chosen = [DEFAULT if METHODS[each].ordered else each for each in options.methods if each in METHODS]
    note = f"the {len(bins.names)} most frequent categories, and the rest as one" if bins.others else ""
    any_new: list[Drift] = []
    for at, part in _parts(current, chunk):
        there = part.dropna()
        counts, new = bins.count(there)
        for method in dict.fromkeys(chosen):
            limit = options.thresholds.get(method)
            found = compare_counts(name, counts, method, threshold=limit, level=options.level, seed=options.seed)
            yield replace(_in_chunk(found, at, chunk), note=note)
        if new:
            share = compare_shares(
                f"{name}.new", bins.seen_once, counts.n_reference, new, counts.n_current, level=options.level
            )
            any_new.append(_in_chunk(share, at, chunk))
    yield from any_new


def _missing(name: str, reference: pd.Series[Any], current: pd.Series[Any], chunk: int | None) -> Iterator[Drift]:
    absent = float(reference.isna().sum())
    if not absent and not current.isna().any():
        return
    for at, part in _parts(current, chunk):
        found = compare_shares(f"{name}.missing", absent, len(reference), float(part.isna().sum()), len(part))
        yield _in_chunk(found, at, chunk)


def _parts(rows: Any, chunk: int | None) -> Iterator[tuple[int, Any]]:
    """Rows cut into chunks; one, though empty, without a size."""
    if chunk is None:
        yield 0, rows
        return
    for at, first in enumerate(range(0, max(len(rows), 1), chunk)):
        yield at, rows[first : first + chunk]


def _in_chunk(found: Drift, at: int, chunk: int | None) -> Drift:
    return found if chunk is None else replace(found, chunk=at)


def _limited(found: Drift, options: Options, first_row: int) -> Drift:
    """With the threshold that was asked for, and rows counted in the whole table."""
    limit = options.thresholds.get(DOMAIN, found.threshold)
    return replace(found, threshold=limit, current_rows=tuple(first_row + row for row in found.current_rows))


def _floats(column: pd.Series[Any]) -> Array:
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _counts_rows(column: pd.Series[Any]) -> bool:
    if not pd.api.types.is_integer_dtype(column) or len(column) < ROWS_MIN or column.isna().any():
        return False
    return bool((np.diff(column.to_numpy(dtype=np.int64)) > 0).all())


def _are_times(texts: pd.Series[Any]) -> bool:
    if not len(texts) or not texts.head(20).str.match(r"\d{4}-\d\d-\d\d").all():
        return False
    return bool(pd.to_datetime(texts, errors="coerce", utc=True, format="ISO8601").notna().mean() > 0.9)
