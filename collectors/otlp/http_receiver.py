"""OTLP over HTTP/protobuf, and the pages a probe wants: `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final

import grpc
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from collectors.inflight import Held
from collectors.metrics import render_metrics
from collectors.otlp.answers import RETRY_AFTER_S, UNAUTHENTICATED, Refusal, refusal_of, success
from collectors.otlp.tokens import is_allowed
from collectors.pipeline import Pipeline
from monitor.errors import BadInput, MonitorError

logger = logging.getLogger(__name__)

PROTOBUF: Final = "application/x-protobuf"
TRACES_PATH: Final = "/v1/traces"
_SLICE_BYTES: Final = 256 * 1024
_MEMBERS_MAX: Final = 1024  # a body of nothing but empty members would take for ever
_ASIDE_BYTES: Final = 64 * 1024  # a body this big takes long enough to inflate that other senders would feel it
ReadyCheck = Callable[[], Awaitable[str | None]]


class TooLarge(BadInput):
    """The body is over the limit, before or after decompression."""


class BadEncoding(BadInput):
    """The body is not what its Content-Encoding says."""


class UnknownEncoding(BadInput):
    """A Content-Encoding that is not read here."""


def make_app(pipeline: Pipeline, *, max_message_bytes: int, tokens: Sequence[str], ready: ReadyCheck) -> Starlette:
    """The ASGI application; `ready` says in words why the service is not ready, or None."""

    async def traces(request: Request) -> Response:
        refusal = _refuse_early(request, pipeline, tokens)
        if refusal is not None:
            return _refused(refusal)
        try:
            # What is on its way counts too: many slow senders of big bodies would fill the memory otherwise.
            with pipeline.inflight.hold() as held:
                body = await _read_body(request, max_message_bytes, held)
            checked = await pipeline.accept(body)
        except TooLarge as error:
            pipeline.stats.refuse("too_large")
            return _refused(Refusal(code=grpc.StatusCode.RESOURCE_EXHAUSTED, message=str(error)))
        except BadEncoding as error:
            pipeline.stats.refuse("encoding")
            return _refused(refusal_of(error))
        except UnknownEncoding as error:
            pipeline.stats.refuse("encoding")
            return _refused(Refusal(code=grpc.StatusCode.INVALID_ARGUMENT, message=str(error), http_status=415))
        except MonitorError as error:
            return _refused(refusal_of(error))
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            logger.exception("unexpected error while taking a request")
            pipeline.stats.refuse("internal")
            return _refused(
                Refusal(code=grpc.StatusCode.UNAVAILABLE, message="internal error", retry_after_s=RETRY_AFTER_S)
            )
        return Response(success(checked), media_type=PROTOBUF)

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        trouble = await ready()
        return JSONResponse(
            {"status": "ready" if trouble is None else "not ready", "trouble": trouble}, 200 if trouble is None else 503
        )

    async def metrics(request: Request) -> Response:
        text = render_metrics(pipeline.stats.snapshot(), pipeline.waiting_bytes)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def plain_error(request: Request, error: Exception) -> Response:
        # Unserved signals and wrong methods: in words, and to an exporter in its own.
        status = error.status_code if isinstance(error, HTTPException) else 500
        allowed = {"Allow": "POST" if request.url.path == TRACES_PATH else "GET, HEAD"} if status == 405 else {}
        message = f"{status}: {request.method} {request.url.path} is not served here"
        if _content_type(request) == PROTOBUF:
            unserved = Refusal(code=grpc.StatusCode.UNIMPLEMENTED, message=message, http_status=status)
            return _refused(unserved, allowed)
        return PlainTextResponse(f"{message}\n", status, headers=allowed)

    return Starlette(
        routes=[
            Route(TRACES_PATH, traces, methods=["POST"]),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
        ],
        exception_handlers={404: plain_error, 405: plain_error},
    )


def _refuse_early(request: Request, pipeline: Pipeline, tokens: Sequence[str]) -> Refusal | None:
    if not is_allowed(request.headers.get("authorization"), tokens):
        pipeline.stats.refuse("unauthenticated")
        return UNAUTHENTICATED
    content_type = _content_type(request)
    if content_type != PROTOBUF:
        pipeline.stats.refuse("content_type")
        came = f"`{content_type}` came" if content_type else "none came"
        return Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT, message=f"Content-Type {PROTOBUF} is wanted, {came}", http_status=415
        )
    return None


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _refused(refusal: Refusal, more: Mapping[str, str] | None = None) -> Response:
    headers = dict(more or {})
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(refusal.retry_after_s)
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(refusal.to_proto().SerializeToString(), refusal.status, headers=headers, media_type=PROTOBUF)


async def _read_body(request: Request, limit: int, held: Held) -> bytes:
    """The body, decompressed; the limit holds before and while it is."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if int(request.headers.get("content-length") or 0) > limit:
        raise TooLarge(f"the body is over the limit of {limit} bytes; send smaller batches")
    if encoding in ("", "identity"):
        return await _collect(request.stream(), limit, held)
    if encoding not in ("gzip", "deflate"):
        raise UnknownEncoding(f"Content-Encoding `{encoding}` is not read here; send gzip, deflate or none")
    data = await _collect(request.stream(), limit, held)
    if len(data) > _ASIDE_BYTES:
        body = await asyncio.to_thread(_inflate, data, limit, encoding)
    else:
        body = _inflate(data, limit, encoding)
    held.grow(len(body))
    return body


async def _collect(chunks: AsyncIterator[bytes], limit: int, held: Held) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"the body is over the limit of {limit} bytes; send smaller batches")
        held.grow(len(chunk))
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _inflate(data: bytes, limit: int, encoding: str) -> bytes:
    """The body out of its gzip members, of which there may be several, or its one zlib stream."""
    parts: list[bytes] = []
    size = at = 0
    while at < len(data) or not parts:
        if len(parts) == _MEMBERS_MAX:
            raise BadEncoding(f"the {encoding} body has more than {_MEMBERS_MAX} members")
        at, members = _inflate_member(data, at, limit - size, encoding)
        size += sum(len(part) for part in members)
        if size > limit:
            raise TooLarge(f"the body is over the limit of {limit} bytes once decompressed; send smaller batches")
        parts.append(b"".join(members))
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _inflate_member(data: bytes, at: int, limit: int, encoding: str) -> tuple[int, list[bytes]]:
    """Where the member that begins at `at` ends, and what is in it; no more than one byte over the limit."""
    # 32 + window bits: a zlib or gzip header, whichever is there.
    inflater = zlib.decompressobj(32 + zlib.MAX_WBITS)
    parts: list[bytes] = []
    left = limit + 1
    # In slices, because what is behind the member's end is copied each time.
    for begin in range(at, len(data), _SLICE_BYTES):
        try:
            part = inflater.decompress(data[begin : begin + _SLICE_BYTES], left)
        except zlib.error as error:
            raise BadEncoding(f"the body is not {encoding}: {error}") from None
        left -= len(part)
        parts.append(part)
        if inflater.eof:
            return min(begin + _SLICE_BYTES, len(data)) - len(inflater.unused_data), parts
        if left <= 0:  # zlib would take 0 for "no limit"
            return len(data), parts
    raise BadEncoding(f"the {encoding} body is cut off")
