"""The dialect table: how emitters name things, and the SQL that turns any of them into one row of `inferences`.

`FIELDS` is the table that people read and change; `inferences_view()` renders it as the SELECT of a materialized view
over `otel_traces`. The view makes one pass over a span's attributes: each key becomes a number (which field, which
priority), values are sorted by it, and a field is the first value with its number. A `coalesce` over Map lookups for
each field took ten times as long. What only some emitters need (JSON documents, JSON-quoted values, numbered messages)
works on arrays that are empty for all others.

Nothing in the view may throw, whatever a span holds: one span would keep its whole segment out of the store.

After a change here, write the new view as the next migration: `python -m monitor.store.dialects > NEXT.sql`. A test
compares the newest such migration with this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from monitor import semconv
from monitor.store.flatten import SGLANG_SCOPE, literal, literals

# Canonical field -> attribute names, first wins. Span attributes come before resource attributes of the same name.
# `document/key` is a key of an attribute that holds a JSON object.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    # what it is
    "operation": (
        "gen_ai.operation.name", "ai.operationId", "openinference.span.kind", "langfuse.observation.type", "mlflow.spanType",
        "llm.request.type", "traceloop.span.kind",
    ),
    "provider": (
        "gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "ai.model.provider", "mlflow.llm.provider",
    ),
    "model": (
        "gen_ai.response.model", "llm.response.model_name", "ai.response.model", "litellm.provider.model", "triton.model_name",
        "gen_ai.request.model", "llm.request.model_name", "llm.model_name", "ai.model.id", "langfuse.observation.model.name",
        "mlflow.llm.model", "embedding.model_name",
        "llm.invocation_parameters/model", "model",  # in a failed call of OpenInference, of MLflow
        "monitor.model",
    ),
    "request_id": (
        "gen_ai.response.id", "gen_ai.request.id", "ai.response.id", "litellm.call_id", "rid", "triton.request_id",
    ),
    # sizes
    "input_tokens": (
        "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt", "ai.usage.inputTokens",
        "ai.usage.promptTokens", "mlflow.chat.tokenUsage/input_tokens",
        "langfuse.observation.usage_details/input", "langfuse.observation.usage_details/prompt_tokens",
        "langfuse.observation.usage_details/input_tokens",
        "ai.usage.tokens", "prompt_tokens",
    ),
    "output_tokens": (
        "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion", "ai.usage.outputTokens",
        "ai.usage.completionTokens", "mlflow.chat.tokenUsage/output_tokens",
        "langfuse.observation.usage_details/output", "langfuse.observation.usage_details/completion_tokens",
        "langfuse.observation.usage_details/output_tokens",
        "generated_tokens",
    ),
    "cached_tokens": (
        "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.cached_tokens",
        "llm.token_count.prompt_details.cache_read", "ai.usage.cachedInputTokens", "ai.usage.inputTokenDetails.cacheReadTokens",
        "mlflow.chat.tokenUsage/cache_read_input_tokens",
        "langfuse.observation.usage_details/input_cached_tokens", "langfuse.observation.usage_details/cache_read_input_tokens",
        "langfuse.observation.usage_details/input_cache_read",
        "langfuse.observation.usage_details/prompt_tokens_details/cached_tokens",
        "langfuse.observation.usage_details/input_tokens_details/cached_tokens",
        "gen_ai.usage.details.cache_read_tokens",
    ),
    "cache_write_tokens": (
        "gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens", "llm.token_count.prompt_details.cache_write",
        "ai.usage.inputTokenDetails.cacheWriteTokens", "mlflow.chat.tokenUsage/cache_creation_input_tokens",
        "langfuse.observation.usage_details/cache_creation_input_tokens",
        "langfuse.observation.usage_details/input_cache_creation",
        "gen_ai.usage.details.cache_write_tokens",
    ),
    "reasoning_tokens": (
        "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens",
        "llm.token_count.completion_details.reasoning", "ai.usage.reasoningTokens",
        "ai.usage.outputTokenDetails.reasoningTokens", "llm.usage.reasoning_tokens",
        "langfuse.observation.usage_details/output_reasoning_tokens", "langfuse.observation.usage_details/output_reasoning",
        "langfuse.observation.usage_details/completion_tokens_details/reasoning_tokens",
        "langfuse.observation.usage_details/output_tokens_details/reasoning_tokens",
        "gen_ai.usage.details.reasoning_tokens",
    ),
    # times in seconds, but for those in MILLISECONDS and in RUST_DURATIONS
    "ttft_s": (
        "gen_ai.response.time_to_first_chunk", "gen_ai.latency.time_to_first_token", "gen_ai.server.time_to_first_token",
        "gen_ai.client.operation.time_to_first_chunk", "gen_ai.client.inference.time_to_first_chunk",
        "ai.response.msToFirstChunk", "ai.stream.msToFirstChunk",
    ),
    "queue_s": ("gen_ai.latency.time_in_queue", "queue_time"),
    "prefill_s": ("gen_ai.latency.time_in_model_prefill",),
    "decode_s": ("gen_ai.latency.time_in_model_decode",),
    "duration_s": ("gen_ai.latency.e2e", "ai.response.msToFinish", "total_time"),
    "tpot_s": (
        "gen_ai.server.time_per_output_token", "gen_ai.client.operation.time_per_output_chunk", "time_per_token",
    ),
    "largest_gap_s": ("monitor.largest_gap",),
    # the moment of the first token (Langfuse), an ISO time, JSON-quoted
    "first_token_at": ("langfuse.observation.completion_start_time",),
    # how it ended
    "finish_reason": (
        "gen_ai.response.finish_reasons", "gen_ai.response.finish_reason", "llm.finish_reason", "ai.response.finishReason",
        "gen_ai.completion.0.finish_reason", "langfuse.observation.metadata.finish_reason",
    ),
    "error_type": ("error.type", "exception.type"),
    "stream": (
        "gen_ai.request.stream", "gen_ai.is_streaming", "llm.is_streaming", "litellm.request.streaming",
        "gen_ai.request.is_stream", "stream",
    ),
    # OpenInference: what was asked, as JSON, with what it says nowhere else
    "parameters": ("llm.invocation_parameters", "embedding.invocation_parameters"),
    "cancelled": ("monitor.cancelled",),
    # who
    "session_id": (
        "gen_ai.conversation.id", "langfuse.session.id", "session.id", "traceloop.association.properties.session_id",
        "mlflow.trace.session", "ai.telemetry.metadata.sessionId", "ai.settings.context.sessionId", "gen_ai.session.id",
    ),
    "user_id": (
        "user.id", "enduser.id", "langfuse.user.id", "litellm.end_user.id", "metadata.user_api_key_end_user_id",
        "litellm.metadata.user_api_key_end_user_id", "traceloop.association.properties.user_id", "mlflow.trace.user", "ai.telemetry.metadata.userId",
        "ai.settings.context.userId", "gen_ai.user", "llm.user", "gen_ai.request.user",
    ),
    # where
    "environment": ("deployment.environment.name", "deployment.environment", "langfuse.environment"),
    "node": ("monitor.node", "k8s.node.name", "host.name"),
    "region": ("cloud.region",),
    "deployment": ("monitor.deployment",),
    "pricing": ("monitor.pricing",),
    "gpu": ("monitor.gpu",),
    "variant": ("monitor.variant",),
    "release": ("service.version", "langfuse.release"),
    "experiment": ("monitor.experiment",),
    "arm": ("monitor.arm",),
    # text; present only if content is captured
    "prompt": (
        "gen_ai.input.messages", "gen_ai.prompt", "input.value", "ai.prompt.messages", "ai.prompt", "traceloop.entity.input",
        "langfuse.observation.input", "mlflow.spanInputs",
    ),
    "completion": (
        "gen_ai.output.messages", "gen_ai.completion", "output.value", "ai.response.text", "traceloop.entity.output",
        "langfuse.observation.output", "mlflow.spanOutputs",
    ),
    # text in numbered messages: a sign that it is there
    "numbered_prompt": ("gen_ai.prompt.0.content", "llm.input_messages.0.message.content"),
    "numbered_completion": ("gen_ai.completion.0.content", "llm.output_messages.0.message.content"),
    # accounting
    "cost_usd": (
        "gen_ai.usage.cost", "operation.cost", "litellm.cost.total", "gen_ai.cost.total_cost", "llm.cost.total",
        "langfuse.observation.cost_details/total", "mlflow.llm.cost/total_cost",
    ),
    "sample_weight": ("monitor.sample_weight",),
    "simulated": ("monitor.simulated",),
    "tokens_estimated": ("monitor.tokens_estimated",),
    "emitter": ("monitor.emitter",),
    "seq": ("monitor.seq",),
    "cache_hit": ("litellm.cache_hit",),
    "cache_key": ("hidden_params/cache_key",),  # LiteLLM 1 names it on a hit only
    # signs of emitters
    "openllmetry": ("llm.usage.total_tokens",),
    "span_type": ("logfire.span_type",),
    "log_duration_s": ("duration",),
    "level": ("langfuse.observation.level",),
    "vllm_module": ("vllm.instrumenting_module_name",),
    "sdk_name": ("telemetry.sdk.name",),
    "framework": ("gen_ai.framework",),
    "triton_parent": ("triton.trace_parent_id",),
    "function": ("code.function.name",),
}  # fmt: skip

# Vercel
MILLISECONDS: Final = ("ai.response.msToFirstChunk", "ai.stream.msToFirstChunk", "ai.response.msToFinish")
# TGI: 1.5s, 45.6ms, 789µs, 12ns; a span that has them all is TGI's
RUST_DURATIONS: Final = ("total_time", "queue_time", "time_per_token")

# Attributes that hold a JSON object some of whose keys are fields.
DOCUMENTS: Final = tuple(sorted({name.split("/")[0] for names in FIELDS.values() for name in names if "/" in name}))

# Objects within them that are looked into.
NESTED: Final = tuple(
    sorted({name.split("/")[1] for names in FIELDS.values() for name in names if name.count("/") == 2})
)

# A span with none of these keys is no model call; the test is cheap and comes first.
MARKERS: Final = (
    "gen_ai.operation.name", "gen_ai.system", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.latency.e2e",
    "gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens", "gen_ai.request.id", "openinference.span.kind",
    "llm.request.type", "litellm.call_id", "ai.operationId", "langfuse.observation.type", "mlflow.spanType",
    "triton.model_name", "time_per_token",
)  # fmt: skip
# Nor is it one, but for FastAPI's own of an endpoint: see LITELLM_ENDPOINTS.
ENDPOINT_SPAN: Final = ("fastapi", "fastapi.endpoint")

# `operation` as sent -> canonical operation, for leaf model calls. What is not here is no leaf (agents, tools, chains).
LEAF_OPERATIONS: Final[Mapping[str, str]] = {
    "chat": "chat", "text_completion": "text_completion", "generate_content": "generate_content", "embeddings": "embeddings",
    # OpenLLMetry and LiteLLM v1, `llm.request.type`; `completion` of LiteLLM is a chat, see `inferences_view`
    "completion": "text_completion", "acompletion": "chat", "atext_completion": "text_completion",
    "embedding": "embeddings", "aembedding": "embeddings", "responses": "chat", "aresponses": "chat",
    "anthropic_messages": "chat", "agenerate_content": "generate_content", "agenerate_content_stream": "generate_content",
    "generate_content_stream": "generate_content",
    # OpenInference and MLflow
    "LLM": "chat", "CHAT_MODEL": "chat", "EMBEDDING": "embeddings",
    # Langfuse; its `embedding` is above
    "generation": "chat",
    # Vercel: the inner spans, for the outer ones repeat their usage
    "ai.generateText.doGenerate": "chat", "ai.streamText.doStream": "chat", "ai.generateObject.doGenerate": "chat",
    "ai.streamObject.doStream": "chat", "ai.embed.doEmbed": "embeddings", "ai.embedMany.doEmbed": "embeddings",
}  # fmt: skip

# Spans that repeat what another span of the same emitter says.
NEVER_LEAF: Final = ("raw_gen_ai_request", "Received Proxy Server Request", "Failed Proxy Server Request")

# SGLang puts the request's id into the name, which the collector takes out again (another's may not); a prefill
# server's span is the first half of a call that the decode server's span covers.
SGLANG_ROOT: Final = r"^( |decode )?Req( [0-9a-f]{8})?$"

# A request that LiteLLM's proxy refuses itself has no span of LiteLLM's: FastAPI's own of the endpoint tells that it
# failed (here: which endpoints call a model), or LiteLLM adds model and error to that of FastAPI's instrumentation.
LITELLM_ENDPOINTS: Final[Mapping[str, str]] = {
    "litellm.proxy.proxy_server.chat_completion": "chat",
    "litellm.proxy.proxy_server.completion": "text_completion",
    "litellm.proxy.proxy_server.embeddings": "embeddings",
    "litellm.proxy.response_api_endpoints.endpoints.responses_api": "chat",
    "litellm.proxy.anthropic_endpoints.endpoints.anthropic_response": "chat",
    "litellm.proxy.google_endpoints.endpoints.google_generate_content": "generate_content",
    "litellm.proxy.google_endpoints.endpoints.google_stream_generate_content": "generate_content",
}

# Events that mark the first token.
FIRST_TOKEN_EVENTS: Final = ("First Token Stream Event", "mlflow.chunk.item.0", "ai.stream.firstChunk")
# OpenLLMetry writes an event for each chunk: the first is the first token. Of many events SDKs keep the last 128, and the
# first is not among them.
CHUNK_EVENTS: Final = ("llm.content.completion.chunk", "gen_ai.content.completion.chunk")
EVENTS_KEPT: Final = 128

PROVIDER_RENAMES: Final[Mapping[str, str]] = {
    "vertex_ai": "gcp.vertex_ai", "gemini": "gcp.gemini", "az.ai.inference": "azure.ai.inference",
    "az.ai.openai": "azure.ai.openai", "xai": "x_ai", "unknown": "",
}  # fmt: skip
# Vercel's provider names an interface of it, too: openai.chat.
PROVIDER_API: Final = r"[.](chat|responses|completion|embedding|messages|image|generative-ai)$"

# Fields that are numbers. What is NaN, infinite, negative or beyond reason is unknown, not 0.
NUMBERS: Final = (
    "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "ttft_s", "queue_s",
    "prefill_s", "decode_s", "duration_s", "log_duration_s", "tpot_s", "largest_gap_s", "cost_usd", "sample_weight",
)  # fmt: skip
# Of these, the times; they are below MOST_SECONDS.
SECONDS: Final = (
    "ttft_s", "queue_s", "prefill_s", "decode_s", "duration_s", "log_duration_s", "tpot_s", "largest_gap_s",
)  # fmt: skip
# Fields that the view looks at more than once.
TWICE: Final = (
    "operation", "model", "parameters", "stream", "error_type", "prompt", "completion", "numbered_prompt",
    "numbered_completion", "span_type", "vllm_module", "sdk_name", "openllmetry", "input_tokens", "output_tokens",
    "cached_tokens", "cache_write_tokens", "reasoning_tokens", "tpot_s", "cost_usd", "sample_weight", "function",
)  # fmt: skip
MOST: Final = 10**12
MOST_SECONDS: Final = 10**7
MOST_COST: Final = 10**9
# Of a list, also as JSON text, the first.
FIRST_WORD: Final = r"""[^\[\]\s"',][^\[\]"',]*"""
LONGEST_WORD: Final = 64


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One emitter's family: how to know it (SQL over the parsed row) and which party of the call it speaks for."""

    name: str
    role: str
    sign: str


# First match wins. `families` holds the first part of each key.
DIALECTS: Final = (
    Dialect(
        name="vllm",
        role="engine",
        sign="SpanName = 'llm_request' OR sent_vllm_module != '' OR startsWith(ScopeName, 'vllm.')",
    ),
    Dialect(name="sglang", role="engine", sign=f"ScopeName = '{SGLANG_SCOPE}'"),
    Dialect(name="tgi", role="engine", sign="is_tgi"),
    Dialect(name="triton", role="engine", sign="has(families, 'triton')"),
    Dialect(name="monitor", role="client", sign=f"ScopeName = {literal('monitor.sdk')}"),
    # What the proxy's endpoint says of a failed request: `calls` passes it over where a span of LiteLLM's tells more.
    Dialect(name="litellm-proxy", role="gateway", sign="startsWith(sent_function, 'litellm.proxy.')"),
    Dialect(name="litellm", role="gateway", sign="is_litellm"),
    Dialect(name="openinference", role="client", sign="has(families, 'openinference')"),
    Dialect(name="langfuse", role="client", sign="has(families, 'langfuse')"),
    Dialect(name="openlit", role="client", sign="sent_sdk_name = 'openlit'"),
    Dialect(name="vercel", role="client", sign="has(families, 'ai') OR ScopeName = 'gen_ai'"),
    Dialect(name="mlflow", role="client", sign="has(families, 'mlflow')"),
    Dialect(name="pydantic-ai", role="client", sign="ScopeName = 'pydantic-ai'"),
    Dialect(name="logfire", role="client", sign="has(families, 'logfire')"),
    Dialect(
        name="openllmetry",
        role="client",
        sign="has(families, 'traceloop') OR (startsWith(ScopeName, 'opentelemetry.instrumentation.') AND NOT endsWith(ScopeName, '_v2')) OR sent_openllmetry != ''",
    ),
    Dialect(name="otel", role="client", sign="1"),
)

INFERENCES_COLUMNS: Final = (
    "timestamp", "trace_id", "span_id", "parent_span_id", "role", "service", "environment", "node", "region", "deployment",
    "pricing", "gpu", "provider", "model", "variant", "release", "experiment", "arm", "operation", "stream", "input_tokens",
    "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "ttft_s", "queue_s", "prefill_s", "decode_s",
    "duration_s", "tpot_s", "largest_gap_s", "finish_reason", "error_type", "cancelled", "request_id", "session_id", "user_id",
    "cohorts", "prompt", "completion", "sample_weight", "cost_usd", "simulated", "tokens_estimated",
    "tokens_adjusted", "emitter", "seq", "dialect", "dialect_version", "scope",
)  # fmt: skip

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


def _codes_of(names: tuple[str, ...]) -> list[int]:
    return [code for name, code in zip(*_names_and_codes(), strict=True) if name in names]


def _names_of(fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for field in fields for name in FIELDS[field])


def _text(field: str) -> str:
    return f"sent_{field}" if field in TWICE else _place("values", field)


def _number(field: str) -> str:
    return f"sent_{field}" if field in TWICE else _place("numbers", field)


def _place(found: str, field: str) -> str:
    # Not a Map's element: of several with one key, ClickHouse 26.7 does not always take the first.
    return f"{found}[indexOf(fields, {_code(field) // _STEP})]"


def _micros(time: str) -> str:
    # A place in an array that is not there is 1970, which is 0.
    return f"toUnixTimestamp64Micro({time})"


def _seconds_between(begin: str, end: str) -> str:
    return f"if({begin} > 0 AND {end} >= {begin}, ({end} - {begin}) / 1e6, NULL)"


def _count(number: str) -> str:
    # A plain cast looks at what is below a NULL, too, and throws.
    return f"accurateCastOrNull(floor({number}), 'UInt64')"


def _flag(field: str) -> str:
    return f"lower({_text(field)}) IN ('true', '1')"


EMPTY: Final = "''"  # SQL


def _mapping(expression: str, mapping: Mapping[str, str], default: str) -> str:
    return f"transform({expression}, [{literals(mapping)}], [{literals(mapping.values())}], {default})"


def _content(field: str, event: str, event_key: str) -> str:
    """Text of a call: one attribute, else numbered messages one a line, else an attribute of an event."""
    prefix = f"^({'|'.join(name.partition('.0.')[0] for name in FIELDS[f'numbered_{field}'])})".replace(".", "[.]")
    numbered = f"if({_text(f'numbered_{field}')} != '', SpanAttributes, map())"
    return (
        f"multiIf({_text(field)} != '', {_text(field)}, {_text(f'numbered_{field}')} != '',"
        f" arrayStringConcat(mapValues(mapFilter((k, v) -> match(k, '{prefix}[.][0-9]+[.](message[.])?content$'), {numbered})), '\\n'),"
        f" Events.Attributes[indexOf(Events.Name, {literal(event)})][{literal(event_key)}])"
    )


def _steps() -> list[str]:
    """The view's SELECT lists from the innermost to the last but one; each sees what the one before it made."""
    names, codes = _names_and_codes()
    documented = "if(hasAny(families, ['langfuse', 'mlflow', 'litellm', 'openinference']), SpanAttributes, map())"
    pairs = "JSONExtractKeysAndValuesRaw(v), " + ", ".join(
        f"arrayMap(q -> (concat('{key}/', q.1), q.2), JSONExtractKeysAndValuesRaw(v, '{key}'))" for key in NESTED
    )
    unquoted = "if(startsWith(v, '\"') AND endsWith(v, '\"'), JSONExtractString(v), v)"
    amount, unit = (f"regexpExtract(v, '^([0-9]+(?:[.][0-9]+)?)(ns|µs|us|ms|s)$', {group})" for group in (1, 2))
    in_seconds = f"if({amount} = '', v, toString(toFloat64OrZero({amount}) * transform({unit}, ['ns', 'µs', 'us', 'ms'], [1e-9, 1e-6, 1e-6, 1e-3], 1.)))"
    twice = [f"{_place('numbers' if field in NUMBERS else 'values', field)} AS sent_{field}" for field in TWICE]
    in_ms, rust = _codes_of(MILLISECONDS), _codes_of(RUST_DURATIONS)
    most = f"multiIf(c IN {in_ms}, {1000 * MOST_SECONDS}, c IN {_codes_of(_names_of(SECONDS))}, {MOST_SECONDS}, {MOST})"
    signs = ", ".join(f"{dialect.sign}, {literal(dialect.name)}" for dialect in DIALECTS[:-1])
    return [
        """
    Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ScopeName, ScopeVersion, Duration, StatusCode,
    SpanAttributes, ResourceAttributes, `Events.Timestamp`, `Events.Name`, `Events.Attributes`,
    arrayMap(k -> substringIndex(k, '.', 1), mapKeys(SpanAttributes)) AS families""",
        f"""
    *,
    arrayFlatten(arrayMap((k, v) -> arrayMap(p -> (concat(k, '/', p.1), if(startsWith(p.2, '"'), JSONExtractString(p.2), p.2)), if(k IN ({literals(DOCUMENTS)}), arrayFilter(p -> p.2 != 'null', arrayConcat({pairs})), [])),
        mapKeys({documented}), mapValues({documented}))) AS parts""",
        f"""
    *,
    arrayConcat(mapValues(SpanAttributes), mapValues(ResourceAttributes), parts.2) AS all_values,
    arrayMap(k -> transform(k, [{literals(names)}], {codes}, 0), arrayConcat(mapKeys(SpanAttributes), mapKeys(ResourceAttributes), CAST(parts.1, 'Array(LowCardinality(String))'))) AS all_codes,
    length(SpanAttributes) AS own""",
        """
    *,
    arrayFilter((v, c) -> c > 0 AND v != '', all_values, all_codes) AS unsorted,
    arrayFilter((x, c, v) -> c > 0 AND v != '', arrayMap((c, i) -> 2 * c + (i > own), all_codes, arrayEnumerate(all_codes)), all_codes, all_values) AS ranks""",
        """
    *,
    arraySort((v, r) -> r, unsorted, ranks) AS as_sent,
    arrayMap(r -> intDiv(r, 2), arraySort(ranks)) AS found_codes""",
        f"""
    *,
    hasAll(found_codes, {rust}) AS is_tgi,
    arrayMap(c -> intDiv(c, {_STEP}), found_codes) AS fields,
    multiIf(
        has(families, 'mlflow'), arrayMap(v -> {unquoted}, if(has(families, 'mlflow'), as_sent, [])),
        is_tgi, arrayMap(v -> {in_seconds}, if(is_tgi, as_sent, [])),
        as_sent) AS values""",
        f"""
    Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ScopeName, ScopeVersion, Duration, StatusCode,
    SpanAttributes, `Events.Timestamp`, `Events.Name`, `Events.Attributes`, families, is_tgi, fields, values,
    arrayMap((c, x) -> if(x >= 0 AND x < {most} AND (is_tgi OR c NOT IN {rust}), x / if(c IN {in_ms}, 1000, 1), NULL), found_codes, arrayMap(v -> toFloat64OrNull(v), values)) AS numbers""",
        f"""
    Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ScopeName, ScopeVersion, Duration,
    SpanAttributes, `Events.Name`, `Events.Attributes`, families, is_tgi, fields, values, numbers,
    {", ".join(twice)},
    has(families, 'litellm') OR {_text("framework")} = 'litellm' OR SpanName = 'litellm_request' OR ServiceName = 'litellm' AS is_litellm,
    StatusCode IN ('Error', 'STATUS_CODE_ERROR') OR {_text("level")} = 'ERROR' AS failed,
    {_micros("Timestamp")} AS begin_us,
    toUnixTimestamp64Micro(Events.Timestamp[arrayFirstIndex(n -> n IN ({literals(FIRST_TOKEN_EVENTS)}) OR (n IN ({literals(CHUNK_EVENTS)}) AND length(Events.Name) < {EVENTS_KEPT}), Events.Name)]) AS first_event_us,
    toUnixTimestamp64Micro(parseDateTime64BestEffortOrZero(trimBoth({_text("first_token_at")}, '"'), 6, 'UTC')) AS first_said_us,
    {_micros("Events.Timestamp[indexOf(Events.Name, 'QUEUE_START')]")} AS queue_us,
    {_micros("Events.Timestamp[indexOf(Events.Name, 'COMPUTE_START')]")} AS compute_us,
    Events.Attributes[indexOf(Events.Name, 'exception')]['exception.type'] AS exception""",
        f"""
    *,
    lower(replaceRegexpOne({_text("provider")}, {literal(PROVIDER_API)}, '')) AS sent_vendor,
    multiIf({signs}, {literal(DIALECTS[-1].name)}) AS dialect,
    multiIf(
        SpanName IN ({literals(NEVER_LEAF)}) OR {_text("span_type")} = 'pending_span', '',
        ScopeName = 'gen_ai' AND {_text("operation")} = 'embeddings' AND isNull({_number("input_tokens")}) AND NOT failed, '',
        startsWith(ScopeName, 'logfire.') AND {_text("span_type")} = 'span' AND isNull({_number("input_tokens")}) AND NOT failed, '',
        {_text("operation")} = 'completion' AND is_litellm, 'chat',
        {_text("operation")} != '', {_mapping(_text("operation"), LEAF_OPERATIONS, "''")},
        SpanName = 'llm_request', 'chat',
        ScopeName = '{SGLANG_SCOPE}' AND match(SpanName, {literal(SGLANG_ROOT)}), 'chat',
        is_tgi, if(SpanName = 'chat_completions', 'chat', 'text_completion'),
        has(families, 'triton') AND {_text("triton_parent")} IN ('', '0'), 'generate_content',
        SpanName = 'litellm_request' OR (is_litellm AND isNotNull({_number("input_tokens")})), 'chat',
        SpanName = 'fastapi.endpoint' AND failed, {_mapping("sent_function", LITELLM_ENDPOINTS, "''")},
        is_litellm AND failed AND startsWith(SpanName, 'POST ') AND {_text("model")} != '', if(endsWith(SpanName, '/embeddings'), 'embeddings', 'chat'),
        '') AS operation,
    ifNull(ifNull({_number("cached_tokens")}, 0) + ifNull({_number("cache_write_tokens")}, 0) > {_number("input_tokens")}, false) AS cached_outside,
    ifNull({_number("reasoning_tokens")} > {_number("output_tokens")}, false) AS reasoning_outside,
    {_number("output_tokens")} + if(reasoning_outside, {_number("reasoning_tokens")}, 0) AS total_output,
    coalesce({_number("duration_s")}, if({_text("span_type")} = 'log', {_number("log_duration_s")}, NULL), Duration / 1e9) AS duration_s,
    coalesce(if({_text("sdk_name")} = 'openlit' AND {_text("stream")} = 'false', NULL, {_number("ttft_s")}), {_seconds_between("begin_us", "if(first_event_us >= begin_us, first_event_us, first_said_us)")}) AS ttft_s""",
    ]


def inferences_view() -> str:
    """The SELECT of the view from `otel_traces` to `inferences`.

    No lambda reads an array of values from outside: ClickHouse copies it for each element, and one may hold long texts.
    Every insert pays for the analysis, so: one sub-select a step (an alias that is used within its own SELECT is copied to
    each place), numbers read and bounded all at once, nothing written twice.
    """
    query = (
        f"FROM otel_traces\nWHERE arrayExists(k -> k IN ({literals(MARKERS)}), mapKeys(SpanAttributes))"
        f" OR (ScopeName, SpanName) = ({literals(ENDPOINT_SPAN)})"
    )
    for step in _steps():
        query = f"FROM\n(\nSELECT{step}\n{query}\n)"
    cohort = literal(semconv.COHORT_PREFIX)
    columns = {
        "timestamp": "Timestamp",
        "trace_id": "TraceId",
        "span_id": "SpanId",
        "parent_span_id": "ParentSpanId",
        "service": "ServiceName",
        # What our SDK reports of a serving app lies between those who call it and its engine.
        "role": (
            "if(dialect = 'monitor' AND SpanKind IN ('Server', 'SPAN_KIND_SERVER'), 'gateway',"
            f" {_mapping('dialect', {dialect.name: dialect.role for dialect in DIALECTS}, EMPTY)})"
        ),
        "provider": _mapping("sent_vendor", PROVIDER_RENAMES, "sent_vendor"),
        "input_tokens": _count(
            f"{_number('input_tokens')} + if(cached_outside,"
            f" ifNull({_number('cached_tokens')}, 0) + ifNull({_number('cache_write_tokens')}, 0), 0)"
        ),
        "output_tokens": _count("total_output"),
        "cached_tokens": _count(_number("cached_tokens")),
        "cache_write_tokens": _count(_number("cache_write_tokens")),
        "reasoning_tokens": _count(_number("reasoning_tokens")),
        "model": f"multiIf({_text('model')} != '' OR {_text('parameters')} = '', {_text('model')}, JSONExtractString({_text('parameters')}, 'model'))",
        "stream": f"multiIf({_text('stream')} != '', {_flag('stream')}, {_text('parameters')} != '' AND operation != 'embeddings', JSONExtractBool({_text('parameters')}, 'stream'), first_said_us > 0 OR first_event_us > 0 OR endsWith(SpanName, '.doStream') OR (is_tgi AND SpanName = 'generate_stream'), true, NULL)",
        "queue_s": f"coalesce({_number('queue_s')}, {_seconds_between('queue_us', 'compute_us')})",
        "prefill_s": _number("prefill_s"),
        "decode_s": _number("decode_s"),
        "tpot_s": (
            f"if(total_output >= 2, coalesce(if({_number('tpot_s')} > 0, {_number('tpot_s')}, NULL),"
            " if(duration_s >= ttft_s, (duration_s - ttft_s) / (floor(total_output) - 1), NULL)), NULL)"
        ),
        "largest_gap_s": _number("largest_gap_s"),
        "finish_reason": f"substringUTF8(extract({_text('finish_reason')}, {literal(FIRST_WORD)}), 1, {LONGEST_WORD})",
        "error_type": (
            f"multiIf({_text('error_type')} != '', {_text('error_type')},"
            " NOT failed, '', exception != '', exception, '_OTHER')"
        ),
        "cancelled": _flag("cancelled"),
        "cohorts": (
            f"mapApply((k, v) -> (substring(k, {len(semconv.COHORT_PREFIX) + 1}), v),"
            f" mapFilter((k, v) -> startsWith(k, {cohort}), SpanAttributes))"
        ),
        "prompt": _content("prompt", "gen_ai.content.prompt", "gen_ai.prompt"),
        "completion": _content("completion", "gen_ai.content.completion", "gen_ai.completion"),
        "sample_weight": f"if({_number('sample_weight')} >= 1 AND {_number('sample_weight')} < 1e9, {_number('sample_weight')}, 1)",
        "cost_usd": f"multiIf({_flag('cache_hit')} OR {_text('cache_key')} != '', 0, {_number('cost_usd')} > 0 AND {_number('cost_usd')} < {MOST_COST}, {_number('cost_usd')}, NULL)",
        "simulated": _flag("simulated"),
        "tokens_estimated": _flag("tokens_estimated"),
        "tokens_adjusted": "cached_outside OR reasoning_outside",
        "seq": f"toUInt64OrZero({_text('seq')})",
        "dialect_version": "ScopeVersion",
        "scope": "ScopeName",
    }
    made = {"operation", "ttft_s", "duration_s", "dialect"}
    rest = {name: _text(name) for name in INFERENCES_COLUMNS if name not in made and name not in columns}
    columns |= rest
    listed = ",\n    ".join(name if name in made else f"{columns[name]} AS {name}" for name in INFERENCES_COLUMNS)
    return f"SELECT\n    {listed}\n{query}\nWHERE operation != ''"


def migration() -> str:
    """The text of a migration that makes, or changes to, the present dialect table."""
    select = inferences_view()
    return (
        "-- Generated from monitor/store/dialects.py by `python -m monitor.store.dialects`; do not edit.\n"
        "ALTER TABLE inferences ADD COLUMN IF NOT EXISTS tokens_adjusted Bool AFTER tokens_estimated;\n"
        "-- The instrumentation's: of several in one service, one may wrap another.\n"
        "ALTER TABLE inferences ADD COLUMN IF NOT EXISTS scope LowCardinality(String) AFTER dialect_version;\n\n"
        "CREATE MATERIALIZED VIEW IF NOT EXISTS inferences_mv TO inferences AS\n"
        f"{select};\n\n"
        "ALTER TABLE inferences_mv MODIFY QUERY\n"
        f"{select};\n"
    )


if __name__ == "__main__":
    print(migration(), end="")
