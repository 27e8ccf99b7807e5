"""What is taken in, from whom, and how much of it."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from monitor.settings.section import MIB, Section


class CollectorSettings(Section):
    host: str = Field("127.0.0.1", description="Address to listen on. Any other than loopback demands `tokens`.")
    grpc_port: int = Field(4317, ge=0, le=65535, description="OTLP/gRPC port; 0 picks a free one.")
    http_port: int = Field(4318, ge=0, le=65535, description="OTLP/HTTP and API port; 0 picks a free one.")
    clickhouse_port: int = Field(
        8123,
        ge=0,
        le=65535,
        description="Port of the read-only ClickHouse endpoint (embedded store only); 0 picks a free one.",
    )
    dashboard_port: int = Field(8501, ge=0, le=65535, description="Dashboard port; 0 picks a free one.")
    tokens: list[SecretStr] = Field([], description="Bearer tokens; when any is set, requests without one are refused.")
    page_tokens: list[SecretStr] = Field(
        [],
        description="Bearer tokens that web pages may hold, where anybody can read them: good for `/api/feedback`, and for"
        " `/api/evaluations` in the name of a user, and for nothing else.",
    )
    max_message_bytes: int = Field(64 * MIB, ge=1024, description="Largest request, after decompression, in bytes.")
    max_wal_bytes: int = Field(
        4096 * MIB,
        ge=MIB,
        description="Most bytes that may wait in the write-ahead log; beyond it requests get a retryable refusal.",
    )
    max_inflight_bytes: int = Field(
        256 * MIB,
        ge=MIB,
        description="Most request bytes in memory at once; beyond it requests get a retryable refusal.",
    )
    max_connections: int = Field(
        1000, ge=1, description="Connections at once on each port; beyond it requests get a retryable refusal, or none."
    )
    request_timeout_s: float = Field(
        60.0,
        gt=0,
        description="Longest time that a handshake, a request's headers, and then its body, may take to arrive; a gRPC"
        " connection is renewed after ten times as long.",
    )
    insert_timeout_s: float = Field(
        60.0, gt=0, description="Longest wait for ClickHouse to take one segment; then it is tried again."
    )
    tls_cert: Path | None = Field(
        None, description="Certificate chain in PEM; with `tls_key`, OTLP is served over TLS only."
    )
    tls_key: Path | None = Field(None, description="Private key of that certificate, in PEM.")
    cors_origins: list[str] = Field(
        [], description="Origins whose pages may send telemetry from browsers, such as `https://app.example.com`."
    )
    api_rate: float = Field(
        20.0,
        gt=0,
        description="Requests a second to `/api/evaluations` and `/api/feedback` that one client may send on average.",
    )
    api_burst: int = Field(100, ge=1, description="Requests that such a client may send at once after a pause.")
    api_max_bytes: int = Field(MIB, ge=1024, description="Largest request to these two, after decompression, in bytes.")
    segment_spans: int = Field(
        131_072, ge=1, le=500_000, description="Spans in one write-ahead segment, which is one insert into ClickHouse."
    )
    segment_bytes: int = Field(96 * MIB, ge=1024, description="Bytes in one write-ahead segment.")
    segment_age_s: float = Field(
        1.0,
        gt=0,
        description="Longest time a span waits before its segment is inserted, up to four times as long where inserts are"
        " slow; metrics wait five times as long.",
    )
    inserters: int = Field(2, ge=1, le=16, description="Segments inserted in parallel.")
    max_attributes: int = Field(256, ge=1, description="Attributes kept of one span, event, link or resource.")
    max_attribute_bytes: int = Field(
        65_536, ge=128, description="Bytes kept of one attribute value; longer ones are cut and marked."
    )
    max_past_days: float = Field(
        400.0, gt=0, description="A span that says it began longer ago than this is stored with its time of arrival."
    )
    max_future_s: float = Field(
        3600.0,
        ge=0,
        description="A span that says it begins later than this from now is stored with its time of arrival.",
    )

    @field_validator("tokens", "page_tokens")
    @classmethod
    def _no_empty_token(cls, value: list[SecretStr]) -> list[SecretStr]:
        if any(not token.get_secret_value() for token in value):
            raise ValueError("holds an empty token; is the environment variable it names set?")
        return value


class PrivacySettings(Section):
    capture_content: bool = Field(
        False,
        description="Whether prompts and completions may reach a table. Off: they are dropped before anything is stored.",
    )
    hash_user_ids: bool = Field(
        False, description="Whether user ids are replaced by a salted hash before they are stored."
    )
    salt: SecretStr = Field(SecretStr(""), description="Salt of that hash; demanded when `hash_user_ids` is on.")
    redact: list[str] = Field(
        [], description="Regular expressions (RE2); what they match in any attribute value is replaced by `[redacted]`."
    )

    @field_validator("redact")
    @classmethod
    def _compiles(cls, value: list[str]) -> list[str]:
        for pattern in value:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return value


class GpuSettings(Section):
    enabled: bool = Field(
        False, description="Whether this process reads the GPUs of its own machine; other machines run `monitor gpu`."
    )
    interval_s: float = Field(1.0, ge=0.1, le=3600, description="From one reading of the GPUs to the next, in seconds.")
    dcgm_url: str = Field(
        "", description="DCGM exporter to read beside NVML, such as `http://127.0.0.1:9400`; empty: none."
    )
    node: str = Field(
        "", description="Name of this machine, if serving code calls it something else than its host name."
    )
    endpoint: str = Field("", description="OTLP receiver that the readings go to; empty: this process itself.")
    token: SecretStr = Field(SecretStr(""), description="Bearer token of that receiver.")


class ModelSettings(Section):
    by_service: dict[str, str] = Field(
        {}, description="Model that a service serves, for emitters that send none (vLLM): `service.name: model`."
    )
