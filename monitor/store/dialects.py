"""The dialect table: how emitters name things, and the SQL that turns any of them into one row of `inferences`.

`FIELDS` is the table that people read and change; `inferences_view()` renders it as the SELECT of a materialized view
over `otel_traces`. The view makes one pass over a span's attributes: each key becomes a number (which field, which
priority), values are sorted by it, and a field is the first value with its number. A `coalesce` over Map lookups for
each field took ten times as long.

After a change here, write the new view as the next migration: `python -m monitor.store.dialects > NEXT.sql`. A test
compares the newest such migration with this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from monitor import semconv
from monitor.store.flatten import literal, literals

# Canonical field -> attribute names, first wins. Span attributes come before resource attributes of the same name.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    # what it is
    "operation": ("gen_ai.operation.name", "openinference.span.kind", "llm.request.type", "traceloop.span.kind"),
    "provider": ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system"),
    "model": (
        "gen_ai.response.model", "llm.response.model_name", "litellm.provider.model",
        "gen_ai.request.model", "llm.request.model_name", "llm.model_name", "embedding.model_name",
        "monitor.model",
    ),
    "request_id": ("gen_ai.response.id", "gen_ai.request.id", "litellm.call_id"),
    # sizes
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"),
    "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion"),
    "cached_tokens": (
        "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.cached_tokens",
        "llm.token_count.prompt_details.cache_read", "gen_ai.usage.details.cache_read_tokens",
    ),
    "cache_write_tokens": (
        "gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens", "llm.token_count.prompt_details.cache_write",
    ),
    "reasoning_tokens": (
        "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens",
        "llm.token_count.completion_details.reasoning", "llm.usage.reasoning_tokens",
        "gen_ai.usage.details.reasoning_tokens",
    ),
    # times, all in seconds
    "ttft_s": (
        "gen_ai.response.time_to_first_chunk", "gen_ai.latency.time_to_first_token", "gen_ai.server.time_to_first_token",
        "gen_ai.client.operation.time_to_first_chunk", "gen_ai.client.inference.time_to_first_chunk",
    ),
    "queue_s": ("gen_ai.latency.time_in_queue",),
    "prefill_s": ("gen_ai.latency.time_in_model_prefill",),
    "decode_s": ("gen_ai.latency.time_in_model_decode",),
    "duration_s": ("gen_ai.latency.e2e",),
    "tpot_s": ("gen_ai.server.time_per_output_token",),
    "largest_gap_s": ("monitor.largest_gap",),
    # how it ended
    "finish_reason": (
        "gen_ai.response.finish_reasons", "gen_ai.response.finish_reason", "llm.finish_reason",
        "gen_ai.completion.0.finish_reason",
    ),
    "error_type": ("error.type", "exception.type"),
    "stream": ("gen_ai.request.stream", "gen_ai.is_streaming", "llm.is_streaming", "litellm.request.streaming"),
    "cancelled": ("monitor.cancelled",),
    # who
    "session_id": (
        "gen_ai.conversation.id", "session.id", "langfuse.session.id",
        "traceloop.association.properties.session_id", "gen_ai.session.id",
    ),
    "user_id": (
        "user.id", "enduser.id", "litellm.end_user.id", "metadata.user_api_key_end_user_id",
        "traceloop.association.properties.user_id", "gen_ai.user", "llm.user", "gen_ai.request.user",
    ),
    # where
    "environment": ("deployment.environment.name", "deployment.environment"),
    "node": ("monitor.node", "k8s.node.name", "host.name"),
    "region": ("cloud.region",),
    "deployment": ("monitor.deployment",),
    "pricing": ("monitor.pricing",),
    "gpu": ("monitor.gpu",),
    "variant": ("monitor.variant",),
    "release": ("service.version",),
    "experiment": ("monitor.experiment",),
    "arm": ("monitor.arm",),
    # text; present only if content is captured
    "prompt": ("gen_ai.input.messages", "gen_ai.prompt", "input.value", "traceloop.entity.input"),
    "completion": ("gen_ai.output.messages", "gen_ai.completion", "output.value", "traceloop.entity.output"),
    # accounting
    "cost_usd": ("gen_ai.usage.cost", "operation.cost", "litellm.cost.total", "gen_ai.cost.total_cost", "llm.cost.total"),
    "sample_weight": ("monitor.sample_weight",),
    "simulated": ("monitor.simulated",),
    "tokens_estimated": ("monitor.tokens_estimated",),
    "emitter": ("monitor.emitter",),
    "seq": ("monitor.seq",),
    "cache_hit": ("litellm.cache_hit",),
    "span_type": ("logfire.span_type",),
    "vllm_module": ("vllm.instrumenting_module_name",),
}  # fmt: skip

# A span with none of these keys is no model call; the test is cheap and comes first.
MARKERS: Final = (
    "gen_ai.operation.name", "gen_ai.system", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.latency.e2e",
    "gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens", "openinference.span.kind", "llm.request.type",
    "litellm.call_id",
)  # fmt: skip

# `operation` as sent -> canonical operation, for leaf model calls. What is not here is no leaf (agents, tools, chains).
LEAF_OPERATIONS: Final[Mapping[str, str]] = {
    "chat": "chat", "text_completion": "text_completion", "generate_content": "generate_content", "embeddings": "embeddings",
    # OpenLLMetry and LiteLLM v1, `llm.request.type`; OpenInference, `openinference.span.kind`
    "completion": "text_completion", "acompletion": "chat", "atext_completion": "text_completion",
    "embedding": "embeddings", "aembedding": "embeddings", "responses": "chat", "aresponses": "chat",
    "LLM": "chat", "EMBEDDING": "embeddings",
}  # fmt: skip

# Spans that repeat what another span of the same emitter says.
NEVER_LEAF: Final = ("raw_gen_ai_request", "Received Proxy Server Request", "Failed Proxy Server Request")

PROVIDER_RENAMES: Final[Mapping[str, str]] = {
    "vertex_ai": "gcp.vertex_ai", "gemini": "gcp.gemini", "az.ai.inference": "azure.ai.inference",
    "az.ai.openai": "azure.ai.openai", "xai": "x_ai", "Unknown": "",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One emitter's family: how to know it (SQL over the parsed row) and which party of the call it speaks for."""

    name: str
    role: str
    sign: str


# First match wins.
DIALECTS: Final = (
    Dialect(name="vllm", role="engine", sign="SpanName = 'llm_request' OR vllm_module != ''"),
    Dialect(
        name="litellm",
        role="gateway",
        sign="has_litellm OR SpanName = 'litellm_request' OR ServiceName = 'litellm'",
    ),
    Dialect(name="openinference", role="client", sign="has_openinference"),
    Dialect(name="openllmetry", role="client", sign="has_openllmetry"),
    Dialect(name="monitor", role="client", sign=f"ScopeName = {literal('monitor.sdk')}"),
    Dialect(name="otel", role="client", sign="1"),
)

_STEP: Final = 16  # room for that many names a field


def _code(field: str) -> int:
    return (list(FIELDS).index(field) + 1) * _STEP


def _names_and_codes() -> tuple[list[str], list[int]]:
    names, codes = [], []
    for field, candidates in FIELDS.items():
        assert len(candidates) < _STEP, f"{field}: more names than a step of {_STEP} holds"
        for priority, name in enumerate(candidates):
            assert name not in names, f"{name} stands for two fields"
            names.append(name)
            codes.append(_code(field) + priority)
    return names, codes


def _text(field: str) -> str:
    return f"values[indexOf(fields, {_code(field) // _STEP})]"


def _count(field: str) -> str:
    # Some emitters send integers as text or doubles. NaN, infinite and negative counts are unknown, not 0; and a
    # conversion that throws would keep the whole segment out of the store.
    return f"accurateCastOrNull(floor(toFloat64OrNull({_text(field)})), 'UInt64')"


def _seconds(field: str) -> str:
    # vLLM sends hugely negative stage times when no token came: unknown.
    number = f"toFloat64OrNull({_text(field)})"
    return f"if({number} >= 0 AND {number} < 1e7, {number}, NULL)"


def _flag(field: str) -> str:
    return f"lower({_text(field)}) IN ('true', '1')"


def _mapping(expression: str, mapping: Mapping[str, str], default: str) -> str:
    return f"transform({expression}, [{literals(mapping)}], [{literals(mapping.values())}], {default})"


def _choice(column: str) -> str:
    arms = ", ".join(f"{dialect.sign}, {literal(getattr(dialect, column))}" for dialect in DIALECTS[:-1])
    return f"multiIf({arms}, {literal(getattr(DIALECTS[-1], column))})"


def inferences_view() -> str:
    """The SELECT of the view from `otel_traces` to `inferences`."""
    names, codes = _names_and_codes()
    cohort = literal(semconv.COHORT_PREFIX)
    indexed = {
        "prompt": r"^(gen_ai\.prompt|llm\.input_messages)\.\d+\.(message\.)?content$",
        "completion": r"^(gen_ai\.completion|llm\.output_messages)\.\d+\.(message\.)?content$",
    }
    prompt, completion = (
        f"if(notEmpty({_text(field)}), {_text(field)}, arrayStringConcat(mapValues(mapFilter("
        f"(k, v) -> match(k, {literal(pattern)}), SpanAttributes)), '\\n'))"
        for field, pattern in indexed.items()
    )
    plain = "\n    ".join(
        f"{_text(field)} AS {field},"
        for field in (
            "environment", "node", "region", "deployment", "pricing", "gpu", "variant", "release", "experiment", "arm",
            "request_id", "session_id", "user_id", "emitter", "model",
        )
    )  # fmt: skip
    return f"""
SELECT
    timestamp, trace_id, span_id, parent_span_id, role, service,
    environment, node, region, deployment, pricing, gpu, provider, model, variant, release, experiment, arm,
    operation, stream,
    if(cached_tokens > tokens_in, tokens_in + cached_tokens, tokens_in) AS input_tokens,
    cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
    ttft_s, queue_s, prefill_s, decode_s, duration_s,
    if(output_tokens >= 2, coalesce(tpot_given, if(duration_s >= ttft_s, (duration_s - ttft_s) / (output_tokens - 1), NULL)), NULL) AS tpot_s,
    largest_gap_s, finish_reason, error_type, cancelled, request_id, session_id, user_id, cohorts, prompt, completion,
    sample_weight, cost_usd, simulated, tokens_estimated, emitter, seq, dialect, dialect_version
FROM
(
SELECT
    Timestamp AS timestamp,
    TraceId AS trace_id,
    SpanId AS span_id,
    ParentSpanId AS parent_span_id,
    ServiceName AS service,
    {plain}
    {_mapping(_text("provider"), PROVIDER_RENAMES, _text("provider"))} AS provider,
    {_choice("role")} AS role,
    {_choice("name")} AS dialect,
    ScopeVersion AS dialect_version,
    canonical AS operation,
    if({_text("stream")} = '', NULL, {_flag("stream")}) AS stream,
    {_count("input_tokens")} AS tokens_in,
    {_count("cached_tokens")} AS cached_tokens,
    {_count("cache_write_tokens")} AS cache_write_tokens,
    {_count("output_tokens")} AS output_tokens,
    {_count("reasoning_tokens")} AS reasoning_tokens,
    coalesce({_seconds("ttft_s")}, first_token_event_s) AS ttft_s,
    {_seconds("queue_s")} AS queue_s,
    {_seconds("prefill_s")} AS prefill_s,
    {_seconds("decode_s")} AS decode_s,
    coalesce({_seconds("duration_s")}, Duration / 1e9) AS duration_s,
    {_seconds("tpot_s")} AS tpot_given,
    {_seconds("largest_gap_s")} AS largest_gap_s,
    trimBoth(splitByChar(',', replaceRegexpAll({_text("finish_reason")}, '[\\\\[\\\\]"]', ''))[1]) AS finish_reason,
    multiIf({_text("error_type")} != '', {_text("error_type")}, StatusCode IN ('Error', 'STATUS_CODE_ERROR'), '_OTHER', '') AS error_type,
    {_flag("cancelled")} AS cancelled,
    mapApply((k, v) -> (substring(k, {len(semconv.COHORT_PREFIX) + 1}), v), mapFilter((k, v) -> startsWith(k, {cohort}), SpanAttributes)) AS cohorts,
    {prompt} AS prompt,
    {completion} AS completion,
    if(toFloat64OrZero({_text("sample_weight")}) >= 1 AND toFloat64OrZero({_text("sample_weight")}) < 1e9, toFloat64OrZero({_text("sample_weight")}), 1) AS sample_weight,
    if({_flag("cache_hit")}, 0, toFloat64OrNull({_text("cost_usd")})) AS cost_usd,
    {_flag("simulated")} AS simulated,
    {_flag("tokens_estimated")} AS tokens_estimated,
    toUInt64OrZero({_text("seq")}) AS seq
FROM
(
SELECT
    *,
    {_text("vllm_module")} AS vllm_module,
    {_text("operation")} AS sent_operation,
    multiIf(
        SpanName IN ({literals(NEVER_LEAF)}) OR {_text("span_type")} = 'pending_span', '',
        sent_operation != '', {_mapping("sent_operation", LEAF_OPERATIONS, "''")},
        SpanName = 'llm_request', 'chat',
        SpanName = 'litellm_request' OR (has_litellm AND notEmpty({_text("input_tokens")})), 'chat',
        '') AS canonical
FROM
(
SELECT
    Timestamp, TraceId, SpanId, ParentSpanId, SpanName, ServiceName, ScopeName, ScopeVersion, Duration, StatusCode, SpanAttributes,
    arrayExists(k -> startsWith(k, 'litellm.') OR k = 'gen_ai.framework', mapKeys(SpanAttributes)) AS has_litellm,
    arrayExists(k -> k = 'openinference.span.kind', mapKeys(SpanAttributes)) AS has_openinference,
    arrayExists(k -> startsWith(k, 'traceloop.') OR k IN ('llm.request.type', 'llm.is_streaming', 'llm.usage.total_tokens', 'gen_ai.is_streaming'), mapKeys(SpanAttributes)) AS has_openllmetry,
    if(has(Events.Name, 'First Token Stream Event') AND Events.Timestamp[indexOf(Events.Name, 'First Token Stream Event')] >= Timestamp,
       (toUnixTimestamp64Nano(Events.Timestamp[indexOf(Events.Name, 'First Token Stream Event')]) - toUnixTimestamp64Nano(Timestamp)) / 1e9, NULL) AS first_token_event_s,
    arrayConcat(mapValues(SpanAttributes), mapValues(ResourceAttributes)) AS all_values,
    arrayMap(k -> transform(k, [{literals(names)}], {codes}, 0), arrayConcat(mapKeys(SpanAttributes), mapKeys(ResourceAttributes))) AS all_codes,
    arraySort(i -> all_codes[i], arrayFilter((i, c, v) -> c > 0 AND v != '', arrayEnumerate(all_codes), all_codes, all_values)) AS found,
    arrayMap(i -> intDiv(all_codes[i], {_STEP}), found) AS fields,
    arrayMap(i -> all_values[i], found) AS values
FROM otel_traces
WHERE arrayExists(k -> k IN ({literals(MARKERS)}), mapKeys(SpanAttributes))
)
WHERE canonical != ''
)
)""".strip()


INFERENCES_COLUMNS: Final = (
    "timestamp", "trace_id", "span_id", "parent_span_id", "role", "service", "environment", "node", "region", "deployment",
    "pricing", "gpu", "provider", "model", "variant", "release", "experiment", "arm", "operation", "stream", "input_tokens",
    "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "ttft_s", "queue_s", "prefill_s", "decode_s",
    "duration_s", "tpot_s", "largest_gap_s", "finish_reason", "error_type", "cancelled", "request_id", "session_id", "user_id",
    "cohorts", "prompt", "completion", "sample_weight", "cost_usd", "simulated", "tokens_estimated", "emitter", "seq",
    "dialect", "dialect_version",
)  # fmt: skip


def migration() -> str:
    """The text of a migration that makes, or changes to, the present dialect table."""
    select = inferences_view()
    return (
        "-- Generated from monitor/store/dialects.py by `python -m monitor.store.dialects`; do not edit.\n"
        "CREATE MATERIALIZED VIEW IF NOT EXISTS inferences_mv TO inferences AS\n"
        f"{select};\n\n"
        "ALTER TABLE inferences_mv MODIFY QUERY\n"
        f"{select};\n"
    )


if __name__ == "__main__":
    print(migration(), end="")
