"""`ASGIMiddleware`: one span a request to a model's API, read from what passes by."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import monitor
from monitor import sdk
from monitor.sdk import asgi
from monitor.sdk.answer import Answer
from monitor.sdk.wire import Body

ROOT = Path(__file__).resolve().parents[2]
WORDS = ("Die", " Antwort", " ist", " 🚀")
USAGE = {
    "prompt_tokens": 4,
    "completion_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
TOLD = {
    "gen_ai.usage.input_tokens": 4,
    "gen_ai.usage.output_tokens": 9,
    "gen_ai.usage.cache_read.input_tokens": 3,
    "gen_ai.usage.reasoning.output_tokens": 2,
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.response.model": "m-2026",
    "gen_ai.response.id": "c1",
}
COMMON = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "http.response.status_code": 200}
STREAMED = {"gen_ai.request.stream": True}
Handler = Callable[[Request], Awaitable[Response]]


def chunk(text: str | None = None, **fields: Any) -> bytes:
    delta = {"role": "assistant", "content": text} if text is not None else {}
    choices = [{"index": 0, "delta": delta, "finish_reason": fields.pop("reason", None)}]
    return f"data: {json.dumps({'id': 'c1', 'model': 'm-2026', 'choices': choices, **fields})}\n\n".encode()


def whole_stream(usage: bool = True) -> list[bytes]:
    last = [f"data: {json.dumps({'id': 'c1', 'model': 'm-2026', 'choices': [], 'usage': USAGE})}\n\n".encode()]
    return [
        chunk(""),
        *(chunk(word) for word in WORDS),
        chunk(reason="stop"),
        *(last if usage else []),
        b"data: [DONE]\n\n",
    ]


def document(**fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(WORDS)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "c1", "model": "m-2026", "choices": [choice], "usage": USAGE, **fields}


def events(
    pieces: Sequence[bytes],
    pause_s: float = 0.0,
    after: BaseException | None = None,
    asked_for: list[float] | None = None,
) -> Response:
    """Pieces as a stream; `asked_for` gets the `perf_counter` at which each was asked for."""

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            if asked_for is not None:
                asked_for.append(time.perf_counter())
            yield piece
            await asyncio.sleep(pause_s)
        if after is not None:
            raise after

    return StreamingResponse(body(), media_type="text/event-stream")


def app(handler: Handler, path: str = "/v1/chat/completions", **options: Any) -> Starlette:
    return Starlette(
        routes=[Route(path, handler, methods=["POST", "GET"])],
        middleware=[Middleware(monitor.ASGIMiddleware, **options)],
    )


def post(
    application: Any, body: Any = None, path: str = "/v1/chat/completions", method: str = "POST", **headers: str
) -> httpx2.Response:
    """One request, without a socket."""
    content = body if isinstance(body, bytes) else json.dumps({"model": "m", **(body or {})}).encode()
    names = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}

    async def main() -> httpx2.Response:
        transport = httpx2.ASGITransport(app=application, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, content=content, headers=names)

    return asyncio.run(main())


def told(sent: Any) -> dict[str, Any]:
    """Attributes of the only span without times; nothing is open."""
    found = sent.attributes()
    stats = sdk.stats()
    assert (stats.started, stats.ended, stats.open) == (1, 1, 0)
    drop = {"monitor.seq", "gen_ai.response.time_to_first_chunk", "monitor.largest_gap"}
    return {key: value for key, value in found.items() if key not in drop}


def test_answer_as_a_whole(sent: Any) -> None:
    async def handler(request: Request) -> Response:
        assert (await request.json())["model"] == "m"
        return JSONResponse(document())

    request = {"temperature": 1, "max_tokens": 5, "user": "u1"}
    assert post(app(handler, provider="mine"), request).json() == document()
    span = sent.one()
    assert (span.name, span.kind) == ("chat m", SpanKind.SERVER)
    assert "gen_ai.response.time_to_first_chunk" not in span.attributes
    asked = {"gen_ai.request.temperature": 1.0, "gen_ai.request.max_tokens": 5, "user.id": "u1"}
    assert told(sent) == {**COMMON, **TOLD, **asked, "gen_ai.provider.name": "mine"}


def test_stream(sent: Any) -> None:
    asked_for: list[float] = []

    async def handler(request: Request) -> Response:
        await request.json()
        await asyncio.sleep(0.05)
        return events(whole_stream(), pause_s=0.01, asked_for=asked_for)

    began = time.perf_counter()
    answer = post(app(handler), {"stream": True})
    took = time.perf_counter() - began
    assert answer.content == b"".join(whole_stream())
    found = sent.attributes()
    # The first chunk has a role and no text, and is no token; when a third is asked for, the second has been sent.
    assert 0.06 <= found["gen_ai.response.time_to_first_chunk"] <= asked_for[2] - began
    assert 0.01 <= found["monitor.largest_gap"] < took
    assert told(sent) == {**COMMON, **TOLD, **STREAMED}


def test_stream_without_usage_is_estimated(sent: Any) -> None:
    async def handler(request: Request) -> Response:
        await request.json()
        return events(whole_stream(usage=False))

    post(app(handler), {"stream": True})
    found = told(sent)
    assert (found["gen_ai.usage.output_tokens"], found["monitor.tokens_estimated"]) == (4, True)
    assert found["gen_ai.response.finish_reasons"] == ("stop",)


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_stream_cut_anywhere(sent: Any, size: int) -> None:
    content = b"".join(whole_stream()).replace(b"\n", b"\r\n")

    async def handler(request: Request) -> Response:
        await request.json()
        return events([content[start : start + size] for start in range(0, len(content), size)])

    assert post(app(handler), {"stream": True}).content == content
    assert told(sent) == {**COMMON, **TOLD, **STREAMED}


@pytest.mark.parametrize(
    ("path", "operation", "answer", "expected"),
    [
        ("/v1/completions", "text_completion", {"choices": [{"text": "x", "finish_reason": "length"}]}, {"gen_ai.response.finish_reasons": ("length",)}),
        ("/v1/embeddings", "embeddings", {"data": [], "usage": {"prompt_tokens": 8}}, {"gen_ai.usage.input_tokens": 8}),
        (
            "/v1/responses", "chat",
            {"id": "r", "output": [], "status": "completed", "usage": {"input_tokens": 1, "output_tokens": 2}},
            {"gen_ai.response.id": "r", "gen_ai.response.finish_reasons": ("stop",), "gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 2},
        ),
        (
            "/generate", "text_completion",
            {"text": "x", "meta_info": {"id": "g", "prompt_tokens": 5, "completion_tokens": 6, "cached_tokens": 1, "finish_reason": {"type": "stop"}}},
            {"gen_ai.response.id": "g", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 6, "gen_ai.usage.cache_read.input_tokens": 1, "gen_ai.response.finish_reasons": ("stop",)},
        ),
        (
            "/generate", "text_completion",
            {"generated_text": "x", "details": {"finish_reason": "eos_token", "generated_tokens": 3}},
            {"gen_ai.usage.output_tokens": 3, "gen_ai.response.finish_reasons": ("eos_token",)},
        ),
    ],
)  # fmt: skip
def test_other_paths(sent: Any, path: str, operation: str, answer: Any, expected: dict[str, Any]) -> None:
    async def handler(request: Request) -> Response:
        await request.json()
        return JSONResponse(answer)

    post(app(handler, path), path=path)
    assert told(sent) == {**COMMON, "gen_ai.operation.name": operation, **expected}


def test_only_what_is_asked_to_be_watched(sent: Any) -> None:
    async def handler(request: Request) -> Response:
        return JSONResponse({"path": request.url.path})

    assert post(app(handler), method="GET").status_code == 200
    assert post(app(handler, "/health"), path="/health").json() == {"path": "/health"}
    assert post(app(handler, paths={"/x": "chat"})).status_code == 200
    assert sdk.stats().started == 0
    post(app(handler, "/x", paths={"/x": "chat"}), path="/x")
    assert sdk.stats().ended == 1


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (429, {"error": {"code": "rate_limit_exceeded", "type": "x"}}, "rate_limit_exceeded"),
        (400, {"detail": "no"}, "400"),
        (503, {"error": {"message": "no"}}, "503"),
    ],
)
def test_refused(sent: Any, status: int, body: Any, error: str) -> None:
    async def handler(request: Request) -> Response:
        await request.json()
        return JSONResponse(body, status_code=status)

    assert post(app(handler)).status_code == status
    assert told(sent) == {**COMMON, "http.response.status_code": status, "error.type": error}
    assert sent.one().status.status_code is StatusCode.ERROR


def test_error_within_a_stream(sent: Any) -> None:
    async def handler(request: Request) -> Response:
        await request.json()
        return events([chunk("Die"), b'data: {"error": {"code": 500, "message": "gone"}}\n\n', b"data: [DONE]\n\n"])

    post(app(handler), {"stream": True})
    assert told(sent)["error.type"] == "500"


@pytest.mark.parametrize("when", ["before", "within"])
def test_handler_fails(sent: Any, when: str) -> None:
    async def handler(request: Request) -> Response:
        await request.json()
        if when == "before":
            raise ZeroDivisionError
        return events([chunk("Die")], after=ZeroDivisionError())

    post(app(handler), {"stream": True})
    found = told(sent)
    assert found["error.type"] == "ZeroDivisionError"
    assert "monitor.cancelled" not in found
    assert found.get("gen_ai.usage.output_tokens") == (None if when == "before" else 1)


def test_handler_says_more(sent: Any) -> None:
    async def handler(request: Request) -> Response:
        call = monitor.current_call()
        assert call.trace_id == f"{trace.get_current_span().get_span_context().trace_id:032x}"
        with call.step("retrieve", documents=2):
            await request.json()

        async def body() -> AsyncIterator[bytes]:
            for piece in whole_stream():
                yield piece
            monitor.current_call().finish(output_tokens=11, queue_s=0.5, attributes={"monitor.cohort.language": "de"})

        return StreamingResponse(body(), media_type="text/event-stream")

    post(app(handler), {"stream": True})
    step, span = sent.spans()
    assert step.parent.span_id == span.context.span_id
    assert (step.name, step.attributes["documents"]) == ("retrieve", 2)
    assert "monitor.seq" not in step.attributes
    found = span.attributes
    assert (found["gen_ai.usage.output_tokens"], found["gen_ai.usage.input_tokens"]) == (11, 4)
    assert (found["gen_ai.latency.time_in_queue"], found["monitor.cohort.language"]) == (0.5, "de")
    assert sdk.stats().ended == 1


def test_handler_counts_by_itself(sent: Any) -> None:
    async def words() -> AsyncIterator[str]:
        for word in WORDS:
            yield word

    async def handler(request: Request) -> Response:
        stream = monitor.current_call().stream(words(), tokens=lambda word: 2)

        async def body() -> AsyncIterator[bytes]:
            async for word in stream:
                yield chunk(word)

        return StreamingResponse(body(), media_type="text/event-stream")

    post(app(handler))
    found = told(sent)
    assert found["gen_ai.usage.output_tokens"] == 8
    assert "monitor.tokens_estimated" not in found


def test_sync_handler_reaches_the_call(sent: Any) -> None:
    def handler(request: Request) -> Response:
        monitor.current_call().finish(input_tokens=77)
        return JSONResponse({})

    routes = [Route("/v1/chat/completions", handler, methods=["POST"])]
    post(monitor.ASGIMiddleware(Starlette(routes=routes)))
    assert told(sent)["gen_ai.usage.input_tokens"] == 77


def test_work_after_the_answer_is_not_its_latency(sent: Any) -> None:
    async def handler(request: Request) -> Response:
        await request.json()
        return JSONResponse(document(), background=BackgroundTask(time.sleep, 0.2))

    post(app(handler))
    span = sent.one()
    assert (span.end_time - span.start_time) / 1e9 < 0.15


def test_further_attributes(sent: Any) -> None:
    async def handler(request: Request) -> Response:
        await request.json()
        return JSONResponse(document())

    def describe(scope: Any, body: Any) -> dict[str, Any]:
        return {"monitor.arm": dict(scope["headers"])[b"x-arm"].decode(), "n": len(body["messages"])}

    post(app(handler, attributes=describe), {"messages": [1, 2]}, x_arm="b")
    assert (told(sent)["monitor.arm"], told(sent)["n"]) == ("b", 2)


def test_long_request_is_not_read(sent: Any) -> None:
    async def handler(request: Request) -> Response:
        return JSONResponse({**document(), "echo": len(await request.body())})

    assert post(app(handler, request_bytes=1000), {"prompt": "x" * 2000}).json()["echo"] > 2000
    span = sent.one()
    # The answer names its model.
    assert span.name == "chat m-2026"
    assert told(sent)["gen_ai.request.model"] == "m-2026"


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"model": 7}', b"\xff\xfe", b"[" * 100_000])
def test_request_that_is_no_request(sent: Any, body: bytes) -> None:
    async def handler(request: Request) -> Response:
        assert await request.body() == body
        return Response(status_code=400)

    assert post(app(handler), body).status_code == 400
    found = told(sent)
    assert (found["gen_ai.request.model"], found["error.type"]) == ("", "400")


def test_long_answer_is_not_kept(sent: Any) -> None:
    async def handler(request: Request) -> Response:
        await request.json()
        return JSONResponse(
            {"data": [{"embedding": [0.5] * 400_000}], "model": "m-2026", "usage": {"prompt_tokens": 8}}
        )

    assert len(post(app(handler)).content) > 1 << 20
    found = told(sent)
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.response.model"]) == (8, "m-2026")


def test_compressed_answer_tells_its_times_only(sent: Any) -> None:
    async def handler(request: Request) -> Response:
        await request.json()
        content = gzip.compress(b"".join(whole_stream()))
        return Response(content, media_type="text/event-stream", headers={"content-encoding": "gzip"})

    assert post(app(handler), {"stream": True}).content == b"".join(whole_stream())
    assert told(sent)["gen_ai.request.stream"] is True


def test_plain_text_that_is_streamed(sent: Any) -> None:
    async def handler(request: Request) -> Response:
        await request.json()
        return StreamingResponse(iter(["one ", "two"]), media_type="text/plain")

    post(app(handler, "/generate"), {"stream": True}, path="/generate")
    found = told(sent)
    assert (found["gen_ai.usage.output_tokens"], found["monitor.tokens_estimated"]) == (2, True)
    assert "gen_ai.response.time_to_first_chunk" in sent.attributes()


def test_content_only_if_asked_for(sent: Any) -> None:
    async def handler(request: Request) -> Response:
        await request.json()
        return events(whole_stream())

    question = {"stream": True, "messages": [{"role": "user", "content": "wie viel"}]}
    post(app(handler), question)
    assert not [name for name in told(sent) if "messages" in name]
    sdk.shutdown()
    sent.exporter = InMemorySpanExporter()
    sent.start(capture_content=True)
    post(app(handler), question)
    found = told(sent)
    assert found["gen_ai.input.messages"] == '[{"role": "user", "parts": [{"type": "text", "content": "wie viel"}]}]'
    assert json.loads(found["gen_ai.output.messages"])[0]["parts"][0]["content"] == "".join(WORDS)


def test_trace_goes_on(sent: Any) -> None:
    async def handler(request: Request) -> Response:
        return JSONResponse({})

    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    post(app(handler), traceparent=parent)
    span = sent.one()
    assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_our_own_failure_is_not_the_apps(
    sent: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("MONITOR_SDK_RAISE")

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("ours")

    async def handler(request: Request) -> Response:
        await request.json()
        return events(whole_stream())

    for thing, name in ((asgi.Body, "feed"), (asgi.Answer, "attributes"), (asgi, "request_attributes")):
        with monkeypatch.context() as patch:
            patch.setattr(thing, name, broken)
            assert post(app(handler), {"stream": True}).content == b"".join(whole_stream())
    assert post(app(handler, attributes=broken)).status_code == 200
    stats = sdk.stats()
    assert (stats.started, stats.ended, stats.open) == (4, 4, 0)
    assert "the call itself is unaffected" in caplog.text


@contextlib.contextmanager
def serving(application: Any) -> Iterator[str]:
    """A real server on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(application, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def wait_until_ended(count: int) -> None:
    deadline = time.monotonic() + 10
    while sdk.stats().ended < count:
        assert time.monotonic() < deadline, sdk.stats()
        time.sleep(0.01)


def test_client_leaves(sent: Any) -> None:
    async def handler(request: Request) -> Response:
        await request.json()
        return events([chunk("Die"), *[chunk(" und")] * 2000], pause_s=0.01)

    with serving(app(handler)) as address:
        with httpx2.stream("POST", f"{address}/v1/chat/completions", json={"model": "m", "stream": True}) as answer:
            assert next(answer.iter_bytes())
        wait_until_ended(1)
    found = told(sent)
    assert found["monitor.cancelled"] is True
    assert "error.type" not in found
    assert 1 <= found["gen_ai.usage.output_tokens"] < 2000


def test_a_server_that_is_killed_when_it_has_shut_down_has_sent_all(collector: Any) -> None:
    script = """
import monitor, os, signal, sys, threading, time, urllib.request, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

app = Starlette(routes=[Route("/generate", lambda request: JSONResponse({}), methods=["POST"])])
app.add_middleware(monitor.ASGIMiddleware)
monitor.init(service="s", endpoint=sys.argv[1], interval_s=60)
server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))

def use():
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    request = urllib.request.Request(f"http://127.0.0.1:{port}/generate", b"{}")
    urllib.request.urlopen(request).read()
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=use, daemon=True).start()
server.run()
"""
    done = subprocess.run(
        [sys.executable, "-c", script, collector.endpoint], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")
    assert [span.name for _, span, _ in collector.spans()] == ["text_completion "]


def test_client_and_server_in_one_trace(sent: Any) -> None:
    async def handler(request: Request) -> Response:
        await request.json()
        return events(whole_stream())

    with serving(app(handler)) as address:
        monitor.instrument_openai(propagate=True)
        try:
            client = openai.OpenAI(base_url=f"{address}/v1", api_key="k")
            asked: Any = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
            assert len(list(client.chat.completions.create(**asked))) == len(whole_stream()) - 1
            wait_until_ended(2)
        finally:
            monitor.uninstrument_openai()
    served, called = sorted(sent.spans(), key=lambda span: span.kind.value)
    assert (served.kind, called.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert served.parent.span_id == called.context.span_id
    assert served.context.trace_id == called.context.trace_id
    assert served.attributes["gen_ai.usage.output_tokens"] == called.attributes["gen_ai.usage.output_tokens"] == 9


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ways=st.lists(
        st.tuples(
            st.sampled_from(["whole", "stream", "raise", "raise within", "silent", "cancel", "disconnect", "partial"]),
            st.sampled_from([200, 404, 500]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_each_way_out_ends_each_span_once(ways: list[tuple[str, int]]) -> None:
    exporter = InMemorySpanExporter()
    sdk.shutdown()
    sdk.init(service="svc", exporter=exporter)
    for way, status in ways:
        asyncio.run(_serve(way, status))
    assert sdk.flush()
    stats = sdk.stats()
    spans = exporter.get_finished_spans()
    assert (stats.started, stats.ended, stats.open, len(spans)) == (len(ways), len(ways), 0, len(ways))
    for (way, status), span in zip(ways, spans, strict=True):
        found = span.attributes or {}
        failed = way in ("raise", "raise within") or (status >= 400 and way != "silent")
        assert ("error.type" in found) == failed, (way, status)
        left = way in ("silent", "cancel", "disconnect", "partial") and not failed
        assert found.get("monitor.cancelled", False) == left, (way, status)
    sdk.shutdown()


async def _serve(way: str, status: int) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if way == "silent":
            return
        if way == "raise":
            raise ZeroDivisionError
        kind = b"application/json" if way == "whole" else b"text/event-stream"
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        if way == "whole":
            await send({"type": "http.response.body", "body": json.dumps(document()).encode()})
            return
        await send({"type": "http.response.body", "body": chunk("Die"), "more_body": True})
        if way == "raise within":
            raise ZeroDivisionError
        if way == "disconnect":
            assert (await receive())["type"] == "http.disconnect"
            raise OSError
        if way == "cancel":
            await asyncio.sleep(30)
        if way == "stream":
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    messages = iter([{"type": "http.request", "body": b'{"model": "m"}'}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        await asyncio.sleep(0)

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
    task = asyncio.ensure_future(monitor.ASGIMiddleware(application)(scope, receive, send))
    if way == "cancel":
        await asyncio.sleep(0.01)
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_memory_of_a_stream_is_bounded() -> None:
    body = Body(Answer(), "text/event-stream", limit=1000)
    piece = b"data: " + b"x" * 500
    for _ in range(100):
        body.feed(piece)
    assert len(body._rest) <= 1000
    body.feed(b"\n\n")
    assert body.feed(chunk("Die"))
    for _ in range(100):
        body.feed(b"data: 1\n")
    assert sum(map(len, body._data)) < 1000


@given(st.binary(max_size=300), st.sampled_from(["text/event-stream", "application/json", "application/x-ndjson", ""]))
def test_any_bytes_are_read_without_an_error(content: bytes, kind: str) -> None:
    answer = Answer(capture=True)
    body = Body(answer, kind, limit=100)
    body.feed(content)
    body.end()
    answer.attributes(estimate=True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["choices", "usage", "delta", "content", "tool_calls", "response", "type", "output", "error", "model", "id",
             "meta_info", "details", "token", "message", "text", "index", "function", "finish_reason", "status",
             "prompt_tokens", "prompt_tokens_details", "cached_tokens"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_any_shape_is_read_without_an_error(found: Any) -> None:
    for reader in ("read", "chunk"):
        answer = Answer(capture=True)
        getattr(answer, reader)(found)
        answer.attributes(estimate=True)
