"""Reading the store from any process: through the service that has it, or directly when none runs."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from monitor.errors import BadInput, StoreAway
from monitor.settings import Settings
from monitor.store.client import Client, connect, is_embedded, store_path
from monitor.store.owner import find_owner


def reader_url(settings: Settings) -> str:
    """Where to read: the server, the running service's read-only endpoint, or the folder itself.

    Raises
    ------
    StoreAway
        If a service has the folder and does not say where it can be reached.
    """
    if not settings.embedded:
        return settings.store_url
    owner = find_owner(settings.data)
    if owner is None:
        return settings.store_url
    address = owner.addresses.get("clickhouse")
    if address is None:
        raise StoreAway(
            f"process {owner.pid} has the data folder {settings.data} and is still starting; try again shortly"
        )
    return with_user(address, settings)


def with_user(address: str, settings: Settings) -> str:
    """The endpoint's address with the user and password that it demands."""
    user, password = settings.store.clickhouse_user, settings.store.clickhouse_password.get_secret_value()
    if not user and not password:
        return address
    parts = urlsplit(address)
    return f"{parts.scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}{parts.path}"


def open_reader(settings: Settings, **client_settings: Any) -> Client:
    """A client for reading queries of ours; see `reader_url` for where it leads."""
    return connect(reader_url(settings), settings=client_settings, timeout_s=settings.store.query_timeout_s + 10)


def open_existing(settings: Settings, **client_settings: Any) -> Client:
    """Like `open_reader`, for a store that must already be there.

    Raises
    ------
    BadInput
        If the data folder holds no store: reading must not make one.
    """
    refuse_missing(settings)
    return open_reader(settings, **client_settings)


def refuse_missing(settings: Settings) -> None:
    if is_embedded(settings.store_url) and not store_path(settings.store_url).exists():
        raise BadInput(
            f"there is no store in the data folder {settings.data}; name the right one with --data, or make one with `monitor up`"
        )
