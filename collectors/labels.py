"""Labels from a file (CSV, JSON Lines, Parquet) into the store, the way that every judgement goes: as OTLP log records.

The whole file is checked before anything is sent, so that a mistake in its last line leaves nothing half done.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from collectors.otlp.judgements import evaluations_message
from collectors.transport import Transport
from monitor.errors import BadInput, MonitorError, StoreAway

BATCH: Final = 2000
TRIES: Final = 8
TIMEOUT_S: Final = 30.0
# What other tools call it -> what it is called here.
COLUMNS: Final[Mapping[str, str]] = {
    "request_id": "response_id",
    "id": "response_id",
    "reason": "explanation",
    "comment": "explanation",
    "annotator": "evaluator",
}
FIELDS: Final = (
    "trace_id", "span_id", "response_id", "name", "score", "label", "source", "evaluator", "explanation", "service",
    "timestamp",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Label:
    """A row of the file, and where it stands."""

    place: str
    values: Mapping[str, Any]


def read_labels(path: Path, *, defaults: Mapping[str, str]) -> list[Label]:
    """All rows of a file, with what they do not say taken from `defaults`.

    Raises
    ------
    BadInput
        If the file cannot be read, or has columns that are not known.
    """
    rows = list(_rows(path))
    if not rows:
        raise BadInput(f"{path} has no rows; a CSV file begins with a line of column names")
    unknown = {COLUMNS.get(key, key) for key in rows[0].values} - set(FIELDS)
    if unknown:
        raise BadInput(
            f"{path}: unknown column {', '.join(f'`{name}`' for name in sorted(unknown))}; known are {', '.join(FIELDS)}"
        )
    return [Label(place=row.place, values=_filled(row.values, defaults)) for row in rows]


def send_labels(
    labels: Sequence[Label],
    transport: Transport,
    *,
    endpoint: str,
    on_sent: Callable[[int], None] = lambda sent: None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Check all, then send them batch by batch; returns how many were acknowledged.

    Raises
    ------
    BadInput
        If a row is no judgement; nothing was sent.
    StoreAway
        If the receiver does not take them; says how many it took.
    """
    now_ns = time.time_ns()
    bodies = []
    for first in range(0, len(labels), BATCH):
        batch = labels[first : first + BATCH]
        message = evaluations_message(
            [dict(label.values) for label in batch], [label.place for label in batch], now_ns + first
        )
        bodies.append((len(batch), message.SerializeToString()))
    sent = 0
    for count, body in bodies:
        _deliver(transport, body, endpoint=endpoint, sent=sent, sleep=sleep)
        sent += count
        on_sent(sent)
    return sent


def _deliver(transport: Transport, body: bytes, *, endpoint: str, sent: int, sleep: Callable[[float], None]) -> None:
    for tried in range(TRIES):
        answer = transport.export(body, TIMEOUT_S)
        if answer.verdict == "accepted" and not answer.rejected_items:
            return
        if answer.verdict != "retry":
            raise _refused(f"{endpoint} refuses labels ({answer.reason}); {sent} were taken before", MonitorError)
        if tried < TRIES - 1:
            sleep(answer.retry_after_s if answer.retry_after_s is not None else min(5.0, 0.1 * 2**tried))
    raise _refused(f"{endpoint} does not take labels ({answer.reason}); {sent} were taken before", StoreAway)


def _refused(text: str, kind: type[MonitorError]) -> MonitorError:
    return kind(f"{text}; see that the service runs there and the token is right, then send the file again")


def _rows(path: Path) -> Iterator[Label]:
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    try:
        if kind == "parquet":
            yield from _parquet(path)
        elif kind in ("jsonl", "ndjson"):
            yield from _json_lines(path)
        elif kind == "csv":
            yield from _csv(path)
        else:
            raise BadInput(f"{path} is no file of labels; its name must end in .csv, .jsonl or .parquet")
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}; check the name") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not UTF-8 text; save it as such") from None


def _text(path: Path) -> io.TextIOWrapper:
    raw = gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")  # noqa: SIM115
    return io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")


def _csv(path: Path) -> Iterator[Label]:
    with _text(path) as file:
        reader = csv.DictReader(file)
        for row in reader:
            place = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise BadInput(f"{place}: has {'more' if None in row else 'fewer'} columns than the first line names")
            yield Label(place=place, values=row)


def _json_lines(path: Path) -> Iterator[Label]:
    with _text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                raise BadInput(f"{place}: is not JSON; each line must be one object") from None
            if not isinstance(values, dict):
                raise BadInput(f"{place}: is not a JSON object but {type(values).__name__}")
            yield Label(place=place, values=values)


def _parquet(path: Path) -> Iterator[Label]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowInvalid:
        raise BadInput(f"{path} is no Parquet file; check the name") from None
    for number, values in enumerate(table.to_pylist(), 1):
        yield Label(place=f"{path}, row {number}", values=values)


def _filled(values: Mapping[str, Any], defaults: Mapping[str, str]) -> dict[str, Any]:
    """What a row says, by the names used here, without what is empty."""
    said = {COLUMNS.get(key, key): _plain(COLUMNS.get(key, key), value) for key, value in values.items()}
    return {**defaults, **{key: value for key, value in said.items() if value not in (None, "")}}


def _plain(name: str, value: Any) -> Any:
    """CSV has texts only, and Parquet times and truths of its own."""
    if name == "score" and isinstance(value, str):
        try:
            return float(value) if value.strip() else None
        except ValueError:
            return value  # refused with its place by the check
    if name == "label" and isinstance(value, bool):
        return "yes" if value else "no"
    if name == "label" and isinstance(value, (int, float)):
        return f"{value:g}"
    return value.isoformat() if hasattr(value, "isoformat") else value
