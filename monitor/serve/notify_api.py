"""`/api/silences` and `/api/changes`, beside the collectors: what the dashboard, a shell or a pipeline writes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alerts.silence import change, expire, make
from alerts.silence_store import find_silence, read_silences, write_silences
from collectors.inflight import Inflight
from collectors.otlp.answers import RETRY_AFTER_S, UNAUTHENTICATED
from collectors.otlp.body import TooLarge, content_type, read_body
from collectors.otlp.tokens import is_allowed
from monitor.errors import BadInput, Retryable
from monitor.kpis import check_where, parse_duration
from monitor.settings import Settings
from monitor.store import Client, connect
from monitor.store.changes import DEPLOY, Change, changes_between, record_change
from monitor.store.client import reason

logger = logging.getLogger(__name__)

SILENCES_PATH: Final = "/api/silences"
SILENCE_PATH: Final = "/api/silences/{id}"
CHANGES_PATH: Final = "/api/changes"
_JSON: Final = "application/json"
_BODY_BYTES: Final = 64 * 1024
_BODY_S: Final = 10.0
_TEXT_MAX: Final = 1000
_EXPIRED_FOR: Final = timedelta(days=7)
_CHANGES_FOR: Final = timedelta(days=30)

Do = Callable[[Client, Mapping[str, Any], datetime], Any]


def notify_routes(settings: Settings, tokens: Sequence[str]) -> list[Route]:
    """All endpoints; they take the tokens that the collectors take."""
    inflight = Inflight(16 * _BODY_BYTES)

    def endpoint(work: Do, *, writes: bool) -> Callable[[Request], Any]:
        async def serve(request: Request) -> Response:
            if not is_allowed(request.headers.get("authorization"), tokens):
                return _error(UNAUTHENTICATED.message, 401, {"WWW-Authenticate": "Bearer"})
            values: dict[str, Any] = {**request.query_params, **request.path_params}
            try:
                if writes and request.method == "POST":
                    if content_type(request) != _JSON:  # which no page of another origin can send without asking
                        return _error(f"Content-Type {_JSON} is wanted", 415)
                    with inflight.hold() as held:
                        values |= _object(await read_body(request, _BODY_BYTES, _BODY_S, held))
                return JSONResponse(await asyncio.to_thread(_at_store, settings, work, values))
            except ClientDisconnect:
                return Response(status_code=400)
            except Retryable as error:
                return _error(str(error), 503, {"Retry-After": str(RETRY_AFTER_S)})
            except BadInput as error:
                missing = str(error).startswith("there is no silence")
                return _error(str(error), 413 if isinstance(error, TooLarge) else 404 if missing else 400)
            except Exception as error:
                logger.warning("%s %s failed: %s", request.method, request.url.path, reason(error))
                return _error(f"the store did not do it: {reason(error)}", 503, {"Retry-After": str(RETRY_AFTER_S)})

        return serve

    return [
        Route(SILENCES_PATH, endpoint(list_silences, writes=False), methods=["GET"]),
        Route(SILENCES_PATH, endpoint(add_silence, writes=True), methods=["POST"]),
        Route(SILENCE_PATH, endpoint(end_silence, writes=True), methods=["DELETE"]),
        Route(CHANGES_PATH, endpoint(list_changes, writes=False), methods=["GET"]),
        Route(CHANGES_PATH, endpoint(add_change, writes=True), methods=["POST"]),
    ]


def list_silences(client: Client, values: Mapping[str, Any], now: datetime) -> list[dict[str, Any]]:
    """All that hold or will, and those that ended in the last week."""
    return [each.as_json(now) for each in read_silences(client, now=now, expired_for=_EXPIRED_FOR)]


def add_silence(client: Client, values: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Make one, or change the one whose `id` is given.

    Keys: `matchers` (list), `ends_at` or `duration`, `created_by`, `comment`; `starts_at`, `id`.
    """
    _refuse_unknown(values, ("matchers", "starts_at", "ends_at", "duration", "created_by", "comment", "id"))
    matchers = values.get("matchers")
    if not isinstance(matchers, list) or not all(isinstance(each, str) for each in matchers):
        raise BadInput('`matchers` must be a list of texts such as ["node=gpu-1"]')
    starts_at = _moment(values, "starts_at")
    ends_at = _moment(values, "ends_at")
    if (ends_at is None) == (not values.get("duration")):
        raise BadInput("a silence needs `ends_at` or `duration`, one of the two")
    if ends_at is None:
        try:
            ends_at = max(starts_at or now, now) + parse_duration(_text(values, "duration"))
        except OverflowError:
            raise BadInput("the silence's duration is too long") from None
    silence = make(
        matchers=matchers,
        starts_at=starts_at,
        ends_at=ends_at,
        created_by=_text(values, "created_by"),
        comment=_text(values, "comment"),
        now=now,
    )
    written = [silence]
    if values.get("id"):
        written = change(find_silence(client, _text(values, "id")), silence, now=now)
    write_silences(client, written)
    return written[-1].as_json(now)


def end_silence(client: Client, values: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """End the one of this `id` now."""
    ended = expire(find_silence(client, _text(values, "id")), now=now)
    write_silences(client, [ended])
    return ended.as_json(now)


def list_changes(client: Client, values: Mapping[str, Any], now: datetime) -> list[dict[str, Any]]:
    """Changes from `start` to `end`; without them, of the last 30 days. The newest first."""
    start, end = _moment(values, "start") or now - _CHANGES_FOR, _moment(values, "end") or now + timedelta(days=1)
    return [_change_json(each) for each in reversed(changes_between(client, start, end))]


def add_change(client: Client, values: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Record one: `title`; `kind` (deploy), `timestamp` (now), `where`, `author`, `link`, `source`."""
    _refuse_unknown(values, ("title", "kind", "timestamp", "where", "author", "link", "source"))
    where = values.get("where") or {}
    if not isinstance(where, dict) or not all(isinstance(each, str | list) for each in where.values()):
        raise BadInput('`where` must be an object such as {"service": ["chat"]}')
    checked = {key: list(each) for key, each in check_where(where).items()}
    link = _text(values, "link")
    if link and not link.startswith(("https://", "http://")):
        raise BadInput("`link` must begin with https:// or http://")
    made = Change(
        timestamp=_moment(values, "timestamp") or now,
        kind=_text(values, "kind") or DEPLOY,
        title=" ".join(_text(values, "title").split()),
        author=_text(values, "author"),
        where=checked,
        link=link,
        source=_text(values, "source") or "api",
    )
    record_change(
        client,
        timestamp=made.timestamp,
        kind=made.kind,
        title=made.title,
        author=made.author,
        where=made.where,
        link=made.link,
        source=made.source,
    )
    return _change_json(made)


def _change_json(each: Change) -> dict[str, Any]:
    return {
        "timestamp": each.timestamp.isoformat(),
        "kind": each.kind,
        "title": each.title,
        "author": each.author,
        "where": {key: list(values) for key, values in each.where.items()},
        "link": each.link,
        "source": each.source,
    }


def _at_store(settings: Settings, work: Do, values: Mapping[str, Any]) -> Any:
    client = connect(settings.store_url, timeout_s=30.0)
    try:
        return work(client, values, datetime.now(UTC))
    finally:
        client.close()


def _object(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise BadInput("the body is no JSON") from None
    if not isinstance(values, dict):
        raise BadInput("the body must be a JSON object")
    return values


def _refuse_unknown(values: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in values:
        if key not in known:
            raise BadInput(f"there is no key `{key[:100]}` here; known are {', '.join(known)}")


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadInput(f"`{key}` must be a text")
    if len(value) > _TEXT_MAX:
        raise BadInput(f"`{key}` has more than {_TEXT_MAX} characters")
    return value


def _moment(values: Mapping[str, Any], key: str) -> datetime | None:
    text = _text(values, key)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"`{key}` is no moment; write it as 2026-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        raise BadInput(f"`{key}` has no time zone; write it as 2026-01-31T12:00:00Z")
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        utc = None
    if utc is None or not 1970 <= utc.year < 2200:  # further than the store's times go
        raise BadInput(f"`{key}` is too far away; give a moment between 1970 and 2200")
    return utc


def _error(message: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers=headers)
