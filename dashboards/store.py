"""The dashboard's connection to the store: read only, by HTTP, shared by all sessions."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

import streamlit as st

from monitor.errors import ConfigError
from monitor.store import Client, connect
from monitor.store.client import explained, is_embedded, server_address

# Set by `monitor.serve.dashboard` for its child.
STORE_URL_VARIABLE: Final = "INFERENCE_MONITOR_STORE_URL"
ANSWER_TIMEOUT_S: Final = 30.0
QUERY_TIMEOUT_S: Final = 20


def store_url() -> str:
    """Where the store is.

    Raises
    ------
    ConfigError
        If nobody said.
    """
    url = os.environ.get(STORE_URL_VARIABLE, "")
    if not url:
        raise ConfigError(
            f"the dashboard was not told where the store is ({STORE_URL_VARIABLE} is not set);"
            " start it with `monitor up` or `monitor dashboard`"
        )
    return url


def store_address() -> str:
    """The store's address without user and password: what may be shown."""
    url = store_url()
    return url if is_embedded(url) else server_address(url)


@contextlib.contextmanager
def reading() -> Iterator[Client]:
    """A client for a few queries; the driver's errors come out as `MonitorError`, in one sentence."""
    url = store_url()
    with explained(store_address()):
        yield _client(url)


def ping() -> None:
    """Raise the reason why the store cannot be asked, if there is one."""
    with reading() as client:
        client.query("SELECT 1")


# One client serves all sessions and threads: it has no server session, and its connection pool is thread-safe. What
# raises is not cached, so that a store that was away is found again.
@st.cache_resource(show_spinner=False, max_entries=4)
def _client(url: str) -> Client:
    client = connect(url, timeout_s=ANSWER_TIMEOUT_S)
    _limit_time(client)
    return client


def _limit_time(client: Client) -> None:
    """Give pages a shorter limit than others have, where the server lets us."""
    query = "SELECT toFloat64(value), readonly FROM system.settings WHERE name = 'max_execution_time'"
    for current_s, fixed in client.query(query).result_rows:
        if not fixed and not 0 < current_s <= QUERY_TIMEOUT_S:
            client.set_client_setting("max_execution_time", QUERY_TIMEOUT_S)
