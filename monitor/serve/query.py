"""`monitor query`: any reader's SQL, always through the same guard."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Iterator
from typing import Final

from monitor.errors import BadInput
from monitor.serve.http import http_server
from monitor.serve.ports import bind, port_of
from monitor.serve.up import embedded_endpoint
from monitor.settings import Settings
from monitor.store.client import connect, explained, is_embedded, server_address
from monitor.store.reader import reader_url, refuse_missing, with_user

# A statement may end with a format of its own.
_OWN_FORMAT: Final = re.compile(r"\bFORMAT\s+\w+\s*$", re.IGNORECASE)


def run_query(settings: Settings, sql: str, engine_format: str) -> bytes:
    """The answer to one reading statement, in a ClickHouse format.

    Raises
    ------
    BadInput
        If ClickHouse refuses the statement, with its reason.
    """
    if not sql.strip():
        raise BadInput("the statement is empty; write SQL, such as 'SELECT count() FROM inferences FINAL'")
    refuse_missing(settings)
    with _readable(settings) as url:
        # On a server the setting makes the session read-only; the endpoint is so by itself.
        read_only = {} if settings.embedded else {"readonly": 2}
        client = connect(url, settings=read_only, timeout_s=settings.store.query_timeout_s + 10)
        try:
            with explained(server_address(url)):
                answer = client.raw_query(sql, fmt=None if _OWN_FORMAT.search(sql) else engine_format)
        finally:
            client.close()
    return bytes(answer)


@contextlib.contextmanager
def _readable(settings: Settings) -> Iterator[str]:
    """Where the store can be asked over HTTP; serves it for this one question if nobody else does."""
    url = reader_url(settings)
    if not is_embedded(url):
        yield url
        return
    sock = bind("127.0.0.1", 0, "one query", "--clickhouse-port")
    app = embedded_endpoint(settings)
    started, stop, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        async with http_server(app, sock):
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    started.wait()
    try:
        yield with_user(f"http://127.0.0.1:{port_of(sock)}", settings)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
        sock.close()
