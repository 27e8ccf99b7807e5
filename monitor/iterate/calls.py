"""Calls with what was said of them, block by block: however many there are, one block is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from monitor.iterate.review import quoted
from monitor.kpis import Window
from monitor.kpis.dimensions import Where, check_where, where_sql
from monitor.store import Client
from monitor.store.calls import calls_source
from monitor.store.datasets import Item, items_of, listed, no_dataset

PART: Final = 4000  # calls that are read at once
BLOCK: Final = 1000  # of them, whose judgements are asked for at once: their ids stand in the statement
_TEXT: Final = (
    "service", "environment", "node", "region", "deployment", "pricing", "gpu", "provider", "model", "variant", "release",
    "experiment", "arm", "operation", "finish_reason", "error_type", "session_id", "user_id", "request_id",
)  # fmt: skip
_NUMBERS: Final = (
    "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "ttft_s", "queue_s", "tpot_s", "duration_s",
    "cost_usd",
)  # fmt: skip
COLUMNS: Final = (
    "trace_id", "span_id", *_TEXT, *_NUMBERS, "cancelled", "sample_weight", "simulated", "cohorts", "prompt", "completion",
)  # fmt: skip
_HOUR: Final = timedelta(hours=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Told:
    """A call, its judgements and its user's feedback, newest last, and its place in a dataset, if it was asked for by one."""

    values: Mapping[str, Any]
    timestamp: datetime
    judgements: Sequence[Mapping[str, Any]] = field(default_factory=list)
    feedback: Sequence[Mapping[str, Any]] = field(default_factory=list)
    item: Item | None = None


def calls_of_window(client: Client, window: Window, where: Where) -> Iterator[list[Told]]:
    """Calls that began in the window, oldest first."""
    condition, parameters = where_sql(check_where(where))
    for stretch in _stretches(client, window):
        yield from _blocks(client, stretch, condition, parameters)


def _stretches(client: Client, window: Window) -> Iterator[Window]:
    """The window in stretches of whole hours: one busy hour, or as many quiet ones as have few rows together."""
    between = " AND ".join(
        f"timestamp {sign} fromUnixTimestamp64Nano(toInt64({ns}))"
        for sign, ns in ((">=", window.start_ns), ("<", window.end_ns))
    )
    counts = client.query(
        "SELECT intDiv(toInt64(toUnixTimestamp(timestamp)), 3600) AS hour, count() FROM inferences"
        f" WHERE {between} GROUP BY hour ORDER BY hour"
    ).result_rows
    start, held = window.start, 0
    for hour, rows in counts:
        at = datetime.fromtimestamp(int(hour) * 3600, UTC)
        if held and held + rows > PART and at > start:
            yield Window(start, at)
            start, held = at, 0
        held += rows
    if counts:
        yield Window(start, window.end)


def calls_of_dataset(client: Client, name: str) -> Iterator[list[Told]]:
    """Calls of a dataset, oldest first; those that retention has removed are left out.

    Raises
    ------
    BadInput
        If there is no such dataset.
    """
    items = items_of(client, name)
    if not items:
        raise no_dataset(client, name)
    by_hour: dict[int, list[Item]] = {}
    for item in items:
        by_hour.setdefault(int(item.called_at.timestamp()) // 3600, []).append(item)
    for each in by_hour.values():
        for first in range(0, len(each), BLOCK):
            part = {(item.trace_id, item.span_id): item for item in each[first : first + BLOCK]}
            times = [item.called_at for item in part.values()]
            window = Window(min(times), max(times) + timedelta(microseconds=1))
            traces = listed(sorted({trace_id for trace_id, _ in part}))
            for block in _blocks(client, window, f"trace_id IN ({traces})", {}):
                found = [_of_item(told, part.get((told.values["trace_id"], told.values["span_id"]))) for told in block]
                yield [told for told in found if told.item is not None]


def _of_item(told: Told, item: Item | None) -> Told:
    return Told(
        values=told.values, timestamp=told.timestamp, judgements=told.judgements, feedback=told.feedback, item=item
    )


def _blocks(client: Client, window: Window, condition: str, parameters: Mapping[str, Any]) -> Iterator[list[Told]]:
    # Not as one stream: the embedded engine answers nothing else meanwhile, and judgements are asked for by block.
    for part in _parts(client, window, condition, parameters):
        source = calls_source(client, part.start_ns, part.end_ns)
        sql = (
            f"SELECT toUnixTimestamp64Nano(timestamp) AS at_ns, {', '.join(COLUMNS)} FROM {source} WHERE {condition}"
            " ORDER BY timestamp, trace_id, span_id"
        )
        rows = client.query(sql, parameters=dict(parameters)).result_rows
        for first in range(0, len(rows), BLOCK):
            yield _told(client, rows[first : first + BLOCK])


def _parts(client: Client, window: Window, condition: str, parameters: Mapping[str, Any]) -> Iterator[Window]:
    """The window in stretches of whole seconds with few calls each."""
    source = calls_source(client, window.start_ns, window.end_ns)
    counts = client.query(
        f"SELECT toInt64(toUnixTimestamp(timestamp)) AS second, count() FROM {source} WHERE {condition}"
        " GROUP BY second ORDER BY second",
        parameters=dict(parameters),
    ).result_rows
    if not counts:
        return
    start, held = window.start, 0
    for second, calls in counts:
        at = datetime.fromtimestamp(int(second), UTC)
        if held and held + calls > PART and at > start:
            yield Window(start, at)
            start, held = at, 0
        held += calls
    yield Window(start, window.end)


def _told(client: Client, rows: Sequence[Sequence[Any]]) -> list[Told]:
    calls = [dict(zip(("at_ns", *COLUMNS), row, strict=True)) for row in rows]
    last = {call["trace_id"]: index for index, call in enumerate(calls)}
    spans = {(call["trace_id"], call["span_id"]): index for index, call in enumerate(calls)}
    answers = {call["request_id"]: index for index, call in enumerate(calls) if call["request_id"]}
    said: list[tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]] = [([], []) for _ in calls]
    about = _about(calls)
    for place, (table, columns) in enumerate((_JUDGEMENTS, _FEEDBACK)):
        query = (
            f"SELECT toUnixTimestamp64Nano(timestamp), trace_id, span_id, response_id, {', '.join(columns)} FROM {table} FINAL"
            f" WHERE {about} ORDER BY timestamp"
        )
        for at_ns, trace_id, span_id, response_id, *values in client.query(query).result_rows:
            index = spans.get((trace_id, span_id), last.get(trace_id)) if trace_id else answers.get(response_id)
            if index is not None:
                record = {"timestamp": moment_text(at_ns), **dict(zip(columns, values, strict=True))}
                said[index][place].append(record)
    return [
        Told(
            values={key: _plain(value) for key, value in call.items() if key != "at_ns"},
            timestamp=_moment(call["at_ns"]),
            judgements=judgements,
            feedback=feedback,
        )
        for call, (judgements, feedback) in zip(calls, said, strict=True)
    ]


_JUDGEMENTS: Final = ("evaluations", ("name", "score", "label", "source", "evaluator", "explanation"))
_FEEDBACK: Final = ("engagement_events", ("kind", "value", "comment"))


def _about(calls: Sequence[Mapping[str, Any]]) -> str:
    """Condition: judgements of these calls. None is older than its call by more than clocks differ."""
    traces = listed(sorted({call["trace_id"] for call in calls if call["trace_id"]}))
    since_ns = calls[0]["at_ns"] - int(_HOUR.total_seconds()) * 10**9
    answers = ", ".join(quoted(call["request_id"]) for call in calls if call["request_id"])
    by_answer = f" OR (trace_id = '' AND response_id IN ({answers}))" if answers else ""
    return f"timestamp >= fromUnixTimestamp64Nano(toInt64({since_ns})) AND (trace_id IN ({traces}){by_answer})"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return dict(value) if isinstance(value, Mapping) else value


def _moment(ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=int(ns) // 1000)


def moment_text(ns: int) -> str:
    """ISO 8601 in UTC, to the microsecond."""
    return _moment(ns).isoformat().replace("+00:00", "Z")
