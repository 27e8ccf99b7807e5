"""Datasets and the review queue over HTTP, and for commands: through the process that has the embedded store, or directly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from collectors.otlp.answers import UNAUTHENTICATED
from collectors.otlp.body import content_type
from collectors.otlp.tokens import is_allowed
from monitor.errors import BadInput, MonitorError, Retryable
from monitor.serve.ask import ask
from monitor.settings import Settings
from monitor.store import Client
from monitor.store.client import connect, explained, server_address
from monitor.store.datasets import ITEMS_MAX, Ids, add_items, check_ids, check_name, list_datasets, remove_items, review

logger = logging.getLogger(__name__)

DATASETS_PATH: Final = "/api/datasets"
ITEMS_PATH: Final = "/api/datasets/{name}/items"
REMOVE_PATH: Final = "/api/datasets/{name}/remove"
REVIEWS_PATH: Final = "/api/reviews"
BODY_BYTES_MAX: Final = 2 * 1024 * 1024
ANSWER_S: Final = 60.0
RETRY_AFTER_S: Final = 5
_JSON: Final = "application/json"
Body = Mapping[str, Any]
Act = Callable[[Client, Body], dict[str, Any]]


def dataset_routes(settings: Settings) -> list[Route]:
    """`GET /api/datasets`, `POST /api/datasets/NAME/items` and `…/remove`, `POST /api/reviews`; tokens as elsewhere."""
    tokens = [token.get_secret_value() for token in settings.collectors.tokens]

    def endpoint(acts: Mapping[str, Callable[[str], Act]]) -> Callable[[Request], Awaitable[Response]]:
        async def take(request: Request) -> Response:
            if not is_allowed(request.headers.get("authorization"), tokens):
                return _error(UNAUTHENTICATED.message, 401, {"WWW-Authenticate": "Bearer"})
            try:
                body = {} if request.method == "GET" else await _body(request)
                act = acts[request.method](str(request.path_params.get("name", "")))
                return JSONResponse(await asyncio.to_thread(_with_store, settings, act, body))
            except BadInput as error:
                return _error(str(error), 400)
            except Retryable as error:
                return _error(str(error), 503, {"Retry-After": str(RETRY_AFTER_S)})
            except ClientDisconnect:
                return Response(status_code=400)
            except MonitorError as error:
                return _error(str(error), 500)
            except Exception:
                logger.exception("unexpected error while answering %s", request.url.path)
                return _error("an unexpected error; the service's log has it", 500)

        return take

    return [
        Route(DATASETS_PATH, endpoint({"GET": lambda _: _list}), methods=["GET"]),
        Route(ITEMS_PATH, endpoint({"POST": lambda name: partial(_add, name)}), methods=["POST"]),
        Route(REMOVE_PATH, endpoint({"POST": lambda name: partial(_remove, name)}), methods=["POST"]),
        Route(REVIEWS_PATH, endpoint({"POST": lambda _: _review}), methods=["POST"]),
    ]


def add(
    settings: Settings, name: str, ids: Sequence[Ids], *, reason: str = "manual", note: str = "", author: str = ""
) -> int:
    """Put calls into a dataset, in the process that has the store; how many are new.

    Raises
    ------
    BadInput
        If something does not fit, or a call is not in the store.
    StoreAway
        If the service that has the store does not answer.
    """
    here, added = partial(_add, check_name(name)), 0
    for first in range(0, len(ids), ITEMS_MAX):
        items = [_record(each) for each in ids[first : first + ITEMS_MAX]]
        body = {"items": items, "reason": reason, "note": note, "author": author}
        added += int(
            ask(settings, "POST", ITEMS_PATH.format(name=name), body, lambda client, values, _: here(client, values))[
                "added"
            ]
        )
    return added


def remove(settings: Settings, name: str, ids: Sequence[Ids] | None) -> int:
    """Take calls, or all, out of a dataset; how many were in it."""
    here = partial(_remove, check_name(name))
    body: Body = {"all": True} if ids is None else {"items": [_record(each) for each in ids]}
    return int(
        ask(settings, "POST", REMOVE_PATH.format(name=name), body, lambda client, values, _: here(client, values))[
            "removed"
        ]
    )


def _with_store(settings: Settings, act: Act, body: Body) -> dict[str, Any]:
    client = connect(settings.store_url, timeout_s=ANSWER_S)
    with contextlib.closing(client), explained(server_address(settings.store_url)):
        return act(client, body)


def _list(client: Client, body: Body) -> dict[str, Any]:
    return {
        "datasets": [
            {
                "name": each.name,
                "items": each.items,
                "reasons": list(each.reasons),
                "authors": list(each.authors),
                "first": each.first.isoformat(),
                "last": each.last.isoformat(),
            }
            for each in list_datasets(client)
        ]
    }


def _add(name: str, client: Client, body: Body) -> dict[str, Any]:
    _refuse_unknown(body, ("items", "reason", "note", "author"))
    added = add_items(
        client,
        name,
        _ids(body),
        reason=_text(body, "reason", "manual"),
        note=_text(body, "note"),
        author=_text(body, "author"),
    )
    return {"dataset": name, "added": added}


def _remove(name: str, client: Client, body: Body) -> dict[str, Any]:
    _refuse_unknown(body, ("items", "all"))
    everything = body.get("all")
    if everything not in (None, True) or (everything is None) == ("items" not in body):
        raise BadInput('say which: either {"items": […]} or {"all": true}')
    return {"dataset": name, "removed": remove_items(client, name, None if everything else _ids(body))}


def _review(client: Client, body: Body) -> dict[str, Any]:
    _refuse_unknown(body, ("items", "name", "state", "author"))
    written = review(
        client,
        _ids(body),
        name=_text(body, "name", "correct"),
        state=_text(body, "state", "done"),
        author=_text(body, "author"),
    )
    return {"reviewed": written}


def _ids(body: Body) -> list[Ids]:
    items = body.get("items")
    if not isinstance(items, list) or not items:
        raise BadInput("items: must be a list of at least one object with `trace_id` and, if known, `span_id`")
    found = []
    for number, item in enumerate(items):
        if not isinstance(item, dict) or set(item) - {"trace_id", "span_id"}:
            raise BadInput(f"items[{number}]: must be an object with `trace_id` and, if known, `span_id` alone")
        try:
            found.append(check_ids(_text(item, "trace_id"), _text(item, "span_id")))
        except BadInput as error:
            raise BadInput(f"items[{number}].{error}") from None
    return found


def _text(body: Body, name: str, default: str = "") -> str:
    value = body.get(name, default)
    if not isinstance(value, str):
        raise BadInput(f"{name}: must be a text, not {json.dumps(value)[:60]}")
    return value.encode("utf-8", "replace").decode()


def _refuse_unknown(body: Body, known: Sequence[str]) -> None:
    unknown = next((name for name in body if name not in known), None)
    if unknown is not None:
        raise BadInput(f"`{unknown[:60]}` is not known here; known are {', '.join(known)}")


async def _body(request: Request) -> Body:
    # No page of another origin can send it without asking first.
    if content_type(request) != _JSON:
        raise BadInput(f"Content-Type {_JSON} is wanted")
    parts, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            raise BadInput(f"the body is over the limit of {BODY_BYTES_MAX} bytes; send the items in parts")
        parts.append(chunk)
    try:
        body = json.loads(b"".join(parts))
    except (ValueError, RecursionError):
        raise BadInput("the body is not JSON") from None
    if not isinstance(body, dict):
        raise BadInput("the body must be a JSON object")
    return body


def _record(ids: Ids) -> dict[str, str]:
    return {"trace_id": ids.trace_id, **({"span_id": ids.span_id} if ids.span_id else {})}


def _error(message: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers=headers)
