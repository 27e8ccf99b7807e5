"""The door of the dashboard: without a valid session no page, no file and no connection, but for the login itself.

A session is a signed cookie, `role.expires.signature`, which scripts of the browser cannot read. The key it is signed with
depends on the passwords: who changes them ends all sessions.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import html
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, quote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from dashboards.passwords import matches

# Set by `monitor.serve.dashboard` for its child.
LOGIN_VARIABLE: Final = "INFERENCE_MONITOR_LOGIN"
COOKIE: Final = "inference_monitor_session"
LOGIN_PATH, LOGOUT_PATH, HEALTH_PATH = "/login", "/logout", "/_stcore/health"
PASSWORD_CHARS_MAX: Final = 1024
TRIES: Final = 10
TRIES_ALL: Final = 60  # of all clients together
TRIES_S: Final = 60.0
AT_ONCE: Final = 2  # each try takes 32 MiB


@dataclass(frozen=True, kw_only=True)
class Login:
    """How one logs in.

    Parameters
    ----------
    kind : {"none", "password", "oidc"}
    key : str
        What sessions are signed with.
    hashes : mapping
        Role -> hash of its password.
    operators, viewers : tuple of str
        Mail addresses, `@domain`, or `*`; for `oidc`.
    secrets : mapping
        What Streamlit is given for `st.login`; for `oidc`.
    """

    kind: str = "none"
    key: str = ""
    session_s: float = 12 * 3600.0
    hashes: Mapping[str, str] = field(default_factory=dict)
    operators: tuple[str, ...] = ()
    viewers: tuple[str, ...] = ()
    secrets: Mapping[str, Any] = field(default_factory=dict)

    @property
    def signing_key(self) -> bytes:
        said = json.dumps([self.key, sorted(self.hashes.items())]).encode()
        return hashlib.sha256(said).digest()


def read_login() -> Login:
    """What the process that started the dashboard says."""
    text = os.environ.get(LOGIN_VARIABLE, "")
    if not text:
        return Login()
    values = json.loads(text)
    values |= {name: tuple(values.get(name, ())) for name in ("operators", "viewers")}
    return Login(**values)


def make_session(login: Login, role: str, *, now: float) -> str:
    """A cookie's value."""
    said = f"{role}.{int(now + login.session_s)}"
    return f"{said}.{_signature(login, said)}"


def read_session(login: Login, cookie: str, *, now: float) -> str | None:
    """Role of a session; None if it is over, or none of ours."""
    said, _, signature = cookie.rpartition(".")
    role, _, expires = said.partition(".")
    if not hmac.compare_digest(signature.encode(), _signature(login, said).encode()):
        return None
    return role if role in login.hashes and expires.isdigit() and now < int(expires) else None


def role_of(login: Login, email: str) -> str | None:
    """Role of somebody whom a provider knows by this address; None: neither."""
    address = email.strip().lower()
    if "@" not in address:
        return None
    for role, known in (("operator", login.operators), ("viewer", login.viewers)):
        for each in known:
            wanted = each.strip().lower()
            if wanted in ("*", address) or (wanted.startswith("@") and address.endswith(wanted)):
                return role
    return None


class Door:
    """ASGI middleware around the whole app, for logins by password."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._login = read_login()
        self._tries: dict[str, list[float]] = {}
        self._checking = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._login.kind != "password":
            await self._app(scope, receive, send)
            return
        path = str(scope["path"]).rstrip("/") or "/"
        if scope["type"] == "http" and path == HEALTH_PATH:
            await self._app(scope, receive, send)
        elif scope["type"] == "http" and path == LOGIN_PATH:
            await (await self._log_in(Request(scope, receive)))(scope, receive, send)
        elif scope["type"] == "http" and path == LOGOUT_PATH:
            answer = RedirectResponse(LOGIN_PATH, 303)
            answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
            await answer(scope, receive, send)
        elif self._role(Headers(scope=scope)) is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4401})  # before it is accepted: a 403
        else:
            await self._refused(scope)(scope, receive, send)

    def _role(self, headers: Headers) -> str | None:
        return read_session(self._login, cookie_of(headers.get("cookie", "")), now=time.time())

    def _refused(self, scope: Scope) -> Response:
        headers = Headers(scope=scope)
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            query = scope["query_string"].decode("latin-1")
            wanted = str(scope["path"]) + (f"?{query}" if query else "")
            return RedirectResponse(f"{LOGIN_PATH}?next={quote(wanted, safe='')}", 303)
        return PlainTextResponse("log in first\n", 401)

    async def _log_in(self, request: Request) -> Response:
        wanted = _local(request.query_params.get("next", "/"))
        if request.method in ("GET", "HEAD"):
            return _page(wanted)
        if request.method != "POST":
            return PlainTextResponse("GET or POST is wanted\n", 405)
        # A page elsewhere must not log somebody in here.
        origin = request.headers.get("origin", "")
        if origin and origin != "null" and origin.partition("://")[2] != request.headers.get("host", ""):
            return PlainTextResponse("the form is not from here\n", 403)
        client = request.client.host if request.client else ""
        if wait_s := self._wait_s(client):
            return _page(wanted, f"Too many tries; wait {wait_s:.0f} s.", 429, {"Retry-After": f"{wait_s:.0f}"})
        body = await _body(request)
        password = parse_qs(body.decode("utf-8", "replace")).get("password", [""])[0][:PASSWORD_CHARS_MAX]
        role = await self._matching(password)
        if role is None:
            return _page(wanted, "That is not the password.", 403)
        self._tries.pop(client, None)
        answer = RedirectResponse(wanted, 303)
        secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto", "") == "https"
        session = make_session(self._login, role, now=time.time())
        age = int(self._login.session_s)
        answer.set_cookie(COOKIE, session, max_age=age, path="/", httponly=True, samesite="lax", secure=secure)
        return answer

    async def _matching(self, password: str) -> str | None:
        """Whose password it is; all are tried, so that the time taken tells nothing."""
        found = None
        async with self._checking:
            for role, stored in self._login.hashes.items():
                if await asyncio.to_thread(matches, password, stored):
                    found = found or role
        return found

    def _wait_s(self, client: str) -> float:
        """Seconds to wait before the next try; counts this one if there are none."""
        now = time.monotonic()
        for name in [name for name, tried in self._tries.items() if now - tried[-1] > TRIES_S]:
            del self._tries[name]
        everybody = sorted(at for tried in self._tries.values() for at in tried if now - at < TRIES_S)
        own = [at for at in self._tries.get(client, []) if now - at < TRIES_S]
        for tried, most in ((own, TRIES), (everybody, TRIES_ALL)):
            if len(tried) >= most:
                return max(1.0, TRIES_S - (now - tried[-most]))
        self._tries[client] = [*own, now]
        return 0.0


def cookie_of(header: str) -> str:
    """Our cookie out of a header; empty if it is not there."""
    cookies: SimpleCookie = SimpleCookie()
    try:
        cookies.load(header)
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""


def _signature(login: Login, said: str) -> str:
    return hmac.new(login.signing_key, said.encode(), hashlib.sha256).hexdigest()


def _local(path: str) -> str:
    """A path of ours; of another host (`//evil`, `/\\evil`) none."""
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if plain and not path.startswith((LOGIN_PATH, LOGOUT_PATH)) else "/"


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > 4 * PASSWORD_CHARS_MAX:
            break
        parts.append(chunk)
    return b"".join(parts)


def _page(wanted: str, said: str = "", status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    words = f'<p class="said" role="alert">{html.escape(said)}</p>' if said else ""
    page = _PAGE.replace("{action}", html.escape(f"{LOGIN_PATH}?next={quote(wanted, safe='')}")).replace(
        "{said}", words
    )
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    return HTMLResponse(
        page, status, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store", **(headers or {})}
    )


_PAGE: Final = (Path(__file__).parent / "login.html").read_text(encoding="utf-8")
