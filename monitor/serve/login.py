"""What the dashboard is told of its login: hashes instead of passwords, and the key of its sessions."""

from __future__ import annotations

import json
import os
import secrets
from typing import Any, Final
from urllib.parse import urlsplit

from dashboards.passwords import hashed, is_hash
from monitor.errors import ConfigError
from monitor.settings import Settings

# Read by `dashboards.door`.
LOGIN_VARIABLE: Final = "INFERENCE_MONITOR_LOGIN"
KEY_FILE: Final = "dashboard.key"


def refuse_open(settings: Settings, host: str) -> None:
    """Refuse to show the dashboard to everybody, unless it is said that this is wanted.

    Raises
    ------
    ConfigError
        If it would listen on another address than loopback, and no login is set up.
    """
    loopback = host in ("127.0.0.1", "::1", "localhost")
    if not loopback and settings.dashboard.kind == "none" and settings.dashboard.login != "none":
        raise ConfigError(
            f"listening on {host} would show the dashboard to everybody, who could label and silence, too; set"
            " `dashboard.password` (MONITOR_DASHBOARD__PASSWORD) or single sign-on, or say so with `dashboard.login: none`,"
            " or start with --no-dashboard"
        )


def login_words(settings: Settings, *, port: int, scheme: str = "http") -> str:
    """What the child gets in its environment; empty without a login.

    Raises
    ------
    ConfigError
        If the key cannot be kept in the data folder.
    """
    section = settings.dashboard
    if section.kind == "none":
        return ""
    said: dict[str, Any] = {"kind": section.kind, "key": _key(settings), "session_s": section.session_hours * 3600}
    if section.kind == "password":
        given = {"operator": section.password, "viewer": section.viewer_password}
        said["hashes"] = {
            role: text if is_hash(text) else hashed(text)
            for role, secret in given.items()
            if (text := secret.get_secret_value())
        }
        return json.dumps(said)
    front = settings.routing.dashboard_url.rstrip("/") or f"{scheme}://localhost:{port}"
    redirect = section.oidc_redirect_uri or f"{front}/oauth2callback"
    if not urlsplit(redirect).path.endswith("/oauth2callback"):
        raise ConfigError(f"dashboard.oidc_redirect_uri: `{redirect}` must end in /oauth2callback")
    said["operators"], said["viewers"] = section.operators, section.viewers
    said["secrets"] = {
        "auth": {
            "redirect_uri": redirect,
            "cookie_secret": said["key"],
            "client_id": section.oidc_client_id,
            "client_secret": section.oidc_client_secret.get_secret_value(),
            "server_metadata_url": section.oidc_metadata_url,
        }
    }
    return json.dumps(said)


def password_hash(password: str) -> str:
    """What `dashboard.password` takes instead of a password."""
    return hashed(password)


def _key(settings: Settings) -> str:
    """What sessions are signed with; kept, so that a restart logs nobody out."""
    path = settings.data / KEY_FILE
    try:
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            # Two processes that start at once: the first one's key counts.
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"the key of the dashboard's sessions cannot be kept in {path}: {error.strerror}") from None
    return path.read_text(encoding="utf-8").strip()
