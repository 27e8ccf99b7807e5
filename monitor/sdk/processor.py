"""Our span processor: takes ended spans from OpenTelemetry and from the fast path, feeds the pipeline."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, SynchronousMultiSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags
from opentelemetry.util.types import AnyValue

from monitor import semconv
from monitor.sdk.config import Config
from monitor.sdk.exporter import exporter_factory, metric_exporter_factory
from monitor.sdk.guard import swallow
from monitor.sdk.pipeline import Counts, Pipeline
from monitor.sdk.ratio import Chosen, joint_weight, read_sampler
from monitor.sdk.redaction import Privacy
from monitor.sdk.sampling import Sampling, as_sent, has_own_randomness, randomness, sent_threshold, weight
from monitor.sdk.span import CallSpan, SentSpan

if TYPE_CHECKING:
    from monitor.sdk.report import Calls, Reporter

SCOPE: Final = "monitor.sdk"
# Parts of calls have a scope of their own: spans of the other are inferences, and numbered.
STEP_SCOPE: Final = "monitor.sdk.step"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/gen-ai/1.42.0"

# An ended span, and whether it was kept for sure.
Ended = tuple[bool, CallSpan | ReadableSpan]
Item = tuple[int, Ended]


class Processors(SynchronousMultiSpanProcessor):
    """The provider's list of processors, which also knows whether ours is alone in it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._count = 0

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add one, possibly by the user, possibly long after `init`."""
        super().add_span_processor(span_processor)
        self._count += 1

    @property
    def alone(self) -> bool:
        """Whether nobody but us listens."""
        return self._count == 1


class MonitorProcessor(SpanProcessor):
    """Stays attached to its provider for ever; `open` and `close` start and stop what is behind it."""

    def __init__(self) -> None:
        self._pipeline: Pipeline[Ended, ReadableSpan] | None = None
        self._last_counts = Counts()
        self._config: Config | None = None
        self._said: Mapping[str, AnyValue] = {}
        self._detected: Mapping[str, str] = {}
        self._exit_timeout_s = 0.0
        self._sampling: Sampling | None = None
        self._decides_first = False
        self._chosen = Chosen()
        self._privacy = Privacy(capture_content=True)
        self.emitter = _new_emitter()
        self.started_ns = time.time_ns()
        self._resources: dict[int, tuple[Resource, Resource]] = {}

    def open(
        self,
        config: Config,
        calls: Callable[[], Calls] | None = None,
        *,
        decides_first: bool = False,
        sampler: object = None,
    ) -> None:
        """Begin to send; `calls` reads the counts of calls, to be reported with those of spans.

        `decides_first` says that spans were started by our own sampler, and not by one of the user's. `sampler` is the
        one in force.
        """
        self._config = config
        self._said, self._detected = config.resource, config.detected
        self._exit_timeout_s = config.exit_timeout_s
        self._sampling, self._decides_first = config.sampling, decides_first and config.sampling is not None
        self._chosen = read_sampler(sampler)
        self._privacy = config.privacy
        # A new run numbers from 1 again, so it is a new emitter.
        self.emitter = _new_emitter()
        self.started_ns = time.time_ns()
        self._resources = {}
        if "otlp" not in config.export:
            return
        self._pipeline = Pipeline(
            exporter_factory(config),
            self._prepare,
            queue_size=config.queue_size,
            batch_size=config.batch_size,
            interval_s=config.interval_s,
            target=config.target,
            report=self._reporter(config, calls),
        )

    def _reporter(self, config: Config, calls: Callable[[], Calls] | None) -> Reports | None:
        make = metric_exporter_factory(config)
        if make is None or calls is None:
            return None
        # Here, as the metrics SDK takes a third of the time that importing ours would.
        from monitor.sdk.report import Reporter

        return Reports(
            self,
            lambda: self.sent_resource,
            lambda scope, started_ns: Reporter(exporter=make(), scope=scope, calls=calls, started_ns=started_ns),
        )

    @property
    def sent_resource(self) -> Resource | None:
        """The resource under which spans are sent; None before the first."""
        return next((sent for _, sent in self._resources.values()), None)

    def close(self, timeout_s: float) -> None:
        """Send the rest within the time given, then stop."""
        pipeline = self._pipeline
        self._config = None
        if pipeline is not None:
            pipeline.shutdown(timeout_s)
            self._last_counts = pipeline.counts()
            self._pipeline = None

    @property
    def is_open(self) -> bool:
        """Whether spans are being sent (or thrown away because the environment says so)."""
        return self._config is not None

    def after_fork(self) -> None:
        """Become an emitter of one's own in a forked child."""
        self.emitter = _new_emitter()
        self.started_ns = time.time_ns()
        self._resources = {}
        self._chosen.foreign.after_fork()
        if self._pipeline is not None:
            self._pipeline.after_fork()

    @property
    def privacy(self) -> Privacy:
        """What is done to all that is sent."""
        return self._privacy

    def counts(self) -> Counts:
        """Counts of the running pipeline, or the final ones of the last."""
        pipeline = self._pipeline
        return self._last_counts if pipeline is None else pipeline.counts()

    def offer_call(self, span: CallSpan) -> None:
        """Take the span of a call from the fast path."""
        pipeline = self._pipeline
        if pipeline is not None:
            self._offer(pipeline, span, span.context, numbered=True)

    def came_in(self, trace_id: int) -> None:
        """Take note of a trace that began elsewhere, if it matters who has sampled it."""
        if self._chosen.bound is not None and self._chosen.asks_parent:
            self._chosen.foreign.add(trace_id)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Look where a span of opentelemetry-sdk comes from."""
        parent = span.parent
        if parent is not None and parent.is_remote:
            self.came_in(parent.trace_id)

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span from opentelemetry-sdk: one of ours, or any other of this provider."""
        try:
            pipeline = self._pipeline
            if pipeline is None or span.context is None:
                return
            scope = span.instrumentation_scope
            self._offer(pipeline, span, span.context, numbered=scope is not None and scope.name == SCOPE)
        except Exception:
            swallow("queueing a span")

    def _offer(
        self,
        pipeline: Pipeline[Ended, ReadableSpan],
        span: CallSpan | ReadableSpan,
        context: SpanContext,
        *,
        numbered: bool,
    ) -> None:
        """Queue an ended span, unless sampling leaves it out."""
        sampling, chosen = self._sampling, bool(context.trace_flags & TraceFlags.SAMPLED)
        if sampling is None or not (chosen or self._decides_first):
            if chosen:
                pipeline.offer((False, span), numbered=numbered)
            return
        if sampling.is_sure(span):
            pipeline.offer((True, span), numbered=numbered)
        elif chosen and (
            self._decides_first or randomness(context.trace_id, context.trace_state) >= sampling.threshold
        ):
            pipeline.offer((False, span), numbered=numbered)
        elif numbered:
            pipeline.leave_out()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Send what is queued."""
        pipeline = self._pipeline
        return True if pipeline is None else pipeline.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Called by the provider when it is shut down."""
        self.close(self._exit_timeout_s)

    def _prepare(self, item: Item) -> ReadableSpan:
        seq, (sure, span) = item
        resource = self.resource_for(span.resource)
        context = span.context
        assert context is not None
        added: dict[str, AnyValue] = {semconv.SEQ: seq} if seq else {}
        threshold, stands_for = self._standing(context, sure)
        if threshold is not None:
            context = as_sent(context, threshold)
        if stands_for is not None:
            added[semconv.SAMPLE_WEIGHT] = stands_for * _given_weight(span)
        if isinstance(span, CallSpan):
            return span.readable(resource, context, added, self._privacy)
        return SentSpan(span, resource, context, added, self._privacy)

    def _standing(self, context: SpanContext, sure: bool) -> tuple[int | None, float | None]:
        """The threshold that a span passed before it is sent, and how many it stands for; None if nobody sampled."""
        sampling = self._sampling
        if self._decides_first and sampling is not None:
            threshold = 0 if sure else sampling.threshold
            return threshold, weight(threshold)
        # Somebody else may have sampled before us, here or where the request came from.
        bound = self._chosen.bound_for(context.trace_id)
        before = sent_threshold(context.trace_state) if self._chosen.asks_parent and bound is None else None
        if sampling is not None:
            before = max(before or 0, 0 if sure else sampling.threshold)
        if before is None and bound is None:
            return None, None
        same_bits = bound is None or not has_own_randomness(context.trace_state)
        return before, joint_weight(bound, before or 0, same_bits=same_bits)

    def resource_for(self, found: Resource) -> Resource:
        """Merge our attributes over the provider's, once per resource object."""
        known = self._resources.get(id(found))
        # The first of the pair keeps the object alive, so that its id cannot be taken over by another.
        if known is None or known[0] is not found:
            merged = {**self._detected, **(found.attributes or {}), **self._said}
            merged = self._privacy.attributes(merged)
            merged[semconv.EMITTER] = self.emitter
            known = (found, SentResource(merged, found.schema_url))
            kept = {} if len(self._resources) > 8 else self._resources
            self._resources = {**kept, id(found): known}
        return known[1]


class Reports:
    """Sends the counts of the run that its emitter stands for; a forked child's are those of another.

    Parameters
    ----------
    resource : callable
        The resource to report under; None as long as there is nothing to report.
    begin : callable
        Makes the reporter of a run, from its scope and its begin in ns since 1970.
    """

    def __init__(
        self,
        processor: MonitorProcessor,
        resource: Callable[[], Resource | None],
        begin: Callable[[InstrumentationScope, int], Reporter],
    ) -> None:
        self._processor = processor
        self._resource = resource
        self._begin = begin
        self._emitter = ""
        self._reporter: Reporter | None = None

    def send(self, counts: Counts) -> None:
        resource = self._resource()
        if resource is None:
            return
        now_ns = time.time_ns()
        if self._reporter is None or self._emitter != self._processor.emitter:
            self._emitter = self._processor.emitter
            scope = InstrumentationScope(SCOPE, "", SCHEMA_URL)
            self._reporter = self._begin(scope, self._processor.started_ns)
        self._reporter.send(counts, resource, now_ns)

    def shutdown(self) -> None:
        if self._reporter is not None:
            self._reporter.shutdown()


class SentResource(Resource):
    """A resource that computes its hash once: the encoder asks with every span, and it is a JSON dump."""

    def __hash__(self) -> int:
        """Hash of the content."""
        if not hasattr(self, "_hash"):
            self._hash = super().__hash__()
        return self._hash

    def __eq__(self, other: object) -> bool:
        """Equal content."""
        return self is other or super().__eq__(other)


def _given_weight(span: CallSpan | ReadableSpan) -> float:
    """What the user says that the call stands for already, because it was chosen before we saw it."""
    given = (span.attributes or {}).get(semconv.SAMPLE_WEIGHT, 1.0)
    return float(given) if isinstance(given, int | float) and 1 <= given < float("inf") else 1.0


def _new_emitter() -> str:
    # From the operating system, not from `random`: forked children share the state of the latter.
    return secrets.token_hex(8)
