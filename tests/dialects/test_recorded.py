"""What real emitters sent, as recorded by `tests.dialects.record`: the rows that come of it, each call once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from monitor.kpis import Window, evaluate
from monitor.store.calls import calls_source
from monitor.store.client import Client
from tests.dialects.reading import RECORDED, inferences, recorded, store
from tests.dialects.record import ANSWER, EMITTERS, QUESTION

Row = dict[str, Any]
Time = Callable[[Span], float]


def event(name: str) -> Time:
    """From a span's begin to its first event of this name."""

    def seconds(span: Span) -> float:
        at = next(one.time_unix_nano for one in span.events if one.name == name)
        return (at - span.start_time_unix_nano) / 1e9

    return seconds


def attribute(name: str, unit_s: float = 1) -> Time:
    """An attribute of a span, in seconds."""

    def seconds(span: Span) -> float:
        value = next(item.value for item in span.attributes if item.key == name)
        return float(getattr(value, value.WhichOneof("value"))) * unit_s

    return seconds


def span_length(span: Span) -> float:
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9


SAME: Final[Row] = {
    "role": "client", "provider": "openai", "operation": "chat", "stream": None, "error_type": "", "cached_tokens": None,
    "cache_write_tokens": None, "reasoning_tokens": None, "input_tokens": None, "output_tokens": None, "ttft_s": None,
    "finish_reason": "", "session_id": "", "user_id": "", "environment": "", "release": "", "cost_usd": None,
    "request_id": "", "tokens_adjusted": False, "duration_s": span_length, "queue_s": None, "prefill_s": None,
    "decode_s": None, "cancelled": False, "sample_weight": 1.0, "simulated": False, "variant": "", "cohorts": {},
}  # fmt: skip
# What the server of the recording answers.
TOLD: Final[Row] = {"model": "m-1-2026", "input_tokens": 21, "output_tokens": 7}
ENDED: Final[Row] = {**TOLD, "request_id": "chatcmpl-1", "finish_reason": "stop"}
GPT: Final[Row] = {**ENDED, "model": "gpt-4o-2024-08-06"}
COST: Final = 16 * 2.5e-6 + 5 * 1.25e-6 + 7 * 10e-6  # what they cost, five of the 21 from the provider's cache
EMBEDDED: Final[Row] = {"operation": "embeddings", "model": "embed-1", "input_tokens": 4}
FAILED: Final[Row] = {"model": "fail", "error_type": "NotFoundError"}

LANGFUSE: Final[Row] = {
    "dialect": "langfuse", "provider": "", "environment": "staging", "release": "r7", "user_id": "u1", "session_id": "s1",
}  # fmt: skip
LITELLM: Final[Row] = {"dialect": "litellm", "role": "gateway", "environment": "production"}
REFUSED: Final[Row] = {
    "dialect": "litellm-proxy", "role": "gateway", "provider": "", "error_type": "litellm.proxy._types.ProxyException",
}  # fmt: skip
VERCEL: Final[Row] = {"dialect": "vercel", "provider": "stub"}
VERCEL_6: Final[Row] = {**VERCEL, "user_id": "u1", "session_id": "s1"}
MS: Final = 1e-3


def vercel_old(common: Row) -> list[Row]:
    counts = {**ENDED, "cached_tokens": 5, "reasoning_tokens": 2}
    times = {
        "ttft_s": attribute("ai.response.msToFirstChunk", MS),
        "duration_s": attribute("ai.response.msToFinish", MS),
    }
    return [
        {**common, **counts},
        {**common, **counts, **times, "stream": True},
        {**common, **EMBEDDED},
        {**common, **FAILED, "error_type": "AI_APICallError"},
    ]


# Emitter -> its rows, oldest first.
WANTED: Final[dict[str, list[Row]]] = {
    "openllmetry": [
        {**ENDED, "dialect": "openllmetry", "stream": False, "cached_tokens": 5, "reasoning_tokens": 2},
        {**ENDED, "dialect": "openllmetry", "stream": True, "cached_tokens": 5, "ttft_s": event("gen_ai.content.completion.chunk")},
        {**EMBEDDED, "dialect": "openllmetry", "stream": False, "cached_tokens": 0},
        {**FAILED, "dialect": "openllmetry", "stream": False},
    ],
    "openllmetry-old": [
        {**ENDED, "dialect": "openllmetry", "stream": False, "cached_tokens": 5},
        # It sends no counts of a stream.
        {**ENDED, "dialect": "openllmetry", "stream": True, "input_tokens": None, "output_tokens": None, "ttft_s": event("llm.content.completion.chunk")},
        {**EMBEDDED, "dialect": "openllmetry", "stream": False, "cached_tokens": 0},
        {**FAILED, "dialect": "openllmetry", "stream": False, "error_type": "_OTHER"},
    ],
    "openinference": [
        {**TOLD, "dialect": "openinference", "cached_tokens": 5, "reasoning_tokens": 2, "finish_reason": "stop", "stream": False},
        {**TOLD, "dialect": "openinference", "cached_tokens": 5, "reasoning_tokens": 2, "finish_reason": "stop", "stream": True, "ttft_s": event("First Token Stream Event")},
        {**EMBEDDED, "dialect": "openinference"},
        {**FAILED, "dialect": "openinference", "stream": False, "error_type": "openai.NotFoundError"},
    ],
    "opentelemetry": [
        {**ENDED, "dialect": "otel"},
        {**ENDED, "dialect": "otel", "finish_reason": ""},
        {**EMBEDDED, "dialect": "otel"},
        {**FAILED, "dialect": "otel"},
    ],
    "langfuse": [
        {**TOLD, **LANGFUSE, "cached_tokens": 5, "reasoning_tokens": 2},
        {**TOLD, **LANGFUSE, "cached_tokens": 5, "reasoning_tokens": 2, "finish_reason": "stop", "stream": True, "ttft_s": "langfuse"},
        {**LANGFUSE, "model": "fail", "error_type": "_OTHER"},
        # 11 tokens of input and 20 more from the cache, as some providers count.
        {**LANGFUSE, "model": "own", "input_tokens": 31, "cached_tokens": 20, "output_tokens": 3, "cost_usd": 0.003, "tokens_adjusted": True},
    ],
    # OpenLLMetry's span is the outer one.
    "langfuse-openllmetry": [
        {**ENDED, "dialect": "openllmetry", "stream": False, "cached_tokens": 5, "reasoning_tokens": 2},
        {**TOLD, "dialect": "langfuse", "provider": "", "cached_tokens": 5, "reasoning_tokens": 2},
        {**ENDED, "dialect": "openllmetry", "stream": True, "cached_tokens": 5, "ttft_s": event("gen_ai.content.completion.chunk")},
        {**TOLD, "dialect": "langfuse", "provider": "", "cached_tokens": 5, "reasoning_tokens": 2, "finish_reason": "stop", "stream": True, "ttft_s": "langfuse"},
        {**FAILED, "dialect": "openllmetry", "stream": False},
        {"dialect": "langfuse", "provider": "", "model": "fail", "error_type": "_OTHER"},
    ],
    "openlit": [
        # The time to the first token of what is no stream is the whole time: no such time. A price that it does not know is 0.
        {**GPT, "dialect": "openlit", "stream": False, "environment": "staging", "user_id": "u1", "cached_tokens": 5, "cache_write_tokens": 0},
        {**GPT, "dialect": "openlit", "stream": True, "environment": "staging", "cached_tokens": 5, "cache_write_tokens": 0, "ttft_s": attribute("gen_ai.server.time_to_first_token")},
        {**EMBEDDED, "dialect": "openlit", "stream": False, "environment": "staging"},
        {**FAILED, "dialect": "openlit", "stream": False, "environment": "staging"},
    ],
    "mlflow": [
        {**TOLD, "dialect": "mlflow", "provider": "", "cached_tokens": 5},
        {**TOLD, "dialect": "mlflow", "provider": "", "cached_tokens": 5, "stream": True, "ttft_s": event("mlflow.chunk.item.0")},
        {**EMBEDDED, "dialect": "mlflow", "provider": "", "input_tokens": None},
        {**FAILED, "dialect": "mlflow", "provider": ""},
    ],
    # The run of the agent repeats the usage of its calls.
    "pydantic-ai": [
        {**GPT, "dialect": "pydantic-ai", "cached_tokens": 5, "reasoning_tokens": 2, "cost_usd": COST, "session_id": "gen_ai.conversation.id"},
    ],
    # Of a stream it sends a pending twin, a span without usage that ends with the headers, and a log with the rest.
    "logfire": [
        {**ENDED, "dialect": "logfire"},
        {**TOLD, "dialect": "logfire", "model": "m-1", "duration_s": attribute("duration")},
    ],
    "litellm": [
        {**GPT, **LITELLM, "stream": False, "user_id": "u1", "cost_usd": COST},
        {**GPT, **LITELLM, "stream": False, "cost_usd": 0.0},  # from LiteLLM's own cache
        {**GPT, **LITELLM, "stream": False, "cost_usd": 0.0},
        {**GPT, **LITELLM, "model": "gpt-4o", "stream": True, "cost_usd": COST},
        {**EMBEDDED, **LITELLM, "provider": "", "stream": False, "output_tokens": 0, "request_id": "gen_ai.response.id"},
        {**FAILED, **LITELLM, "stream": False, "request_id": "gen_ai.response.id"},
    ],
    # As a library, it sends spans of its cache only.
    "litellm-v2": [],
    "litellm-proxy": [
        {**GPT, **LITELLM, "model": "gpt-4o", "stream": False, "user_id": "u1", "cost_usd": COST},
        {**GPT, **LITELLM, "model": "gpt-4o", "stream": True, "cost_usd": COST},
        {**REFUSED, "environment": "production"},
        {**LITELLM, "model": "none", "provider": "", "stream": False, "error_type": "ProxyModelNotFoundError", "request_id": "gen_ai.response.id"},
        {**REFUSED, "environment": "production"},
        {**LITELLM, "model": "openai/fail", "stream": False, "error_type": "NotFoundError", "request_id": "gen_ai.response.id"},
    ],
    # It sends old names and new ones side by side.
    "litellm-proxy-v2": [
        {**GPT, **LITELLM, "environment": "", "model": "gpt-4o", "user_id": "u1", "cached_tokens": 5, "cost_usd": COST},
        {**GPT, **LITELLM, "environment": "", "model": "gpt-4o", "cached_tokens": 5, "cost_usd": COST, "stream": True, "ttft_s": attribute("gen_ai.response.time_to_first_chunk")},
        # What the proxy refuses it tells in FastAPI's span only, and there again what the provider refused.
        REFUSED,
        REFUSED,
        {**LITELLM, "environment": "", "model": "openai/fail", "input_tokens": 0, "output_tokens": 0, "error_type": "NotFoundError", "request_id": "litellm.call_id"},
    ],
    "vercel-6": vercel_old(VERCEL_6),
    # First with its present spans, then with its legacy ones.
    "vercel-7": [
        {**ENDED, **VERCEL, "cached_tokens": 5},
        {**ENDED, **VERCEL, "cached_tokens": 5, "ttft_s": attribute("gen_ai.client.operation.time_to_first_chunk")},
        {**EMBEDDED, **VERCEL},
        {**FAILED, **VERCEL, "error_type": "AI_APICallError"},
        *vercel_old(VERCEL),
    ],
}  # fmt: skip


def spans_of(bodies: list[bytes]) -> dict[str, Span]:
    """Span id -> span."""
    return {
        span.span_id.hex(): span
        for body in bodies
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    }


def text_of(span: Span, name: str) -> str:
    return str(next(item.value.string_value for item in span.attributes if item.key == name))


def test_each_recording_is_tested() -> None:
    assert set(WANTED) == {emitter.name for emitter in EMITTERS}
    assert len(list(RECORDED.glob("*.otlp"))) == len(EMITTERS)


@pytest.mark.parametrize("emitter", list(WANTED))
def test_the_rows_of_a_real_emitter(store_client: Client, backend_url: str, tmp_path: Path, emitter: str) -> None:
    bodies = recorded(emitter)
    store(store_client, backend_url, bodies, tmp_path)
    store(store_client, backend_url, bodies, tmp_path)  # sent again: no call more
    spans, rows = spans_of(bodies), inferences(store_client)
    assert len(rows) == len(WANTED[emitter])
    for row, changed in zip(rows, WANTED[emitter], strict=True):
        span, wanted = spans[row["span_id"]], {**SAME, **changed}
        assert row["trace_id"] == span.trace_id.hex()
        if wanted["ttft_s"] == "langfuse":
            wanted["ttft_s"] = _langfuse_ttft(span)
        for key in ("request_id", "session_id"):
            if wanted[key].startswith(("gen_ai.", "litellm.")):
                wanted[key] = text_of(span, wanted[key])
        for key, value in wanted.items():
            expected = value(span) if callable(value) else value
            close = pytest.approx(expected, rel=1e-4) if isinstance(expected, float) else expected
            assert row[key] == close, (emitter, span.name, key)
        _check_tpot(row)


# Emitter -> of each call, as KPIs see it: which span stands for it, and how it ended.
CALLS: Final[dict[str, list[tuple[str, str]]]] = {
    "langfuse-openllmetry": [("openai.chat", ""), ("openai.chat", ""), ("openai.chat", "NotFoundError")],
    "litellm-proxy": [
        ("litellm_request", ""), ("litellm_request", ""), ("litellm_request", "ProxyModelNotFoundError"),
        ("litellm_request", "NotFoundError"),
    ],
    "litellm-proxy-v2": [
        ("chat gpt-4o", ""), ("chat gpt-4o", ""), ("fastapi.endpoint", "litellm.proxy._types.ProxyException"),
        ("chat broken", "NotFoundError"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("emitter", list(CALLS))
def test_what_is_told_twice_counts_once(store_client: Client, backend_url: str, tmp_path: Path, emitter: str) -> None:
    bodies = recorded(emitter)
    store(store_client, backend_url, bodies, tmp_path)
    spans = spans_of(bodies)
    times = [span.start_time_unix_nano for span in spans.values()]
    source = calls_source(store_client, min(times), max(times) + 1)
    found = store_client.query(f"SELECT span_id, error_type, queue_s FROM {source} ORDER BY timestamp").result_rows
    assert [(spans[span_id].name, error) for span_id, error, _ in found] == CALLS[emitter]
    window = Window(
        datetime.fromtimestamp(min(times) // 10**9, UTC), datetime.fromtimestamp(max(times) // 10**9 + 1, UTC)
    )
    names = ["traffic.requests", "traffic.errors", "traffic.input_tokens", "traffic.output_tokens"]
    values = [value.value for value in evaluate(store_client, names, window=window)]
    # Two calls went well, each 21 tokens in and 7 out.
    assert values == [len(CALLS[emitter]), len(CALLS[emitter]) - 2, 42, 14]


def test_what_the_inner_span_alone_knows_is_kept(store_client: Client, backend_url: str, tmp_path: Path) -> None:
    """OpenLLMetry sends no reasoning tokens of a stream; Langfuse within does."""
    bodies = recorded("langfuse-openllmetry")
    store(store_client, backend_url, bodies, tmp_path)
    times = [span.start_time_unix_nano for span in spans_of(bodies).values()]
    source = calls_source(store_client, min(times), max(times) + 1)
    query = (
        f"SELECT dialect, stream, reasoning_tokens, request_id FROM {source} WHERE error_type = '' ORDER BY timestamp"
    )
    assert store_client.query(query).result_rows == [
        ("openllmetry", False, 2, "chatcmpl-1"),
        ("openllmetry", True, 2, "chatcmpl-1"),
    ]


def _langfuse_ttft(span: Span) -> float:
    text = text_of(span, "langfuse.observation.completion_start_time").strip('"')
    return datetime.fromisoformat(text).timestamp() - span.start_time_unix_nano / 1e9


def _check_tpot(row: Row) -> None:
    if row["ttft_s"] is None or not row["output_tokens"]:
        assert row["tpot_s"] is None
    elif row["dialect"] not in ("openlit", "vercel"):  # which say it themselves
        assert row["tpot_s"] == pytest.approx((row["duration_s"] - row["ttft_s"]) / (row["output_tokens"] - 1))


@pytest.mark.parametrize("emitter", [name for name, rows in WANTED.items() if rows and name != "opentelemetry"])
def test_content_is_kept_on_request_and_nowhere_without(
    store_client: Client, backend_url: str, tmp_path: Path, emitter: str
) -> None:
    bodies = recorded(emitter)
    store(store_client, backend_url, bodies, tmp_path, capture_content=False)
    raw = "arrayConcat(mapValues(SpanAttributes), mapValues(ResourceAttributes), arrayFlatten(arrayMap(m -> mapValues(m), Events.Attributes)), [SpanName, StatusMessage])"
    found = store_client.query(f"SELECT SpanName FROM otel_traces WHERE arrayExists(v -> v LIKE '%PRIVATE-%', {raw})")
    assert found.result_rows == []
    assert all(row["prompt"] == "" and row["completion"] == "" for row in inferences(store_client))
    if emitter == "litellm-proxy-v2":  # sends none
        return
    store_client.command("TRUNCATE TABLE inferences")
    store(store_client, backend_url, bodies, tmp_path)
    chats = [row for row in inferences(store_client) if row["output_tokens"] == 7]
    assert chats
    assert all(QUESTION in row["prompt"] for row in chats)
    assert all("".join(ANSWER).split(":")[0] in row["completion"] for row in chats)
