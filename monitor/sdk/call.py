"""One inference, from start to end: one span on every way out.

The caller's thread takes times and fills a dict; the dict becomes attributes once, at the end.
"""

from __future__ import annotations

import concurrent.futures
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from time import perf_counter_ns, time_ns
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from opentelemetry import trace
from opentelemetry.context import Context, attach, create_key, get_current, get_value, set_value
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.util.types import AnyValue

from monitor import semconv
from monitor.sdk.content import Content, messages_json
from monitor.sdk.decorator import decorated
from monitor.sdk.guard import log, swallow
from monitor.sdk.lifecycle import current_runtime, runtime_for_now
from monitor.sdk.span import class_name
from monitor.sdk.step import Step
from monitor.sdk.stream import AsyncStream, Stream

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_CALL_KEY = create_key("monitor-call")


def inference(
    model: str,
    *,
    provider: str | None = None,
    operation: str = "chat",
    user: str | None = None,
    session: str | None = None,
    input_tokens: int | None = None,
    stream: bool | None = None,
    variant: str | None = None,
    release: str | None = None,
    experiment: str | None = None,
    arm: str | None = None,
    cohorts: Mapping[str, str] | None = None,
    attributes: Mapping[str, AnyValue] | None = None,
    in_process: bool = False,
) -> Call:
    """Watch one model call: `with monitor.inference(model=…) as call:`, or `async with`.

    Or watch each run of a function, be it plain, `async` or a generator of chunks: `@monitor.inference(model=…)`.
    The function reaches its call by `monitor.current_call()`.

    Parameters
    ----------
    model
        Model asked for.
    provider
        API spoken, such as `openai`.
    operation
        `chat`, `text_completion`, `embeddings`, …
    user, session
        Whose call, and in which conversation.
    input_tokens
        Prompt tokens, if known by now; cached ones included.
    stream
        Whether the answer is streamed; `call.stream()` says so by itself.
    variant, release
        Build of model and software, where it differs from what `init` was told.
    experiment, arm
        For comparisons.
    cohorts
        Groups the call belongs to, for bias metrics: `{"language": "de"}`.
    attributes
        Further attributes.
    in_process
        The model runs in this process.
    """
    known: dict[str, Any] = {}
    try:
        if attributes:
            known.update({key: value for key, value in attributes.items() if value is not None})
        if user is not None:
            known[semconv.USER_ID] = user
        if session is not None:
            known[semconv.CONVERSATION_ID] = known[semconv.SESSION_ID] = session
        if input_tokens is not None:
            known[semconv.INPUT_TOKENS] = _count(input_tokens)
        if variant is not None:
            known[semconv.VARIANT] = variant
        if release is not None:
            known[semconv.SERVICE_VERSION] = release
        if experiment is not None:
            known[semconv.EXPERIMENT] = experiment
        if arm is not None:
            known[semconv.ARM] = arm
        if cohorts:
            known.update({semconv.COHORT_PREFIX + name: str(value) for name, value in cohorts.items()})
    except Exception:
        swallow("reading arguments of inference()")
    kind = SpanKind.INTERNAL if in_process else SpanKind.CLIENT
    return Call(model, provider, operation, known, stream, kind)


def current_call() -> Call:
    """Return the call that is running here: that of the innermost `with`, wrapper or middleware around this code.

    Where there is none, a call that is recorded nowhere, so nobody has to check; its `trace_id` is empty.
    """
    reference = get_value(_CALL_KEY)
    call = reference() if isinstance(reference, weakref.ref) else None
    return call if isinstance(call, Call) else Call("", None, "", {}, None, SpanKind.INTERNAL)


class Call:
    """A running inference. Made by `inference()`; good for one `with`."""

    def __init__(
        self,
        model: str,
        provider: str | None,
        operation: str,
        attributes: dict[str, Any],
        stream: bool | None,
        kind: SpanKind,
    ) -> None:
        # That of the moment; a decorator is read before `init` is called.
        self._runtime = runtime_for_now()
        self._model = model
        self._provider = provider
        self._operation = operation
        self._attributes = attributes
        self._stream = stream
        self._kind = kind
        self._span: Span = trace.INVALID_SPAN
        self._context: Context | None = None
        self._previous: Context | None = None
        self._start_ns = self._start_tick = 0
        # Ticks of perf_counter_ns: unlike the clock they never jump.
        self._first_tick = self._last_tick = self._finish_tick = 0
        self._gap_ticks = 0
        self._tokens = self._chunks = 0
        self._streams_open = 0
        self._steps: set[Step] = set()
        # The `with` was left while a stream had not ended: the stream ends the span.
        self._handed_over = False
        self._error: tuple[str, str] | None = None
        self._stream_error: tuple[str, str] | None = None
        self._cancelled = self._stream_cancelled = False

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits, by which judgements name this call; empty if it is recorded nowhere."""
        context = self._span.get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else ""

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits; empty if it is recorded nowhere."""
        context = self._span.get_span_context()
        return trace.format_span_id(context.span_id) if context.is_valid else ""

    def first_token(self) -> None:
        """Mark that the first token is there. `stream` and `token` do so by themselves."""
        if not self._first_tick:
            self._first_tick = self._last_tick = perf_counter_ns()

    def token(self, n: int = 1) -> None:
        """Mark that `n` more tokens are there."""
        self._mark()
        self._tokens += n

    @overload
    def stream(self, source: AsyncIterable[T], *, tokens: Callable[[T], int] | None = None) -> AsyncIterator[T]: ...

    @overload
    def stream(self, source: Iterable[T], *, tokens: Callable[[T], int] | None = None) -> Iterator[T]: ...

    def stream(
        self, source: Iterable[T] | AsyncIterable[T], *, tokens: Callable[[T], int] | None = None
    ) -> Iterator[T] | AsyncIterator[T]:
        """Pass a stream of chunks through and watch it.

        It may outlive the `with`, as a streamed HTTP response does: the span then ends with the stream.

        Parameters
        ----------
        source
            Chunks as the engine yields them.
        tokens
            Number of tokens in a chunk. Without it chunks are counted, and the count is marked as an estimate
            unless `finish` is told the true one.
        """
        if isinstance(source, AsyncIterable):
            return AsyncStream(self, source, tokens)
        return Stream(self, source, tokens)

    def step(self, name: str, **attributes: AnyValue) -> Step:
        """Watch a part of the call as a span below it: `with call.step("retrieve", documents=4):`, or `async with`.

        Parameters
        ----------
        name
            Of the part.
        attributes
            Of its span. Names with dots go in by `**{"gen_ai.tool.name": "search"}`, or later by `step.set(…)`.
        """
        return Step(self, name, attributes)

    def finish(
        self,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        finish_reason: str | Sequence[str] | None = None,
        cached_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        ttft_s: float | None = None,
        queue_s: float | None = None,
        prefill_s: float | None = None,
        decode_s: float | None = None,
        response_model: str | None = None,
        response_id: str | None = None,
        prompt: Content | None = None,
        completion: Content | None = None,
        attributes: Mapping[str, AnyValue] | None = None,
    ) -> None:
        """Say how the call went. The latency counts up to here; what is left out stays as it was or unknown.

        Calling it again adds to what was said. `prompt` and `completion` are sent only if `init` was told
        `capture_content=True`.
        """
        self._finish_tick = perf_counter_ns()
        # Leaving a stream early and then saying how the call finished is no abort: a stop word was found.
        self._stream_cancelled = False
        known = self._attributes
        try:
            if attributes:
                known.update({key: value for key, value in attributes.items() if value is not None})
            if input_tokens is not None:
                known[semconv.INPUT_TOKENS] = _count(input_tokens)
            if output_tokens is not None:
                known[semconv.OUTPUT_TOKENS] = _count(output_tokens)
            if cached_tokens is not None:
                known[semconv.CACHED_TOKENS] = _count(cached_tokens)
            if cache_write_tokens is not None:
                known[semconv.CACHE_WRITE_TOKENS] = _count(cache_write_tokens)
            if reasoning_tokens is not None:
                known[semconv.REASONING_TOKENS] = _count(reasoning_tokens)
            if ttft_s is not None:
                known[semconv.TTFT] = _seconds(ttft_s)
            if queue_s is not None:
                known[semconv.QUEUE_TIME] = _seconds(queue_s)
            if prefill_s is not None:
                known[semconv.PREFILL_TIME] = _seconds(prefill_s)
            if decode_s is not None:
                known[semconv.DECODE_TIME] = _seconds(decode_s)
            if finish_reason is not None:
                known[semconv.FINISH_REASONS] = (
                    (finish_reason,) if isinstance(finish_reason, str) else tuple(finish_reason)
                )
            if response_model is not None:
                known[semconv.RESPONSE_MODEL] = response_model
            if response_id is not None:
                known[semconv.RESPONSE_ID] = response_id
            if self._runtime.capture_content:
                if prompt is not None:
                    known[semconv.INPUT_MESSAGES] = messages_json(prompt, role="user")
                if completion is not None:
                    known[semconv.OUTPUT_MESSAGES] = messages_json(completion, role="assistant")
        except Exception:
            swallow("reading arguments of finish()")

    def error(self, error: BaseException | str) -> None:
        """Say that the call failed: an exception that was handled, or a name such as `timeout` or `503`."""
        if isinstance(error, str):
            self._error = (error, "")
        elif _is_cancellation(error):
            self._cancelled = True
        else:
            self._error = _described(error)

    def cancel(self) -> None:
        """Say that nobody wants the answer any more. Not an error."""
        self._cancelled = True

    def abandon(self) -> None:
        """End the span now, because the process is about to end."""
        for step in list(self._steps):
            step.abandon()
        self._cancelled = True
        self._end()

    def __call__(self, function: F) -> F:
        """Decorate a function; each run of it is another call like this one."""
        known = dict(self._attributes)

        def again() -> Call:
            return Call(self._model, self._provider, self._operation, dict(known), self._stream, self._kind)

        return decorated(function, again)

    def __enter__(self) -> Self:
        """Start the clock and the span, and make it the current one."""
        try:
            self._begin()
        except Exception:
            swallow("starting a call")
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """End the span, or leave it to a stream that goes on. Exceptions pass."""
        try:
            self._leave(exc)
        except Exception:
            swallow("ending a call")

    async def __aenter__(self) -> Self:
        """As `__enter__`."""
        return self.__enter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """As `__exit__`."""
        self.__exit__(exc_type, exc, tb)

    # For wrappers, which see a call from outside.
    @property
    def model(self) -> str:
        """Model asked for; empty if that is not known yet."""
        return self._model

    @property
    def captures_content(self) -> bool:
        """Whether prompts and completions are wanted."""
        return self._runtime.capture_content

    @property
    def counts(self) -> bool:
        """Whether the user has counted tokens or chunks."""
        return bool(self._tokens or self._chunks)

    def mark(self) -> None:
        """Mark that output is there, without counting it."""
        self._mark()

    def name_model(self, model: str) -> None:
        """Say which model was asked for, if that shows only after the start."""
        self._model = model
        self._attributes[semconv.REQUEST_MODEL] = model
        if self._span.is_recording():
            self._span.update_name(_span_name(self._operation, model))

    def learn(self, attributes: Mapping[str, Any], *, streamed: bool = False) -> None:
        """Take what a wrapper has read, except for what the user has told. The latency counts up to here."""
        for key, value in attributes.items():
            self._attributes.setdefault(key, value)
        if streamed:
            self._stream = True
        self._finish_tick = perf_counter_ns()

    def end(self) -> None:
        """End the span; what is said later is lost."""
        try:
            self._end()
        except Exception:
            swallow("ending a call")

    # For steps.
    def step_opened(self, step: Step) -> Context | None:
        """Remember a step, and return the context it belongs under; None for the current one."""
        self._steps.add(step)
        here = trace.get_current_span().get_span_context().trace_id
        return None if here == self._span.get_span_context().trace_id else self._context

    def start_step(self, name: str, attributes: dict[str, Any], context: Context, start_ns: int) -> Span:
        """Start the span of a step."""
        return self._runtime.start_step(name, attributes, context, start_ns)

    def step_closed(self, step: Step) -> None:
        """Forget a step."""
        self._steps.discard(step)

    # For streams.
    def chunk(self) -> None:
        """Mark that a chunk is there, of unknown size."""
        self._mark()
        self._chunks += 1

    def stream_opened(self) -> None:
        """A stream was made; what was finished before it was not the whole call."""
        self._streams_open += 1
        self._finish_tick = 0
        if self._stream is None:
            self._stream = True

    def stream_ended(self, exception: BaseException | None) -> None:
        """A stream is over: read to its end (None), failed, or left early."""
        try:
            self._streams_open -= 1
            if exception is None:
                # Read to the end, maybe on a second try: what went before did not make the call fail.
                self._stream_error, self._stream_cancelled = None, False
            elif _is_cancellation(exception):
                self._stream_cancelled = True
            else:
                self._stream_error = _described(exception)
            if self._handed_over and self._streams_open == 0:
                self._end()
        except Exception:
            swallow("ending a stream")

    def resume(self) -> Context | None:
        """Make the span current again while the source of a handed-over stream works."""
        if not self._handed_over or self._context is None:
            return None
        before = get_current()
        attach(self._context)
        return before

    def suspend(self, before: Context | None) -> None:
        """Undo `resume`."""
        if before is not None and get_current() is self._context:
            attach(before)

    def _mark(self) -> None:
        now = perf_counter_ns()
        if self._first_tick:
            gap = now - self._last_tick
            if gap > self._gap_ticks:
                self._gap_ticks = gap
        else:
            self._first_tick = now
        self._last_tick = now

    def _begin(self) -> None:
        if self._start_ns:
            log.warning("A call is good for one `with`; make another by monitor.inference().")
            return
        known: dict[str, Any] = {semconv.OPERATION: self._operation, semconv.REQUEST_MODEL: self._model}
        if self._provider is not None:
            known[semconv.PROVIDER] = self._provider
        self._runtime = current_runtime()
        previous = get_current()
        self._start_ns = time_ns()
        self._start_tick = perf_counter_ns()
        name = _span_name(self._operation, self._model)
        self._span = self._runtime.start(name, self._kind, known, previous, self._start_ns)
        # By a weak reference, lest the call and its context keep each other alive.
        self._context = set_value(_CALL_KEY, weakref.ref(self), trace.set_span_in_context(self._span, previous))
        self._previous = previous
        attach(self._context)
        self._runtime.open_calls.add(self)

    def _leave(self, exception: BaseException | None) -> None:
        # Not `detach`: an asynchronous generator may be closed in another context than it was started in, and
        # OpenTelemetry logs an error then.
        if self._previous is not None and get_current() is self._context:
            attach(self._previous)
        done = self._finish_tick and self._finish_tick >= self._last_tick
        if exception is None:
            if self._streams_open > 0 and not done:
                self._handed_over = True
                return
        elif not _is_cancellation(exception):
            self._error = _described(exception)
        elif not done:
            # A generator closed after `finish` delivered everything.
            self._cancelled = True
        self._end()

    def _end(self) -> None:
        end_tick = perf_counter_ns()
        span = self._span
        if not self._runtime.open_calls.remove(self, sampled=self._runtime.may_send(span)) or not span.is_recording():
            return
        if self._finish_tick and self._finish_tick >= self._last_tick:
            end_tick = self._finish_tick
        span.set_attributes(self._final_attributes())
        error = self._error or self._stream_error
        if error is not None:
            # Messages of errors like to quote the prompt, so they count as content.
            span.set_status(StatusCode.ERROR, (error[1] or None) if self._runtime.capture_content else None)
        span.end(self._start_ns + end_tick - self._start_tick)

    def _final_attributes(self) -> dict[str, Any]:
        known = self._attributes
        if self._stream:
            known[semconv.STREAM] = True
        if self._first_tick:
            known.setdefault(semconv.TTFT, (self._first_tick - self._start_tick) / 1e9)
            if self._gap_ticks:
                known[semconv.LARGEST_GAP] = self._gap_ticks / 1e9
        if semconv.OUTPUT_TOKENS not in known:
            if self._tokens:
                known[semconv.OUTPUT_TOKENS] = self._tokens
            elif self._chunks:
                # An engine may put several tokens in a chunk, or none.
                known[semconv.OUTPUT_TOKENS] = self._chunks
                known[semconv.TOKENS_ESTIMATED] = True
        error = self._error or self._stream_error
        if error is not None:
            known[semconv.ERROR_TYPE] = error[0]
        elif self._cancelled or self._stream_cancelled:
            known[semconv.CANCELLED] = True
        return known


@lru_cache(maxsize=1024)
def _span_name(operation: str, model: str) -> str:
    # Half a surrogate pair cannot be encoded, and would take the whole batch with it.
    return f"{operation} {model}".encode("utf-8", "replace").decode("utf-8")


def _is_cancellation(exception: BaseException) -> bool:
    # asyncio's and trio's cancellation, GeneratorExit, KeyboardInterrupt and SystemExit are no `Exception`s:
    # they say that somebody stopped waiting, not that the model failed.
    return not isinstance(exception, Exception) or isinstance(exception, concurrent.futures.CancelledError)


def _described(exception: BaseException) -> tuple[str, str]:
    try:
        message = str(exception)
    except Exception:  # a broken __str__ in somebody's exception
        message = ""
    return class_name(exception), message


def _count(value: int) -> int:
    """Also of NumPy's integers, which OTLP cannot encode."""
    number = int(value)
    if number < 0:
        raise ValueError(f"a token count must not be negative, got {number}")
    return number


def _seconds(value: float) -> float:
    number = float(value)
    if not 0 <= number < float("inf"):
        raise ValueError(f"a time in seconds must be finite and not negative, got {number}")
    return number
