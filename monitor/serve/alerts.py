"""Alerts over HTTP: what stands, acknowledgements and verdicts, and rules that are made in the dashboard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alerts.book import check_rule, make_book, read_laid
from alerts.defaults import DEFAULTS
from alerts.listing import listed, rules_json
from alerts.marks import Kind, write_mark
from alerts.stored_rules import RuleVersion, rule_history, stored_rules, write_rule
from collectors.otlp.answers import UNAUTHENTICATED
from collectors.otlp.body import content_type
from collectors.otlp.tokens import is_allowed
from monitor.errors import BadInput, MonitorError, StoreAway
from monitor.serve.rule_answers import evaluated_json, known_to, precision_json, read_moment, replayed
from monitor.serve.trust import trust
from monitor.settings import Settings
from monitor.store.client import Client, connect, explained, reason, server_address
from monitor.store.owner import Claim, Owner, find_owner
from monitor.store.reader import refuse_missing

logger = logging.getLogger(__name__)

ALERTS_PATH: Final = "/api/alerts"
ACK_PATH: Final = "/api/alerts/ack"
MARK_PATH: Final = "/api/alerts/mark"
RULES_PATH: Final = "/api/alerts/rules"
RULE_PATH: Final = "/api/alerts/rules/{name}"
BACKTEST_PATH: Final = "/api/alerts/backtest"
PRECISION_PATH: Final = "/api/alerts/precision"
BODY_MAX: Final = 64 * 1024
ANSWER_S: Final = 30.0
_JSON: Final = "application/json"

Work = Callable[[Client, dict[str, Any]], Any]


def alert_routes(settings: Settings, tokens: Sequence[str]) -> list[Route]:
    """`GET /api/alerts` and `/precision`, `POST /ack`, `/mark` and `/backtest`, and `GET`, `PUT`, `DELETE` of `/rules`."""

    def route(path: str, method: str, work: Work) -> Route:
        return Route(path, _endpoint(settings, tokens, work), methods=[method])

    return [
        route(ALERTS_PATH, "GET", lambda client, _: {"alerts": _alerts(client), "rules": rules_json(client)}),
        route(ACK_PATH, "POST", lambda client, body: mark(client, body, kind="ack")),
        route(MARK_PATH, "POST", lambda client, body: mark(client, body, kind="verdict")),
        route(BACKTEST_PATH, "POST", lambda client, body: replayed(settings, client, body)),
        route(PRECISION_PATH, "GET", precision_json),
        route(RULES_PATH, "GET", lambda client, _: _rules(settings, client)),
        route(RULE_PATH, "GET", lambda client, body: _history(client, body["name"])),
        route(RULE_PATH, "PUT", lambda client, body: _put(settings, client, body)),
        route(RULE_PATH, "DELETE", lambda client, body: _delete(client, body)),
    ]


def mark(client: Client, body: Mapping[str, Any], *, kind: Kind) -> dict[str, Any]:
    """Write an acknowledgement or a verdict; body: `fingerprint`, `mark` (of a verdict), `author`, `comment`."""
    written = write_mark(
        client,
        str(body.get("fingerprint", "")),
        kind=kind,
        mark=str(body.get("mark", "")).lower(),
        author=_author(body),
        comment=str(body.get("comment", "")),
        now=datetime.now(UTC),
        active_at=read_moment(body, "active_at"),
    )
    return {"rule": written.rule, "fingerprint": written.fingerprint, "active_at": written.active_at.isoformat()}


def send_mark(settings: Settings, body: Mapping[str, Any], *, kind: Kind) -> dict[str, Any]:
    """The same from another process: through the service that has the store, or directly where it is a server.

    Raises
    ------
    BadInput
        If there is no such alert.
    StoreAway
        If the service does not answer.
    """
    refuse_missing(settings)
    owner = find_owner(settings.data) if settings.embedded else None
    if owner is not None:
        return _post(owner, settings, ACK_PATH if kind == "ack" else MARK_PATH, body)
    claim = Claim(settings.data) if settings.embedded else None
    try:
        client = connect(settings.store_url)
        with contextlib.closing(client), explained(server_address(settings.store_url)):
            return mark(client, body, kind=kind)
    finally:
        if claim is not None:
            claim.release()


def _alerts(client: Client) -> list[dict[str, Any]]:
    return [each.as_json() for each in listed(client)]


def _rules(settings: Settings, client: Client) -> dict[str, Any]:
    stored = stored_rules(client)
    definitions = {name: version.definition for name, version in stored.items()}
    book = make_book(settings, known_to(settings, client, definitions), definitions)
    defaults = {default["name"] for default in DEFAULTS}
    return {
        "rules": [
            {"origin": each.origin, "rule": each.rule.definition(), "default": each.rule.name in defaults}
            | (_version(stored[each.rule.name]) if each.origin == "dashboard" else {})
            for each in book.declared
        ],
        "problems": [
            {
                "rule": each.rule,
                "origin": each.origin,
                "key": each.key,
                "text": each.text,
                "waiting": each.waiting,
            }
            for each in book.problems
        ],
        "evaluated": [evaluated_json(rule) for rule in book.rules],
        "receivers": sorted(settings.receivers),
    }


def _history(client: Client, name: str) -> dict[str, Any]:
    versions = rule_history(client, name)
    if not versions:
        raise BadInput(f"there is no rule `{name}` that was made in the dashboard")
    return {"name": name, "versions": [_version(version) | {"rule": version.definition} for version in versions]}


def _put(settings: Settings, client: Client, body: dict[str, Any]) -> dict[str, Any]:
    """Write the next version of a rule; refused with a sentence if it could not be evaluated."""
    name = body["name"]
    given = body.get("rule")
    if not isinstance(given, dict):
        raise BadInput('the body must be {"rule": {…}, "author": …}, with the keys of `alerts` in the configuration')
    given = {"name": name, **given}
    if given["name"] != name:
        raise BadInput(f"the address names the rule `{name}`, and the body `{given['name']}`; they must be the same")
    if name in {rule.name for rule in settings.alerts}:
        raise BadInput(
            f"the configuration file has a rule `{name}`, which counts; change it there, or choose another name"
        )
    check_rule(settings, read_laid(given), known_to(settings, client, {name: given}))
    version = write_rule(
        client, name, given, author=_author(body), comment=str(body.get("comment", "")), now=datetime.now(UTC)
    )
    return _version(version) | {"name": name, "rule": version.definition}


def _delete(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    name = body["name"]
    if name not in stored_rules(client):
        raise BadInput(f"there is no rule `{name}` that was made in the dashboard")
    comment = str(body.get("comment", ""))
    version = write_rule(client, name, {}, author=_author(body), comment=comment, now=datetime.now(UTC), removed=True)
    return _version(version) | {"name": name}


def _version(version: RuleVersion) -> dict[str, Any]:
    return {
        "version": version.version,
        "written_at": version.written_at.isoformat(),
        "author": version.author,
        "comment": version.comment,
        "removed": version.removed,
    }


def _author(body: Mapping[str, Any]) -> str:
    author = " ".join(str(body.get("author", "")).split())
    if not author:
        raise BadInput("`author` is not given; say who does it")
    return author


def _endpoint(settings: Settings, tokens: Sequence[str], work: Work) -> Callable[[Request], Any]:
    def run(body: dict[str, Any]) -> Any:
        client = connect(settings.store_url, timeout_s=ANSWER_S)
        with contextlib.closing(client), explained(server_address(settings.store_url)):
            return work(client, body)

    async def answer(request: Request) -> Response:
        if not is_allowed(request.headers.get("authorization"), tokens):
            return _error(UNAUTHENTICATED.message, 401, {"WWW-Authenticate": "Bearer"})
        try:
            body = await _body(request)
            return JSONResponse(await asyncio.to_thread(run, body | dict(request.path_params)))
        except _Refused as error:
            return _error(str(error), error.status)
        except BadInput as error:
            missing = "there is no" in str(error) and request.method != "PUT" and request.url.path != BACKTEST_PATH
            return _error(str(error), 404 if missing else 400, key=str(getattr(error, "key", "")))
        except MonitorError as error:
            return _error(str(error), 503)
        except Exception as error:
            logger.exception("unexpected error at %s", request.url.path)
            return _error(f"the store cannot be asked: {reason(error)}", 503)

    return answer


class _Refused(Exception):
    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


async def _body(request: Request) -> dict[str, Any]:
    """The JSON of what changes something; a page of another origin cannot send it without asking."""
    if request.method == "GET":
        return dict(request.query_params)
    if (request.method != "DELETE" or content_type(request)) and content_type(request) != _JSON:
        raise _Refused(f"Content-Type {_JSON} is wanted", 415)
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_MAX:
            raise _Refused(f"the body has more than {BODY_MAX:,} bytes", 413)
    try:
        body = json.loads(data or b"{}")
    except ValueError:
        raise _Refused("the body is not JSON", 400) from None
    if not isinstance(body, dict):
        raise _Refused("the body must be a JSON object", 400)
    return cast("dict[str, Any]", body) | dict(request.query_params)


def _post(owner: Owner, settings: Settings, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    if "http" not in owner.addresses:
        raise StoreAway(
            f"process {owner.pid} has the data folder {settings.data} and takes no requests; try again shortly"
        )
    url = owner.addresses["http"] + path
    headers = {"Content-Type": _JSON}
    for token in settings.collectors.tokens[:1]:
        headers["Authorization"] = f"Bearer {token.get_secret_value()}"
    request = urllib.request.Request(url, data=json.dumps(dict(body)).encode(), headers=headers, method="POST")
    try:
        with urllib.request.urlopen(
            request, timeout=ANSWER_S, context=trust(url, settings.collectors.tls_cert)
        ) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        try:
            words = str(json.loads(error.read())["error"])
        except (ValueError, KeyError, TypeError):
            words = f"the service at {url} answers {error.code}"
        raise (BadInput if error.code in (400, 404) else StoreAway)(words) from None
    except (OSError, ValueError) as error:
        raise StoreAway(f"the service at {url} does not answer: {error}; try again") from None


def _error(message: str, status: int, headers: Mapping[str, str] | None = None, *, key: str = "") -> Response:
    """In words; `key` names what of a rule is wrong, where that is known."""
    return JSONResponse({"error": message} | ({"key": key} if key else {}), status, headers=headers)
