"""A small OpenID provider: discovery, authorisation code with PKCE, signed id tokens; whoever comes is `user`."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from monitor.serve.ports import bind, port_of

CLIENT_ID, CLIENT_SECRET = "dashboard", "a secret of the client"


@dataclass
class Provider:
    """Where it is, who logs in, and what it was asked for."""

    url: str = ""
    user: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: int = 0

    @property
    def metadata_url(self) -> str:
        return f"{self.url}/.well-known/openid-configuration"


@contextlib.contextmanager
def running() -> Iterator[Provider]:
    """The provider, for as long as the `with` lasts."""
    provider, key = Provider(), RSAKey.generate_key(2048, parameters={"kid": "1", "use": "sig", "alg": "RS256"})

    async def discovery(request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": provider.url,
                "authorization_endpoint": f"{provider.url}/authorize",
                "token_endpoint": f"{provider.url}/token",
                "jwks_uri": f"{provider.url}/jwks",
                "userinfo_endpoint": f"{provider.url}/userinfo",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid", "email", "profile"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def authorize(request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        code = secrets.token_urlsafe(16)
        provider.codes[code] = asked
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}", 303)

    async def token(request: Request) -> Response:
        form = await request.form()
        asked = provider.codes.pop(str(form["code"]))
        given = request.headers.get("authorization", "")
        if given:
            user, _, secret = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")
        else:
            user, secret = str(form["client_id"]), str(form["client_secret"])
        if (user, secret.replace("+", " ").replace("%20", " ")) != (CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client"}, 401)
        if challenge := asked.get("code_challenge"):
            digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
            assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == challenge
        provider.tokens += 1
        now = int(time.time())
        claims = {"iss": provider.url, "aud": CLIENT_ID, "sub": "1", "iat": now, "exp": now + 600, **provider.user}
        if "nonce" in asked:
            claims["nonce"] = asked["nonce"]
        signed = jwt.encode({"alg": "RS256", "kid": "1"}, claims, key)
        return JSONResponse({"access_token": "a", "token_type": "Bearer", "expires_in": 600, "id_token": signed})

    async def jwks(request: Request) -> Response:
        return JSONResponse({"keys": [key.as_dict(private=False)]})

    async def userinfo(request: Request) -> Response:
        return JSONResponse({"sub": "1", **provider.user})

    app = Starlette(
        routes=[
            Route("/.well-known/openid-configuration", discovery),
            Route("/authorize", authorize),
            Route("/token", token, methods=["POST"]),
            Route("/jwks", jwks),
            Route("/userinfo", userinfo),
        ]
    )
    sock = bind("127.0.0.1", 0, "the provider", "none")
    provider.url = f"http://127.0.0.1:{port_of(sock)}"
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield provider
    finally:
        server.should_exit = True
        thread.join(timeout=10)
