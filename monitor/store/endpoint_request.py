"""From an HTTP request to what it asks for, as ClickHouse reads one."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from monitor.store.endpoint_encoding import chosen_encoding, decompressed
from monitor.store.endpoint_engine import ReadQuery
from monitor.store.endpoint_errors import EndpointError, request_too_large
from monitor.store.endpoint_settings import TRANSPORT

__all__ = ["Asked", "Login", "read_request"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A query and how its answer is to be sent. `query` is None without one (a health check)."""

    query: ReadQuery | None
    query_id: str
    encoding: str  # Content-Encoding of the answer, "" for none
    native_blocks: bool  # `compress=1`: ClickHouse's own compressed blocks
    hold_back: bool  # `wait_end_of_query=1`


@dataclass(frozen=True, kw_only=True)
class Login:
    """The one user that may ask; without user and password everybody may."""

    user: str | None
    password: str | None

    def check(self, request: Request, values: Mapping[str, str]) -> None:
        """Compare what the request says with it.

        Raises
        ------
        EndpointError
            516, without telling whether the user or the password is wrong.
        """
        if self.user is None and self.password is None:
            return
        user, password = _credentials(request, values)
        right_user = hmac.compare_digest(user.encode(), (self.user or "default").encode())
        right_password = hmac.compare_digest(password.encode(), (self.password or "").encode())
        if not (right_user and right_password):
            # The name is the client's own text; keep it to what can be in a name.
            shown = "".join(letter for letter in user if letter.isprintable())[:64]
            raise EndpointError(
                516,
                f"{shown}: Authentication failed: password is incorrect, or there is no user with such name.",
            )


def _credentials(request: Request, values: Mapping[str, str]) -> tuple[str, str]:
    headers = request.headers
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        return headers.get("x-clickhouse-user", "default"), headers.get("x-clickhouse-key", "")
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user, password
    return values.get("user", "default"), values.get("password", "")


async def read_request(request: Request, login: Login, *, max_bytes: int) -> Asked:
    """Check who asks, then read parameters and body.

    Raises
    ------
    EndpointError
        For a wrong login, a body that is too long or cannot be read, or an unknown way of compression.
    """
    values = dict(request.query_params.multi_items())
    # Before the body is read: who may not ask may not make us read either.
    login.check(request, values)
    body = await _body(request, max_bytes)
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        values |= await _form_values(request, body)
        body = b""
    if values.get("decompress", "0") not in ("0", "", "false"):
        raise EndpointError(48, "decompress=1 is not supported here; use Content-Encoding.")
    encoding = (
        chosen_encoding(request.headers.get("accept-encoding", "")) if _on(values, "enable_http_compression") else ""
    )
    sql = _sql(values.get("query", ""), body)
    return Asked(
        query=_query(request, values, sql) if sql.strip() else None,
        query_id=_query_id(values.get("query_id", "")),
        encoding=encoding,
        native_blocks=_on(values, "compress"),
        hold_back=_on(values, "wait_end_of_query"),
    )


def _query(request: Request, values: Mapping[str, str], sql: str) -> ReadQuery:
    return ReadQuery(
        sql=sql,
        parameters={name.removeprefix("param_"): value for name, value in values.items() if name.startswith("param_")},
        settings={
            name: value for name, value in values.items() if name not in TRANSPORT and not name.startswith("param_")
        },
        database=values.get("database") or request.headers.get("x-clickhouse-database", ""),
        format=values.get("default_format") or request.headers.get("x-clickhouse-format", ""),
    )


def _on(values: Mapping[str, str], name: str) -> bool:
    return values.get(name, "0").lower() in ("1", "true")


def _query_id(given: str) -> str:
    """Only what can be in a header; anything else gets an id of ours."""
    return given if 0 < len(given) <= 256 and given.isascii() and given.isprintable() else ""


async def _body(request: Request, max_bytes: int) -> bytes:
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise request_too_large(f"The request's body is longer than {max_bytes} bytes.")
            chunks.append(chunk)
    except ClientDisconnect:
        raise EndpointError(394, "The client went away while it sent its query.") from None
    return decompressed(b"".join(chunks), request.headers.get("content-encoding", ""), max_bytes=max_bytes)


async def _form_values(request: Request, body: bytes) -> dict[str, str]:
    sent = False

    async def receive() -> dict[str, object]:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    scope = dict(request.scope)
    try:
        form: FormData = await Request(scope, receive).form(max_part_size=len(body) + 1)
    except HTTPException as error:
        raise EndpointError(36, f"The form cannot be read: {error.detail}") from None
    values = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            raise EndpointError(48, f"External table `{name}`: tables sent with a query are not supported here.")
        values[name] = value
    await form.close()
    return values


def _sql(query: str, body: bytes) -> str:
    """The parameter and the body are one text, the parameter first."""
    if not body:
        return query
    head = query + "\n" if query else ""
    try:
        return head + body.decode()
    except UnicodeDecodeError:
        text = head + body.decode(errors="replace")
        # The rows of an INSERT may be anything; it is refused as one, by its words.
        if text.lstrip().upper().startswith(("INSERT", "--", "/*", "#")):
            return text.replace("\0", " ")
        raise EndpointError(36, "The query is not valid UTF-8.") from None
