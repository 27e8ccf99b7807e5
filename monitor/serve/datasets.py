"""Datasets and the review queue over HTTP, and for commands: through the process that has the embedded store, or directly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from collectors.otlp.answers import UNAUTHENTICATED
from collectors.otlp.body import content_type
from collectors.otlp.tokens import is_allowed
from monitor.errors import BadInput, MonitorError, Retryable, StoreAway
from monitor.serve.trust import trust
from monitor.settings import Settings
from monitor.store import Client
from monitor.store.client import connect, explained, server_address
from monitor.store.datasets import Ids, add_items, check_ids, check_name, list_datasets, remove_items, review
from monitor.store.owner import Claim, Owner, find_owner
from monitor.store.reader import refuse_missing

logger = logging.getLogger(__name__)

DATASETS_PATH: Final = "/api/datasets"
ITEMS_PATH: Final = "/api/datasets/{name}/items"
REVIEWS_PATH: Final = "/api/reviews"
BODY_BYTES_MAX: Final = 2 * 1024 * 1024
ANSWER_S: Final = 60.0
RETRY_AFTER_S: Final = 5
_JSON: Final = "application/json"
Body = Mapping[str, Any]
Act = Callable[[Client, Body], dict[str, Any]]


def dataset_routes(settings: Settings) -> list[Route]:
    """`GET /api/datasets`, `POST` and `DELETE /api/datasets/NAME/items`, `POST /api/reviews`; tokens as elsewhere."""
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
        Route(
            ITEMS_PATH,
            endpoint({"POST": lambda name: partial(_add, name), "DELETE": lambda name: partial(_remove, name)}),
            methods=["POST", "DELETE"],
        ),
        Route(REVIEWS_PATH, endpoint({"POST": lambda _: _review}), methods=["POST"]),
    ]


def list_all(settings: Settings) -> dict[str, Any]:
    """All datasets, as `GET /api/datasets` gives them."""
    return _act(settings, "GET", DATASETS_PATH, _list, {})


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
    body = {"items": [_record(each) for each in ids], "reason": reason, "note": note, "author": author}
    return int(_act(settings, "POST", _items_path(name), partial(_add, check_name(name)), body)["added"])


def remove(settings: Settings, name: str, ids: Sequence[Ids] | None) -> int:
    """Take calls, or all, out of a dataset; how many were in it."""
    body = {"all": True} if ids is None else {"items": [_record(each) for each in ids]}
    return int(_act(settings, "DELETE", _items_path(name), partial(_remove, check_name(name)), body)["removed"])


def _act(settings: Settings, method: str, path: str, act: Act, body: Body) -> dict[str, Any]:
    refuse_missing(settings)
    owner = find_owner(settings.data) if settings.embedded else None
    if owner is not None:
        return _ask(owner, settings, method, path, body)
    claim = Claim(settings.data) if settings.embedded else None
    try:
        return _with_store(settings, act, body)
    finally:
        if claim is not None:
            claim.release()


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


def _ask(owner: Owner, settings: Settings, method: str, path: str, body: Body) -> dict[str, Any]:
    if "http" not in owner.addresses:
        raise StoreAway(f"process {owner.pid} has the data folder {settings.data} and is still starting; try again")
    url = owner.addresses["http"] + path
    headers = {"Content-Type": _JSON}
    for token in settings.collectors.tokens[:1]:
        headers["Authorization"] = f"Bearer {token.get_secret_value()}"
    data = None if method == "GET" else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(
            request, timeout=ANSWER_S, context=trust(url, settings.collectors.tls_cert)
        ) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        raise _said(error, owner) from None
    except (OSError, ValueError) as error:
        raise StoreAway(f"the service at {url} does not answer: {error}; try again") from None


def _said(error: urllib.error.HTTPError, owner: Owner) -> MonitorError:
    try:
        words = str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError):
        words = f"it answers {error.code}"
    if error.code == 400:
        return BadInput(words)
    if error.code == 401:
        words += "; name the configuration that it runs with by --config"
    return StoreAway(f"the service, process {owner.pid}, did not do it: {words}")


def _items_path(name: str) -> str:
    return ITEMS_PATH.format(name=quote(name, safe=""))


def _record(ids: Ids) -> dict[str, str]:
    return {"trace_id": ids.trace_id, **({"span_id": ids.span_id} if ids.span_id else {})}


def _error(message: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers=headers)
