"""Judgements on their way: a queue and a thread like those of spans, made when the first one comes by."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext

from monitor.sdk.config import Config
from monitor.sdk.exporter import log_exporter_factory, log_target, metric_exporter_factory
from monitor.sdk.guard import once
from monitor.sdk.pipeline import Counts, Pipeline
from monitor.sdk.processor import SCHEMA_URL, SCOPE, MonitorProcessor, Reports

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk._logs.export import LogRecordExporter

_SCOPE: Final = InstrumentationScope(SCOPE, "", SCHEMA_URL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """One event as the caller's thread leaves it; ids of 0 mean none, the time is in ns since 1970."""

    event: str
    trace_id: int
    span_id: int
    attributes: dict[str, Any]
    time_ns: int


class Judgements:
    """Exists once; `open` and `close` begin and end a run, `offer` never waits for anything but a lock."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._config: Config | None = None
        self._processor: MonitorProcessor | None = None
        self._provider: trace.TracerProvider | None = None
        self._make_exporter: Callable[[], LogRecordExporter] | str = ""
        self._pipeline: Pipeline[Judgement, ReadableLogRecord] | None = None
        self._last_counts = Counts()
        self.refused = 0

    def open(self, config: Config, processor: MonitorProcessor, provider: trace.TracerProvider) -> None:
        """Begin a run: judgements go where `config` says, under the resource of that provider."""
        self._config, self._processor, self._provider = config, processor, provider
        self._make_exporter = log_exporter_factory(config)
        self._last_counts, self.refused = Counts(), 0

    def offer(self, judgement: Judgement, said_by: str) -> None:
        """Queue one; `said_by` is the function that the user called, for messages."""
        with self._lock:
            config, processor = self._config, self._processor
            if config is None or processor is None:
                message = f"monitor: {said_by}() without a running monitor.init(): nothing is sent."
                once("idle judgements", logging.WARNING, message)
                return
            make = self._make_exporter
            if isinstance(make, str):
                once("no judgements", logging.WARNING, f"monitor: judgements are not sent, because {make}.")
                return
            if self._pipeline is None:
                self._pipeline = self._make(make, config, processor)
            pipeline = self._pipeline
        pipeline.offer(judgement, numbered=False)

    def refuse(self) -> None:
        """Count one that is none."""
        with self._lock:
            self.refused += 1

    def flush(self, timeout_s: float) -> bool:
        """Send what is queued; True when all of it was delivered in time."""
        pipeline = self._pipeline
        return True if pipeline is None else pipeline.flush(timeout_s)

    def close(self, timeout_s: float) -> None:
        """Send the rest within the time given, then stop."""
        with self._lock:
            pipeline, self._pipeline, self._config = self._pipeline, None, None
        if pipeline is not None:
            pipeline.shutdown(timeout_s)
            self._last_counts = pipeline.counts()

    def after_fork(self) -> None:
        """Begin anew in a forked child: what is queued is the parent's to send."""
        self._lock = threading.RLock()
        self.refused = 0
        if self._pipeline is not None:
            self._pipeline.after_fork()

    def counts(self) -> Counts:
        """Counts of this run, or the final ones of the last."""
        pipeline = self._pipeline
        return self._last_counts if pipeline is None else pipeline.counts()

    def _make(
        self, make: Callable[[], LogRecordExporter], config: Config, processor: MonitorProcessor
    ) -> Pipeline[Judgement, ReadableLogRecord]:
        return Pipeline(
            make,
            self._prepare,
            queue_size=config.queue_size,
            batch_size=config.batch_size,
            interval_s=config.interval_s,
            target=log_target(config),
            items="judgements",
            report=self._reports(config, processor),
        )

    def _reports(self, config: Config, processor: MonitorProcessor) -> Reports | None:
        make = metric_exporter_factory(config)
        if make is None:
            return None
        from monitor.sdk.report import JudgementReporter

        return Reports(
            processor,
            self._resource,
            lambda scope, started_ns: JudgementReporter(
                exporter=make(), scope=scope, started_ns=started_ns, refused=lambda: self.refused
            ),
        )

    def _resource(self) -> Resource:
        # The provider's changes after a fork. A provider of somebody else may have none.
        found = getattr(self._provider, "resource", None)
        assert self._processor is not None
        return self._processor.resource_for(found if isinstance(found, Resource) else Resource.create())

    def _cleaned(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """By the rules for spans, but that what was said of an answer is not what was said in it."""
        assert self._processor is not None
        return self._processor.privacy.attributes(attributes, is_said=lambda key: False)

    def _prepare(self, item: tuple[int, Judgement]) -> ReadableLogRecord:
        # Not at the top, because `import monitor` shall stay quick; `open` has imported it.
        from opentelemetry._logs import LogRecord
        from opentelemetry.sdk._logs import ReadableLogRecord

        _, judgement = item
        about = SpanContext(judgement.trace_id, judgement.span_id, is_remote=True)
        record = LogRecord(
            timestamp=judgement.time_ns,
            observed_timestamp=judgement.time_ns,
            # Also when it is about no call: a record without one is taken to be about the current span.
            context=trace.set_span_in_context(NonRecordingSpan(about), Context()),
            attributes=self._cleaned(judgement.attributes),
            event_name=judgement.event,
        )
        return ReadableLogRecord(
            log_record=record,
            resource=self._resource(),
            instrumentation_scope=_SCOPE,
        )
