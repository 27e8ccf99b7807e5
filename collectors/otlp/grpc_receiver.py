"""OTLP over gRPC. Requests stay bytes: no deserialiser is registered."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import grpc

from collectors.otlp.answers import UNAUTHENTICATED, Refusal, refusal_of, success
from collectors.otlp.tokens import is_allowed
from collectors.pipeline import Pipeline
from monitor.errors import MonitorError, PortBusy

logger = logging.getLogger(__name__)

TRACE_SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"


def make_server(
    pipeline: Pipeline, *, host: str, port: int, max_message_bytes: int, tokens: Sequence[str]
) -> tuple[grpc.aio.Server, int]:
    """A server bound to its port, not started yet, and the port.

    Raises
    ------
    PortBusy
        If the port is taken.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", 4 * 1024 * 1024),
            ("grpc.so_reuseport", 0),
            # Exporters ping idle connections; without these they would be told to go away.
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
    )

    async def export(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        if tokens and not is_allowed(_authorization(context), tokens):
            pipeline.stats.refuse("unauthenticated")
            return await _refuse(context, UNAUTHENTICATED)
        try:
            checked = await pipeline.accept(body)
        except MonitorError as error:
            return await _refuse(context, refusal_of(error))
        except Exception:
            # Ours to answer for, and perhaps passing: the client should keep its data.
            logger.exception("unexpected error while taking a request")
            pipeline.stats.refuse("internal")
            return await _refuse(
                context, Refusal(code=grpc.StatusCode.UNAVAILABLE, message="internal error", retry_after_s=1)
            )
        return success(checked)

    handler = grpc.method_handlers_generic_handler(
        TRACE_SERVICE, {"Export": grpc.unary_unary_rpc_method_handler(export)}
    )
    server.add_generic_rpc_handlers((handler,))
    try:
        bound = server.add_insecure_port(f"{_bracketed(host)}:{port}")
    except RuntimeError:
        bound = 0
    if not bound:
        raise PortBusy(
            f"port {port} on {host} cannot be listened on for OTLP/gRPC: it is taken; choose another with --grpc-port, or 0 for a free one"
        )
    return server, bound


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _authorization(context: grpc.aio.ServicerContext[bytes, bytes]) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            return value if isinstance(value, str) else value.decode("latin-1")
    return None


async def _refuse(context: grpc.aio.ServicerContext[Any, Any], refusal: Refusal) -> bytes:
    metadata: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", refusal.to_proto().SerializeToString())]
    if refusal.retry_after_s is not None:
        # The Python exporter reads the delay from here, not from the status details.
        metadata.append(("google.rpc.retryinfo-bin", refusal.retry_info().SerializeToString()))
    await context.abort(refusal.code, refusal.message, tuple(metadata))
    raise AssertionError("abort raises")
