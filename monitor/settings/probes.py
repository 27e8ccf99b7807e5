"""Paired prompts that differ only in the group they name, sent to a model on a schedule."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from monitor.settings.section import MIB, Section

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class ProbeSettings(Section):
    endpoint: str = Field(
        "",
        description="Base address of an OpenAI-compatible API, such as `http://127.0.0.1:8000/v1`. Empty: no probes are"
        " sent. Only this address is ever asked; redirects are not followed.",
    )
    model: str = Field("", description="Model that is asked for.")
    token: SecretStr = Field(SecretStr(""), description="Bearer token of that API.")
    templates: Path | None = Field(
        None, description="File with prompts and groups, see docs/probes.md. Empty: the example that comes with us."
    )
    concurrency: int = Field(4, ge=1, le=64, description="Prompts that are under way at once.")
    timeout_s: float = Field(60.0, gt=0, description="Longest wait for one answer, in seconds.")
    max_tokens: int = Field(300, ge=1, description="Longest answer that is asked for, in tokens.")
    temperature: float = Field(0.0, ge=0, le=2, description="Temperature that is asked for.")
    answer_bytes: int = Field(MIB, ge=1024, description="Longest answer that is read, in bytes.")
    requests_max: int = Field(2000, ge=2, description="Prompts of one run at most; a file with more is refused.")
    tolerance: float = Field(
        0.05,
        ge=0,
        description="Difference to the baseline group that does not matter: of shares and scores, and of the logarithm of"
        " the length.",
    )
    alpha: float = Field(
        0.05, gt=0, lt=1, description="Chance of any false alarm among all groups and scores of one run, at most."
    )
    bbq: Path | None = Field(
        None,
        description="File with questions of BBQ that the job `bbq` asks, see docs/bias.md. Empty: it asks nothing.",
    )
    bbq_questions: int = Field(1000, ge=10, description="Questions of that file that are asked in one run at most.")
    scorers: list[str] = Field(
        [],
        description="Own scores of an answer, as `module:function`: called with prompt and answer, returns a number or a"
        " truth.",
    )

    @field_validator("endpoint")
    @classmethod
    def _an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("must be an address such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must hold neither user, password, query nor fragment; the token goes into `token`")
        return value.rstrip("/")

    @field_validator("scorers")
    @classmethod
    def _functions(cls, value: list[str]) -> list[str]:
        for each in value:
            if not _FUNCTION.fullmatch(each):
                raise ValueError(f"{each!r} is no function; write module:function")
        return value

    @model_validator(mode="after")
    def _asks_for_a_model(self) -> ProbeSettings:
        if self.endpoint and not self.model:
            raise ValueError("names an `endpoint` and no `model`; say which one is asked for")
        return self
