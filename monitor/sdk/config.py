"""What `monitor.init` was asked for, checked once. Arguments beat `OTEL_*` variables, those beat defaults."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.util.types import AnyValue

from monitor import semconv
from monitor.errors import ConfigError
from monitor.sdk.detect import detect
from monitor.sdk.guard import once
from monitor.sdk.redaction import Privacy, Rules, read_privacy
from monitor.sdk.sampling import Sampling, read_sampling

GRPC: Final = "grpc"
HTTP: Final = "http/protobuf"

QUEUE_SPANS_MAX: Final = 2048
BATCH_SPANS_MAX: Final = 512
# OpenTelemetry waits 5 s; a dashboard that shows the last minute should not trail by so much of it.
INTERVAL_S: Final = 1.0
EXIT_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings in force; two equal ones make the second `init` a no-op."""

    endpoint: str | None
    protocol: str
    headers: Mapping[str, str] = field(repr=False)
    resource: Mapping[str, AnyValue]
    # What the machine said when `init` was called; a program may set CUDA_VISIBLE_DEVICES afterwards.
    detected: Mapping[str, str] = field(compare=False)
    capture_content: bool
    privacy: Privacy
    sampling: Sampling | None
    queue_size: int
    batch_size: int
    interval_s: float
    exit_timeout_s: float
    export: Sequence[str]
    exporter: SpanExporter | None = field(repr=False, default=None)

    @property
    def target(self) -> str:
        """Where spans go, for messages."""
        if self.exporter is not None:
            return type(self.exporter).__name__
        said = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        default = "http://localhost:4317" if self.protocol == GRPC else "http://localhost:4318/v1/traces"
        return self.endpoint or said or default

    def differs_in(self, other: Config) -> list[str]:
        """Names of settings that differ; names only, because headers hold secrets."""
        return [f.name for f in fields(self) if f.compare and getattr(self, f.name) != getattr(other, f.name)]


def build_config(
    *,
    service: str | None,
    endpoint: str | None,
    protocol: str | None,
    headers: Mapping[str, str] | None,
    node: str | None,
    deployment: str | None,
    pricing: str | None,
    gpu: str | None,
    region: str | None,
    environment: str | None,
    variant: str | None,
    release: str | None,
    resource_attributes: Mapping[str, AnyValue] | None,
    capture_content: bool | None,
    redact: Rules,
    hash_user_ids: bool,
    salt: str | None,
    sample_rate: float | None,
    keep_slow_s: float | None,
    keep_errors: bool,
    queue_size: int | None,
    batch_size: int | None,
    interval_s: float | None,
    exit_timeout_s: float,
    exporter: SpanExporter | None,
) -> Config:
    """Check the arguments of `init` and lay them over the environment.

    Raises
    ------
    ConfigError
        If an argument is wrong. A wrong environment variable is logged and ignored instead: a typo in a
        deployment file must not keep a serving process from starting.
    """
    _one_of("deployment", deployment, semconv.DEPLOYMENTS)
    _one_of("pricing", pricing, semconv.PRICINGS)
    named = {
        semconv.SERVICE_NAME: ("service", service),
        semconv.NODE: ("node", node),
        semconv.DEPLOYMENT: ("deployment", deployment),
        semconv.PRICING: ("pricing", pricing),
        semconv.GPU: ("gpu", gpu),
        semconv.CLOUD_REGION: ("region", region),
        semconv.DEPLOYMENT_ENVIRONMENT: ("environment", environment),
        semconv.VARIANT: ("variant", variant),
        semconv.SERVICE_VERSION: ("release", release),
    }
    resource: dict[str, AnyValue] = dict(_mapping("resource_attributes", resource_attributes))
    resource.update({key: _text(name, value) for key, (name, value) in named.items() if value is not None})
    chosen_protocol = _protocol(protocol, endpoint)
    captured = _capture_from_env() if capture_content is None else bool(capture_content)
    queue_spans = _positive("queue_size", queue_size, "OTEL_BSP_MAX_QUEUE_SIZE", QUEUE_SPANS_MAX)
    batch_spans = _positive("batch_size", batch_size, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH_SPANS_MAX)
    return Config(
        endpoint=None if endpoint is None else _endpoint(endpoint, chosen_protocol),
        protocol=chosen_protocol,
        headers={str(k).lower(): _text("headers", v) for k, v in _mapping("headers", headers).items()},
        resource=resource,
        detected=detect(),
        capture_content=captured,
        privacy=read_privacy(redact, hash_user_ids, salt, capture_content=captured),
        sampling=read_sampling(sample_rate, keep_slow_s, keep_errors),
        queue_size=int(queue_spans),
        batch_size=int(min(batch_spans, queue_spans)),
        interval_s=_positive("interval_s", interval_s, "OTEL_BSP_SCHEDULE_DELAY", INTERVAL_S, env_unit=1e-3),
        exit_timeout_s=_positive("exit_timeout_s", exit_timeout_s, "", EXIT_TIMEOUT_S),
        export=("otlp",) if endpoint or exporter else _exporters_from_env(),
        exporter=exporter,
    )


def _one_of(name: str, value: str | None, allowed: Sequence[str]) -> None:
    if value is None or value in allowed:
        return
    near = difflib.get_close_matches(str(value), allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ConfigError(f"monitor.init: {name}={value!r} is not one of {', '.join(allowed)}{hint}")


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"monitor.init: {name} must be a non-empty string, got {type(value).__name__}.")
    return value


def _mapping(name: str, value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) and key for key in value):
        raise ConfigError(f"monitor.init: {name} must be a dict with strings as keys, got {type(value).__name__}.")
    return value


def _positive(name: str, value: object, env: str, default: float, *, env_unit: float = 1) -> float:
    if value is not None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise ConfigError(f"monitor.init: {name} must be a positive number, got {value!r}.")
        return value
    text = os.environ.get(env, "").strip()
    if not text:
        return default
    try:
        number = float(text) * env_unit
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        once(
            env,
            logging.WARNING,
            f"monitor: {env}={text!r} is not a positive number; {default} is used instead",
        )
        return default
    return number


def _protocol(protocol: str | None, endpoint: str | None) -> str:
    if protocol is not None:
        _one_of("protocol", protocol, (GRPC, HTTP))
        return protocol
    for env in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        said = os.environ.get(env, "").strip()
        if said in (GRPC, HTTP):
            return said
        if said:
            once(env, logging.WARNING, f"monitor: {env}={said!r} is not spoken here; use {GRPC} or {HTTP}")
    # Nobody said which, but 4318 is the HTTP port by registration: gRPC would only ever fail there.
    parts = urlsplit(endpoint if endpoint and "//" in endpoint else f"//{endpoint or ''}")
    if parts.path.rstrip("/") or _port(parts.netloc) == 4318:
        return HTTP
    return GRPC


def _endpoint(endpoint: str, protocol: str) -> str:
    text = _text("endpoint", endpoint).strip()
    # Without a scheme the OTLP exporter would silently choose TLS; say "plain" as everybody means it.
    parts = urlsplit(text if "://" in text else "http://" + text)
    if parts.scheme not in ("http", "https") or not parts.hostname or _port(parts.netloc) == -1:
        raise ConfigError(
            f"monitor.init: endpoint={endpoint!r} is no address of a collector; write http://host:4317 (or https://)."
        )
    base = f"{parts.scheme}://{parts.netloc}"
    if protocol == GRPC:
        return base
    path = parts.path.rstrip("/")
    return base + (path if path.endswith("/v1/traces") else path + "/v1/traces")


def _port(netloc: str) -> int | None:
    try:
        return urlsplit("//" + netloc).port
    except ValueError:
        return -1


def _capture_from_env() -> bool:
    said = os.environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "").strip().lower()
    return said in ("true", "1", "span_only", "span_and_event")


def _exporters_from_env() -> Sequence[str]:
    said = [name.strip().lower() for name in os.environ.get("OTEL_TRACES_EXPORTER", "otlp").split(",") if name.strip()]
    if "none" in said:
        return ()
    known = tuple(name for name in ("otlp", "console") if name in said)
    if len(known) < len(set(said)):
        once(
            "OTEL_TRACES_EXPORTER",
            logging.WARNING,
            f"monitor: OTEL_TRACES_EXPORTER={','.join(said)!r}: only otlp, console and none are known; "
            f"{','.join(known) or 'otlp'} is used",
        )
    return known or ("otlp",)
