"""From raw spans to facts: each emitter's names, and one row a call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.store.calls import calls_source, calls_sql
from monitor.store.client import Client
from monitor.store.parties import EVERYTHING, NOTHING

BEGIN = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
BEGIN_NS = int(BEGIN.timestamp()) * 10**9
COLUMNS = [
    "Timestamp", "TraceId", "SpanId", "ParentSpanId", "SpanName", "SpanKind", "ServiceName", "ResourceAttributes", "ScopeName",
    "SpanAttributes", "Duration", "StatusCode", "Events.Timestamp", "Events.Name", "Events.Attributes",
]  # fmt: skip


def put(client: Client, *spans: dict[str, Any]) -> None:
    rows = []
    for number, span in enumerate(spans):
        events = span.get("events", [])
        rows.append([
            BEGIN + timedelta(seconds=span.get("at", 0)), span.get("trace", "t"), span.get("id", f"s{number}"), span.get("parent", ""),
            span.get("name", "chat m"), span.get("kind", "Client"), span.get("service", "svc"), span.get("resource", {}), span.get("scope", ""),
            span.get("attributes", {}), int(span.get("seconds", 2) * 1e9), span.get("status", "Unset"),
            [BEGIN + timedelta(seconds=at) for at, _ in events], [name for _, name in events], [{} for _ in events],
        ])  # fmt: skip
    client.insert("otel_traces", rows, column_names=COLUMNS, settings={"async_insert": 0})


def facts(client: Client) -> list[dict[str, Any]]:
    return list(client.query("SELECT * FROM inferences FINAL ORDER BY span_id").named_results())


CALL = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
EMITTERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "OpenTelemetry, present names": (
        {"attributes": {**CALL, "gen_ai.provider.name": "openai", "gen_ai.response.model": "m-1", "gen_ai.usage.input_tokens": "10", "gen_ai.usage.output_tokens": "5", "gen_ai.usage.cache_read.input_tokens": "4", "gen_ai.response.time_to_first_chunk": "0.5", "gen_ai.response.finish_reasons": '["stop"]', "gen_ai.request.stream": "true", "gen_ai.conversation.id": "c", "user.id": "u", "gen_ai.response.id": "r"}, "resource": {"service.version": "2.0", "host.name": "h", "cloud.region": "eu", "deployment.environment.name": "prod"}},
        {"dialect": "otel", "role": "client", "provider": "openai", "model": "m-1", "input_tokens": 10, "output_tokens": 5, "cached_tokens": 4, "ttft_s": 0.5, "finish_reason": "stop", "stream": True, "session_id": "c", "user_id": "u", "request_id": "r", "release": "2.0", "node": "h", "region": "eu", "environment": "prod", "duration_s": 2.0, "tpot_s": 0.375, "reasoning_tokens": None, "queue_s": None, "gpu": "", "error_type": "", "cost_usd": None},
    ),
    "OpenTelemetry, old names": (
        {"attributes": {**CALL, "gen_ai.system": "vertex_ai", "gen_ai.usage.prompt_tokens": "10", "gen_ai.usage.completion_tokens": "1"}, "resource": {"deployment.environment": "old"}, "status": "Error"},
        {"provider": "gcp.vertex_ai", "model": "m", "input_tokens": 10, "output_tokens": 1, "tpot_s": None, "ttft_s": None, "environment": "old", "error_type": "_OTHER"},
    ),
    "vLLM": (
        {"name": "llm_request", "scope": "vllm.tracing.otel", "resource": {"vllm.instrumenting_module_name": "vllm.llm_engine", "monitor.model": "llama"}, "attributes": {"gen_ai.latency.time_to_first_token": "0.2", "gen_ai.latency.e2e": "1.2", "gen_ai.latency.time_in_queue": "0.05", "gen_ai.latency.time_in_model_prefill": "-1e9", "gen_ai.latency.time_in_model_decode": "1.0", "gen_ai.usage.prompt_tokens": "7", "gen_ai.usage.completion_tokens": "11", "gen_ai.request.id": "cmpl-1"}},
        {"dialect": "vllm", "role": "engine", "operation": "chat", "model": "llama", "ttft_s": 0.2, "duration_s": 1.2, "queue_s": 0.05, "prefill_s": None, "decode_s": 1.0, "input_tokens": 7, "output_tokens": 11, "request_id": "cmpl-1", "tpot_s": 0.1},
    ),
    "OpenInference": (
        {"name": "ChatCompletion", "attributes": {"openinference.span.kind": "LLM", "llm.model_name": "gpt", "llm.provider": "openai", "llm.token_count.prompt": "3", "llm.token_count.completion": "4"}, "events": [(0.25, "First Token Stream Event")]},
        {"dialect": "openinference", "operation": "chat", "model": "gpt", "provider": "openai", "input_tokens": 3, "output_tokens": 4, "ttft_s": 0.25},
    ),
    "OpenLLMetry": (
        {"name": "openai.chat", "scope": "opentelemetry.instrumentation.openai.v1", "attributes": {"llm.request.type": "chat", "gen_ai.system": "OpenAI", "gen_ai.request.model": "gpt", "gen_ai.usage.prompt_tokens": "3", "gen_ai.usage.completion_tokens": "4", "llm.is_streaming": "True", "gen_ai.completion.0.finish_reason": "length", "traceloop.association.properties.user_id": "u9"}},
        {"dialect": "openllmetry", "operation": "chat", "model": "gpt", "stream": True, "finish_reason": "length", "user_id": "u9", "input_tokens": 3},
    ),
    "LiteLLM": (
        {"name": "litellm_request", "service": "litellm", "attributes": {"llm.request.type": "acompletion", "gen_ai.system": "anthropic", "gen_ai.request.model": "claude", "gen_ai.usage.input_tokens": "3", "gen_ai.usage.output_tokens": "4", "gen_ai.cost.total_cost": "0.01", "litellm.call_id": "l1"}},
        {"dialect": "litellm", "role": "gateway", "operation": "chat", "model": "claude", "cost_usd": 0.01, "request_id": "l1"},
    ),
    "LiteLLM, from its cache": (
        {"name": "litellm_request", "attributes": {"llm.request.type": "completion", "gen_ai.usage.input_tokens": "3", "gen_ai.cost.total_cost": "0.01", "litellm.cache_hit": "True"}},
        {"cost_usd": 0.0, "operation": "chat"},
    ),
    "our SDK": (
        {"scope": "monitor.sdk", "resource": {"monitor.node": "gpu-7", "host.name": "h", "monitor.emitter": "e"}, "attributes": {**CALL, "monitor.seq": "9", "monitor.cancelled": "true", "monitor.cohort.language": "de", "monitor.sample_weight": "20", "monitor.variant": "fp8", "monitor.simulated": "true"}},
        {"dialect": "monitor", "node": "gpu-7", "emitter": "e", "seq": 9, "cancelled": True, "cohorts": {"language": "de"}, "sample_weight": 20.0, "variant": "fp8", "simulated": True},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(EMITTERS))
def test_each_emitter(store_client: Client, name: str) -> None:
    span, wanted = EMITTERS[name]
    put(store_client, span)
    (row,) = facts(store_client)
    found = {key: row[key] for key in wanted}
    for key, value in wanted.items():
        assert found[key] == (pytest.approx(value) if isinstance(value, float) else value), key


@pytest.mark.parametrize(
    ("sent", "stored"),
    [("12", 12), ("12.0", 12), ("NaN", None), ("inf", None), ("-1", None), ("many", None), ("", None)],
)
def test_counts_are_numbers_or_unknown(store_client: Client, sent: str, stored: int | None) -> None:
    put(store_client, {"attributes": {**CALL, "gen_ai.usage.input_tokens": sent}})
    assert facts(store_client)[0]["input_tokens"] == stored


NO_CALLS: list[dict[str, Any]] = [
    {"attributes": {"http.request.method": "POST"}},
    {"attributes": {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": "5"}},
    {"attributes": {"gen_ai.operation.name": "execute_tool"}},
    {"attributes": {"openinference.span.kind": "CHAIN", "llm.token_count.prompt": "5"}},
    {
        "name": "raw_gen_ai_request",
        "attributes": {"gen_ai.system": "openai", "gen_ai.request.model": "m", "litellm.call_id": "x"},
    },
    {"name": "Received Proxy Server Request", "attributes": {"litellm.call_id": "x", "gen_ai.usage.input_tokens": "5"}},
    {"attributes": {**CALL, "logfire.span_type": "pending_span"}},
]


def test_what_is_no_model_call_is_no_row_and_what_is_sent_twice_counts_once(store_client: Client) -> None:
    put(store_client, *NO_CALLS)
    assert facts(store_client) == []
    put(store_client, {"attributes": CALL, "id": "same"})
    put(store_client, {"attributes": CALL, "id": "same"})
    assert len(facts(store_client)) == 1


ENGINE = {"name": "llm_request", "scope": "vllm.tracing.otel"}


def test_client_gateway_and_engine_are_one_call(store_client: Client) -> None:
    put(
        store_client,
        # direct child
        {"trace": "a", "id": "a1", "attributes": {**CALL, "monitor.node": "web"}},
        {**ENGINE, "trace": "a", "id": "a2", "parent": "a1", "at": 0.1, "seconds": 1.5, "attributes": {"gen_ai.latency.e2e": "1.5", "gen_ai.latency.time_in_queue": "0.3", "gen_ai.latency.time_to_first_token": "0.4"}, "resource": {"host.name": "gpu-1"}},
        # HTTP spans and a gateway in between, clocks half a second apart
        {"trace": "b", "id": "b1", "attributes": CALL},
        {"name": "litellm_request", "trace": "b", "id": "b2", "parent": "http", "at": -0.5, "attributes": {"llm.request.type": "chat"}},
        {**ENGINE, "trace": "b", "id": "b3", "parent": "http2", "at": 0.2, "seconds": 1, "attributes": {"gen_ai.latency.e2e": "1"}, "resource": {"host.name": "gpu-2"}},
        # two engine calls of an agent that reports none itself
        {**ENGINE, "trace": "c", "id": "c1", "parent": "agent", "attributes": {"gen_ai.latency.e2e": "1"}},
        {**ENGINE, "trace": "c", "id": "c2", "parent": "agent", "at": 3, "attributes": {"gen_ai.latency.e2e": "1"}},
        # a call of the client, and much later one of an engine that has nothing to do with it
        {"trace": "d", "id": "d1", "attributes": CALL},
        {**ENGINE, "trace": "d", "id": "d2", "parent": "other", "at": 60, "attributes": {"gen_ai.latency.e2e": "1"}},
    )  # fmt: skip
    source = calls_source(store_client, BEGIN_NS - 10**12, BEGIN_NS + 10**12)
    rows = {row["span_id"]: row for row in store_client.query(f"SELECT * FROM {source}").named_results()}
    assert sorted(rows) == ["a1", "b1", "c1", "c2", "d1", "d2"]
    assert (rows["a1"]["node"], rows["a1"]["queue_s"], rows["a1"]["ttft_s"], rows["a1"]["model"]) == (
        "gpu-1",
        0.3,
        0.4,
        "m",
    )
    assert rows["b1"]["node"] == "gpu-2"


def test_merging_changes_nothing_where_one_party_reports(store_client: Client) -> None:
    put(store_client, *({"trace": f"t{n % 7}", "id": f"s{n}", "at": n / 10, "attributes": CALL} for n in range(60)))
    window = (BEGIN_NS + 10**9, BEGIN_NS + 4 * 10**9)
    plain, merged = (
        sorted(store_client.query(f"SELECT span_id FROM {calls_sql(*window, merging=merging)}").result_rows)
        for merging in (NOTHING, EVERYTHING)
    )
    assert plain == merged
    assert len(plain) == 30


def counted(client: Client) -> list[str]:
    source = calls_source(client, BEGIN_NS - 10**12, BEGIN_NS + 10**12)
    return [span_id for (span_id,) in client.query(f"SELECT span_id FROM {source} ORDER BY span_id").result_rows]


def test_a_serving_app_and_who_calls_it_may_both_use_our_sdk(store_client: Client) -> None:
    ours = {"scope": "monitor.sdk", "attributes": CALL}
    put(
        store_client,
        {**ours, "trace": "a", "id": "a1", "seconds": 2},
        {
            **ours,
            "trace": "a",
            "id": "a2",
            "parent": "http",
            "kind": "Server",
            "at": 0.1,
            "seconds": 1,
            "resource": {"host.name": "gpu-2"},
        },
        {
            **ENGINE,
            "trace": "a",
            "id": "a3",
            "parent": "a2",
            "at": 0.2,
            "seconds": 0.5,
            "attributes": {"gen_ai.latency.e2e": "0.5"},
        },
        {**ours, "trace": "b", "id": "b1", "kind": "Server"},
    )
    assert {row["span_id"]: row["role"] for row in facts(store_client)} == {
        "a1": "client",
        "a2": "gateway",
        "a3": "engine",
        "b1": "gateway",
    }
    assert counted(store_client) == ["a1", "b1"]


def test_a_leaf_in_a_leaf_is_one_call_whatever_their_roles(store_client: Client) -> None:
    gateway = {"name": "litellm_request", "attributes": {"llm.request.type": "chat"}}
    put(
        store_client,
        # three libraries deep, and the engine is the child of the innermost
        {"trace": "a", "id": "a1", "scope": "chain", "attributes": CALL},
        {"trace": "a", "id": "a2", "parent": "a1", "scope": "openai", "attributes": CALL},
        {"trace": "a", "id": "a3", "parent": "a2", "scope": "http", "attributes": {**CALL, "gen_ai.usage.output_tokens": "5"}},
        {**ENGINE, "trace": "a", "id": "a4", "parent": "a3", "attributes": {"gen_ai.latency.e2e": "1", "gen_ai.latency.time_in_queue": "0.25"}},
        # a gateway whose own client is instrumented too
        {**gateway, "trace": "b", "id": "b1"},
        {"trace": "b", "id": "b2", "parent": "b1", "scope": "openai", "attributes": CALL},
    )  # fmt: skip
    assert counted(store_client) == ["a1", "b1"]
    source = calls_source(store_client, BEGIN_NS - 10**12, BEGIN_NS + 10**12)
    query = f"SELECT role, output_tokens, queue_s FROM {source} WHERE span_id = 'a1'"
    assert store_client.query(query).result_rows == [("client", 5, 0.25)]


def test_calls_that_are_no_parent_and_child_stay_apart(store_client: Client) -> None:
    agent = {"gen_ai.operation.name": "invoke_agent"}
    tool = {"gen_ai.operation.name": "execute_tool"}
    put(
        store_client,
        {"id": "agent", "attributes": agent},
        # at once and alike, below one agent, by two libraries
        {"id": "p1", "parent": "agent", "scope": "x", "attributes": {**CALL, "gen_ai.usage.input_tokens": "9"}},
        {"id": "p2", "parent": "agent", "scope": "y", "attributes": {**CALL, "gen_ai.usage.input_tokens": "9"}},
        # a tool that asks a model while the call that asked for it is open
        {"id": "q1", "parent": "agent", "at": 5, "seconds": 4, "attributes": CALL},
        {"id": "tool", "parent": "q1", "at": 6, "attributes": tool},
        {"id": "q2", "parent": "tool", "at": 6, "scope": "y", "attributes": CALL},
        # the same ids in another trace
        {"trace": "u", "id": "r1", "parent": "p1", "scope": "y", "attributes": CALL},
    )
    assert counted(store_client) == ["p1", "p2", "q1", "q2", "r1"]


ENDPOINT = {
    "name": "fastapi.endpoint", "scope": "fastapi", "service": "litellm", "status": "Error",
    "attributes": {"code.function.name": "litellm.proxy.proxy_server.chat_completion", "error.type": "ProxyException"},
}  # fmt: skip


def test_a_refusal_just_after_another_call_of_the_trace_is_a_call(store_client: Client) -> None:
    call = {"scope": "litellm", "service": "litellm", "attributes": {**CALL, "litellm.call_id": "c"}}
    key = {
        **ENDPOINT,
        "attributes": {"code.function.name": "litellm.proxy.key.generate", "error.type": "ProxyException"},
    }
    put(
        store_client,
        {**call, "id": "fine", "parent": "s1"},
        {**ENDPOINT, "id": "refused", "parent": "s2", "at": 2.1, "seconds": 0.1},
        {**ENDPOINT, "id": "endpoint", "parent": "s3", "at": 3, "seconds": 1},
        {**call, "id": "failed", "parent": "s3", "at": 3.2, "seconds": 0.5, "status": "Error"},
        # no model is asked here; and FastAPI's of others
        {**key, "id": "key", "at": 5},
        {**key, "id": "other", "at": 5, "attributes": {"code.function.name": "app.chat_completion", "error.type": "E"}},
        # FastAPI's span as LiteLLM marks it where OpenTelemetry's instrumentation makes it, and the call below
        {"name": "POST /v1/chat/completions", "trace": "m", "id": "m1", "at": 7, "status": "Error", "attributes": {"gen_ai.request.model": "m", "litellm.api_key.hash": "h", "error.type": "NotFoundError"}},
        {**call, "trace": "m", "id": "m2", "parent": "m1", "at": 7, "seconds": 1, "status": "Error"},
    )  # fmt: skip
    assert counted(store_client) == ["failed", "fine", "m1", "refused"]
