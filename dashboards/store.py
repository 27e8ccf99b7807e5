"""The dashboard's connection to the store: read only, by HTTP, shared by all sessions."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import streamlit as st

from dashboards.memory import Memory
from monitor.errors import ConfigError
from monitor.store import Client, connect
from monitor.store.client import explained, is_embedded, server_address

# Set by `monitor.serve.dashboard` for its child.
STORE_URL_VARIABLE: Final = "INFERENCE_MONITOR_STORE_URL"
ANSWER_TIMEOUT_S: Final = 30.0
QUERY_TIMEOUT_S: Final = 20
# Questions that many panels ask on the way to their own: how far rollups reach, which tables and objectives there are.
ANSWERS_S: Final = 10.0
ANSWERS_MAX: Final = 400
ANSWER_ROWS_MAX: Final = 500
_ANSWERS: Final = Memory(ttl_s=ANSWERS_S, entries_max=ANSWERS_MAX)


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


@contextlib.contextmanager
def asking() -> Iterator[Client]:
    """As `reading`, but a statement that was asked some seconds ago is not asked again: for KPIs and what stands beside them."""
    with reading() as client:
        yield cast(Client, _Remembering(client, store_url()))


def forget() -> None:
    """Ask anew from here on: something was changed."""
    _ANSWERS.clear()


class _Remembering:
    """A client that keeps the small answers of its statements for some seconds."""

    def __init__(self, client: Client, url: str) -> None:
        self._client, self._url = client, url

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def query(self, query: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> Any:
        if more:
            return self._client.query(query, parameters=cast(Any, parameters), **more)
        return self._answer("query", query, parameters)

    def command(self, cmd: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> Any:
        if more:
            return self._client.command(cmd, parameters=cast(Any, parameters), **more)
        return self._answer("command", cmd, parameters)

    def _answer(self, kind: str, text: str, parameters: Mapping[str, Any] | None) -> Any:
        return _ANSWERS.answer(
            self._question(kind, text, parameters),
            lambda: getattr(self._client, kind)(text, parameters=parameters),
            # Rows are read off the connection when they are first counted.
            keep=lambda answer: kind == "command" or answer.row_count <= ANSWER_ROWS_MAX,
        )

    def _question(self, kind: str, text: str, parameters: Mapping[str, Any] | None) -> tuple[str, ...]:
        return (self._url, kind, text, repr(sorted((parameters or {}).items())))


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
