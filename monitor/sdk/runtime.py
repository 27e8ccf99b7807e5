"""What a call needs while it runs: how to start its span, and the register of calls that are open."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

from monitor.sdk.processor import Processors
from monitor.sdk.starter import Starter

if TYPE_CHECKING:
    from monitor.sdk.call import Call


class OpenCalls:
    """Calls between start and end. Removing one succeeds once, which is what makes every span end once."""

    def __init__(self) -> None:
        self.reset()

    def add(self, call: Call) -> None:
        """Register a call."""
        with self._lock:
            self._started += 1
            self._calls[id(call)] = call

    def remove(self, call: Call, *, sampled: bool) -> bool:
        """Take a call out; False if it was out already."""
        with self._lock:
            if self._calls.pop(id(call), None) is None:
                return False
            self._ended += 1
            self._unsampled += not sampled
            return True

    def all(self) -> list[Call]:
        """Calls that are open now."""
        with self._lock:
            return list(self._calls.values())

    def counts(self) -> tuple[int, int, int, int]:
        """Started, ended, open, unsampled."""
        with self._lock:
            return self._started, self._ended, len(self._calls), self._unsampled

    def reset(self) -> None:
        """Forget the calls of a parent process: it ends them itself."""
        self._lock = threading.RLock()
        self._calls: dict[int, Call] = {}
        self._started = self._ended = self._unsampled = 0


class Runtime:
    """One run of the SDK, from `init` to `shutdown`."""

    def __init__(
        self, plain: Starter, steps: Starter, *, capture_content: bool = False, decides_late: bool = False
    ) -> None:
        self._plain = plain
        self._steps = steps
        self._fast: Starter | None = None
        self._processors: Processors | None = None
        self.capture_content = capture_content
        self._decides_late = decides_late
        self.open_calls = OpenCalls()

    def may_send(self, span: Span) -> bool:
        """Whether the span of a call that ends may be sent: chosen at its start, or left to be decided at its end."""
        return bool(span.get_span_context().trace_flags & 1) or (self._decides_late and span.is_recording())

    def use_fast(self, fast: Starter, processors: Processors) -> None:
        """Take the fast path for as long as nobody else listens."""
        self._fast, self._processors = fast, processors

    def start(self, name: str, kind: SpanKind, attributes: dict[str, Any], context: Context, start_ns: int) -> Span:
        """Start a span."""
        processors = self._processors
        if self._fast is not None and processors is not None and processors.alone:
            return self._fast.start(name, kind, attributes, context, start_ns)
        return self._plain.start(name, kind, attributes, context, start_ns)

    def start_step(self, name: str, attributes: dict[str, Any], context: Context, start_ns: int) -> Span:
        """Start the span of a part of a call; it is no inference and gets no number."""
        return self._steps.start(name, SpanKind.INTERNAL, attributes, context, start_ns)
