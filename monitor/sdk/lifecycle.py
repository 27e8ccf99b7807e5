"""`init`, `flush`, `shutdown`, `stats`: the one running instance of the SDK in a process."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import Span, SpanKind
from opentelemetry.util.types import AnyValue

from monitor.errors import ConfigError
from monitor.sdk.config import EXIT_TIMEOUT_S, Config, build_config
from monitor.sdk.events import Judgements
from monitor.sdk.guard import forget, log, once, swallow
from monitor.sdk.pipeline import Counts
from monitor.sdk.processor import SCOPE, STEP_SCOPE
from monitor.sdk.provider import Installed, install, make_runtime
from monitor.sdk.redaction import Rules
from monitor.sdk.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Where calls and spans went. `offered = dropped + exported + failed + waiting` at any time.

    `started`, `ended`, `open` and `unsampled` (left out on purpose, hence never offered) count calls. The rest counts
    spans, which include those of others when the SDK has joined an existing TracerProvider; `last_seq` is the number
    the latest inference span got. Those that begin with `judgements_` count judgements, in the same way;
    `judgements_refused` had impossible arguments and were never offered.
    """

    emitter: str
    started: int
    ended: int
    open: int
    unsampled: int
    last_seq: int
    offered: int
    dropped: int
    exported: int
    failed: int
    waiting: int
    judgements_refused: int
    judgements_offered: int
    judgements_dropped: int
    judgements_exported: int
    judgements_failed: int
    judgements_waiting: int


def init(
    service: str | None = None,
    *,
    endpoint: str | None = None,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
    node: str | None = None,
    deployment: str | None = None,
    pricing: str | None = None,
    gpu: str | None = None,
    region: str | None = None,
    environment: str | None = None,
    variant: str | None = None,
    release: str | None = None,
    resource_attributes: Mapping[str, AnyValue] | None = None,
    capture_content: bool | None = None,
    redact: Rules = None,
    hash_user_ids: bool = False,
    salt: str | None = None,
    sample_rate: float | None = None,
    keep_slow_s: float | None = None,
    keep_errors: bool = True,
    queue_size: int | None = None,
    batch_size: int | None = None,
    interval_s: float | None = None,
    exit_timeout_s: float = EXIT_TIMEOUT_S,
    exporter: SpanExporter | None = None,
) -> None:
    """Start to send inference spans. Arguments win over `OTEL_*` variables, those over defaults.

    An OpenTelemetry SDK that is already set up is joined, not replaced. A second call with the same arguments
    does nothing; with others it warns and changes nothing: call `shutdown` first.

    Parameters
    ----------
    service, environment, region, release, node, gpu
        Names of what is running, by which every KPI can be split.
    deployment : {"on_premises", "cloud", "hybrid", "edge", "api"}
        How the model is hosted.
    pricing : {"on_demand", "reserved", "spot", "serverless", "per_token", "owned"}
        How it is paid for.
    variant
        Build of the model, such as `fp16` or `int4-awq`.
    endpoint, protocol, headers
        Collector: `http://host:4317` for `grpc` (the default), `http://host:4318` for `http/protobuf`.
    resource_attributes
        Any further attributes of this process.
    capture_content
        Send prompts, completions and the messages of errors, which may quote them. Off by default; also for
        spans of others that are sent from here.
    redact
        What is taken out of every text before it is sent: True for all of `email`, `phone`, `card`, `iban`, `ip` and
        `api_key`, or a list of these names, regular expressions, and functions from text to text.
    hash_user_ids, salt
        Send user ids as a salted hash, the same one that the collector makes with the same salt. The salt can also be
        given by MONITOR_PRIVACY__SALT.
    sample_rate
        Share of traces to send, such as 0.05; all by default. Each call that is sent carries its weight, so that
        sums and shares in the store stay those of all calls.
    keep_slow_s, keep_errors
        With `sample_rate`: calls that lasted at least so many seconds, and failed ones (by default), are all sent.
    queue_size, batch_size
        Spans held at most, and sent at once at most. The oldest span is dropped, and counted, when the queue
        is full.
    interval_s
        Longest wait of a span before it is sent.
    exit_timeout_s
        Longest time to wait for the endpoint when the process ends.
    exporter
        Send by this exporter instead of OTLP.

    Raises
    ------
    ConfigError
        If an argument is wrong. Nothing else is ever raised, then or later.
    """
    config = build_config(
        service=service,
        endpoint=endpoint,
        protocol=protocol,
        headers=headers,
        node=node,
        deployment=deployment,
        pricing=pricing,
        gpu=gpu,
        region=region,
        environment=environment,
        variant=variant,
        release=release,
        resource_attributes=resource_attributes,
        capture_content=capture_content,
        redact=redact,
        hash_user_ids=hash_user_ids,
        salt=salt,
        sample_rate=sample_rate,
        keep_slow_s=keep_slow_s,
        keep_errors=keep_errors,
        queue_size=queue_size,
        batch_size=batch_size,
        interval_s=interval_s,
        exit_timeout_s=exit_timeout_s,
        exporter=exporter,
    )
    with _state.lock:
        if _state.config is not None and _state.installed is not None and _state.installed.processor.is_open:
            _warn_if_other(_state.config, config)
        else:
            _start(config)


def flush(timeout_s: float = 5.0) -> bool:
    """Send what has ended and was judged so far; True when all of it was delivered in time."""
    installed = _state.installed
    until = time.monotonic() + timeout_s
    spans = True if installed is None else installed.processor.force_flush(int(timeout_s * 1000))
    return _state.judgements.flush(max(0.0, until - time.monotonic())) and spans


def shutdown(timeout_s: float | None = None) -> None:
    """End open calls as cancelled, send the rest, stop. Happens by itself when the process ends."""
    with _state.lock:
        config, installed, runtime = _state.config, _state.installed, _state.runtime
        if config is None or installed is None:
            return
        _state.config, _state.runtime = None, _idle
    try:
        for call in runtime.open_calls.all():
            call.abandon()
        until = time.monotonic() + (config.exit_timeout_s if timeout_s is None else timeout_s)
        installed.processor.close(until - time.monotonic())
        _state.judgements.close(max(0.0, until - time.monotonic()))
    except Exception:
        swallow("shutting down")


def stats() -> Stats:
    """Loss accounting of this process; after `shutdown` that of the run that ended."""
    installed = _state.installed
    counts = Counts() if installed is None else installed.processor.counts()
    judged = _state.judgements.counts()
    started, ended, still_open, unsampled = _calls()
    return Stats(
        emitter="" if installed is None else installed.processor.emitter,
        started=started,
        ended=ended,
        open=still_open,
        unsampled=unsampled,
        last_seq=counts.last_seq,
        offered=counts.offered,
        dropped=counts.dropped,
        exported=counts.exported,
        failed=counts.failed,
        waiting=counts.waiting,
        judgements_refused=_state.judgements.refused,
        judgements_offered=judged.offered,
        judgements_dropped=judged.dropped,
        judgements_exported=judged.exported,
        judgements_failed=judged.failed,
        judgements_waiting=judged.waiting,
    )


def current_runtime() -> Runtime:
    """Return the runtime for a new call; without `init` its spans go wherever OpenTelemetry sends them."""
    runtime = _state.runtime
    if runtime is _idle:
        once("idle", logging.WARNING, "monitor: inference() without a running monitor.init(): nothing is sent.")
    return runtime


def current_judgements() -> Judgements:
    """Return where judgements go; without `init`, nowhere."""
    return _state.judgements


def runtime_for_now() -> Runtime:
    """Return what is running now, without a word if nothing is: the call may start later, or never."""
    return _state.runtime


class _IdleStarter:
    """Spans while the SDK is not running: by the user's own OpenTelemetry if there is one, else none."""

    def __init__(self, scope: str) -> None:
        self._scope = scope

    def start(self, name: str, kind: SpanKind, attributes: dict[str, Any], context: Context, start_ns: int) -> Span:
        return trace.get_tracer(self._scope).start_span(name, context, kind, attributes, start_time=start_ns)


_idle = Runtime(_IdleStarter(SCOPE), _IdleStarter(STEP_SCOPE))


class _State:
    """All that changes, in one place."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.config: Config | None = None
        # Outlives `shutdown`, because OpenTelemetry has no way to detach a processor or to replace a
        # provider.
        self.installed: Installed | None = None
        self.runtime = _idle
        self.counted = _idle
        self.judgements = Judgements()
        self.hooked = False


_state = _State()


def _calls() -> tuple[int, int, int, int]:
    """Calls started, ended, open and unsampled; the last ones were left out at their start, or at their end."""
    started, ended, still_open, unsampled = _state.counted.open_calls.counts()
    left_out = 0 if _state.installed is None else _state.installed.processor.counts().left_out
    return started, ended, still_open, unsampled + left_out


def _start(config: Config) -> None:
    forget()
    try:
        installed = install(config, _state.installed)
        decides_first = installed.own is not None
        installed.processor.open(config, _calls, decides_first=decides_first, sampler=installed.sampler)
        runtime = make_runtime(installed, config)
        _state.judgements.open(config, installed.processor, installed.provider)
    except ConfigError:
        raise
    except Exception:
        swallow("starting; monitoring stays off")
        return
    _state.config, _state.installed = config, installed
    _state.runtime = _state.counted = runtime
    if not _state.hooked:
        _state.hooked = True
        # After the provider's own hook, hence run before it: open calls must end while there is somewhere to
        # go.
        atexit.register(shutdown)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    try:
        _state.lock = threading.RLock()
        _state.runtime.open_calls.reset()
        if _state.installed is not None:
            _state.installed.processor.after_fork()
        _state.judgements.after_fork()
    except Exception:
        swallow("restarting after fork")


def _warn_if_other(old: Config, new: Config) -> None:
    differing = old.differs_in(new)
    if differing:
        log.warning(
            "monitor.init was called again with another %s; the first call stays in force. "
            "Call monitor.shutdown() before changing settings.",
            ", ".join(differing),
        )
