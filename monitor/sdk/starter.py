"""Two ways to start the span of a call: the fast one of `span.py`, and the ordinary one of OpenTelemetry."""

from __future__ import annotations

from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags

from monitor.sdk.processor import MonitorProcessor
from monitor.sdk.span import CallSpan

_RANDOM_TRACE_ID = 2


class Starter(Protocol):
    """Starts spans."""

    def start(self, name: str, kind: SpanKind, attributes: dict[str, Any], context: Context, start_ns: int) -> Span:
        """Start one as a child of what is current in `context`."""


class PlainStarter:
    """Spans by any tracer, be it of an SDK with processors of the user, or the one that does nothing."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def start(self, name: str, kind: SpanKind, attributes: dict[str, Any], context: Context, start_ns: int) -> Span:
        """Start a span of that tracer."""
        return self._tracer.start_span(name, context, kind, attributes, start_time=start_ns)


class FastStarter:
    """Spans for the exporter's thread alone; ids, sampling and flags are those of the provider."""

    def __init__(
        self,
        provider: TracerProvider,
        sampler: Sampler,
        limits: SpanLimits,
        scope: InstrumentationScope,
        processor: MonitorProcessor,
    ) -> None:
        self._provider = provider
        self._sampler = sampler
        self._ids = provider.id_generator
        self._processor = processor
        # Generators of users may be older than this method.
        is_random = getattr(self._ids, "is_trace_id_random", bool)
        self._random = _RANDOM_TRACE_ID if is_random() else 0
        # Flags are looked up, not built: there are four.
        self._flags = [TraceFlags(bits) for bits in range(4)]
        self.limits = limits
        self.scope = scope

    @property
    def resource(self) -> Resource:
        """The provider's resource; it changes after a fork."""
        return self._provider.resource

    def start(self, name: str, kind: SpanKind, attributes: dict[str, Any], context: Context, start_ns: int) -> Span:
        """Start a span, or one that does nothing when the sampler says so."""
        parent: SpanContext | None = trace.get_current_span(context).get_span_context()
        if parent is not None and parent.is_valid:
            trace_id, random = parent.trace_id, parent.trace_flags & _RANDOM_TRACE_ID
            if parent.is_remote:
                self._processor.came_in(trace_id)
        else:
            parent, trace_id, random = None, self._ids.generate_trace_id(), self._random
        result = self._sampler.should_sample(context, trace_id, name, kind, attributes, ())
        sampled = 1 if result.decision is Decision.RECORD_AND_SAMPLE else 0
        own = SpanContext(
            trace_id, self._ids.generate_span_id(), False, self._flags[sampled | random], result.trace_state
        )
        if result.decision is Decision.DROP:
            return NonRecordingSpan(own)
        return CallSpan(self, name, kind, own, parent, dict(result.attributes or {}), start_ns)

    def finished(self, span: CallSpan) -> None:
        """Hand over an ended span; the processor knows whether it is to be sent."""
        self._processor.offer_call(span)
