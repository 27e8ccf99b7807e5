"""Joins the process's TracerProvider, or makes one where there is none."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import cast

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from monitor.sdk.config import Config
from monitor.sdk.guard import once
from monitor.sdk.processor import SCHEMA_URL, SCOPE, STEP_SCOPE, MonitorProcessor, Processors
from monitor.sdk.runtime import Runtime
from monitor.sdk.sampling import SwitchedSampler
from monitor.sdk.starter import FastStarter, PlainStarter


@dataclass(frozen=True, kw_only=True)
class Own:
    """What is known only of a provider of our own making."""

    provider: TracerProvider
    processors: Processors
    sampler: SwitchedSampler
    limits: SpanLimits


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A provider with our processor attached."""

    provider: trace.TracerProvider
    processor: MonitorProcessor
    own: Own | None

    @property
    def sampler(self) -> object:
        """What chooses spans at their start; None if that cannot be told."""
        return getattr(self.provider, "sampler", None) if self.own is None else self.own.sampler.current


def install(config: Config, before: Installed | None) -> Installed:
    """Attach our processor to the process's provider, unless it is there from an earlier `init`."""
    provider = trace.get_tracer_provider()
    if before is not None and (before.own is not None or before.provider is provider):
        if before.own is not None:
            before.own.sampler.use(config.sampling)
        return before
    processor = MonitorProcessor()
    if hasattr(provider, "add_span_processor"):
        cast(TracerProvider, provider).add_span_processor(processor)
        return Installed(provider=provider, processor=processor, own=None)
    own = _make(config, processor)
    if isinstance(provider, trace.ProxyTracerProvider):
        trace.set_tracer_provider(own.provider)
    else:
        once(
            "foreign provider",
            logging.WARNING,
            f"monitor: the TracerProvider in place ({type(provider).__name__}) takes no span processors; "
            "inference spans are sent by a provider of their own.",
        )
    return Installed(provider=own.provider, processor=processor, own=own)


def make_runtime(installed: Installed, config: Config) -> Runtime:
    """Return what starts spans with this provider."""
    plain = PlainStarter(installed.provider.get_tracer(SCOPE, _version(), SCHEMA_URL))
    steps = PlainStarter(installed.provider.get_tracer(STEP_SCOPE, _version(), SCHEMA_URL))
    sampling = config.sampling
    decides_late = installed.own is not None and sampling is not None and sampling.decides_late
    runtime = Runtime(plain, steps, capture_content=config.capture_content, decides_late=decides_late)
    if installed.own is not None and not _needs_sdk_spans():
        own = installed.own
        scope = InstrumentationScope(SCOPE, _version(), SCHEMA_URL)
        fast = FastStarter(own.provider, own.sampler.current, own.limits, scope, installed.processor)
        runtime.use_fast(fast, own.processors)
    return runtime


def _make(config: Config, processor: MonitorProcessor) -> Own:
    limits = SpanLimits()
    processors = Processors()
    provider = TracerProvider(
        resource=Resource.create({**config.detected, **_said_by_env(config), **config.resource}),
        active_span_processor=processors,
        id_generator=_id_generator(),
        span_limits=limits,
    )
    # Made by the provider, from OTEL_TRACES_SAMPLER.
    sampler = SwitchedSampler(provider.sampler)
    sampler.use(config.sampling)
    provider.sampler = sampler
    provider.add_span_processor(processor)
    if "console" in config.export:
        provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    return Own(provider=provider, processors=processors, sampler=sampler, limits=limits)


def _said_by_env(config: Config) -> dict[str, str]:
    """A host name the user gave in OTEL_RESOURCE_ATTRIBUTES must win over the one we detect."""
    found = Resource.create().attributes or {}
    return {key: str(found[key]) for key in config.detected if key in found}


def _needs_sdk_spans() -> bool:
    """Whether switches are on that only the SDK's own spans obey."""
    switches = ("OTEL_SDK_DISABLED", "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED")
    return any(os.environ.get(name, "").strip().lower() == "true" for name in switches)


def _id_generator() -> IdGenerator | None:
    name = os.environ.get("OTEL_PYTHON_ID_GENERATOR", "").strip()
    if not name or name == "random":
        return None
    for entry in entry_points(group="opentelemetry_id_generator", name=name):
        return cast(IdGenerator, entry.load()())
    once(
        "ids",
        logging.WARNING,
        f"monitor: OTEL_PYTHON_ID_GENERATOR={name!r} is not installed; random ids are used.",
    )
    return None


def _version() -> str:
    try:
        return version("inference-monitor")
    except PackageNotFoundError:
        return ""
