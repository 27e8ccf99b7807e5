"""`changes`: what was changed from outside, and when: markers on charts, and suspects when an alert fires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from monitor.errors import BadInput
from monitor.store.client import Client

DEPLOY: Final = "deploy"
PRICE: Final = "price"
CONFIG: Final = "config"
KINDS: Final = (DEPLOY, PRICE, CONFIG)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change; `where` names the calls that it concerns, dimension -> values, empty for all."""

    timestamp: datetime
    kind: str
    title: str
    author: str = ""
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    link: str = ""
    source: str = ""


def record_change(
    client: Client,
    *,
    timestamp: datetime,
    kind: str,
    title: str,
    author: str = "",
    where: Mapping[str, Sequence[str]] | None = None,
    link: str = "",
    source: str = "",
) -> None:
    """Write one change; again with the same time, kind, title and source, it is the same change.

    Parameters
    ----------
    client : Client
        That may write.
    timestamp : datetime
        When it took effect, with a time zone.
    kind : {"deploy", "price", "config"}
    title : str
        One line for people.
    author, link, source : str
        Who did it, where to read more, and who reports it (`monitor.yaml`, a pipeline, …).
    where : mapping, optional
        Dimension -> values of the calls that it concerns; none for all.

    Raises
    ------
    BadInput
        If the kind is unknown, the title empty, or the time has no zone.
    """
    if kind not in KINDS:
        raise BadInput(f"there is no kind of change `{kind}`; it is one of {', '.join(KINDS)}")
    if not title.strip():
        raise BadInput("a change needs a title; say in a few words what was changed")
    if timestamp.tzinfo is None:
        raise BadInput(f"the change's time {timestamp.isoformat()} has no time zone; give one, such as Z")
    concerned = {key: list(values) for key, values in (where or {}).items()}
    client.insert(
        "changes",
        [[timestamp.astimezone(UTC), kind, title.strip(), author, concerned, link, source]],
        column_names=["timestamp", "kind", "title", "author", "where", "link", "source"],
        settings={"async_insert": 0},
    )


def changes_between(client: Client, start: datetime, end: datetime) -> list[Change]:
    """Changes from `start` up to, and without, `end`, oldest first."""
    query = (
        "SELECT toUnixTimestamp64Micro(timestamp), kind, title, author, `where`, link, source FROM changes FINAL"
        " WHERE timestamp >= {start:DateTime64(9, 'UTC')} AND timestamp < {end:DateTime64(9, 'UTC')} ORDER BY timestamp, title"
    )
    parameters = {"start": start.astimezone(UTC), "end": end.astimezone(UTC)}
    rows = client.query(query, parameters=parameters).result_rows
    return [
        Change(
            timestamp=_EPOCH + timedelta(microseconds=at),
            kind=kind,
            title=title,
            author=author,
            where=where,
            link=link,
            source=source,
        )
        for at, kind, title, author, where, link, source in rows
    ]
