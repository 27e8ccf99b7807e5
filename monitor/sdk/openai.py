"""Watches the calls of `openai` clients without a change to the code that makes them.

One method is wrapped, `request`, through which all goes that a client sends: plain and streamed calls, `parse` and
`stream` helpers, raw and streaming responses, clients of other clouds that derive from it. `openai` itself is not
needed: what is not installed is not imported.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import logging
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry.util.types import AnyValue

from monitor import semconv
from monitor.errors import ConfigError
from monitor.sdk.answer import request_attributes
from monitor.sdk.call import inference
from monitor.sdk.guard import once, swallow
from monitor.sdk.openai_watch import Watch

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


def _begin(client: Any, options: _Options, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Watch | None:
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


def _watch(client: Any, options: _Options, request: Any, operation: str, body: Mapping[str, Any]) -> Watch:
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
    return Watch(call, request, body, propagate=options.propagate)


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
