"""Make a store ready to be written: its database, its schema, how long it keeps rows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from monitor.errors import StoreError
from monitor.settings import Settings
from monitor.store import adopt
from monitor.store.client import DEFAULT_DATABASE, Client, connect, explained, is_embedded, server_address
from monitor.store.cluster import Layout
from monitor.store.migrate import Migration, apply_retention, ensure_database, migrate, pending


def prepare_store(settings: Settings) -> list[Migration]:
    """Bring the store, and each server of its cluster, up to date; returns the migrations that were applied anywhere.

    Raises
    ------
    SchemaTooNew, StoreLocked, StoreAway, StoreError
    """
    layout = Layout.from_settings(settings)
    applied: dict[int, Migration] = {}
    for url in settings.node_urls:
        applied |= {migration.version: migration for migration in _prepare(url, settings, layout)}
    return [applied[version] for version in sorted(applied)]


def _prepare(url: str, settings: Settings, layout: Layout | None) -> list[Migration]:
    if not is_embedded(url):
        _make_database(url, layout)
    client = connect(url)
    try:
        with explained(server_address(url)):
            if pending(client) and not (layout is not None and layout.on_cluster):
                adopt.plan(client, layout)
            applied = migrate(client, layout=layout)
            _keep_rows(client, settings, layout)
    finally:
        client.close()
    return applied


def _keep_rows(client: Client, settings: Settings, layout: Layout | None) -> list[str]:
    keep = settings.retention
    leave = adopt.foreign_tables(client)
    return apply_retention(
        client,
        raw_days=keep.raw_days,
        facts_days=keep.facts_days,
        minutes_days=keep.minutes_days,
        hours_days=keep.hours_days,
        days_days=keep.days_days,
        layout=layout,
        leave=leave,
    )


def keep_retention(settings: Settings) -> list[str]:
    """Set again, on each server, how long tables keep their rows; names of those that had it otherwise somewhere.

    Raises
    ------
    StoreAway, StoreError
    """
    layout = Layout.from_settings(settings)
    changed: set[str] = set()
    for url in settings.node_urls:
        client = connect(url)
        try:
            with explained(server_address(url)):
                changed |= set(_keep_rows(client, settings, layout))
        finally:
            client.close()
    return sorted(changed)


def back_fill_store(
    settings: Settings,
    *,
    on_progress: Callable[[adopt.Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> bool:
    """Carry history into facts that are newer than it, on each server; whether all is done. See `monitor.store.adopt`.

    Raises
    ------
    StoreAway, StoreError
        What was carried over by then stays, and the next call goes on from there.
    """
    for url in settings.node_urls:
        client = connect(url)
        try:
            with explained(server_address(url)):
                if not adopt.back_fill(
                    client, keep_days=settings.retention.facts_days, on_progress=on_progress, stop=stop
                ):
                    return False
        finally:
            client.close()
    return True


def history_missing(settings: Settings) -> list[str]:
    """Views that lack history on some server."""
    names: set[str] = set()
    for url in settings.node_urls:
        client = connect(url)
        try:
            names |= set(adopt.unfinished(client))
        finally:
            client.close()
    return sorted(names)


def _make_database(url: str, layout: Layout | None) -> None:
    name = unquote(urlsplit(url).path.strip("/"))
    if not name or name == DEFAULT_DATABASE:
        return
    if "/" in name or "`" in name:
        raise StoreError(f"store.url names the database `{name}`, which is no database name; correct it")
    client = connect(url, database=DEFAULT_DATABASE)
    try:
        with explained(server_address(url)):
            ensure_database(client, name, layout)
    finally:
        client.close()
