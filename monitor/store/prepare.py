"""Make a store ready to be written: its database, its schema, how long it keeps rows."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from monitor.errors import StoreError
from monitor.settings import Settings
from monitor.store.client import DEFAULT_DATABASE, connect, explained, is_embedded, server_address
from monitor.store.migrate import Migration, apply_retention, ensure_database, migrate


def prepare_store(settings: Settings) -> list[Migration]:
    """Bring the store up to date; returns the migrations that were applied.

    Raises
    ------
    SchemaTooNew, StoreLocked, StoreAway, StoreError
    """
    url = settings.store_url
    if not is_embedded(url):
        _make_database(url)
    client = connect(url)
    try:
        with explained(server_address(url)):
            applied = migrate(client)
            apply_retention(client, raw_days=settings.retention.raw_days, facts_days=settings.retention.facts_days)
    finally:
        client.close()
    return applied


def _make_database(url: str) -> None:
    name = unquote(urlsplit(url).path.strip("/"))
    if not name or name == DEFAULT_DATABASE:
        return
    if "/" in name or "`" in name:
        raise StoreError(f"store.url names the database `{name}`, which is no database name; correct it")
    client = connect(url, database=DEFAULT_DATABASE)
    try:
        with explained(server_address(url)):
            ensure_database(client, name)
    finally:
        client.close()
