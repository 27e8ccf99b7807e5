"""`POST /api/evaluations` and `POST /api/feedback`: judgements from web pages and scripts that speak no OTLP."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from collectors.otlp.answers import RETRY_AFTER_S, UNAUTHENTICATED, UNEXPECTED, reason_of
from collectors.otlp.body import TooLarge, TooSlow, UnknownEncoding, content_type, read_body
from collectors.otlp.judgements import NotForPages, evaluations_request, feedback_request
from collectors.otlp.rate import Buckets, client_of
from collectors.otlp.tokens import is_allowed
from collectors.pipeline import Pipeline
from monitor.errors import MonitorError, Retryable
from monitor.settings import CollectorSettings

logger = logging.getLogger(__name__)

EVALUATIONS_PATH: Final = "/api/evaluations"
FEEDBACK_PATH: Final = "/api/feedback"
PATHS: Final = frozenset({EVALUATIONS_PATH, FEEDBACK_PATH})
_ASIDE_BYTES: Final = 32 * 1024  # a body this big takes long enough to read that other senders would feel it
# No page of another origin can send it without asking first, unlike plain text.
_JSON: Final = "application/json"
_STATUS: Final[Mapping[type[MonitorError], int]] = {TooLarge: 413, UnknownEncoding: 415, NotForPages: 403}


@dataclass(frozen=True, kw_only=True)
class ApiSettings:
    """Doors and limits of the API, see `monitor.settings.CollectorSettings`."""

    page_tokens: Sequence[str] = ()
    rate: float = 20.0
    burst: int = 100
    max_bytes: int = 1024 * 1024

    @classmethod
    def from_settings(cls, section: CollectorSettings) -> ApiSettings:
        return cls(
            page_tokens=[token.get_secret_value() for token in section.page_tokens],
            rate=section.api_rate,
            burst=section.api_burst,
            max_bytes=section.api_max_bytes,
        )


def api_routes(
    pipeline: Pipeline, settings: ApiSettings, *, tokens: Sequence[str], body_timeout_s: float
) -> list[Route]:
    """Both endpoints; a client's requests to either count together."""
    lane = pipeline.lanes["logs"]
    buckets = Buckets(rate=settings.rate, burst=settings.burst)

    def endpoint(
        read: Callable[[bytes, int, bool], ExportLogsServiceRequest],
    ) -> Callable[[Request], Awaitable[Response]]:
        async def take(request: Request) -> Response:
            authorization = request.headers.get("authorization")
            trusted = is_allowed(authorization, tokens)
            if not trusted and not (settings.page_tokens and is_allowed(authorization, settings.page_tokens)):
                lane.stats.refuse("unauthenticated")
                return _error(UNAUTHENTICATED.message, 401, {"WWW-Authenticate": "Bearer"})
            wait_s = buckets.take(client_of(request.client.host if request.client else ""))
            if wait_s:
                lane.stats.refuse("rate")
                retry_s = math.ceil(wait_s)
                message = f"more than {settings.rate:g} requests a second from this client; try again in {retry_s} s"
                return _error(message, 429, {"Retry-After": str(retry_s)})
            if content_type(request) != _JSON:
                lane.stats.refuse("content_type")
                came = f"`{content_type(request)}` came" if content_type(request) else "none came"
                return _error(f"Content-Type {_JSON} is wanted, {came}", 415)
            try:
                with pipeline.inflight.hold() as held:
                    body = await read_body(request, settings.max_bytes, body_timeout_s, held)
                    message_bytes = await _convert(body, partial(read, body, time.time_ns(), not trusted))
                checked = await lane.accept(message_bytes)
            except MonitorError as error:
                lane.stats.refuse(reason_of(error))
                return _refused(error)
            except ClientDisconnect:
                return Response(status_code=400)
            except Exception:
                logger.exception("unexpected error while taking a request")
                lane.stats.refuse("internal")
                return _error(UNEXPECTED.message, 503, {"Retry-After": str(RETRY_AFTER_S)})
            return JSONResponse({"accepted": checked.items})

        return take

    return [
        Route(EVALUATIONS_PATH, endpoint(_evaluations), methods=["POST"]),
        Route(FEEDBACK_PATH, endpoint(_feedback), methods=["POST"]),
    ]


def _evaluations(body: bytes, now_ns: int, from_page: bool) -> ExportLogsServiceRequest:
    return evaluations_request(body, now_ns, from_page=from_page)


def _feedback(body: bytes, now_ns: int, from_page: bool) -> ExportLogsServiceRequest:
    return feedback_request(body, now_ns)


async def _convert(body: bytes, read: Callable[[], ExportLogsServiceRequest]) -> bytes:
    def convert() -> bytes:
        return read().SerializeToString()

    return await asyncio.to_thread(convert) if len(body) > _ASIDE_BYTES else convert()


def _refused(error: MonitorError) -> Response:
    if isinstance(error, Retryable):
        # The rest of a slow body is not waited for.
        more = {"Connection": "close"} if isinstance(error, TooSlow) else {}
        return _error(str(error), 503, {"Retry-After": str(RETRY_AFTER_S), **more})
    return _error(str(error), next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 400))


def _error(message: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers=headers)
