"""ASGI middleware for apps that serve a model: each request to its API is an inference, without a change to the app."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from opentelemetry import propagate, trace
from opentelemetry.context import attach, detach
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AnyValue

from monitor import semconv
from monitor.sdk.answer import Answer, choices_of, prompt_of, request_attributes
from monitor.sdk.call import Call
from monitor.sdk.content import messages_json
from monitor.sdk.guard import swallow
from monitor.sdk.lifecycle import flush
from monitor.sdk.wire import Body

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Extra = Callable[[Scope, Mapping[str, Any]], Mapping[str, AnyValue]]

# Path -> operation.
PATHS: Final[Mapping[str, str]] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v1/responses": "chat",
    "/generate": "text_completion",
}
REQUEST_BYTES: Final = 1 << 18
FLUSH_S: Final = 5.0
# What frameworks and servers raise when the client has gone.
_DISCONNECTS: Final = ("ClientDisconnect", "ClientDisconnected")


class ASGIMiddleware:
    """Make one inference span of each request to a model's API.

    `app.add_middleware(monitor.ASGIMiddleware)` in FastAPI and Starlette, or `ASGIMiddleware(app)`. The handler reaches
    the call by `monitor.current_call()`, to say what the answer does not tell; what it says wins.

    When the server shuts down, what has ended is sent.

    Nothing of a streamed answer is kept, of the request and of a JSON answer as much as is needed to read them.

    Parameters
    ----------
    app
        The app to wrap.
    paths
        Path to name of operation, for POST; `{"/v1/chat/completions": "chat"}`. A path counts below a mount point as
        well. Without it those of OpenAI's protocol, and `/generate`.
    provider
        `gen_ai.provider.name` of the spans.
    attributes
        Makes further attributes from the ASGI scope and the request's JSON (empty if it was not read).
    request_bytes
        Longest request whose JSON is read; of longer ones the model is told by the answer.
    """

    def __init__(
        self,
        app: App,
        *,
        paths: Mapping[str, str] | None = None,
        provider: str | None = None,
        attributes: Extra | None = None,
        request_bytes: int = REQUEST_BYTES,
    ) -> None:
        self._app = app
        self._paths = dict(PATHS if paths is None else paths)
        self._provider = provider
        self._attributes = attributes
        self._request_bytes = request_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope.get("type") == "lifespan":
            await self._app(scope, receive, _flushing(send))
            return
        operation = self._operation(scope)
        if operation is None:
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
        token = None
        try:
            # Another instrumentation may have read the headers already: then its span is the parent.
            if not trace.get_current_span().get_span_context().is_valid:
                token = attach(propagate.extract(headers))
        except Exception:
            swallow("reading trace context")
        try:
            await self._serve(operation, headers, scope, receive, send)
        finally:
            if token is not None:
                _detach(token)

    def _operation(self, scope: Scope) -> str | None:
        if scope.get("type") != "http" or scope.get("method") != "POST":
            return None
        return self._paths.get(scope.get("path", "").rstrip("/"))

    async def _serve(
        self, operation: str, headers: Mapping[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        call = Call("", self._provider, operation, {}, None, SpanKind.SERVER)
        with call:
            exchange = _Exchange(call, scope, headers, self._attributes, self._request_bytes)

            async def receive_watched() -> Message:
                message = await receive()
                exchange.received(message)
                return message

            async def send_watched(message: Message) -> None:
                exchange.sending(message)
                try:
                    await send(message)
                except OSError:
                    # How servers say that there is nobody to send to.
                    exchange.gone = True
                    raise
                exchange.sent(message)

            try:
                await self._app(scope, receive_watched, send_watched)
            except BaseException as exception:
                exchange.left(exception)
                raise
            exchange.left(None)


def _flushing(send: Send) -> Send:
    """Send what has ended before the server ends: uvicorn then kills its process by the signal that it has got.

    Nothing that was registered with `atexit` is run then.
    """

    async def send_flushed(message: Message) -> None:
        if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            flush(FLUSH_S)
        await send(message)

    return send_flushed


class _Exchange:
    """One request and its answer, as far as they have come by."""

    def __init__(
        self, call: Call, scope: Scope, headers: Mapping[str, str], attributes: Extra | None, request_bytes: int
    ) -> None:
        self._call = call
        self._scope = scope
        self._attributes = attributes
        self._request = bytearray()
        self._request_bytes = request_bytes
        kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        self._readable = kind == "application/json" or kind.endswith("+json")
        self._readable &= headers.get("content-encoding", "identity") == "identity"
        self._answer = Answer(capture=call.captures_content)
        self._body: Body | None = None
        self._status = 0
        self._asked_to_stream = False
        self._streamed = False
        self._known: dict[str, Any] = {}
        self._done = False
        # The client has left before it had the whole answer.
        self.gone = False

    def received(self, message: Message) -> None:
        """See a message of the client."""
        try:
            if message["type"] == "http.disconnect":
                self.gone = True
            elif message["type"] == "http.request" and self._readable:
                self._request += message.get("body", b"")
                if len(self._request) > self._request_bytes:
                    self._readable = False
                    self._request.clear()
                elif not message.get("more_body"):
                    self._readable = False
                    self._read_request()
        except Exception:
            swallow("reading a request")

    def sending(self, message: Message) -> None:
        """See a message of the app before the client does."""
        try:
            if message["type"] == "http.response.start":
                self._head(message)
            elif message["type"] == "http.response.body" and self._body is not None:
                self._piece(message)
        except Exception:
            swallow("reading an answer")

    def sent(self, message: Message) -> None:
        """See that the last message has gone: work that the app does afterwards is not the client's to wait for."""
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._end(whole=True)

    def left(self, exception: BaseException | None) -> None:
        """See that the app has done what it will, or has failed to."""
        if self._done:
            return
        self.gone |= type(exception).__name__ in _DISCONNECTS
        if isinstance(exception, Exception) and not self.gone:
            self._call.error(exception)
        else:
            self._call.cancel()
        self._end(whole=False)

    def _read_request(self) -> None:
        try:
            body = json.loads(bytes(self._request)) if self._request else {}
        except (ValueError, RecursionError):
            body = {}
        finally:
            self._request.clear()
        if not isinstance(body, dict):
            return
        model = body.get("model")
        if isinstance(model, str) and model:
            self._call.name_model(model)
        self._asked_to_stream = body.get("stream") is True
        self._known.update(request_attributes(body))
        if self._call.captures_content:
            self._known[semconv.INPUT_MESSAGES] = messages_json(prompt_of(body), role="user")
        self._answer = Answer(choices=choices_of(body), capture=self._call.captures_content)
        if self._attributes is not None:
            self._known.update(self._attributes(self._scope, body))
            self._attributes = None

    def _head(self, message: Message) -> None:
        headers = {bytes(name).lower(): bytes(value).decode("latin-1") for name, value in message.get("headers", ())}
        self._status = status = message["status"]
        if status >= 400:
            self._call.error(str(status))
        self._known[semconv.HTTP_STATUS] = status
        self._body = Body(
            self._answer,
            headers.get(b"content-type", ""),
            encoding=headers.get(b"content-encoding", ""),
        )
        if self._attributes is not None:
            self._known.update(self._attributes(self._scope, {}))
            self._attributes = None

    def _piece(self, message: Message) -> None:
        body = self._body
        assert body is not None
        # Other than events, what comes in more than one piece may be a stream of words, if one was asked for.
        unread = not body.readable and self._asked_to_stream
        if body.feed(message.get("body", b"")) and (body.streamed or unread):
            self._streamed = True
            self._call.mark()
            if unread:
                self._answer.chunks += 1

    def _end(self, *, whole: bool) -> None:
        if self._done:
            return
        self._done = True
        if self.gone:
            self._call.cancel()
        try:
            if whole and self._body is not None:
                self._body.end()
            # A failure that names its cause says more than its status.
            if self._answer.error and not (self._answer.error == "error" and self._status >= 400):
                self._call.error(self._answer.error)
            known = {**self._answer.attributes(estimate=not self._call.counts), **self._known}
            if not self._call.model and semconv.RESPONSE_MODEL in known:
                self._call.name_model(known[semconv.RESPONSE_MODEL])
            self._call.learn(known, streamed=self._streamed or (self._body is not None and self._body.streamed))
        except Exception:
            swallow("reading an answer")
        self._call.end()


def _detach(token: Any) -> None:
    try:
        detach(token)
    except Exception:
        swallow("restoring context")
