"""Drift between two windows of the store."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from monitor.drift.counting import Bins, Side, count_windows, counts_of
from monitor.drift.features import CLOSED, find_features
from monitor.drift.outcomes import weighed
from monitor.drift.sampled import compare_sampled
from monitor.errors import BadInput
from monitor.kpis import Window, check_where, parse_duration
from monitor.kpis.dimensions import Where
from monitor.stats.drift import DEFAULT, DOMAIN, METHODS, Drift, Options, compare_counts, compare_shares, judge
from monitor.stats.drift.tables import DEFAULTS
from monitor.store import Client

_NO_FILTER: Final[Where] = {}


def parse_window(text: str, *, now: datetime | None = None) -> Window:
    """`7d` (the last seven days), `7d..1d` (from seven days ago to one day ago), or `START/END` in ISO 8601.

    Raises
    ------
    BadInput
        If it is none of these, or ends before it starts.
    """
    now = datetime.now(UTC) if now is None else now
    if "/" in text:
        ends = text.split("/")
        try:
            start, end = (datetime.fromisoformat(part) for part in ends)
        except ValueError:
            raise BadInput(
                f"`{text}` is no window; write START/END as 2026-11-01T00:00Z/2026-11-02T00:00Z, or 7d..1d"
            ) from None
        return Window(start, end)
    if not re.fullmatch(r"[0-9.a-z]+", text):
        raise BadInput(
            f"`{text}` is neither a file nor a window; write 7d..1d, START/END, or name a CSV or Parquet file"
        )
    first, dots, last = text.partition("..")
    length = parse_duration(first)
    ended = timedelta(0) if not dots or last in ("", "now", "0s") else parse_duration(last)
    if ended >= length:
        raise BadInput(f"the window `{text}` must begin before it ends; write the earlier time first, as 7d..1d")
    return Window(now - length, now - ended)


def compare_windows(
    client: Client,
    reference: Window,
    current: Window,
    *,
    columns: Sequence[str] = (),
    chunk: timedelta | None = None,
    where: Where = _NO_FILTER,
    options: Options = DEFAULTS,
) -> list[Drift]:
    """Every feature of two windows, with verdicts that hold for all of them together.

    Parameters
    ----------
    client : Client
        Of a migrated store.
    reference, current : Window
        A call belongs to the window in which it began.
    columns : sequence of str
        Features: of `NUMBERS`, `CATEGORIES`, or `cohort.KEY`; none means all that the reference knows.
    chunk : timedelta, optional
        The current window in steps of this length.
    where : mapping
        Filter, as of KPIs; for both windows.
    options : Options
        As of `monitor.stats.drift.compare`. The domain classifier gets a sample of the rows, prompts and completions
        with them where they were captured, and is not cut into chunks.

    Raises
    ------
    BadInput
        If a feature or filter is unknown, the reference window knows none of the features, or there would be too many
        chunks.
    """
    checked = check_where(where)
    features = find_features(client, reference, columns, checked)
    found: list[Drift] = []
    counted: list[Bins] = []
    if any(method in METHODS for method in options.methods):
        for bins, own, steps in count_windows(client, reference, current, features, checked, chunk):
            counted.append(bins)
            for step, other in enumerate(steps):
                compared = _compared(bins, own, other, options)
                found += [each if chunk is None else replace(each, chunk=step) for each in compared]
    if DOMAIN in options.methods:
        found += compare_sampled(client, reference, current, features, checked, options)
    if not found:
        window = f"{reference.start.isoformat()}/{reference.end.isoformat()}"
        raise BadInput(f"no call of the reference window {window} has a feature to compare; give another --reference")
    judged = judge(found, alpha=options.alpha, rows_min=options.rows_min)
    return weighed(client, judged, counted, reference, current, checked) if chunk is None else judged


def _compared(bins: Bins, own: Side, other: Side, options: Options) -> Iterator[Drift]:
    name, numeric = bins.feature.name, bins.feature.number
    wanted = [each for each in options.methods if each in METHODS]
    for method in dict.fromkeys(each if numeric or not METHODS[each].ordered else DEFAULT for each in wanted):
        yield compare_counts(
            name,
            counts_of(bins, own, other, fine=METHODS[method].ordered),
            method,
            threshold=options.thresholds.get(method),
            level=options.level,
            seed=options.seed,
            points=np.array(bins.points) if numeric else None,
            unit=max(bins.deviation, 0.001),
        )
    n, m = float(own.counts.sum()), float(other.counts.sum())
    if not numeric and name not in CLOSED and bins.complete and other.counts[-1]:
        yield compare_shares(f"{name}.new", 0.0, n, float(other.counts[-1]), m, level=options.level)
    if own.missing or other.missing:
        yield compare_shares(
            f"{name}.missing", own.missing, n + own.missing, other.missing, m + other.missing, level=options.level
        )
