"""What a span says, to the letter."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from monitor import sdk


def test_the_least(sent: Any) -> None:
    with sdk.inference("llama"):
        pass
    span = sent.one()
    assert span.name == "chat llama"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert span.instrumentation_scope.name == "monitor.sdk"
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "llama",
        "monitor.seq": 1,
    }


def test_everything(sent: Any) -> None:
    with sdk.inference(
        model="llama",
        provider="openai",
        operation="text_completion",
        user="u1",
        session="s1",
        input_tokens=5,
        stream=True,
        variant="fp8",
        release="1.2",
        experiment="e",
        arm="b",
        cohorts={"language": "de"},
        attributes={"gen_ai.request.temperature": 0.5, "left.out": None},
        in_process=True,
    ) as call:
        call.finish(
            input_tokens=312,
            output_tokens=128,
            finish_reason="stop",
            cached_tokens=64,
            cache_write_tokens=8,
            reasoning_tokens=32,
            ttft_s=0.25,
            queue_s=0.1,
            prefill_s=0.2,
            decode_s=0.3,
            response_model="llama-2",
            response_id="r1",
            prompt="secret question",
            completion="secret answer",
            attributes={"mine": 1},
        )
    span = sent.one()
    assert span.name == "text_completion llama"
    assert span.kind is SpanKind.INTERNAL
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "llama",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.id": "r1",
        "gen_ai.response.model": "llama-2",
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 312,
        "gen_ai.usage.output_tokens": 128,
        "gen_ai.usage.cache_read.input_tokens": 64,
        "gen_ai.usage.cache_write.input_tokens": 8,
        "gen_ai.usage.reasoning.output_tokens": 32,
        "gen_ai.latency.time_in_queue": 0.1,
        "gen_ai.latency.time_in_model_prefill": 0.2,
        "gen_ai.latency.time_in_model_decode": 0.3,
        "gen_ai.conversation.id": "s1",
        "session.id": "s1",
        "user.id": "u1",
        "service.version": "1.2",
        "monitor.variant": "fp8",
        "monitor.experiment": "e",
        "monitor.arm": "b",
        "monitor.cohort.language": "de",
        "monitor.seq": 1,
        "mine": 1,
    }


def test_times_of_a_stream(sent: Any) -> None:
    def source() -> Any:
        time.sleep(0.03)
        yield "a"
        time.sleep(0.01)
        yield "b"
        time.sleep(0.06)
        yield "c"

    before_ns = time.time_ns()
    with sdk.inference("m") as call:
        list(call.stream(source()))
        call.finish()
        time.sleep(0.05)  # what comes after `finish` is not the model's time
    span = sent.one()
    found = span.attributes
    ttft_s, gap_s = found["gen_ai.response.time_to_first_chunk"], found["monitor.largest_gap"]
    duration_s = (span.end_time - span.start_time) / 1e9
    assert 0.03 <= ttft_s < 0.06 <= gap_s
    assert ttft_s + 0.01 + gap_s <= duration_s < ttft_s + gap_s + 0.05
    assert before_ns <= span.start_time <= time.time_ns()
    assert found["gen_ai.request.stream"] is True
    assert (found["gen_ai.usage.output_tokens"], found["monitor.tokens_estimated"]) == (3, True)


def test_given_count_is_no_estimate(sent: Any) -> None:
    with sdk.inference("m") as call:
        list(call.stream("abc"))
        call.finish(output_tokens=12)
    found = sent.attributes()
    assert found["gen_ai.usage.output_tokens"] == 12
    assert "monitor.tokens_estimated" not in found


def test_tokens_by_mark_and_by_function_are_no_estimates(sent: Any) -> None:
    with sdk.inference("m") as call:
        call.first_token()
        call.first_token()
        call.token()
        call.token(4)
        list(call.stream(["ab", "c"], tokens=len))
    found = sent.attributes()
    assert found["gen_ai.usage.output_tokens"] == 8
    assert "monitor.tokens_estimated" not in found


def test_explicitly_not_streaming(sent: Any) -> None:
    with sdk.inference("m", stream=False) as call:
        list(call.stream("ab"))
    assert "gen_ai.request.stream" not in sent.attributes()


def test_ids_and_parents(sent: Any) -> None:
    tracer = trace.get_tracer("user")
    with tracer.start_as_current_span("request") as parent, sdk.inference("m") as call:
        with tracer.start_as_current_span("tokenize"):
            pass
        assert trace.get_current_span().get_span_context().span_id == int(call.span_id, 16)
    child, span, root = sent.spans()
    assert (child.name, span.name, root.name) == ("tokenize", "chat m", "request")
    assert child.parent.span_id == span.context.span_id == int(call.span_id, 16)
    assert span.parent.span_id == parent.get_span_context().span_id
    assert span.context.trace_id == root.context.trace_id == child.context.trace_id == int(call.trace_id, 16)
    assert len(call.trace_id) == 32
    assert len(call.span_id) == 16
    assert "monitor.seq" not in (child.attributes or {})
    assert {s.resource.attributes["monitor.emitter"] for s in (child, span, root)} == {sdk.stats().emitter}


def test_the_span_behaves_like_any_other(sent: Any, caplog: pytest.LogCaptureFixture) -> None:
    with sdk.inference("m"):
        span: Any = trace.get_current_span()
        assert span.is_recording()
        assert span.attributes["gen_ai.request.model"] == "m"
        assert (span.name, span.kind, span.parent, span.end_time) == ("chat m", SpanKind.CLIENT, None, None)
        assert span.resource.attributes["telemetry.sdk.name"] == "opentelemetry"
        span.set_attribute("a", 1)
        span.set_attributes({"b": [1, 2]})
        span.add_event("happened", {"x": 1}, 5)
        span.record_exception(ValueError("bad"))
        span.add_link(span.get_span_context(), {"why": "test"})
        span.update_name("renamed")
        span.set_status(StatusCode.OK)
        span.set_status(StatusCode.ERROR, "too late: OK is final")
    found = sent.one()
    assert not span.is_recording()
    span.set_attribute("c", 1)
    span.update_name("again")
    span.end()
    assert found.name == "renamed"
    assert found.attributes["a"] == 1
    assert found.attributes["b"] == (1, 2)
    assert [event.name for event in found.events] == ["happened", "exception"]
    assert (found.events[0].timestamp, dict(found.events[0].attributes)) == (5, {"x": 1})
    assert found.events[1].attributes["exception.type"] == "ValueError"
    assert dict(found.links[0].attributes) == {"why": "test"}
    assert found.status.status_code is StatusCode.OK
    assert len(sent.spans()) == 1
    assert "ended" in caplog.text


def test_numbers_of_numpy(sent: Any) -> None:
    three: Any = np.int64(3)
    four: Any = np.int32(4)
    half: Any = np.float32(0.5)
    with sdk.inference("m", input_tokens=three) as call:
        call.finish(output_tokens=four, queue_s=half)
    found = sent.attributes()
    assert type(found["gen_ai.usage.input_tokens"]) is int
    assert type(found["gen_ai.usage.output_tokens"]) is int
    assert type(found["gen_ai.latency.time_in_queue"]) is float


@pytest.mark.parametrize(
    "wrong", [{"output_tokens": -1}, {"output_tokens": "many"}, {"queue_s": float("nan")}, {"attributes": 3}]
)
def test_nonsense_neither_raises_nor_is_sent(
    sent: Any, wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("MONITOR_SDK_RAISE")
    for _ in range(3):
        with sdk.inference("m", cohorts=7, attributes="x") as call:  # type: ignore[arg-type]
            call.finish(**wrong)
    assert all(
        set(span.attributes) == {"gen_ai.operation.name", "gen_ai.request.model", "monitor.seq"}
        for span in sent.spans()
    )
    assert len([record for record in caplog.records if "finish()" in record.message]) == 1


def test_half_a_surrogate_pair_does_not_poison_the_batch(sent: Any) -> None:
    with sdk.inference("bad \ud800 name"):
        pass
    assert sent.one().name == "chat bad ? name"


def test_secrets_stay_here(sent: Any) -> None:
    def serve() -> None:
        with sdk.inference("m") as call:
            call.finish(prompt="secret", completion=[{"role": "assistant", "content": "secret"}])
            raise ValueError("the prompt 'secret' is too long")

    with pytest.raises(ValueError, match="secret"):
        serve()
    assert "secret" not in sent.one().to_json()


def test_content_when_asked_for(sent: Any) -> None:
    sdk.shutdown()
    sent.exporter = InMemorySpanExporter()
    sent.start(capture_content=True)
    chat: list[dict[str, Any]] = [
        {"role": "system", "content": "be kind"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "hä?"}, {"type": "image_url", "image_url": {"url": "u"}}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "42"},
    ]

    def serve() -> None:
        with sdk.inference("m") as call:
            call.finish(prompt=chat, completion="well")
            raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        serve()
    span = sent.one()
    assert span.status.description == "why"
    assert json.loads(span.attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "well"}]}
    ]
    assert json.loads(span.attributes["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "be kind"}]},
        {
            "role": "user",
            "parts": [{"type": "text", "content": "hä?"}, {"type": "uri", "modality": "image", "uri": "u"}],
        },
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "1", "name": "f", "arguments": "{}"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": "42"}]},
    ]
