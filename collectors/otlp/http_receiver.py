"""OTLP over HTTP, protobuf and JSON, the API for judgements, and the pages a probe wants: `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import grpc
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from collectors.lane import Lane
from collectors.metrics import render_metrics
from collectors.otlp.answers import UNAUTHENTICATED, UNEXPECTED, Refusal, reason_of, refusal_of, success
from collectors.otlp.api import PATHS, ApiSettings, api_routes
from collectors.otlp.body import TooLarge, TooSlow, UnknownEncoding, content_type, read_body
from collectors.otlp.json_body import from_protobuf, to_protobuf
from collectors.otlp.signals import SIGNALS
from collectors.otlp.tokens import is_allowed
from collectors.pipeline import Pipeline
from monitor.errors import MonitorError

logger = logging.getLogger(__name__)

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
_OTLP_PATHS: Final = frozenset(path for signal in SIGNALS for path in signal.paths)
JSON_ASIDE_BYTES: Final = 32 * 1024  # JSON is read a hundred times as slowly as protobuf
ReadyCheck = Callable[[], Awaitable[str | None]]


def make_app(
    pipeline: Pipeline,
    *,
    max_message_bytes: int,
    tokens: Sequence[str],
    ready: ReadyCheck,
    body_timeout_s: float = 60.0,
    cors_origins: Sequence[str] = (),
    api: ApiSettings | None = None,
    more_routes: Sequence[BaseRoute] = (),
    more_metrics: Callable[[], str] = str,
) -> Starlette:
    """The ASGI application; `ready` says in words why the service is not ready, or None.

    What else the process serves comes as `more_routes`, and as text for the end of the page `/metrics`.
    """

    def export(lane: Lane) -> Callable[[Request], Awaitable[Response]]:
        async def take(request: Request) -> Response:
            kind = content_type(request)
            refusal = _refuse_early(request, kind, lane, tokens)
            if refusal is not None:
                return _refused(refusal, kind)
            try:
                # What is on its way counts too: many slow senders of big bodies would fill the memory otherwise.
                with pipeline.inflight.hold() as held:
                    body = await read_body(request, max_message_bytes, body_timeout_s, held)
                    if kind == JSON:
                        body = await _from_json(lane, body)
                checked = await lane.accept(body)
            except MonitorError as error:
                lane.stats.refuse(reason_of(error))
                # The rest of a slow body is not waited for.
                more = {"Connection": "close"} if isinstance(error, TooSlow) else None
                return _refused(_http_refusal(error), kind, more)
            except ClientDisconnect:
                return Response(status_code=400)
            except Exception:
                logger.exception("unexpected error while taking a request")
                lane.stats.refuse("internal")
                return _refused(UNEXPECTED, kind)
            return _message(success(lane.signal, checked), 200, kind)

        return take

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        trouble = await ready()
        return JSONResponse(
            {"status": "ready" if trouble is None else "not ready", "trouble": trouble}, 200 if trouble is None else 503
        )

    async def metrics(request: Request) -> Response:
        snapshots = {name: (lane.signal.items, lane.stats.snapshot()) for name, lane in pipeline.lanes.items()}
        text = (
            render_metrics(snapshots, pipeline.waiting_bytes, pipeline.closed_connections.snapshot()) + more_metrics()
        )
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def plain_error(request: Request, error: Exception) -> Response:
        # Unserved signals and wrong methods: in words, and to an exporter in its own.
        status = error.status_code if isinstance(error, HTTPException) else 500
        path = request.url.path
        allowed = (
            {"Allow": "POST" if path in _OTLP_PATHS or path.startswith("/api/") else "GET, HEAD"}
            if status == 405
            else {}
        )
        message = f"{status}: {request.method} {path} is not served here"
        if path in PATHS:
            return JSONResponse({"error": message}, status, headers=allowed)
        kind = content_type(request)
        if kind in (PROTOBUF, JSON):
            unserved = Refusal(code=grpc.StatusCode.UNIMPLEMENTED, message=message, http_status=status)
            return _refused(unserved, kind, allowed)
        return PlainTextResponse(f"{message}\n", status, headers=allowed)

    return Starlette(
        routes=[
            *(
                Route(path, export(lane), methods=["POST"])
                for lane in pipeline.lanes.values()
                for path in lane.signal.paths
            ),
            *api_routes(pipeline, api or ApiSettings(), tokens=tokens, body_timeout_s=body_timeout_s),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            *more_routes,
        ],
        # Browsers ask before they send; without origins they are told no.
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=list(cors_origins),
                allow_methods=["POST"],
                allow_headers=["*"],
                expose_headers=["Retry-After"],
            )
        ]
        if cors_origins
        else [],
        exception_handlers={404: plain_error, 405: plain_error},
    )


def _refuse_early(request: Request, kind: str, lane: Lane, tokens: Sequence[str]) -> Refusal | None:
    if not is_allowed(request.headers.get("authorization"), tokens):
        lane.stats.refuse("unauthenticated")
        return UNAUTHENTICATED
    if kind not in (PROTOBUF, JSON):
        lane.stats.refuse("content_type")
        came = f"`{kind}` came" if kind else "none came"
        return Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            message=f"Content-Type {PROTOBUF} or {JSON} is wanted, {came}",
            http_status=415,
        )
    return None


async def _from_json(lane: Lane, body: bytes) -> bytes:
    if len(body) > JSON_ASIDE_BYTES:
        return await asyncio.to_thread(to_protobuf, lane.signal.request, body)
    return to_protobuf(lane.signal.request, body)


def _http_refusal(error: MonitorError) -> Refusal:
    if isinstance(error, TooLarge):
        return Refusal(code=grpc.StatusCode.RESOURCE_EXHAUSTED, message=str(error))
    if isinstance(error, UnknownEncoding):
        return Refusal(code=grpc.StatusCode.INVALID_ARGUMENT, message=str(error), http_status=415)
    return refusal_of(error)


def _refused(refusal: Refusal, kind: str, more: Mapping[str, str] | None = None) -> Response:
    headers = dict(more or {})
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(refusal.retry_after_s)
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _message(refusal.to_proto(), refusal.status, kind, headers)


def _message(message: Message, status: int, kind: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in the encoding of the question."""
    if kind == JSON:
        return Response(from_protobuf(message), status, headers=headers, media_type=JSON)
    return Response(message.SerializeToString(), status, headers=headers, media_type=PROTOBUF)
