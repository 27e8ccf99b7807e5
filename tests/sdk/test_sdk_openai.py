"""`instrument_openai`: the real client against a local server; one span a call, with what the server said."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import monitor
from monitor import sdk
from monitor.errors import ConfigError
from monitor.sdk.answer import Answer
from tests.tools import openai_stub

ROOT = Path(__file__).resolve().parents[2]
MESSAGES: Any = [{"role": "user", "content": "wie viel ist das"}]
TOKENS = 7
TEXT = "Die Antwort ist zweiundvierzig 🚀"


@pytest.fixture(scope="module")
def server() -> Iterator[openai_stub.Stub]:
    with openai_stub.running() as stub:
        yield stub


@pytest.fixture
def stub(server: openai_stub.Stub) -> Iterator[openai_stub.Stub]:
    """The server as it is when nobody has changed it."""
    server.seen.clear()
    server.failures.clear()
    server.cut_after.clear()
    yield server
    server.first_token_s = server.between_tokens_s = 0.0
    server.cached_tokens = server.reasoning_tokens = 0
    server.finish_reason = "stop"


@pytest.fixture(autouse=True)
def _instrumented() -> Iterator[None]:
    monitor.instrument_openai()
    yield
    monitor.uninstrument_openai()


def client(stub: openai_stub.Stub, **settings: Any) -> openai.OpenAI:
    # Without certificates, whose loading takes longer than all else.
    http = openai.DefaultHttpxClient(verify=False)
    return openai.OpenAI(base_url=stub.base_url, api_key="k", http_client=http, **{"max_retries": 0, **settings})


def async_client(stub: openai_stub.Stub, **settings: Any) -> openai.AsyncOpenAI:
    http = openai.DefaultAsyncHttpxClient(verify=False)
    return openai.AsyncOpenAI(base_url=stub.base_url, api_key="k", http_client=http, **{"max_retries": 0, **settings})


def common(stub: openai_stub.Stub, operation: str = "chat") -> dict[str, Any]:
    """What each span says, whatever the call."""
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m-2026-08-01",
        "server.address": "127.0.0.1",
        "server.port": int(stub.base_url.split(":")[2].split("/")[0]),
    }


def told(sent: Any, *without: str) -> dict[str, Any]:
    """Attributes of the only span, without times and numbers that differ each time; nothing is open."""
    found = sent.attributes()
    stats = sdk.stats()
    assert (stats.started, stats.ended, stats.open) == (1, 1, 0)
    assert trace.get_current_span() is trace.INVALID_SPAN
    drop = {"monitor.seq", "gen_ai.response.id", "gen_ai.response.time_to_first_chunk", "monitor.largest_gap", *without}
    return {key: value for key, value in found.items() if key not in drop}


USAGE = {
    "gen_ai.usage.input_tokens": 4,
    "gen_ai.usage.output_tokens": TOKENS,
    "gen_ai.usage.cache_read.input_tokens": 3,
    "gen_ai.usage.reasoning.output_tokens": 2,
    "gen_ai.response.finish_reasons": ("stop",),
}
ESTIMATED = {
    "gen_ai.usage.output_tokens": TOKENS,
    "monitor.tokens_estimated": True,
    "gen_ai.response.finish_reasons": ("stop",),
}
STREAMED = {"gen_ai.request.stream": True}


def details(stub: openai_stub.Stub) -> None:
    stub.cached_tokens, stub.reasoning_tokens = 3, 2


def test_chat(sent: Any, stub: openai_stub.Stub) -> None:
    details(stub)
    answer = client(stub).chat.completions.create(
        model="m", messages=MESSAGES, temperature=0.5, max_tokens=9, user="u1"
    )
    assert answer.choices[0].message.content == TEXT
    span = sent.one()
    assert span.name == "chat m"
    assert span.kind is trace.SpanKind.CLIENT
    assert sent.attributes()["gen_ai.response.id"] == answer.id
    assert told(sent) == {
        **common(stub),
        **USAGE,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "user.id": "u1",
    }


def test_chat_streamed(sent: Any, stub: openai_stub.Stub) -> None:
    details(stub)
    stub.first_token_s, stub.between_tokens_s = 0.05, 0.01
    began = time.perf_counter()
    stream = client(stub).chat.completions.create(
        model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    assert isinstance(stream, openai.Stream)
    first = next(stream)
    first_seen = time.perf_counter() - began
    text = [chunk.choices[0].delta.content or "" for chunk in (first, *stream) if chunk.choices]
    took = time.perf_counter() - began
    assert "".join(text) == TEXT
    found = sent.attributes()
    assert 0.05 <= found["gen_ai.response.time_to_first_chunk"] <= first_seen
    assert 0.01 <= found["monitor.largest_gap"] < took
    duration = (sent.one().end_time - sent.one().start_time) / 1e9
    assert 0.11 <= duration <= took
    assert told(sent) == {**common(stub), **USAGE, **STREAMED}


def test_usage_that_was_not_asked_for_is_estimated(sent: Any, stub: openai_stub.Stub) -> None:
    chunks = list(client(stub).chat.completions.create(model="m", messages=MESSAGES, stream=True))
    assert len(chunks) == TOKENS + 1
    assert "stream_options" not in stub.seen[0][1]
    assert told(sent) == {**common(stub), **ESTIMATED, **STREAMED}


def test_usage_is_asked_for_if_told_so(sent: Any, stub: openai_stub.Stub) -> None:
    monitor.uninstrument_openai()
    monitor.instrument_openai(include_usage=True)
    chunks = list(client(stub).chat.completions.create(model="m", messages=MESSAGES, stream=True))
    assert stub.seen[0][1]["stream_options"] == {"include_usage": True}
    assert chunks[-1].choices == []
    found = told(sent)
    assert found["gen_ai.usage.input_tokens"] == 4
    assert "monitor.tokens_estimated" not in found


def test_usage_that_the_caller_refused_stays_refused(sent: Any, stub: openai_stub.Stub) -> None:
    monitor.uninstrument_openai()
    monitor.instrument_openai(include_usage=True)
    options: Any = {"include_usage": False}
    list(client(stub).chat.completions.create(model="m", messages=MESSAGES, stream=True, stream_options=options))
    assert stub.seen[0][1]["stream_options"] == options
    assert told(sent)["monitor.tokens_estimated"] is True


def test_completions(sent: Any, stub: openai_stub.Stub) -> None:
    details(stub)
    assert client(stub).completions.create(model="m", prompt="wie viel ist das").choices[0].text == TEXT
    assert told(sent) == {**common(stub, "text_completion"), **USAGE}


def test_completions_streamed(sent: Any, stub: openai_stub.Stub) -> None:
    stream = client(stub).completions.create(model="m", prompt="wie viel ist das", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == TEXT
    assert told(sent) == {**common(stub, "text_completion"), **ESTIMATED, **STREAMED}


def test_embeddings(sent: Any, stub: openai_stub.Stub) -> None:
    found = client(stub).embeddings.create(model="m", input=["eins zwei", "drei"])
    assert found.data[1].embedding == [0.5] * openai_stub.DIMENSIONS
    assert told(sent) == {**common(stub, "embeddings"), "gen_ai.usage.input_tokens": 3}


def test_responses(sent: Any, stub: openai_stub.Stub) -> None:
    details(stub)
    answer = client(stub).responses.create(model="m", input="wie viel ist das", conversation="conv_1")
    assert answer.output_text == TEXT
    assert sent.attributes()["gen_ai.response.id"] == answer.id
    conversation = {"gen_ai.conversation.id": "conv_1", "session.id": "conv_1"}
    assert told(sent) == {**common(stub), **USAGE, **conversation}


def test_responses_streamed(sent: Any, stub: openai_stub.Stub) -> None:
    details(stub)
    stub.finish_reason = "length"
    events = list(client(stub).responses.create(model="m", input="wie viel ist das", stream=True))
    assert events[-1].type == "response.incomplete"
    assert sent.attributes()["gen_ai.response.time_to_first_chunk"] > 0
    assert told(sent) == {**common(stub), **USAGE, "gen_ai.response.finish_reasons": ("length",), **STREAMED}


def test_helper_that_streams(sent: Any, stub: openai_stub.Stub) -> None:
    with client(stub).chat.completions.stream(model="m", messages=MESSAGES) as stream:
        assert stream.get_final_completion().choices[0].message.content == TEXT
    assert told(sent) == {**common(stub), **ESTIMATED, **STREAMED}


def test_helper_that_streams_is_left(sent: Any, stub: openai_stub.Stub) -> None:
    with client(stub).chat.completions.stream(model="m", messages=MESSAGES) as stream:
        next(stream)
    assert told(sent)["monitor.cancelled"] is True


def test_helper_that_parses(sent: Any, stub: openai_stub.Stub) -> None:
    details(stub)
    answer = client(stub).chat.completions.parse(model="m", messages=MESSAGES)
    assert answer.choices[0].message.content == TEXT
    assert told(sent) == {**common(stub), **USAGE}


def test_raw_response(sent: Any, stub: openai_stub.Stub) -> None:
    details(stub)
    raw = client(stub).chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse().choices[0].message.content == TEXT
    assert told(sent) == {**common(stub), **USAGE}


def test_raw_response_streamed(sent: Any, stub: openai_stub.Stub) -> None:
    raw = client(stub).chat.completions.with_raw_response.create(model="m", messages=MESSAGES, stream=True)
    assert sdk.stats().open == 1
    assert "".join(chunk.choices[0].delta.content or "" for chunk in raw.parse()) == TEXT
    assert sent.attributes()["gen_ai.response.time_to_first_chunk"] > 0
    assert told(sent) == {**common(stub), **ESTIMATED, **STREAMED}


def test_streaming_response_of_an_answer(sent: Any, stub: openai_stub.Stub) -> None:
    details(stub)
    with client(stub).chat.completions.with_streaming_response.create(model="m", messages=MESSAGES) as response:
        assert response.parse().choices[0].message.content == TEXT
    assert told(sent) == {**common(stub), **USAGE}


@pytest.mark.parametrize("reader", ["lines", "bytes", "raw", "parse"])
def test_streaming_response_of_a_stream(sent: Any, stub: openai_stub.Stub, reader: str) -> None:
    opened = client(stub).chat.completions.with_streaming_response.create(model="m", messages=MESSAGES, stream=True)
    with opened as response:
        if reader == "lines":
            assert sum(line.startswith("data:") for line in response.iter_lines()) == TOKENS + 2
        elif reader == "bytes":
            assert b"".join(response.iter_bytes()).endswith(b"data: [DONE]\n\n")
        elif reader == "raw":
            assert b"".join(response.http_response.iter_raw()).endswith(b"data: [DONE]\n\n")
        else:
            assert len(list(response.parse())) == TOKENS + 1
    assert told(sent) == {**common(stub), **ESTIMATED, **STREAMED}


def test_streaming_response_that_is_left(sent: Any, stub: openai_stub.Stub) -> None:
    opened = client(stub).chat.completions.with_streaming_response.create(model="m", messages=MESSAGES, stream=True)
    with opened as response:
        assert response.headers["content-type"] == "text/event-stream"
    assert told(sent)["monitor.cancelled"] is True


def test_async(sent: Any, stub: openai_stub.Stub) -> None:
    details(stub)

    async def main() -> None:
        async with async_client(stub) as one:
            answer = await one.chat.completions.create(model="m", messages=MESSAGES)
            assert answer.choices[0].message.content == TEXT

    asyncio.run(main())
    assert told(sent) == {**common(stub), **USAGE}


@pytest.mark.parametrize("reader", ["chunks", "helper", "raw", "lines"])
def test_async_streamed(sent: Any, stub: openai_stub.Stub, reader: str) -> None:
    asked: Any = {"model": "m", "messages": MESSAGES}

    async def main() -> None:
        async with async_client(stub) as one:
            completions = one.chat.completions
            if reader == "chunks":
                stream = await completions.create(**asked, stream=True)
                assert isinstance(stream, openai.AsyncStream)
                assert len([chunk async for chunk in stream]) == TOKENS + 1
            elif reader == "helper":
                async with completions.stream(**asked) as helper:
                    assert (await helper.get_final_completion()).choices[0].message.content == TEXT
            elif reader == "raw":
                raw = await completions.with_raw_response.create(**asked, stream=True)
                assert len([chunk async for chunk in raw.parse()]) == TOKENS + 1
            else:
                async with completions.with_streaming_response.create(**asked, stream=True) as response:
                    assert len([line async for line in response.iter_lines() if line]) == TOKENS + 2

    asyncio.run(main())
    assert told(sent) == {**common(stub), **ESTIMATED, **STREAMED}


@pytest.mark.parametrize(
    ("status", "error"), [(400, "BadRequestError"), (401, "AuthenticationError"), (429, "RateLimitError")]
)
def test_refused(sent: Any, stub: openai_stub.Stub, status: int, error: str) -> None:
    stub.failures["m"] = [status]
    with pytest.raises(getattr(openai, error)):
        client(stub).chat.completions.create(model="m", messages=MESSAGES)
    assert told(sent) == {
        **{key: value for key, value in common(stub).items() if key != "gen_ai.response.model"},
        "error.type": f"openai.{error}",
        "http.response.status_code": status,
    }
    assert sent.one().status.status_code is StatusCode.ERROR
    assert sent.one().status.description is None


def test_a_call_with_retries_is_one_call(sent: Any, stub: openai_stub.Stub) -> None:
    stub.failures["m"] = [500, 429]
    client(stub, max_retries=2).chat.completions.create(model="m", messages=MESSAGES)
    assert len(stub.seen) == 3
    assert "error.type" not in told(sent)


def test_nobody_answers(sent: Any, free_port: int) -> None:
    with pytest.raises(openai.APIConnectionError):
        openai.OpenAI(base_url=f"http://127.0.0.1:{free_port}/v1", api_key="k", max_retries=0).embeddings.create(
            model="m", input="x"
        )
    assert told(sent)["error.type"] == "openai.APIConnectionError"


def test_connection_breaks(sent: Any, stub: openai_stub.Stub) -> None:
    stub.cut_after["m"] = 3
    stream = client(stub).chat.completions.create(model="m", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIConnectionError):
        list(stream)
    found = told(sent)
    assert found["error.type"] == "openai.APIConnectionError"
    assert (found["gen_ai.usage.output_tokens"], found["monitor.tokens_estimated"]) == (3, True)


def test_timeout(sent: Any, stub: openai_stub.Stub) -> None:
    stub.first_token_s = 0.4
    with pytest.raises(openai.APITimeoutError):
        client(stub, timeout=0.05).chat.completions.create(model="m", messages=MESSAGES)
    assert told(sent)["error.type"] == "openai.APITimeoutError"


def test_stream_left_by_break_ends_when_it_is_dropped(sent: Any, stub: openai_stub.Stub) -> None:
    gc.disable()
    try:
        stream = client(stub).chat.completions.create(model="m", messages=MESSAGES, stream=True)
        for _ in stream:
            break
        # It may be read on.
        assert next(stream).choices[0].delta.content == " Antwort"
        assert sdk.stats().open == 1
        del stream
        found = told(sent)
    finally:
        gc.enable()
    assert found["monitor.cancelled"] is True
    assert found["gen_ai.usage.output_tokens"] == 2


def test_stream_that_nobody_reads(sent: Any, stub: openai_stub.Stub) -> None:
    client(stub).chat.completions.create(model="m", messages=MESSAGES, stream=True)
    assert told(sent)["monitor.cancelled"] is True


def test_raw_stream_that_nobody_reads(sent: Any, stub: openai_stub.Stub) -> None:
    raw = client(stub).chat.completions.with_raw_response.create(model="m", messages=MESSAGES, stream=True)
    del raw
    gc.collect()
    assert told(sent)["monitor.cancelled"] is True


def test_stream_is_closed(sent: Any, stub: openai_stub.Stub) -> None:
    with client(stub).chat.completions.create(model="m", messages=MESSAGES, stream=True) as stream:
        next(stream)
    assert told(sent)["monitor.cancelled"] is True


def test_leaving_when_the_answer_is_whole_is_no_abort(sent: Any, stub: openai_stub.Stub) -> None:
    with client(stub).chat.completions.create(model="m", messages=MESSAGES, stream=True) as stream:
        for chunk in stream:
            if chunk.choices[0].finish_reason:
                break
    assert told(sent) == {**common(stub), **ESTIMATED, **STREAMED}


def test_task_is_cancelled(sent: Any, stub: openai_stub.Stub) -> None:
    stub.between_tokens_s = 0.3

    async def main() -> None:
        async with async_client(stub) as one:
            stream = await one.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            async with asyncio.timeout(0.1):
                async for _ in stream:
                    pass

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    found = told(sent)
    assert found["monitor.cancelled"] is True
    assert found["gen_ai.usage.output_tokens"] == 1


def test_content_only_if_asked_for(sent: Any, stub: openai_stub.Stub) -> None:
    sdk.shutdown()
    sent.start(capture_content=True)
    one = client(stub)
    list(one.chat.completions.create(model="m", messages=MESSAGES, stream=True))
    one.responses.create(model="m", input="wie viel ist das", instructions="sei kurz")
    spans = sent.spans()
    output = '[{"role": "assistant", "parts": [{"type": "text", "content": "' + TEXT + '"}]}]'
    prompt = '{"role": "user", "parts": [{"type": "text", "content": "wie viel ist das"}]}'
    system = '{"role": "system", "parts": [{"type": "text", "content": "sei kurz"}]}'
    assert [span.attributes["gen_ai.output.messages"] for span in spans] == [output] * 2
    assert [span.attributes["gen_ai.input.messages"] for span in spans] == [f"[{prompt}]", f"[{system}, {prompt}]"]


def test_further_attributes_and_provider(sent: Any, stub: openai_stub.Stub) -> None:
    monitor.uninstrument_openai()
    monitor.instrument_openai(
        provider="vllm", attributes=lambda body: {"monitor.cohort.length": len(body["messages"][0]["content"])}
    )
    client(stub).chat.completions.create(model="m", messages=MESSAGES)
    found = told(sent)
    assert (found["gen_ai.provider.name"], found["monitor.cohort.length"]) == ("vllm", 16)


def test_trace_context_is_sent_only_if_asked_for(
    sent: Any, stub: openai_stub.Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent_headers: list[dict[str, str]] = []
    send = openai.OpenAI._send_request
    monkeypatch.setattr(
        openai.OpenAI,
        "_send_request",
        lambda self, request, **rest: sent_headers.append(dict(request.headers)) or send(self, request, **rest),
    )
    client(stub).embeddings.create(model="m", input="x")
    monitor.uninstrument_openai()
    monitor.instrument_openai(propagate=True)
    client(stub).embeddings.create(model="m", input="x", extra_headers={"x-own": "1"})
    second = sent.spans()[1].context
    assert "traceparent" not in sent_headers[0]
    assert sent_headers[1]["traceparent"].split("-")[1:3] == [f"{second.trace_id:032x}", f"{second.span_id:016x}"]
    assert sent_headers[1]["x-own"] == "1"


def test_what_is_no_inference_makes_no_span(sent: Any, stub: openai_stub.Stub) -> None:
    with pytest.raises(openai.APIStatusError):
        client(stub).models.list()
    with pytest.raises(openai.NotFoundError):
        client(stub).moderations.create(model="m", input="x")
    assert sdk.stats().started == 0


def test_again_and_undone(sent: Any, stub: openai_stub.Stub) -> None:
    before = openai.OpenAI.request
    assert monitor.instrument_openai(openai) is True
    assert monitor.instrument_openai(openai.AzureOpenAI) is True
    assert openai.OpenAI.request is before
    assert openai.AzureOpenAI.request is before
    kept = client(stub).embeddings.with_raw_response
    kept.create(model="m", input="x")
    monitor.uninstrument_openai()
    assert "request" not in vars(openai.OpenAI)
    kept.create(model="m", input="x")
    assert sdk.stats().started == 1


def test_one_client_and_its_copies(sent: Any, stub: openai_stub.Stub) -> None:
    monitor.uninstrument_openai()
    one, other = client(stub), client(stub)
    assert monitor.instrument_openai(one) is True
    assert monitor.instrument_openai(one) is True
    other.embeddings.create(model="m", input="x")
    assert sdk.stats().started == 0
    one.embeddings.create(model="m", input="x")
    copied = one.with_options(timeout=5).with_options(max_retries=1)
    copied.embeddings.create(model="m", input="x")
    assert sdk.stats().started == 2
    monitor.uninstrument_openai(one)
    one.embeddings.create(model="m", input="x")
    copied.embeddings.create(model="m", input="x")
    assert sdk.stats().started == sdk.stats().ended == 2
    assert "request" not in vars(one) | vars(copied)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_client_and_class_watch_a_call_once(sent: Any, stub: openai_stub.Stub, asynchronous: bool) -> None:
    if asynchronous:

        async def main() -> None:
            async with async_client(stub) as one:
                monitor.instrument_openai(one)
                await one.embeddings.create(model="m", input="x")

        asyncio.run(main())
    else:
        one = client(stub)
        monitor.instrument_openai(one)
        one.embeddings.create(model="m", input="x")
    assert told(sent)["gen_ai.usage.input_tokens"] == 1


@pytest.mark.parametrize("target", [1, "openai", types.ModuleType("empty"), dict])
def test_what_cannot_be_watched(target: object) -> None:
    with pytest.raises(ConfigError, match="neither an openai client, nor a class of clients"):
        monitor.instrument_openai(target)


def test_wrappers_are_loaded_when_they_are_asked_for() -> None:
    script = (
        "import sys, monitor\n"
        "names = {'openai', 'monitor.sdk.openai', 'monitor.sdk.asgi', 'monitor.sdk.wire'}\n"
        "print(sorted(names & set(sys.modules)))\n"
        "monitor.ASGIMiddleware, monitor.instrument_openai\n"
        "print(sorted(names & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert said.stdout.splitlines() == ["[]", "['monitor.sdk.asgi', 'monitor.sdk.openai', 'monitor.sdk.wire']"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = monitor.nothing  # type: ignore[attr-defined]


def test_without_openai() -> None:
    script = (
        "import sys; sys.modules['openai'] = None; import monitor\n"
        "print(monitor.instrument_openai()); monitor.uninstrument_openai()"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    assert "the package `openai` is not installed" in done.stderr


def test_our_own_failure_is_not_the_callers(
    sent: Any, stub: openai_stub.Stub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("MONITOR_SDK_RAISE")

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("ours")

    one = client(stub)
    for name in ("attributes", "chunk", "read"):
        with monkeypatch.context() as patch:
            patch.setattr(Answer, name, broken)
            assert one.chat.completions.create(model="m", messages=MESSAGES).choices[0].message.content == TEXT
            assert len(list(one.chat.completions.create(model="m", messages=MESSAGES, stream=True))) == TOKENS + 1
    monitor.uninstrument_openai()
    monitor.instrument_openai(attributes=broken)
    assert len(one.embeddings.create(model="m", input="x").data) == 1
    stats = sdk.stats()
    assert (stats.started, stats.ended, stats.open) == (6, 6, 0)
    assert "the call itself is unaffected" in caplog.text


EXITS = st.lists(
    st.tuples(
        st.sampled_from(["sync", "async"]),
        st.sampled_from(["chat", "completions", "responses", "embeddings"]),
        st.sampled_from(["plain", "read", "break", "close", "drop", "cut", "error", "raw", "cancel", "raise"]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths=EXITS)
def test_each_way_out_ends_each_span_once(stub: openai_stub.Stub, paths: list[tuple[str, str, str]]) -> None:
    exporter = InMemorySpanExporter()
    sdk.shutdown()
    sdk.init(service="svc", exporter=exporter)
    stub.cut_after = {"cut": 2}
    with client(stub) as one:
        for kind, api, way in paths:
            stub.failures = {"error": [500]}
            if kind == "sync":
                _go(one, api, way)
            else:
                asyncio.run(_ago(stub, api, way))
    gc.collect()
    assert sdk.flush()
    stats = sdk.stats()
    spans = exporter.get_finished_spans()
    assert (stats.started, stats.ended, stats.open, len(spans)) == (len(paths), len(paths), 0, len(paths))
    assert len({span.context.span_id for span in spans}) == len(paths)
    assert trace.get_current_span() is trace.INVALID_SPAN
    sdk.shutdown()


def _asked(one: Any, api: str, way: str) -> tuple[Any, dict[str, Any]]:
    model = way if way in ("cut", "error") else "m"
    if api == "embeddings":
        return one.embeddings, {"model": model, "input": "x"}
    asked: dict[str, Any] = {"model": model, "stream": way != "plain"}
    if api == "chat":
        return one.chat.completions, {**asked, "messages": MESSAGES}
    name = "prompt" if api == "completions" else "input"
    return getattr(one, api), {**asked, name: "x"}


class _OwnError(Exception):
    """The reader's own."""


def _go(one: openai.OpenAI, api: str, way: str) -> None:
    resource, asked = _asked(one, api, way)
    try:
        answer = (resource.with_raw_response if way == "raw" else resource).create(**asked)
        if way == "raw":
            answer = answer.parse()
        if way == "drop" or not isinstance(answer, openai.Stream):
            return
        if way == "close":
            answer.close()
        else:
            for _ in answer:
                if way in ("break", "cancel"):
                    break
                if way == "raise":
                    raise _OwnError
    except (openai.APIError, _OwnError):
        pass


async def _ago(stub: openai_stub.Stub, api: str, way: str) -> None:
    async with async_client(stub) as one:
        resource, asked = _asked(one, api, way)

        async def serve() -> None:
            answer = await (resource.with_raw_response if way == "raw" else resource).create(**asked)
            if way == "raw":
                answer = answer.parse()
            if way == "drop" or not isinstance(answer, openai.AsyncStream):
                return
            if way == "close":
                await answer.close()
                return
            async for _ in answer:
                if way == "break":
                    break
                if way == "raise":
                    raise _OwnError
                if way == "cancel":
                    await asyncio.sleep(30)

        task = asyncio.ensure_future(serve())
        if way == "cancel":
            await asyncio.sleep(0.02)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
