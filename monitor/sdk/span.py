"""The span of one inference, as cheap as it gets on the caller's thread.

opentelemetry-sdk takes three locks, cleans every attribute and copies the span while the caller waits. Here
the caller's thread only fills a dict; cleaning, limits and the copy for the exporter happen in the exporter's
thread. `CallSpan` keeps the whole public interface of a span, because user code can get at it by
`opentelemetry.trace.get_current_span()`.

It is used only when our processor is the only listener. With other span processors around, calls are ordinary
SDK spans: those processors were written for them.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from time import time_ns
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import AnyValue, Attributes

from monitor.sdk.guard import log
from monitor.sdk.redaction import Privacy

if TYPE_CHECKING:
    from monitor.sdk.starter import FastStarter

T = TypeVar("T")

_UNSET = Status(StatusCode.UNSET)


class CallSpan(Span):
    """An inference span that postpones all work it can."""

    def __init__(
        self,
        starter: FastStarter,
        name: str,
        kind: SpanKind,
        context: SpanContext,
        parent: SpanContext | None,
        attributes: dict[str, Any],
        start_ns: int,
    ) -> None:
        self._starter = starter
        self._name = name
        self._kind = kind
        self._context = context
        self._parent = parent
        self._attributes = attributes
        self._start_ns = start_ns
        self._end_ns: int | None = None
        self._status = _UNSET
        self._events: BoundedList[Event] | None = None
        self._links: BoundedList[Link] | None = None

    def get_span_context(self) -> SpanContext:
        """Ids and flags, for children."""
        return self._context

    def is_recording(self) -> bool:
        """Whether attributes are still taken."""
        return self._end_ns is None

    def end(self, end_time: int | None = None) -> None:
        """End once and hand over to the exporter's queue."""
        if self._late():
            return
        self._end_ns = time_ns() if end_time is None else end_time
        self._starter.finished(self)

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        """Take attributes; they are checked later, by the exporter's thread."""
        if not self._late():
            self._attributes.update(attributes)

    def set_attribute(self, key: str, value: AnyValue) -> None:
        """Take one attribute."""
        if not self._late():
            self._attributes[key] = value

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Add an event, stamped now unless a time is given."""
        if self._late():
            return
        limits = self._starter.limits
        if self._events is None:
            self._events = BoundedList(limits.max_events)
        bounded = BoundedAttributes(limits.max_event_attributes, attributes, True, limits.max_attribute_length)
        self._events.append(Event(name, bounded, timestamp))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Link to another span."""
        if self._late() or not context.is_valid:
            return
        limits = self._starter.limits
        if self._links is None:
            self._links = BoundedList(limits.max_links)
        bounded = BoundedAttributes(limits.max_link_attributes, attributes, True, limits.max_attribute_length)
        self._links.append(Link(context, bounded))

    def update_name(self, name: str) -> None:
        """Rename."""
        if not self._late():
            self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status; OK is final and UNSET never overrides, as the specification has it."""
        new = status if isinstance(status, Status) else Status(status, description)
        if self._late() or self._status.status_code is StatusCode.OK or new.status_code is StatusCode.UNSET:
            return
        self._status = new

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Add the exception as an event, in OpenTelemetry's form."""
        found: dict[str, AnyValue] = {
            "exception.type": class_name(exception),
            "exception.message": str(exception),
            "exception.stacktrace": "".join(traceback.format_exception(exception)),
            "exception.escaped": str(escaped),
        }
        self.add_event("exception", {**found, **(attributes or {})}, timestamp)

    # What instrumentations read from SDK spans they find as the current one.
    @property
    def name(self) -> str:
        """Span name."""
        return self._name

    @property
    def kind(self) -> SpanKind:
        """CLIENT, or INTERNAL for a model in this process."""
        return self._kind

    @property
    def context(self) -> SpanContext:
        """Ids and flags."""
        return self._context

    @property
    def parent(self) -> SpanContext | None:
        """The parent's ids, None for a root."""
        return self._parent

    @property
    def attributes(self) -> Mapping[str, AnyValue]:
        """Attributes taken so far."""
        return MappingProxyType(self._attributes)

    @property
    def status(self) -> Status:
        """Status so far."""
        return self._status

    @property
    def start_time(self) -> int:
        """Start in ns since 1970."""
        return self._start_ns

    @property
    def end_time(self) -> int | None:
        """End in ns since 1970, None while open."""
        return self._end_ns

    @property
    def resource(self) -> Resource:
        """The provider's resource."""
        return self._starter.resource

    @property
    def instrumentation_scope(self) -> InstrumentationScope:
        """Who made the span."""
        return self._starter.scope

    def readable(
        self, resource: Resource, context: SpanContext, added: Mapping[str, AnyValue], privacy: Privacy
    ) -> ReadableSpan:
        """Return what exporters take, with more attributes; called in the exporter's thread."""
        return ReadableSpan(
            name=privacy.text(self._name),
            context=context,
            parent=self._parent,
            resource=resource,
            attributes=self._bounded({**privacy.attributes(self._attributes), **added}),
            events=_counting(privacy.events(self._events), self._events) if self._events else (),
            links=_counting(privacy.links(self._links), self._links) if self._links else (),
            kind=self._kind,
            status=privacy.status(self._status),
            start_time=self._start_ns,
            end_time=self._end_ns,
            instrumentation_scope=self._starter.scope,
        )

    def _bounded(self, attributes: dict[str, Any]) -> BoundedAttributes:
        limits = self._starter.limits
        count_max = limits.max_span_attributes
        surplus = 0 if count_max is None else max(0, len(attributes) - count_max)
        if surplus:
            # OpenTelemetry drops from the front; let it be what the user added, not what KPIs are made of.
            attributes = dict(sorted(attributes.items(), key=_is_ours)[surplus:])
        bounded = BoundedAttributes(count_max, attributes, True, limits.max_span_attribute_length)
        bounded.dropped += surplus
        return bounded

    def _late(self) -> bool:
        if self._end_ns is None:
            return False
        log.warning("Span %r has ended; what is set on it now is lost.", self._name)
        return True


class SentSpan(ReadableSpan):
    """An SDK span as our exporter sends it: with our resource, number and weight, all else as it was."""

    def __init__(
        self,
        span: ReadableSpan,
        resource: Resource,
        context: SpanContext,
        added: Mapping[str, AnyValue],
        privacy: Privacy,
    ) -> None:
        super().__init__(
            name=privacy.text(span.name),
            context=context,
            parent=span.parent,
            resource=resource,
            attributes={**privacy.attributes(span.attributes), **added},
            events=privacy.events(span.events) if span.events else (),
            links=privacy.links(span.links) if span.links else (),
            kind=span.kind,
            status=privacy.status(span.status),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=privacy.scope(span.instrumentation_scope),
        )
        self._origin = span

    @property
    def dropped_attributes(self) -> int:
        """As counted by the original."""
        return self._origin.dropped_attributes

    @property
    def dropped_events(self) -> int:
        """As counted by the original."""
        return self._origin.dropped_events

    @property
    def dropped_links(self) -> int:
        """As counted by the original."""
        return self._origin.dropped_links


def _counting(items: list[T], found: BoundedList[T]) -> BoundedList[T]:
    """Items that know how many more there were."""
    kept: BoundedList[T] = BoundedList(None)
    kept.extend(items)
    kept.dropped = found.dropped
    return kept


def class_name(exception: BaseException) -> str:
    """Full name of the exception's class; built-in ones without their module, as everybody writes them."""
    cls = type(exception)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _is_ours(item: tuple[str, AnyValue]) -> bool:
    return item[0].startswith(("gen_ai.", "monitor."))
