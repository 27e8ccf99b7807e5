"""The HTTP server below all that the service serves: uvicorn, with TLS, and with limits on what a peer may hold open."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from monitor.errors import ConfigError, MonitorError
from monitor.settings import CollectorSettings


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one peer, or all together, may hold open."""

    connections: int | None = None
    headers_s: float = 60.0


def read_tls(section: CollectorSettings) -> tuple[bytes, bytes] | None:
    """Private key and certificate chain in PEM, or None without TLS.

    Raises
    ------
    ConfigError
        If one cannot be read, or they do not belong together.
    """
    if section.tls_cert is None or section.tls_key is None:
        return None
    found = []
    for name, path in (("tls_key", section.tls_key), ("tls_cert", section.tls_cert)):
        try:
            found.append(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"collectors.{name}: {path} cannot be read: {error.strerror}; correct it") from None
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(section.tls_cert, section.tls_key)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"collectors.tls_cert and tls_key: {section.tls_cert} and {section.tls_key} are no PEM certificate and its key:"
            f" {getattr(error, 'reason', None) or error}"
        ) from None
    return found[0], found[1]


class _Server(uvicorn.Server):
    """Leaves signals to the service as a whole."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


def _protocol(headers_s: float) -> type[H11Protocol]:
    class Impatient(H11Protocol):
        """Closes a connection on which no whole request head comes in time: idle ones, and those fed byte by byte."""

        late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.wait_for_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.wait_for_head()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self.stop_waiting()

        def wait_for_head(self) -> None:
            # A cycle is one request from its head to the end of its answer.
            cycle: Any = self.cycle
            if cycle is not None and not cycle.response_complete:
                self.stop_waiting()
            elif self.late is None:
                self.late = self.loop.call_later(headers_s, self.transport.close)

        def stop_waiting(self) -> None:
            if self.late is not None:
                self.late.cancel()
                self.late = None

    return Impatient


@contextlib.asynccontextmanager
async def http_server(
    app: ASGIApp,
    sock: socket.socket,
    *,
    limits: Limits | None = None,
    tls: tuple[Path | None, Path | None] | None = None,
) -> AsyncIterator[None]:
    """Serve until the `with` is left; `tls` is the files of a certificate chain and its key."""
    limits = limits or Limits()
    config = uvicorn.Config(
        app,
        http=_protocol(limits.headers_s),
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
        limit_concurrency=limits.connections,
        server_header=False,
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    while not server.started:
        if task.done():
            task.result()
            raise MonitorError("the HTTP server ended while it was starting; run with --debug to see why")
        await asyncio.sleep(0.005)
    try:
        yield
    finally:
        server.should_exit = True
        await task
