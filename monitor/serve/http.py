"""The HTTP server below all that the service serves: uvicorn, with TLS, and with limits on what a peer may hold open."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from monitor.errors import ConfigError, MonitorError
from monitor.settings import CollectorSettings


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one peer, or all together, may hold open.

    Attributes
    ----------
    connections : int, optional
        Beyond it requests get a 503, and far beyond it connections are closed as they come.
    headers_s : float
        Longest time that a TLS handshake, and then a request head, may take.
    on_closed : callable
        Takes the reason of each connection that is closed for a limit: `too_many`, `too_slow` (no request ever came),
        `idle` (none came any more).
    """

    connections: int | None = None
    headers_s: float = 60.0
    on_closed: Callable[[str], None] = lambda _: None


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
    """Leaves signals to the service as a whole, and does not wait for ever for a TLS handshake."""

    def __init__(self, config: uvicorn.Config, handshake_s: float) -> None:
        super().__init__(config)
        self._handshake_s = handshake_s

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # As the inherited one does for given sockets; it has no setting for the time of a handshake.
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            self.should_exit = True
            return
        config = self.config
        kind: Any = config.http_protocol_class

        def make_protocol() -> Any:
            return kind(config=config, server_state=self.server_state, app_state=self.lifespan.state)

        timeout_s = None if config.ssl is None else self._handshake_s
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(
                make_protocol, sock=sock, ssl=config.ssl, backlog=config.backlog, ssl_handshake_timeout=timeout_s
            )
            for sock in sockets or ()
        ]
        self.started = True


# Connections beyond the limit that are told so with a 503, before more are closed as they come.
_TOLD: Final = 64


def _protocol(limits: Limits) -> type[H11Protocol]:
    class Impatient(H11Protocol):
        """Closes a connection on which no whole request head comes in time: idle ones, and those fed byte by byte."""

        late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if limits.connections is not None and len(self.connections) > limits.connections + _TOLD:
                limits.on_closed("too_many")
                transport.close()
                return
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
                self.late = self.loop.call_later(limits.headers_s, self.close_late)

        def close_late(self) -> None:
            cycle: Any = self.cycle
            limits.on_closed("too_slow" if cycle is None else "idle")
            self.transport.close()

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
        http=_protocol(limits),
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
    server = _Server(config, limits.headers_s)
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
