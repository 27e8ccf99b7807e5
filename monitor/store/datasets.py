"""Datasets, which are named sets of calls, and what became of calls in the review queue."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from monitor.errors import BadInput
from monitor.store.calls import calls_source
from monitor.store.client import Client

REASONS: Final = ("manual", "alert", "rating", "score", "drift", "review")
STATES: Final = ("open", "done", "skipped")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NOTE_CHARS_MAX: Final = 2000
AUTHOR_CHARS_MAX: Final = 256
ITEMS_MAX: Final = 2000  # of one request: ids stand in the statement, whose length is limited
_TRACE: Final = re.compile(r"[0-9a-f]{32}")
_HEX: Final = re.compile(r"[0-9a-f]{16,32}")
_SPAN: Final = re.compile(r"[0-9a-f]{16}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS: Final = (
    "dataset", "trace_id", "span_id", "called_at", "reason", "note", "author", "added_at", "version", "deleted",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Ids:
    """A call; without a span, the call of the trace that a judgement of the trace would be about: its last."""

    trace_id: str
    span_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What is known of a dataset: `first` and `last` are when its items were added."""

    name: str
    items: int
    reasons: tuple[str, ...]
    authors: tuple[str, ...]
    first: datetime
    last: datetime


@dataclass(frozen=True, kw_only=True)
class Item:
    """One call of a dataset, and why it is there."""

    trace_id: str
    span_id: str
    called_at: datetime
    reason: str
    note: str
    author: str
    added_at: datetime


def check_name(name: str) -> str:
    """The name, if a dataset can have it.

    Raises
    ------
    BadInput
        If it cannot.
    """
    if not NAME.fullmatch(name):
        raise BadInput(
            f"`{name[:80]}` is no name of a dataset: it has 1 to 64 letters, digits and . _ - and begins with one of the first two"
        )
    return name


def check_ids(trace_id: str, span_id: str = "") -> Ids:
    """Ids as they are stored.

    Raises
    ------
    BadInput
        If they are none.
    """
    trace, span = trace_id.strip().lower(), span_id.strip().lower()
    if not _TRACE.fullmatch(trace):
        raise BadInput(f"trace_id: must be 32 hexadecimal digits, not `{trace_id[:80]}`")
    if span and not _SPAN.fullmatch(span):
        raise BadInput(f"span_id: must be 16 hexadecimal digits, not `{span_id[:80]}`")
    return Ids(trace_id=trace, span_id=span)


def add_items(
    client: Client, dataset: str, ids: Sequence[Ids], *, reason: str = "manual", note: str = "", author: str = ""
) -> int:
    """Put calls into a dataset; those that are in it already stay as they are. Returns how many are new.

    Parameters
    ----------
    client : Client
        That may write.
    reason : str
        One of `REASONS`.

    Raises
    ------
    BadInput
        If name, reason or note do not fit, or a call is not in the store.
    """
    check_name(dataset)
    if reason not in REASONS:
        raise BadInput(f"reason: must be one of {', '.join(REASONS)}, not `{reason[:80]}`")
    if len(note) > NOTE_CHARS_MAX or len(author) > AUTHOR_CHARS_MAX:
        raise BadInput(f"a note has up to {NOTE_CHARS_MAX} characters, an author up to {AUTHOR_CHARS_MAX}")
    if len(ids) > ITEMS_MAX:
        raise BadInput(f"{len(ids)} items are more than the {ITEMS_MAX} of one request; send them in parts")
    calls = find_calls(client, ids)
    missing = next((each for each in ids if each not in calls), None)
    if missing is not None:
        raise BadInput(
            f"there is no model call in the store with trace {missing.trace_id}"
            + (f" and span {missing.span_id}" if missing.span_id else "")
            + "; it may not have arrived yet, or retention has removed it"
        )
    known = {(item.trace_id, item.span_id) for item in items_of(client, dataset)}
    now, version = datetime.now(UTC), time.time_ns()
    rows = {
        (trace_id, span_id): [dataset, trace_id, span_id, called_at, reason, note, author, now, version, 0]
        for trace_id, span_id, called_at in (calls[each] for each in ids)
        if (trace_id, span_id) not in known
    }
    if rows:
        client.insert("dataset_items", list(rows.values()), column_names=_COLUMNS, settings={"async_insert": 0})
    return len(rows)


def remove_items(client: Client, dataset: str, ids: Sequence[Ids] | None = None) -> int:
    """Take calls out of a dataset, or all of them, which is the end of it; returns how many were in it.

    Raises
    ------
    BadInput
        If there is no such dataset.
    """
    present = items_of(client, dataset)
    if not present:
        raise no_dataset(client, dataset)
    wanted = None if ids is None else {(each.trace_id, each.span_id) for each in ids}
    traces = None if ids is None else {each.trace_id for each in ids if not each.span_id}
    version = time.time_ns()
    rows: list[list[Any]] = [
        [dataset, item.trace_id, item.span_id, item.called_at, item.reason, "", item.author, item.added_at, version, 1]
        for item in present
        if wanted is None or (item.trace_id, item.span_id) in wanted or (traces and item.trace_id in traces)
    ]
    if rows:
        client.insert("dataset_items", rows, column_names=_COLUMNS, settings={"async_insert": 0})
    return len(rows)


def list_datasets(client: Client) -> list[Dataset]:
    """All datasets by name."""
    rows = client.query(
        "SELECT toString(dataset) AS name, count(), arraySort(groupUniqArray(toString(reason))),"
        " arraySort(groupUniqArrayIf(toString(author), author != '')), toUnixTimestamp64Micro(min(added_at)),"
        " toUnixTimestamp64Micro(max(added_at)) FROM dataset_items FINAL GROUP BY name ORDER BY name"
    ).result_rows
    return [
        Dataset(
            name=name,
            items=int(items),
            reasons=tuple(reasons),
            authors=tuple(authors),
            first=_moment(first),
            last=_moment(last),
        )
        for name, items, reasons, authors, first, last in rows
    ]


def items_of(client: Client, dataset: str) -> list[Item]:
    """The items of a dataset, oldest calls first; none if there is no such dataset."""
    rows = client.query(
        "SELECT trace_id, span_id, toUnixTimestamp64Micro(called_at), toString(reason), note, toString(author),"
        " toUnixTimestamp64Micro(added_at) FROM dataset_items FINAL WHERE dataset = {dataset:String}"
        " ORDER BY called_at, trace_id, span_id",
        parameters={"dataset": dataset},
    ).result_rows
    return [
        Item(
            trace_id=trace_id,
            span_id=span_id,
            called_at=_moment(called_at),
            reason=reason,
            note=note,
            author=author,
            added_at=_moment(added_at),
        )
        for trace_id, span_id, called_at, reason, note, author, added_at in rows
    ]


def datasets_with(client: Client, trace_id: str) -> list[str]:
    """Names of the datasets that have a call of this trace."""
    rows = client.query(
        "SELECT DISTINCT toString(dataset) AS name FROM dataset_items FINAL WHERE trace_id = {trace_id:String} ORDER BY name",
        parameters={"trace_id": trace_id},
    ).result_rows
    return [str(name) for (name,) in rows]


def no_dataset(client: Client, name: str) -> BadInput:
    """What to say of a dataset that is not there."""
    known = ", ".join(dataset.name for dataset in list_datasets(client)[:20]) or "none"
    return BadInput(f"there is no dataset `{name[:80]}`; there are: {known}")


def review(client: Client, ids: Sequence[Ids], *, name: str, state: str, author: str = "") -> int:
    """Say what became of calls in the review queue; the newest word counts.

    Raises
    ------
    BadInput
        If the state is none of `STATES`, or a name is too long.
    """
    if state not in STATES:
        raise BadInput(f"state: must be one of {', '.join(STATES)}, not `{state[:80]}`")
    if not 1 <= len(name.strip()) <= AUTHOR_CHARS_MAX or len(author) > AUTHOR_CHARS_MAX:
        raise BadInput(f"name: must be a text of 1 to {AUTHOR_CHARS_MAX} characters, and author no longer one")
    now, version = datetime.now(UTC), time.time_ns()
    rows = [[each.trace_id, each.span_id, name, state, author, now, version] for each in ids]
    columns = ["trace_id", "span_id", "name", "state", "author", "at", "version"]
    client.insert("reviews", rows, column_names=columns, settings={"async_insert": 0})
    return len(rows)


def find_calls(client: Client, ids: Sequence[Ids]) -> dict[Ids, tuple[str, str, datetime]]:
    """Ids -> trace, span and begin of the call that is meant; what the store does not have is left out.

    As with judgements: the call whose span it is, or else the call of that trace which ended last.
    """
    by_trace: dict[str, list[tuple[str, str, datetime]]] = {}
    for start_ns, end_ns, traces in _stretches(client, sorted({each.trace_id for each in ids})):
        rows = client.query(
            "SELECT trace_id, span_id, toUnixTimestamp64Micro(timestamp) AS at, at + toInt64(duration_s * 1e6) AS ended"
            f" FROM {calls_source(client, start_ns, end_ns)} WHERE trace_id IN ({listed(traces)})"
            " ORDER BY ended, at, span_id LIMIT 1 BY trace_id, span_id"
        ).result_rows
        for trace_id, span_id, at, _ in rows:
            by_trace.setdefault(trace_id, []).append((trace_id, span_id, _moment(at)))
    found: dict[Ids, tuple[str, str, datetime]] = {}
    for each in ids:
        if calls := by_trace.get(each.trace_id):
            found[each] = next((call for call in calls if call[1] == each.span_id), calls[-1])
    return found


def listed(ids: Sequence[str]) -> str:
    """Ids as they stand in a statement: as parameters they would be in a request's address, which is short."""
    assert all(_HEX.fullmatch(each) for each in ids), "ids are checked before they come here"
    return ", ".join(f"'{each}'" for each in ids) or "''"


def _stretches(client: Client, traces: Sequence[str]) -> list[tuple[int, int, list[str]]]:
    """Begin, end and traces of each hour in which some of them began: a small table knows when each was."""
    rows = client.query(
        "SELECT TraceId, toInt64(min(toUnixTimestamp(Start))) AS start, toInt64(max(toUnixTimestamp(End)))"
        f" FROM otel_traces_trace_id_ts WHERE TraceId IN ({listed(traces)}) GROUP BY TraceId ORDER BY start"
    ).result_rows
    hours: dict[int, list[tuple[str, int, int]]] = {}
    for trace_id, start, end in rows:
        hours.setdefault(start // 3600, []).append((str(trace_id), int(start), int(end)))
    # Ends are whole seconds, rounded down.
    return [
        (min(start for _, start, _ in each) * 10**9, (max(end for *_, end in each) + 1) * 10**9, [t for t, *_ in each])
        for each in hours.values()
    ]


def _moment(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=int(us))
