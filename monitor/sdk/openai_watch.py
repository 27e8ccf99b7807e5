"""One request of an `openai` client under way: what it and its answer tell, in whichever form the caller takes it."""

from __future__ import annotations

import contextlib
import copy
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from opentelemetry import propagate as propagation

from monitor import semconv
from monitor.sdk.answer import Answer, choices_of, prompt_of
from monitor.sdk.call import Call
from monitor.sdk.content import messages_json
from monitor.sdk.guard import swallow
from monitor.sdk.stream import AsyncStream, Stream
from monitor.sdk.wire import Body


class Watch:
    """One request under way: its call, and what becomes known of the answer."""

    def __init__(self, call: Call, request: Any, body: Mapping[str, Any], *, propagate: bool) -> None:
        self.call = call
        self._request = request
        self._body = body
        self._propagate = propagate
        self._prompt = ""
        self.is_async = False
        self.answer = Answer(choices=choices_of(body))

    def prepare(self) -> None:
        """Send the trace's context along, if asked to; and keep the prompt, if asked to."""
        try:
            if self._propagate:
                headers = self._request.headers
                carrier = dict(headers) if isinstance(headers, Mapping) else {}
                propagation.inject(carrier)
                self._request.headers = carrier
            if self.call.captures_content:
                self.answer = Answer(choices=choices_of(self._body), capture=True)
                self._prompt = messages_json(prompt_of(self._body), role="user")
        except Exception:
            swallow("preparing a call of openai")

    def failed(self, error: Exception) -> None:
        """Keep the status that the exception tells of; the exception itself is the call's to see."""
        try:
            status = getattr(error, "status_code", None)
            self._tell({semconv.HTTP_STATUS: status} if isinstance(status, int) else {})
        except Exception:
            swallow("reading an error of openai")

    def passed(self, result: Any) -> Any:
        """Read an answer, or see to it that it is read as it passes; return what the caller gets."""
        try:
            return self._passed(result)
        except Exception:
            swallow("watching an answer of openai")
            return result

    def _passed(self, result: Any) -> Any:
        if hasattr(result, "_iterator") and hasattr(result, "response"):
            return self._streamed(result)
        response = getattr(result, "http_response", result)
        if hasattr(response, "iter_bytes") and hasattr(response, "headers"):
            _watch_response(response, self)
        elif not isinstance(result, str | bytes):
            self.answer.read(result)
            self.told()
        return result

    def _streamed(self, stream: Any) -> Any:
        """A twin of the stream, whose iterator is watched.

        The stream and its generator keep each other alive. With a twin, a stream that nobody holds any more ends its
        call at once, and not when garbage is collected.
        """
        twin = copy.copy(stream)
        watched = (_AsyncChunks if self.is_async else _Chunks)(self, stream._iterator)
        twin._iterator = watched
        _end_on_close(stream.response, watched.closed, is_async=self.is_async)
        return twin

    def told(self) -> None:
        """Give the call what the answer has told."""
        try:
            call = self.call
            if self.answer.error:
                call.error(self.answer.error)
            self._tell(self.answer.attributes(estimate=not call.counts))
        except Exception:
            swallow("reading an answer of openai")

    def _tell(self, attributes: dict[str, Any]) -> None:
        self.call.learn({semconv.INPUT_MESSAGES: self._prompt, **attributes} if self._prompt else attributes)

    def saw(self, chunk: object) -> None:
        """Take a chunk of a stream."""
        if self.answer.chunk(chunk):
            self.call.mark()

    def outcome(self, exception: BaseException | None) -> BaseException | None:
        """An answer that was complete when its reader left is no abort."""
        return None if isinstance(exception, GeneratorExit) and self.answer.whole else exception


class _Closing:
    """What both kinds of watched chunks share."""

    _watch: Watch
    _reading = False
    _open: bool

    def _saw(self, item: Any) -> None:
        try:
            self._watch.saw(item)
        except Exception:
            swallow("reading a chunk of openai")

    def _ended(self, exception: BaseException | None) -> None:
        if self._open:
            if exception is None:
                self._watch.answer.finished()
            self._watch.told()
            self._open = False
            self._watch.call.stream_ended(self._watch.outcome(exception))

    @property
    def closed(self) -> Callable[[], None]:
        """What to do when the HTTP response is closed: unless its own iterator did so, the reader has left."""
        itself = weakref.ref(self)

        def closed() -> None:
            chunks = itself()
            if chunks is not None and not chunks._reading:
                chunks._ended(GeneratorExit())

        return closed


class _Chunks(_Closing, Stream[Any]):
    """Chunks of a stream as the `openai` package yields them."""

    def __init__(self, watch: Watch, source: Iterator[Any]) -> None:
        self._watch = watch
        super().__init__(watch.call, source, None)

    def __next__(self) -> Any:
        self._reading = True
        try:
            return super().__next__()
        finally:
            self._reading = False


class _AsyncChunks(_Closing, AsyncStream[Any]):
    """The same, asynchronous."""

    def __init__(self, watch: Watch, source: AsyncIterator[Any]) -> None:
        self._watch = watch
        super().__init__(watch.call, source, None)

    async def __anext__(self) -> Any:
        self._reading = True
        try:
            return await super().__anext__()
        finally:
            self._reading = False


class _Bytes:
    """The body of a response whose caller reads it by himself, watched as it passes."""

    def __init__(self, watch: Watch, response: Any) -> None:
        headers = response.headers
        # The client has undone the encoding where `iter_bytes` yields.
        self._body = Body(watch.answer, headers.get("content-type", ""))
        self._watch = watch
        self._open = True
        # Readers at work inside each other; while there is one, it is he who closes the response.
        self.depth = 0
        watch.call.stream_opened()

    def feed(self, piece: bytes) -> None:
        try:
            if self._open and self._body.feed(piece) and self._body.streamed:
                self._watch.call.mark()
        except Exception:
            swallow("reading bytes of openai")

    def ended(self, exception: BaseException | None) -> None:
        if not self._open:
            return
        self._open = False
        try:
            if exception is None:
                self._body.end()
                self._watch.answer.finished()
        except Exception:
            swallow("reading bytes of openai")
        self._watch.told()
        self._watch.call.stream_ended(self._watch.outcome(exception))

    def closed(self) -> None:
        if not self.depth:
            self.ended(GeneratorExit())

    def ignore(self, piece: bytes) -> None:
        """A piece that says nothing by itself."""

    def __del__(self) -> None:
        """The response was forgotten."""
        self.ended(GeneratorExit())


def _watch_response(response: Any, watch: Watch) -> None:
    """See the bytes of an HTTP response pass, however they are read."""
    known = _Bytes(watch, response)
    if response.is_closed:
        known.feed(response.content)
        known.ended(None)
        return
    # The hooks live in the response; through a strong reference they would keep it from being forgotten.
    own = weakref.ref(response)
    # Decoded bytes are read through raw ones, so the hooks of the raw ones are for those who ask for these only.
    encoded = response.headers.get("content-encoding", "identity") != "identity"

    def hook(name: str, *, raw: bool) -> None:
        method = getattr(type(response), name)

        def read(*args: Any, **kwargs: Any) -> Any:
            pieces = method(own(), *args, **kwargs)
            inner = known.depth > 0
            feed = known.ignore if inner or (raw and encoded) else known.feed
            return (_pass_async if watch.is_async else _pass)(known, pieces, feed, inner=inner)

        setattr(response, name, read)

    prefix = "a" if watch.is_async else ""
    hook(f"{prefix}iter_bytes", raw=False)
    hook(f"{prefix}iter_raw", raw=True)
    _end_on_close(response, known.closed, is_async=watch.is_async)


def _pass(known: _Bytes, pieces: Any, feed: Callable[[bytes], None], *, inner: bool) -> Iterator[bytes]:
    with contextlib.closing(pieces):
        while True:
            known.depth += 1
            try:
                piece = next(pieces)
            except StopIteration:
                break
            except BaseException as exception:
                known.ended(exception)
                raise
            finally:
                known.depth -= 1
            feed(piece)
            yield piece
    if not inner:
        known.ended(None)


async def _pass_async(
    known: _Bytes, pieces: Any, feed: Callable[[bytes], None], *, inner: bool
) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(pieces):
        while True:
            known.depth += 1
            try:
                piece = await anext(pieces)
            except StopAsyncIteration:
                break
            except BaseException as exception:
                known.ended(exception)
                raise
            finally:
                known.depth -= 1
            feed(piece)
            yield piece
    if not inner:
        known.ended(None)


def _end_on_close(response: Any, closed: Callable[[], None], *, is_async: bool) -> None:
    own = weakref.ref(response)

    def close() -> None:
        held = own()
        if held is not None:
            type(held).close(held)
        closed()

    async def aclose() -> None:
        held = own()
        try:
            if held is not None:
                await type(held).aclose(held)
        finally:
            closed()

    if is_async:
        response.aclose = aclose
    else:
        response.close = close
