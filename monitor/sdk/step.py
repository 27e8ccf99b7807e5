"""A part of a call, such as retrieval or a tool: a span below that of the call."""

from __future__ import annotations

from time import time_ns
from types import TracebackType
from typing import Any, Protocol, Self

from opentelemetry import trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import Span, StatusCode
from opentelemetry.util.types import AnyValue

from monitor import semconv
from monitor.sdk.guard import log, swallow
from monitor.sdk.span import class_name


class Whole(Protocol):
    """What a step needs of the call that it is a part of."""

    @property
    def captures_content(self) -> bool:
        """Whether messages of errors are wanted, which may quote prompts."""

    def step_opened(self, step: Step) -> Context | None:
        """Remember a step, and return the context it belongs under; None for the current one."""

    def start_step(self, name: str, attributes: dict[str, Any], context: Context, start_ns: int) -> Span:
        """Start the span of a step."""

    def step_closed(self, step: Step) -> None:
        """Forget a step."""


class Step:
    """A running part of a call. Made by `call.step()`; good for one `with`, or `async with`."""

    def __init__(self, call: Whole, name: str, attributes: dict[str, AnyValue]) -> None:
        self._call = call
        self._name = name
        self._attributes = attributes
        self._span: Span = trace.INVALID_SPAN
        self._context: Context | None = None
        self._previous: Context | None = None
        self._started = False

    def set(self, **attributes: AnyValue) -> None:
        """Say more about the step while it runs."""
        known = {key: value for key, value in attributes.items() if value is not None}
        if self._started:
            self._span.set_attributes(known)
        else:
            self._attributes.update(known)

    def error(self, error: BaseException | str) -> None:
        """Say that the step failed: an exception that was handled, or a name such as `timeout`."""
        if not self._span.is_recording():
            return
        self._span.set_attribute(semconv.ERROR_TYPE, error if isinstance(error, str) else class_name(error))
        message = str(error) if self._call.captures_content and isinstance(error, BaseException) else None
        self._span.set_status(StatusCode.ERROR, message)

    def abandon(self) -> None:
        """End the span now, because the process is about to end."""
        self._end(cancelled=True)

    def __enter__(self) -> Self:
        """Start the span and make it the current one."""
        try:
            self._begin()
        except Exception:
            swallow("starting a step")
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """End the span. Exceptions pass."""
        try:
            if self._previous is not None and get_current() is self._context:
                attach(self._previous)
            if isinstance(exc, Exception):
                self.error(exc)
            # Anything else says that somebody stopped waiting: cancellation, GeneratorExit, KeyboardInterrupt.
            self._end(cancelled=exc is not None and not isinstance(exc, Exception))
        except Exception:
            swallow("ending a step")

    async def __aenter__(self) -> Self:
        """As `__enter__`."""
        return self.__enter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """As `__exit__`."""
        self.__exit__(exc_type, exc, tb)

    def _begin(self) -> None:
        if self._started:
            log.warning("A step is good for one `with`; make another by call.step().")
            return
        self._started = True
        here = get_current()
        above = self._call.step_opened(self) or here
        known = {key: value for key, value in self._attributes.items() if value is not None}
        self._span = self._call.start_step(self._name, known, above, time_ns())
        self._context = trace.set_span_in_context(self._span, above)
        self._previous = here
        attach(self._context)

    def _end(self, *, cancelled: bool) -> None:
        self._call.step_closed(self)
        if not self._span.is_recording():
            return
        if cancelled:
            self._span.set_attribute(semconv.CANCELLED, True)
        self._span.end()
