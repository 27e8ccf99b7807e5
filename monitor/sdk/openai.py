"""Watches the calls of `openai` clients without a change to the code that makes them.

One method is wrapped, `request`, through which all goes that a client sends: plain and streamed calls, `parse` and
`stream` helpers, raw and streaming responses, clients of other clouds that derive from it. `openai` itself is not
needed: what is not installed is not imported.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import importlib.util
import inspect
import logging
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry import propagate as propagation
from opentelemetry.util.types import AnyValue

from monitor import semconv
from monitor.errors import ConfigError
from monitor.sdk.answer import Answer, choices_of, prompt_of, request_attributes
from monitor.sdk.call import Call, inference
from monitor.sdk.content import messages_json
from monitor.sdk.guard import once, swallow
from monitor.sdk.stream import AsyncStream, Stream
from monitor.sdk.wire import Body

Extra = Mapping[str, AnyValue] | Callable[[Mapping[str, Any]], Mapping[str, AnyValue]]

_OPERATIONS: Final = (
    ("/chat/completions", "chat"),
    ("/completions", "text_completion"),
    ("/embeddings", "embeddings"),
    ("/responses", "chat"),
)
# End of the host -> gen_ai.provider.name. Any other speaks OpenAI's API, and the name is that of the API.
_PROVIDERS: Final = (
    (".openai.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.inference"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.x.ai", "x_ai"),
    ("api.perplexity.ai", "perplexity"),
    ("api.moonshot.ai", "moonshot_ai"),
    ("api.anthropic.com", "anthropic"),
    ("api.cohere.ai", "cohere"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    (".amazonaws.com", "aws.bedrock"),
)
_CLIENTS: Final = ("OpenAI", "AsyncOpenAI")


@dataclass
class _Options:
    """What `instrument_openai` was told; `on` goes off when it is undone, also for wrappers that others hold."""

    provider: str | None
    attributes: Extra | None
    include_usage: bool
    propagate: bool
    on: bool = True
    copies: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)


def instrument_openai(
    target: object = None,
    *,
    provider: str | None = None,
    attributes: Extra | None = None,
    include_usage: bool = False,
    propagate: bool = False,
) -> bool:
    """Make one inference span of each call that `openai` clients make. Doing it again changes nothing.

    Parameters
    ----------
    target
        A client, a class of clients, or a module that holds `OpenAI` and `AsyncOpenAI`. Without it all clients of the
        `openai` package, those that exist already included.
    provider
        Name of the API; without it, told from the address (`openai` if that is not a known one).
    attributes
        Further attributes of each span, or a function that makes them from the body of the request.
    include_usage
        Ask for the usage of streams where the caller did not ask. The caller then sees one more chunk, without choices.
        Without usage, tokens are counted by chunks and marked as an estimate.
    propagate
        Send W3C trace context with the request, so that the server's span joins the trace.

    Returns
    -------
    bool
        Whether the target is watched now; False if there is no `openai` package.

    Raises
    ------
    ConfigError
        If `target` is nothing that can be watched.
    """
    options = _Options(provider, attributes, include_usage, propagate)
    found = _targets(target)
    for each in found:
        if isinstance(each, type):
            _wrap_class(each, options)
        else:
            _wrap_client(each, options)
    return bool(found)


def uninstrument_openai(target: object = None) -> None:
    """Undo `instrument_openai` of the same target. Streams that are open are watched to their end."""
    for each in _targets(target):
        wrapper = vars(each).get("request")
        options = getattr(wrapper, "_monitor_options", None)
        if options is None:
            continue
        options.on = False
        for one in (each, *options.copies):
            for name in ("request", "copy", "with_options"):
                if hasattr(vars(one).get(name), "_monitor_options"):
                    delattr(one, name)


def _targets(target: object) -> list[Any]:
    if target is None:
        if importlib.util.find_spec("openai") is None:
            once("no openai", logging.WARNING, "monitor: instrument_openai(): the package `openai` is not installed.")
            return []
        target = importlib.import_module("openai")
    if isinstance(target, ModuleType):
        found = [getattr(target, name) for name in _CLIENTS if isinstance(getattr(target, name, None), type)]
        if found:
            return found
    elif callable(getattr(target, "request", None)) and callable(getattr(target, "post", None)):
        return [target]
    raise ConfigError(
        f"instrument_openai() was given {target!r:.100}, which is neither an openai client, nor a class of clients, "
        "nor a module with OpenAI and AsyncOpenAI; give it one of these, or nothing for all clients of `openai`."
    )


def _wrap_class(cls: Any, options: _Options) -> None:
    # A class inherits what its base is wrapped with.
    if not hasattr(cls.request, "_monitor_options"):
        cls.request = _wrapper(cls.request, options)


def _wrap_client(client: Any, options: _Options) -> None:
    if hasattr(vars(client).get("request"), "_monitor_options"):
        return
    # The class may be wrapped as well, now or later: a call must not count twice.
    unwrapped = functools.partial(_request_of_class, client)
    is_async = inspect.iscoroutinefunction(inspect.unwrap(type(client).request))
    wrapper = _bound_async(client, unwrapped, options) if is_async else _bound(client, unwrapped, options)
    client.request = wrapper
    options.copies.add(client)
    for name in ("copy", "with_options"):
        if hasattr(client, name):
            setattr(client, name, _copies(getattr(client, name), options))


def _request_of_class(client: Any, *args: Any, **kwargs: Any) -> Any:
    method = type(client).request
    while hasattr(method, "_monitor_options"):
        method = method.__wrapped__
    return method(client, *args, **kwargs)


def _copies(method: Callable[..., Any], options: _Options) -> Callable[..., Any]:
    @functools.wraps(method)
    def make(*args: Any, **kwargs: Any) -> Any:
        client = method(*args, **kwargs)
        try:
            if options.on:
                _wrap_client(client, options)
        except Exception:
            swallow("watching a copy of a client")
        return client

    make._monitor_options = options  # type: ignore[attr-defined]
    return make


def _wrapper(method: Callable[..., Any], options: _Options) -> Callable[..., Any]:
    """A method of a class."""
    if inspect.iscoroutinefunction(inspect.unwrap(method)):

        @functools.wraps(method)
        async def watched_async(self: Any, *args: Any, **kwargs: Any) -> Any:
            return await _request_async(self, functools.partial(method, self), options, args, kwargs)

        watched_async._monitor_options = options  # type: ignore[attr-defined]
        return watched_async

    @functools.wraps(method)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _request(self, functools.partial(method, self), options, args, kwargs)

    watched._monitor_options = options  # type: ignore[attr-defined]
    return watched


def _bound(client: Any, method: Callable[..., Any], options: _Options) -> Callable[..., Any]:
    """The method of one client."""

    def watched(*args: Any, **kwargs: Any) -> Any:
        return _request(client, method, options, args, kwargs)

    watched._monitor_options = options  # type: ignore[attr-defined]
    return watched


def _bound_async(client: Any, method: Callable[..., Any], options: _Options) -> Callable[..., Any]:
    async def watched(*args: Any, **kwargs: Any) -> Any:
        return await _request_async(client, method, options, args, kwargs)

    watched._monitor_options = options  # type: ignore[attr-defined]
    return watched


def _request(
    client: Any, method: Callable[..., Any], options: _Options, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    watch = _begin(client, options, args, kwargs)
    if watch is None:
        return method(*args, **kwargs)
    with watch.call:
        watch.prepare()
        try:
            result = method(*args, **kwargs)
        except Exception as error:
            watch.failed(error)
            raise
        return watch.passed(result)


async def _request_async(
    client: Any, method: Callable[..., Any], options: _Options, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    watch = _begin(client, options, args, kwargs)
    if watch is None:
        return await method(*args, **kwargs)
    watch.is_async = True
    with watch.call:
        watch.prepare()
        try:
            result = await method(*args, **kwargs)
        except Exception as error:
            watch.failed(error)
            raise
        return watch.passed(result)


def _begin(client: Any, options: _Options, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Watch | None:
    """Make a call of a request if it is an inference; None if it is not."""
    if not options.on:
        return None
    try:
        # request(cast_to, options, …) in all versions.
        request = kwargs["options"] if "options" in kwargs else args[1]
        url = urlsplit(str(request.url))
        operation = next((name for end, name in _OPERATIONS if url.path.endswith(end)), None)
        if operation is None or str(request.method).lower() != "post":
            return None
        body = _body(request)
        if options.include_usage and operation != "embeddings":
            _ask_for_usage(request, body, url.path)
        return _watch(client, options, request, operation, body)
    except Exception:
        swallow("watching a call of openai")
        return None


def _watch(client: Any, options: _Options, request: Any, operation: str, body: Mapping[str, Any]) -> _Watch:
    address = urlsplit(str(request.url))
    base = address if address.hostname else urlsplit(str(client.base_url))
    host = base.hostname or ""
    known: dict[str, Any] = {**request_attributes(body)}
    if host:
        known[semconv.SERVER_ADDRESS] = host
        known[semconv.SERVER_PORT] = base.port or (80 if base.scheme == "http" else 443)
    if options.attributes is not None:
        known.update(options.attributes(body) if callable(options.attributes) else options.attributes)
    provider = options.provider or next((name for end, name in _PROVIDERS if host.endswith(end)), "openai")
    stream = body.get("stream") is True
    call = inference(
        str(body.get("model") or ""), provider=provider, operation=operation, stream=stream, attributes=known
    )
    return _Watch(call, request, body, propagate=options.propagate)


def _body(request: Any) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name in ("json_data", "extra_json"):
        given = getattr(request, name, None)
        if isinstance(given, Mapping):
            body.update(given)
    return body


def _ask_for_usage(request: Any, body: dict[str, Any], path: str) -> None:
    # The responses API tells usage by itself, and refuses the option.
    if body.get("stream") is not True or path.endswith("/responses") or not isinstance(request.json_data, dict):
        return
    asked = body.get("stream_options")
    if asked is None or (isinstance(asked, Mapping) and "include_usage" not in asked):
        request.json_data = {**request.json_data, "stream_options": {**(asked or {}), "include_usage": True}}


class _Watch:
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

    _watch: _Watch
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

    def __init__(self, watch: _Watch, source: Iterator[Any]) -> None:
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

    def __init__(self, watch: _Watch, source: AsyncIterator[Any]) -> None:
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

    def __init__(self, watch: _Watch, response: Any) -> None:
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


def _watch_response(response: Any, watch: _Watch) -> None:
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
