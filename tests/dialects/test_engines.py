"""Emitters that cannot run here, and traps of those that can: spans as their source code makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from monitor.kpis import Window, evaluate
from monitor.store.calls import calls_source
from monitor.store.client import Client
from tests.dialects.building import BEGIN_NS, request, span
from tests.dialects.reading import inferences, store

Send = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def send(store_client: Client, backend_url: str, tmp_path: Path) -> Send:
    """Store requests; returns the rows."""

    def send_(*bodies: bytes) -> list[dict[str, Any]]:
        store(store_client, backend_url, list(bodies), tmp_path)
        return inferences(store_client)

    return send_


def check(row: dict[str, Any], **wanted: Any) -> None:
    for key, value in wanted.items():
        assert row[key] == (pytest.approx(value) if isinstance(value, float) else value), key


VLLM = {"vllm.instrumenting_module_name": "vllm.llm_engine", "vllm.process_id": "7"}
VLLM_CALL = {
    "gen_ai.latency.time_to_first_token": 0.2,
    "gen_ai.latency.e2e": 1.2,
    "gen_ai.latency.time_in_queue": 0.05,
    "gen_ai.latency.time_in_model_prefill": 0.1,
    "gen_ai.latency.time_in_model_decode": 1.0,
    "gen_ai.latency.time_in_model_inference": 1.1,
    "gen_ai.usage.prompt_tokens": 7,
    "gen_ai.usage.completion_tokens": 11,
    "gen_ai.request.id": "cmpl-1",
    "gen_ai.request.max_tokens": 64,
}


def test_vllm(send: Send) -> None:
    noise = [span(name, {"code.function": "load"}, id=name) for name in ("Overall Loading", "Load weights")]
    # Aborted before its first token: the stamp that is 0 makes one stage hugely negative, another hugely positive.
    aborted = {
        **VLLM_CALL,
        "gen_ai.latency.time_to_first_token": -1.79e9,
        "gen_ai.latency.time_in_model_prefill": -1.79e9,
        "gen_ai.latency.time_in_model_decode": 1.79e9,
        "gen_ai.usage.completion_tokens": 0,
    }
    rows = send(
        request(
            *noise,
            span("llm_request", VLLM_CALL, id="a"),
            span("llm_request", aborted, id="b", at_s=1),
            scope="vllm.tracing.otel",
            resource={**VLLM, "gen_ai.request.model": "llama"},
        )
    )
    assert len(rows) == 2
    check(
        rows[0], dialect="vllm", role="engine", operation="chat", model="llama", request_id="cmpl-1", input_tokens=7,
        output_tokens=11, ttft_s=0.2, queue_s=0.05, prefill_s=0.1, decode_s=1.0, duration_s=1.2, tpot_s=0.1, error_type="",
    )  # fmt: skip
    check(rows[1], ttft_s=None, prefill_s=None, decode_s=None, queue_s=0.05, tpot_s=None, output_tokens=0)


def test_vllm_without_a_model_has_that_of_the_call_it_served(send: Send, store_client: Client) -> None:
    rows = send(
        request(span("chat m", {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}, id="client"), scope="x"),
        request(span("llm_request", VLLM_CALL, parent="client", seconds=1.2), scope="vllm.tracing.otel", resource=VLLM),
    )
    assert sorted((row["role"], row["model"]) for row in rows) == [("client", "m"), ("engine", "")]
    (call,) = calls(store_client)
    check(call, model="m", input_tokens=7, output_tokens=11, queue_s=0.05, ttft_s=0.2)


SGLANG_CALL = {
    **{key: value for key, value in VLLM_CALL.items() if not key.endswith("time_in_queue")},
    "gen_ai.usage.cached_tokens": 4,
    "gen_ai.response.model": "qwen",
    "gen_ai.response.finish_reasons": '["stop"]',
    "gen_ai.request.top_k": 5,
    "rid": "ab12cd34ef",
    "module": "sglang::request",
}


def test_sglang(send: Send, store_client: Client) -> None:
    rows = send(
        request(
            span(" Req ab12cd34", SGLANG_CALL, id="root"),
            span("tokenize", id="tokenize", parent="root"),
            # One call served by two servers: the prefill server's half is no call of its own.
            span("prefill Req 00ff00ff", SGLANG_CALL, id="p", at_s=5),
            span("decode Req 00ff00ff", {**SGLANG_CALL, "gen_ai.response.finish_reasons": '"length"'}, id="d", at_s=5),
            scope="sglang server",
            version="0.5.23",
        )
    )
    assert len(rows) == 2
    check(
        rows[0], dialect="sglang", role="engine", operation="chat", model="qwen", finish_reason="stop", input_tokens=7,
        cached_tokens=4, output_tokens=11, ttft_s=0.2, queue_s=None, request_id="cmpl-1", dialect_version="0.5.23",
    )  # fmt: skip
    check(rows[1], finish_reason="length")
    names = {name for (name,) in store_client.query("SELECT SpanName FROM otel_traces").result_rows}
    assert names == {"Req", "prefill Req", "decode Req", "tokenize"}


def sglang_stages(
    id: str, *, at_s: float, queue: float, prefill: float, decode: float, rank: int = 0, trace: str = "t"
) -> list[Span]:
    """What hangs below the root span `id`: a span for the scheduler's thread, which alone has attributes, and its stages."""
    thread = f"{id} thread {rank}"
    told = {"host_id": "h", "pid": 1, "thread_label": "Scheduler", "tp_rank": rank}
    lengths = {"request_process": 0.001, "prefill_waiting": queue, "prefill_forward": prefill, "decode_forward": decode}
    spans = [span(f"Scheduler [TP {rank}] (host:h | pid:1)", told, trace=trace, id=thread, parent=id, at_s=at_s)]
    for name, seconds in lengths.items():
        spans.append(span(name, trace=trace, id=f"{thread} {name}", parent=thread, at_s=at_s, seconds=seconds))
        at_s += seconds
    return spans


def calls(client: Client) -> list[dict[str, Any]]:
    """Calls of the minute in which the spans begin, as KPIs see them."""
    source = calls_source(client, BEGIN_NS - 10**9, BEGIN_NS + 60 * 10**9)
    return list(client.query(f"SELECT * FROM {source} ORDER BY timestamp, span_id").named_results())


def test_sglang_tells_its_stages_in_spans_below(send: Send, store_client: Client) -> None:
    rows = send(
        request(
            # Two at once in one trace. The first is queued later than the second begins.
            span(" Req aaaaaaaa", SGLANG_CALL, id="a"),
            *sglang_stages("a", at_s=0.3, queue=0.2, prefill=0.1, decode=1.0),
            *sglang_stages("a", at_s=0.3, queue=0.19, prefill=0.09, decode=0.99, rank=1),
            span(" Req bbbbbbbb", SGLANG_CALL, id="b", at_s=0.25),
            *sglang_stages("b", at_s=0.26, queue=0.5, prefill=0.4, decode=0.3),
            scope="sglang server",
        )
    )
    assert len(rows) == store_client.command("SELECT count() FROM inferences FINAL") == 2
    first, second = calls(store_client)
    # Its own prefill time begins before the queue; the stage's does not.
    check(first, role="engine", queue_s=0.2, prefill_s=0.1, decode_s=1.0, output_tokens=11)
    check(second, role="engine", queue_s=0.5, prefill_s=0.4, decode_s=0.3)


def test_sglang_behind_a_client_and_split_in_two(send: Send, store_client: Client) -> None:
    send(
        request(span("chat m", {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}, id="client", seconds=4)),
        request(
            span("prefill Req 00ff00ff", SGLANG_CALL, id="p", parent="http", at_s=0.1),
            *sglang_stages("p", at_s=0.2, queue=0.25, prefill=0.1, decode=0),
            span("decode Req 00ff00ff", SGLANG_CALL, id="d", parent="http", at_s=0.2),
            scope="sglang server",
        ),
        request(
            span("prefill Req 00ff00fe", SGLANG_CALL, trace="u", id="pu", parent="router", at_s=10),
            *sglang_stages("pu", at_s=10.2, queue=0.125, prefill=0.1, decode=0, trace="u"),
            span("decode Req 00ff00fe", SGLANG_CALL, trace="u", id="du", parent="router", at_s=10.1),
            scope="sglang server",
        ),
    )
    behind, alone = calls(store_client)
    check(behind, role="client", model="m", queue_s=0.25, output_tokens=11)
    check(alone, role="engine", queue_s=0.125)


def test_stages_whose_call_did_not_come_are_no_call(send: Send, store_client: Client) -> None:
    rows = send(
        request(*sglang_stages("lost", at_s=0, queue=1, prefill=1, decode=1), scope="sglang server"),
        request(span("compute", parent="lost"), scope="triton-server"),
    )
    assert rows == []
    names = "SELECT groupArray(name) FROM (SELECT name FROM inference_stages FINAL ORDER BY name)"
    assert store_client.query(names).result_rows == [
        (["compute", "decode_forward", "prefill_forward", "prefill_waiting", "thread"],)
    ]
    assert calls(store_client) == []
    window = Window.last("2d")
    (requests,) = evaluate(store_client, ["traffic.requests"], window=window)
    assert (requests.value, requests.n) == (0, 0)


def test_tgi(send: Send) -> None:
    times = {"total_time": "1.5s", "validation_time": "789µs", "queue_time": "45.6ms", "inference_time": "1.45s"}
    rows = send(
        request(
            span("chat_completions", {**times, "time_per_token": "12.5ms", "seed": "Some(42)"}, id="a", seconds=1.6),
            span("generate_stream", {**times, "queue_time": "250µs", "time_per_token": "900ns", "prompt_tokens": "12", "generated_tokens": "30"}, id="b", at_s=1),
            # Not TGI's: what such a time is measured in is not known.
            span("chat x", {"gen_ai.operation.name": "chat", "queue_time": 3.5, "total_time": "9"}, id="c", at_s=2),
            resource={"service.name": "text-generation-inference.router", "monitor.model": "falcon"},
        )
    )  # fmt: skip
    check(
        rows[0], dialect="tgi", role="engine", operation="chat", model="falcon", queue_s=0.0456, duration_s=1.5, ttft_s=None,
        tpot_s=None, input_tokens=None,
    )  # fmt: skip
    check(
        rows[1],
        operation="text_completion",
        stream=True,
        queue_s=0.00025,
        tpot_s=9e-7,
        input_tokens=12,
        output_tokens=30,
    )
    check(rows[2], dialect="otel", queue_s=None, duration_s=2.0)


def test_triton(send: Send, store_client: Client) -> None:
    def model(name: str, parent_id: int) -> dict[str, str | int]:
        return {"triton.model_name": name, "triton.model_version": 1, "triton.trace_id": 8, "triton.trace_parent_id": parent_id, "triton.request_id": "q"}  # fmt: skip

    rows = send(
        request(
            span("InferRequest", {}, events={"HTTP_RECV_START": 0.0, "HTTP_SEND_END": 1.1}),
            span("llm", model("llm", 0), parent="InferRequest", id="llm", seconds=1, events={"REQUEST_START": 0.0, "QUEUE_START": 0.1, "REQUEST_END": 1.0}),
            # The queue is left where the compute span begins, which has no attributes at all.
            span("compute", {}, parent="llm", id="compute", at_s=0.35, seconds=0.55, events={"COMPUTE_START": 0.0, "COMPUTE_END": 0.55}),
            # A step of an ensemble is part of the call that the ensemble is.
            span("tokenizer", model("tokenizer", 8), parent="llm", id="step", at_s=0.9),
            scope="triton-server",
            resource={"service.name": "triton-inference-server"},
        )
    )  # fmt: skip
    assert [(row["role"], row["queue_s"]) for row in rows] == [("engine", None)]
    (call,) = calls(store_client)
    check(
        call, dialect="triton", role="engine", operation="generate_content", model="llm", request_id="q", queue_s=0.25,
        duration_s=1.0, input_tokens=None,
    )  # fmt: skip


def test_ray_serve_counts_no_call(send: Send) -> None:
    told = {"request_id": "r", "deployment": "llm", "app": "default", "route": "/v1", "is_streaming": "True"}
    names = ("proxy_http_request", "route_to_replica", "replica_handle_request llm __call__")
    rows = send(
        request(*(span(name, {**told, "replica_id": "x"}, id=name) for name in names)),
        # What runs in a replica may report calls of its own.
        request(span("chat m", {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}, parent=names[2])),
    )
    assert [(row["dialect"], row["model"]) for row in rows] == [("otel", "m")]


def test_litellm_two_generations_of_names_are_one_cost_and_one_count(send: Send) -> None:
    (row,) = send(
        request(
            span(
                "chat m",
                {
                    "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "litellm.call_id": "c",
                    "gen_ai.usage.input_tokens": 3, "gen_ai.usage.prompt_tokens": 3, "litellm.cost.total": 0.5,
                    "gen_ai.cost.total_cost": 0.5, "gen_ai.system": "Unknown",
                },
            )
        )
    )  # fmt: skip
    check(row, dialect="litellm", input_tokens=3, cost_usd=0.5, provider="")


@pytest.mark.parametrize("hit", [True, "True", "true"])
def test_litellm_what_comes_from_its_cache_costs_nothing(send: Send, hit: bool | str) -> None:
    call = {"llm.request.type": "acompletion", "gen_ai.cost.total_cost": 0.5, "gen_ai.usage.input_tokens": 3}
    (row,) = send(request(span("litellm_request", {**call, "litellm.cache_hit": hit})))
    check(row, cost_usd=0.0, input_tokens=3)


def test_litellm_a_request_with_a_name_of_its_own_is_a_call(send: Send) -> None:
    told = {"litellm.call_id": "c", "gen_ai.usage.input_tokens": 3, "gen_ai.request.model": "m"}
    rows = send(
        request(
            span("summary of the day", told, id="a"),
            span("raw_gen_ai_request", told, id="b"),
            span("Received Proxy Server Request", told, id="c"),
            resource={"service.name": "litellm"},
        )
    )
    assert len(rows) == 1


def test_pydantic_ai_pending_and_aggregates(send: Send) -> None:
    call = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 3}
    rows = send(
        request(
            span("agent run", {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 3}, id="run"),
            span("chat m", {**call, "logfire.span_type": "pending_span"}, parent="call", id="pending", seconds=0),
            span("chat m", {**call, "logfire.span_type": "span", "operation.cost": 0.25}, parent="run", id="call"),
            span("running tool", {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "x"}, parent="run"),
            scope="pydantic-ai",
            version="2.68.0",
        )
    )
    assert len(rows) == 1
    check(rows[0], dialect="pydantic-ai", input_tokens=3, cost_usd=0.25, dialect_version="2.68.0")


def test_mlflow_quotes_every_value(send: Send) -> None:
    (row,) = send(
        request(
            span(
                "Completions",
                {
                    "mlflow.spanType": '"LLM"', "mlflow.llm.model": '"a \\"b\\" c"', "mlflow.llm.provider": '"openai"',
                    "mlflow.chat.tokenUsage": '{"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}',
                    "mlflow.llm.cost": '{"input_cost": 0.1, "output_cost": 0.2, "total_cost": 0.3}',
                    "mlflow.trace.session": '"s"', "mlflow.trace.user": '"u"',
                },
            )
        )
    )  # fmt: skip
    check(
        row, dialect="mlflow", operation="chat", model='a "b" c', provider="openai", input_tokens=3, output_tokens=4,
        cost_usd=0.3, session_id="s", user_id="u",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (["stop"], "stop"), ('["stop"]', "stop"), ("['stop']", "stop"), ('"stop"', "stop"), ("stop", "stop"), ('["", "length"]', "length"),
        ("tool_calls, stop", "tool_calls"), ("[]", ""), ("", ""), ("x" * 500, "x" * 64),
    ],
)  # fmt: skip
def test_finish_reasons_in_any_dress(send: Send, sent: str | list[str], stored: str) -> None:
    (row,) = send(request(span("chat", {"gen_ai.operation.name": "chat", "gen_ai.response.finish_reasons": sent})))
    assert row["finish_reason"] == stored


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        # Anthropic's input has neither what was read from the cache nor what was written to it.
        ({"input": 10, "cache_read.input": 90, "cache_creation.input": 5}, {"input_tokens": 105, "tokens_adjusted": True}),
        ({"input": 100, "cache_read.input": 90}, {"input_tokens": 100, "tokens_adjusted": False}),
        ({"cache_read.input": 90}, {"input_tokens": None, "tokens_adjusted": False}),
        # Gemini's output has no thoughts.
        ({"output": 10, "reasoning.output": 50}, {"output_tokens": 60, "tokens_adjusted": True}),
        ({"output": 60, "reasoning.output": 50}, {"output_tokens": 60, "tokens_adjusted": False}),
    ],
)  # fmt: skip
def test_counts_that_leave_something_out(send: Send, sent: dict[str, int], wanted: dict[str, Any]) -> None:
    counts = {f"gen_ai.usage.{name}_tokens": value for name, value in sent.items()}
    (row,) = send(request(span("chat", {"gen_ai.operation.name": "chat", **counts})))
    check(row, **wanted)


def test_an_attribute_of_the_span_comes_before_one_of_the_resource(send: Send) -> None:
    many = {f"unrelated.{number}": "x" for number in range(100)}
    call = {
        **many,
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "own",
        "user.id": "own",
        "session.id": "own",
    }
    resource = {**many, "gen_ai.request.model": "shared", "user.id": "shared", "session.id": "shared"}
    (row,) = send(request(span("chat", call), resource=resource))
    check(row, model="own", user_id="own", session_id="own")
