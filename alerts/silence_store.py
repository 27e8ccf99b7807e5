"""Silences in the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from alerts.silence import Silence
from monitor.errors import BadInput
from monitor.settings.matchers import parse_matchers
from monitor.store import Client

_COLUMNS: Final = (
    "id", "matchers", "starts_at", "ends_at", "created_by", "comment", "created_at", "updated_at",
)  # fmt: skip


def read_silences(client: Client, *, now: datetime, expired_for: timedelta = timedelta(0)) -> list[Silence]:
    """Silences that are not over for longer than this, the latest end first."""
    query = (
        f"SELECT {', '.join(_COLUMNS)} FROM silences FINAL WHERE ends_at > {{since:DateTime64(3, 'UTC')}}"
        " ORDER BY ends_at DESC, id LIMIT 10000"
    )
    rows = client.query(query, parameters={"since": now - expired_for}).result_rows
    return [_silence(row) for row in rows]


def find_silence(client: Client, id: str) -> Silence:
    """The one of this id.

    Raises
    ------
    BadInput
        If there is none.
    """
    query = f"SELECT {', '.join(_COLUMNS)} FROM silences FINAL WHERE id = {{id:String}}"
    rows = client.query(query, parameters={"id": id}).result_rows
    if not rows:
        raise BadInput(f"there is no silence `{id}`; see `monitor alerts silences`")
    return _silence(rows[0])


def write_silences(client: Client, silences: Iterable[Silence]) -> None:
    rows = []
    for silence in silences:
        values = [getattr(silence, name) for name in _COLUMNS]
        values[1] = [str(matcher) for matcher in silence.matchers]
        rows.append([*values, round(silence.updated_at.timestamp() * 1e6)])
    client.insert("silences", rows, column_names=[*_COLUMNS, "version"], settings={"async_insert": 0})


def _silence(row: Sequence[Any]) -> Silence:
    values: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
    for name in ("starts_at", "ends_at", "created_at", "updated_at"):
        moment = values[name]
        assert isinstance(moment, datetime), "the driver gives datetimes"
        values[name] = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    values["matchers"] = parse_matchers(values["matchers"])
    return Silence(**values)
