"""Who is told of alerts, and by which channels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from monitor.settings.durations import seconds_of
from monitor.settings.section import Section

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
# One plain address; display names have a setting of their own where they matter.
_ADDRESS: Final = re.compile(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[^\s@<>,;:\"()\[\]\\]{1,255}")
REPEAT_MAX_S: Final = 5 * 86400.0


class Channel(Section):
    """What all channels share: secrets that may lie in files."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, populate_by_name=True)
    secrets: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_files(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        read = dict(values)
        for key in cls.secrets:
            path = values.get(f"{key}_file")
            if not path:
                continue
            if values.get(key):
                raise ValueError(f"`{key}` and `{key}_file` are both set; leave one out")
            try:
                text = Path(str(path)).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"`{key}_file` cannot be read: {getattr(error, 'strerror', error)}") from None
            read[key] = text.split() if key == "urls" else text
        return read


class EmailChannel(Channel):
    secrets: ClassVar[tuple[str, ...]] = ("password",)

    host: str = Field(description="Mail server.")
    port: int = Field(0, ge=0, le=65535, description="Its port; 0: 587, or 465 for `tls`, or 25 for `plain`.")
    security: Literal["starttls", "tls", "plain"] = Field(
        "starttls", description="`starttls`: demanded, never left out; `tls`: from the first byte; `plain`: none."
    )
    ca_file: Path | None = Field(None, description="Certificates to trust instead of those of the system, in PEM.")
    user: str = Field("", description="User to log in as; empty: no login. Only ever sent over TLS.")
    password: SecretStr = Field(SecretStr(""), description="Password of that user.")
    password_file: Path | None = Field(None, description="File that holds the password.")
    from_: str = Field(alias="from", description="Address that mails come from.")
    to: list[str] = Field(min_length=1, description="Addresses that they go to.")
    timeout_s: float = Field(20.0, gt=0, le=60, description="Longest wait for each answer of the server.")

    @field_validator("to", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("to", "from_")
    @classmethod
    def _addresses(cls, value: Any) -> Any:
        for address in [value] if isinstance(value, str) else value:
            if not _ADDRESS.fullmatch(address):
                raise ValueError(f"{address!r} is no plain mail address such as oncall@example.com")
        return value

    @field_validator("host", "user")
    @classmethod
    def _line(cls, value: str) -> str:
        return one_line(value)

    @model_validator(mode="after")
    def _no_login_in_the_clear(self) -> EmailChannel:
        if self.user and self.security == "plain":
            raise ValueError("`user` is set and `security` is plain: the password would be sent for anybody to read")
        return self

    @property
    def port_used(self) -> int:
        return self.port or {"starttls": 587, "tls": 465, "plain": 25}[self.security]


class HttpChannel(Channel):
    secrets: ClassVar[tuple[str, ...]] = ("url",)

    url: SecretStr = Field(SecretStr(""), description="Address to post to; it is a secret.")
    url_file: Path | None = Field(None, description="File that holds the address.")
    allow: list[str] = Field(
        [],
        description="Networks that the address may lead to though they are private, loopback or link-local, such as"
        " 10.1.0.0/16; all others of these are refused.",
    )
    ca_file: Path | None = Field(None, description="Certificates to trust instead of those of the system, in PEM.")
    timeout_s: float = Field(15.0, gt=0, le=60, description="Longest wait for the answer.")

    @field_validator("url")
    @classmethod
    def _web(cls, value: SecretStr) -> SecretStr:
        # The value is not quoted: it is a secret.
        text = value.get_secret_value()
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname or _CONTROL.search(text) or " " in text:
            raise ValueError("must be an address that begins with https:// (or http://)")
        if parts.username or parts.password:
            raise ValueError("must not hold a user or password")
        return value

    @field_validator("allow")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        import ipaddress

        for network in value:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise ValueError(f"{network!r} is no network such as 10.1.0.0/16 or 127.0.0.1/32") from None
        return value


class SlackChannel(HttpChannel):
    pass


class WebhookChannel(HttpChannel):
    secrets: ClassVar[tuple[str, ...]] = ("url", "secret")

    secret: SecretStr = Field(SecretStr(""), description="Key of the signature; empty: messages are not signed.")
    secret_file: Path | None = Field(None, description="File that holds the key.")


class AppriseChannel(Channel):
    secrets: ClassVar[tuple[str, ...]] = ("urls",)

    urls: list[SecretStr] = Field([], description="Addresses in the form of Apprise; they are secrets.")
    urls_file: Path | None = Field(None, description="File that holds them, one a line.")


class Grouping(Section):
    """How alerts are put together into messages; on a receiver, or on a route for what takes it."""

    group_by: list[str] | None = Field(
        None, description="Labels whose values must be equal for alerts to be told in one message; `...`: all labels."
    )
    group_wait: str | None = Field(None, description="Time to wait for more before a new group is told.")
    group_interval: str | None = Field(None, description="Least time between two messages on what changed in a group.")
    repeat_interval: str | None = Field(None, description="Time after which what still fires is told again.")

    @field_validator("group_wait", "group_interval", "repeat_interval")
    @classmethod
    def _lengths(cls, value: str | None) -> str | None:
        if value is not None:
            seconds_of(value)
        return value

    @model_validator(mode="after")
    def _repeats_in_time(self) -> Grouping:
        for key in ("group_wait", "group_interval", "repeat_interval"):
            given = getattr(self, key)
            if given is not None and seconds_of(given) > REPEAT_MAX_S:
                raise ValueError(f"`{key}` is {given}; at most 5d")
        return self


class ReceiverSettings(Grouping):
    email: EmailChannel | None = Field(None, description="Mail.")
    slack: SlackChannel | None = Field(None, description="Incoming webhook of Slack.")
    webhook: WebhookChannel | None = Field(None, description="JSON, signed, to any address.")
    apprise: AppriseChannel | None = Field(None, description="Any other channel, through Apprise (an extra).")
    send_resolved: bool = Field(True, description="Whether the end of alerts is told as well.")

    @model_validator(mode="after")
    def _somewhere(self) -> ReceiverSettings:
        if not self.channels:
            raise ValueError("has no channel; give it one of email, slack, webhook and apprise")
        for name in ("slack", "webhook"):
            channel = getattr(self, name)
            if channel is not None and not channel.url.get_secret_value():
                raise ValueError(f"`{name}` needs `url` or `url_file`")
        if self.apprise is not None and not self.apprise.urls:
            raise ValueError("`apprise` needs `urls` or `urls_file`")
        return self

    @property
    def channels(self) -> list[str]:
        """Names of the channels that it has."""
        return [name for name in ("email", "slack", "webhook", "apprise") if getattr(self, name) is not None]


def one_line(value: str) -> str:
    """Raise `ValueError` for a text that would break a header."""
    if _CONTROL.search(value):
        raise ValueError(f"{value!r} holds a line break or another control character")
    return value


def refuse_odd_names(receivers: dict[str, ReceiverSettings]) -> dict[str, ReceiverSettings]:
    """Raise `ValueError` for a name that could not stand in a channel's name."""
    for name in receivers:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} must be letters, digits, `-`, `_` and `.`, and at most 64")
    return receivers
