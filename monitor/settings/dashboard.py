"""Who may see the dashboard, and who may change something on it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from monitor.settings.section import Section


class DashboardSettings(Section):
    login: Literal["", "password", "oidc", "none"] = Field(
        "",
        description="`password`, `oidc` (single sign-on), or `none`: everybody who reaches it is its operator. Empty: whichever"
        " of the first two is set up, else none, which listening on other addresses than loopback refuses.",
    )
    password: SecretStr = Field(
        SecretStr(""),
        description="Password of operators, who label, silence and save; itself, or its hash by `monitor hash`.",
    )
    viewer_password: SecretStr = Field(
        SecretStr(""), description="Password of viewers, who see everything; empty: there are none."
    )
    session_hours: float = Field(12.0, gt=0, le=24 * 30, description="Time after which one logs in anew.")
    operators: list[str] = Field(
        [],
        description="With `oidc`: mail addresses of operators; `@example.com` for all of a domain, `*` for everybody.",
    )
    viewers: list[str] = Field(
        [], description="With `oidc`: the same of viewers; whoever is in neither list is refused."
    )
    oidc_metadata_url: str = Field(
        "", description="Discovery document of the provider: `https://…/.well-known/openid-configuration`."
    )
    oidc_client_id: str = Field("", description="Client id that the provider knows the dashboard by.")
    oidc_client_secret: SecretStr = Field(SecretStr(""), description="Client secret that belongs to it.")
    oidc_redirect_uri: str = Field(
        "",
        description="Address that the provider sends people back to; empty: `routing.dashboard_url` and `/oauth2callback`.",
    )

    api_url: str = Field(
        "",
        description="For `monitor dashboard`: address of collectors, which labels, silences and rules are sent to. Empty: those"
        " of the service that has the data folder; where there is none, nothing can be changed on the dashboard.",
    )
    api_token: SecretStr = Field(
        SecretStr(""),
        description="Bearer token that the dashboard shows them; empty: the first of `collectors.tokens`.",
    )
    api_certificate: Path | None = Field(
        None,
        description="Certificate in PEM that they must have, where the system does not trust it; empty: `collectors.tls_cert`.",
    )

    @property
    def kind(self) -> Literal["password", "oidc", "none"]:
        """The login that is in force."""
        if self.login:
            return self.login
        return "password" if self.password.get_secret_value() else "oidc" if self.oidc_client_id else "none"

    @field_validator("oidc_metadata_url", "oidc_redirect_uri", "api_url")
    @classmethod
    def _web(cls, value: str) -> str:
        if value and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            raise ValueError("must be an address that begins with https:// (or http://)")
        return value

    @model_validator(mode="after")
    def _whole(self) -> DashboardSettings:
        if self.kind == "password" and not self.password.get_secret_value():
            raise ValueError(
                "`login` is password, and `password` is empty; set it, for example to ${DASHBOARD_PASSWORD}"
            )
        if self.viewer_password.get_secret_value() and self.kind != "password":
            raise ValueError("`viewer_password` is set, but not `password`, which operators log in with")
        if self.kind == "oidc":
            needed = ("oidc_metadata_url", "oidc_client_id", "oidc_client_secret")
            missing = [name for name in needed if not _plain(getattr(self, name))]
            if missing:
                raise ValueError(f"`login` is oidc, and {', '.join(f'`{name}`' for name in missing)} is empty")
            if not self.operators and not self.viewers:
                raise ValueError(
                    "`login` is oidc, and nobody is in `operators` or `viewers`; name them, or `*` for everybody"
                )
        return self


def _plain(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
