"""OTLP over gRPC. Requests stay bytes: no deserialiser is registered."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import grpc

from collectors.lane import Lane
from collectors.otlp.answers import UNAUTHENTICATED, UNEXPECTED, Refusal, reason_of, refusal_of, success
from collectors.otlp.tokens import is_allowed
from collectors.pipeline import Pipeline
from monitor.errors import MonitorError, PortBusy

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[bytes, bytes]

OPTIONS: Final = (
    ("grpc.max_send_message_length", 4 * 1024 * 1024),
    ("grpc.so_reuseport", 0),
    # Exporters ping idle connections; without these they would be told to go away.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Each may hold a message that is half there; whoever wants to send more at once waits its turn.
    ("grpc.max_concurrent_streams", 128),
)
HANDSHAKE_MAX_S: Final = 20.0
# The library gives a call no time limit of its own. So a connection is renewed now and then, which its client does not
# feel, and a call that is still under way some time later will never end; this many times `request_timeout_s`.
RENEWAL_FACTOR: Final = 10


def make_server(
    pipeline: Pipeline,
    *,
    host: str,
    port: int,
    max_message_bytes: int,
    tokens: Sequence[str],
    tls: tuple[bytes, bytes] | None = None,
    max_connections: int = 1000,
    request_timeout_s: float = 60.0,
) -> tuple[grpc.aio.Server, int]:
    """A server bound to its port, not started yet, and the port; `tls` is a private key and a certificate chain in PEM.

    A handshake may take `request_timeout_s`, at most 20 s. A connection that was silent for so long is asked whether its
    other end is there, and closed if there is no answer for 20 s. After ten times as long (a tenth more or less) it is
    renewed, and what is under way on it still `request_timeout_s` later is cut off.

    Raises
    ------
    PortBusy
        If the port is taken.
    """
    interceptors = [_Doorkeeper(pipeline, tokens)] if tokens else []
    timeout_ms = max(1, int(request_timeout_s * 1000))
    options = [
        *OPTIONS,
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_allowed_incoming_connections", max_connections),
        ("grpc.server_handshake_timeout_ms", min(timeout_ms, int(HANDSHAKE_MAX_S * 1000))),
        ("grpc.keepalive_time_ms", timeout_ms),
        ("grpc.max_connection_age_ms", RENEWAL_FACTOR * timeout_ms),
        ("grpc.max_connection_age_grace_ms", timeout_ms),
    ]
    server = grpc.aio.server(interceptors=interceptors, options=options)
    for lane in pipeline.lanes.values():
        handler = grpc.unary_unary_rpc_method_handler(_export(lane))
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(lane.signal.service, {"Export": handler}),)
        )
    where = f"{_bracketed(host)}:{port}"
    try:
        bound = (
            server.add_insecure_port(where)
            if tls is None
            else server.add_secure_port(where, grpc.ssl_server_credentials([tls]))
        )
    except RuntimeError:
        bound = 0
    if not bound:
        raise PortBusy(
            f"port {port} on {host} cannot be listened on for OTLP/gRPC: it is taken; choose another with --grpc-port, or 0 for a free one"
        )
    return server, bound


def _export(lane: Lane) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def export(body: bytes, context: Context) -> bytes:
        try:
            checked = await lane.accept(body)
        except MonitorError as error:
            lane.stats.refuse(reason_of(error))
            return await _refuse(context, refusal_of(error))
        except Exception:
            logger.exception("unexpected error while taking a request")
            lane.stats.refuse("internal")
            return await _refuse(context, UNEXPECTED)
        return success(lane.signal, checked).SerializeToString() if checked.rejected else b""

    return export


class _Doorkeeper(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # the real class takes none
    """Refuses calls without a valid token before their message is read."""

    def __init__(self, pipeline: Pipeline, tokens: Sequence[str]) -> None:
        self._lanes = {f"/{lane.signal.service}/Export": lane for lane in pipeline.lanes.values()}
        self._tokens = tokens
        # A handler that takes a stream is called before anything of it is read.
        self._refusing = grpc.stream_unary_rpc_method_handler(self._turn_away)

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        if is_allowed(_authorization(details.invocation_metadata), self._tokens):
            return await continuation(details)
        if (lane := self._lanes.get(details.method)) is not None:
            lane.stats.refuse("unauthenticated")
        return self._refusing

    async def _turn_away(self, requests: Any, context: Context) -> bytes:
        return await _refuse(context, UNAUTHENTICATED)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _authorization(metadata: Any) -> str | None:
    for key, value in metadata or ():
        if key == "authorization":
            return value if isinstance(value, str) else bytes(value).decode("latin-1")
    return None


async def _refuse(context: Context, refusal: Refusal) -> bytes:
    metadata: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", refusal.to_proto().SerializeToString())]
    if refusal.retry_after_s is not None:
        # The Python exporter reads the delay from here, not from the status details.
        metadata.append(("google.rpc.retryinfo-bin", refusal.retry_info().SerializeToString()))
    await context.abort(refusal.code, refusal.message, tuple(metadata))
    raise AssertionError("abort raises")
