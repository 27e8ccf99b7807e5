-- Generated from monitor/store/dialects.py by `python -m monitor.store.dialects`; do not edit.
ALTER TABLE inferences ADD COLUMN IF NOT EXISTS tokens_adjusted Bool AFTER tokens_estimated;
-- The instrumentation's: of several in one service, one may wrap another.
ALTER TABLE inferences ADD COLUMN IF NOT EXISTS scope LowCardinality(String) AFTER dialect_version;

CREATE MATERIALIZED VIEW IF NOT EXISTS inferences_mv TO inferences AS
SELECT
    Timestamp AS timestamp,
    TraceId AS trace_id,
    SpanId AS span_id,
    ParentSpanId AS parent_span_id,
    if(dialect = 'monitor' AND SpanKind IN ('Server', 'SPAN_KIND_SERVER'), 'gateway', transform(dialect, ['vllm', 'sglang', 'tgi', 'triton', 'monitor', 'litellm-proxy', 'litellm', 'openinference', 'langfuse', 'openlit', 'vercel', 'mlflow', 'pydantic-ai', 'logfire', 'openllmetry', 'otel'], ['engine', 'engine', 'engine', 'engine', 'client', 'gateway', 'gateway', 'client', 'client', 'client', 'client', 'client', 'client', 'client', 'client', 'client'], '')) AS role,
    ServiceName AS service,
    values[indexOf(fields, 25)] AS environment,
    values[indexOf(fields, 26)] AS node,
    values[indexOf(fields, 27)] AS region,
    values[indexOf(fields, 28)] AS deployment,
    values[indexOf(fields, 29)] AS pricing,
    values[indexOf(fields, 30)] AS gpu,
    transform(sent_vendor, ['vertex_ai', 'gemini', 'az.ai.inference', 'az.ai.openai', 'xai', 'unknown'], ['gcp.vertex_ai', 'gcp.gemini', 'azure.ai.inference', 'azure.ai.openai', 'x_ai', ''], sent_vendor) AS provider,
    multiIf(sent_model != '' OR sent_parameters = '', sent_model, JSONExtractString(sent_parameters, 'model')) AS model,
    values[indexOf(fields, 31)] AS variant,
    values[indexOf(fields, 32)] AS release,
    values[indexOf(fields, 33)] AS experiment,
    values[indexOf(fields, 34)] AS arm,
    operation,
    multiIf(sent_stream != '', lower(sent_stream) IN ('true', '1'), sent_parameters != '' AND operation != 'embeddings', JSONExtractBool(sent_parameters, 'stream'), first_said_us > 0 OR first_event_us > 0 OR endsWith(SpanName, '.doStream') OR (is_tgi AND SpanName = 'generate_stream'), true, NULL) AS stream,
    accurateCastOrNull(floor(sent_input_tokens + if(cached_outside, ifNull(sent_cached_tokens, 0) + ifNull(sent_cache_write_tokens, 0), 0)), 'UInt64') AS input_tokens,
    accurateCastOrNull(floor(sent_cached_tokens), 'UInt64') AS cached_tokens,
    accurateCastOrNull(floor(sent_cache_write_tokens), 'UInt64') AS cache_write_tokens,
    accurateCastOrNull(floor(total_output), 'UInt64') AS output_tokens,
    accurateCastOrNull(floor(sent_reasoning_tokens), 'UInt64') AS reasoning_tokens,
    ttft_s,
    coalesce(numbers[indexOf(fields, 11)], if(queue_us > 0 AND compute_us >= queue_us, (compute_us - queue_us) / 1e6, NULL)) AS queue_s,
    numbers[indexOf(fields, 12)] AS prefill_s,
    numbers[indexOf(fields, 13)] AS decode_s,
    duration_s,
    if(total_output >= 2, coalesce(if(sent_tpot_s > 0, sent_tpot_s, NULL), if(duration_s >= ttft_s, (duration_s - ttft_s) / (floor(total_output) - 1), NULL)), NULL) AS tpot_s,
    numbers[indexOf(fields, 16)] AS largest_gap_s,
    substringUTF8(extract(values[indexOf(fields, 18)], '[^\\[\\]\\s"\',][^\\[\\]"\',]*'), 1, 64) AS finish_reason,
    multiIf(sent_error_type != '', sent_error_type, NOT failed, '', exception != '', exception, '_OTHER') AS error_type,
    lower(values[indexOf(fields, 22)]) IN ('true', '1') AS cancelled,
    values[indexOf(fields, 4)] AS request_id,
    values[indexOf(fields, 23)] AS session_id,
    values[indexOf(fields, 24)] AS user_id,
    mapApply((k, v) -> (substring(k, 16), v), mapFilter((k, v) -> startsWith(k, 'monitor.cohort.'), SpanAttributes)) AS cohorts,
    multiIf(sent_prompt != '', sent_prompt, sent_numbered_prompt != '', arrayStringConcat(mapValues(mapFilter((k, v) -> match(k, '^(gen_ai[.]prompt|llm[.]input_messages)[.][0-9]+[.](message[.])?content$'), if(sent_numbered_prompt != '', SpanAttributes, map()))), '\n'), Events.Attributes[indexOf(Events.Name, 'gen_ai.content.prompt')]['gen_ai.prompt']) AS prompt,
    multiIf(sent_completion != '', sent_completion, sent_numbered_completion != '', arrayStringConcat(mapValues(mapFilter((k, v) -> match(k, '^(gen_ai[.]completion|llm[.]output_messages)[.][0-9]+[.](message[.])?content$'), if(sent_numbered_completion != '', SpanAttributes, map()))), '\n'), Events.Attributes[indexOf(Events.Name, 'gen_ai.content.completion')]['gen_ai.completion']) AS completion,
    if(sent_sample_weight >= 1 AND sent_sample_weight < 1e9, sent_sample_weight, 1) AS sample_weight,
    multiIf(lower(values[indexOf(fields, 45)]) IN ('true', '1') OR values[indexOf(fields, 46)] != '', 0, sent_cost_usd > 0 AND sent_cost_usd < 1000000000, sent_cost_usd, NULL) AS cost_usd,
    lower(values[indexOf(fields, 41)]) IN ('true', '1') AS simulated,
    lower(values[indexOf(fields, 42)]) IN ('true', '1') AS tokens_estimated,
    cached_outside OR reasoning_outside AS tokens_adjusted,
    values[indexOf(fields, 43)] AS emitter,
    toUInt64OrZero(values[indexOf(fields, 44)]) AS seq,
    dialect,
    ScopeVersion AS dialect_version,
    ScopeName AS scope
FROM
(
SELECT
    *,
    lower(replaceRegexpOne(values[indexOf(fields, 2)], '[.](chat|responses|completion|embedding|messages|image|generative-ai)$', '')) AS sent_vendor,
    multiIf(SpanName = 'llm_request' OR sent_vllm_module != '' OR startsWith(ScopeName, 'vllm.'), 'vllm', ScopeName = 'sglang server', 'sglang', is_tgi, 'tgi', has(families, 'triton'), 'triton', ScopeName = 'monitor.sdk', 'monitor', startsWith(sent_function, 'litellm.proxy.'), 'litellm-proxy', is_litellm, 'litellm', has(families, 'openinference'), 'openinference', has(families, 'langfuse'), 'langfuse', sent_sdk_name = 'openlit', 'openlit', has(families, 'ai') OR ScopeName = 'gen_ai', 'vercel', has(families, 'mlflow'), 'mlflow', ScopeName = 'pydantic-ai', 'pydantic-ai', has(families, 'logfire'), 'logfire', has(families, 'traceloop') OR (startsWith(ScopeName, 'opentelemetry.instrumentation.') AND NOT endsWith(ScopeName, '_v2')) OR sent_openllmetry != '', 'openllmetry', 'otel') AS dialect,
    multiIf(
        SpanName IN ('raw_gen_ai_request', 'Received Proxy Server Request', 'Failed Proxy Server Request') OR sent_span_type = 'pending_span', '',
        ScopeName = 'gen_ai' AND sent_operation = 'embeddings' AND isNull(sent_input_tokens) AND NOT failed, '',
        startsWith(ScopeName, 'logfire.') AND sent_span_type = 'span' AND isNull(sent_input_tokens) AND NOT failed, '',
        sent_operation = 'completion' AND is_litellm, 'chat',
        sent_operation != '', transform(sent_operation, ['chat', 'text_completion', 'generate_content', 'embeddings', 'completion', 'acompletion', 'atext_completion', 'embedding', 'aembedding', 'responses', 'aresponses', 'anthropic_messages', 'agenerate_content', 'agenerate_content_stream', 'generate_content_stream', 'LLM', 'CHAT_MODEL', 'EMBEDDING', 'generation', 'ai.generateText.doGenerate', 'ai.streamText.doStream', 'ai.generateObject.doGenerate', 'ai.streamObject.doStream', 'ai.embed.doEmbed', 'ai.embedMany.doEmbed'], ['chat', 'text_completion', 'generate_content', 'embeddings', 'text_completion', 'chat', 'text_completion', 'embeddings', 'embeddings', 'chat', 'chat', 'chat', 'generate_content', 'generate_content', 'generate_content', 'chat', 'chat', 'embeddings', 'chat', 'chat', 'chat', 'chat', 'chat', 'embeddings', 'embeddings'], ''),
        SpanName = 'llm_request', 'chat',
        ScopeName = 'sglang server' AND match(SpanName, '^( |decode )?Req( [0-9a-f]{8})?$'), 'chat',
        is_tgi, if(SpanName = 'chat_completions', 'chat', 'text_completion'),
        has(families, 'triton') AND values[indexOf(fields, 54)] IN ('', '0'), 'generate_content',
        SpanName = 'litellm_request' OR (is_litellm AND isNotNull(sent_input_tokens)), 'chat',
        SpanName = 'fastapi.endpoint' AND failed, transform(sent_function, ['litellm.proxy.proxy_server.chat_completion', 'litellm.proxy.proxy_server.completion', 'litellm.proxy.proxy_server.embeddings', 'litellm.proxy.response_api_endpoints.endpoints.responses_api', 'litellm.proxy.anthropic_endpoints.endpoints.anthropic_response', 'litellm.proxy.google_endpoints.endpoints.google_generate_content', 'litellm.proxy.google_endpoints.endpoints.google_stream_generate_content'], ['chat', 'text_completion', 'embeddings', 'chat', 'chat', 'generate_content', 'generate_content'], ''),
        is_litellm AND failed AND startsWith(SpanName, 'POST ') AND sent_model != '', if(endsWith(SpanName, '/embeddings'), 'embeddings', 'chat'),
        '') AS operation,
    ifNull(ifNull(sent_cached_tokens, 0) + ifNull(sent_cache_write_tokens, 0) > sent_input_tokens, false) AS cached_outside,
    ifNull(sent_reasoning_tokens > sent_output_tokens, false) AS reasoning_outside,
    sent_output_tokens + if(reasoning_outside, sent_reasoning_tokens, 0) AS total_output,
    coalesce(numbers[indexOf(fields, 14)], if(sent_span_type = 'log', numbers[indexOf(fields, 49)], NULL), Duration / 1e9) AS duration_s,
    coalesce(if(sent_sdk_name = 'openlit' AND sent_stream = 'false', NULL, numbers[indexOf(fields, 10)]), if(begin_us > 0 AND if(first_event_us >= begin_us, first_event_us, first_said_us) >= begin_us, (if(first_event_us >= begin_us, first_event_us, first_said_us) - begin_us) / 1e6, NULL)) AS ttft_s
FROM
(
SELECT
    Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ScopeName, ScopeVersion, Duration,
    SpanAttributes, `Events.Name`, `Events.Attributes`, families, is_tgi, fields, values, numbers,
    values[indexOf(fields, 1)] AS sent_operation, values[indexOf(fields, 3)] AS sent_model, values[indexOf(fields, 21)] AS sent_parameters, values[indexOf(fields, 20)] AS sent_stream, values[indexOf(fields, 19)] AS sent_error_type, values[indexOf(fields, 35)] AS sent_prompt, values[indexOf(fields, 36)] AS sent_completion, values[indexOf(fields, 37)] AS sent_numbered_prompt, values[indexOf(fields, 38)] AS sent_numbered_completion, values[indexOf(fields, 48)] AS sent_span_type, values[indexOf(fields, 51)] AS sent_vllm_module, values[indexOf(fields, 52)] AS sent_sdk_name, values[indexOf(fields, 47)] AS sent_openllmetry, numbers[indexOf(fields, 5)] AS sent_input_tokens, numbers[indexOf(fields, 6)] AS sent_output_tokens, numbers[indexOf(fields, 7)] AS sent_cached_tokens, numbers[indexOf(fields, 8)] AS sent_cache_write_tokens, numbers[indexOf(fields, 9)] AS sent_reasoning_tokens, numbers[indexOf(fields, 15)] AS sent_tpot_s, numbers[indexOf(fields, 39)] AS sent_cost_usd, numbers[indexOf(fields, 40)] AS sent_sample_weight, values[indexOf(fields, 55)] AS sent_function,
    has(families, 'litellm') OR values[indexOf(fields, 53)] = 'litellm' OR SpanName = 'litellm_request' OR ServiceName = 'litellm' AS is_litellm,
    StatusCode IN ('Error', 'STATUS_CODE_ERROR') OR values[indexOf(fields, 50)] = 'ERROR' AS failed,
    toUnixTimestamp64Micro(Timestamp) AS begin_us,
    toUnixTimestamp64Micro(Events.Timestamp[arrayFirstIndex(n -> n IN ('First Token Stream Event', 'mlflow.chunk.item.0', 'ai.stream.firstChunk') OR (n IN ('llm.content.completion.chunk', 'gen_ai.content.completion.chunk') AND length(Events.Name) < 128), Events.Name)]) AS first_event_us,
    toUnixTimestamp64Micro(parseDateTime64BestEffortOrZero(trimBoth(values[indexOf(fields, 17)], '"'), 6, 'UTC')) AS first_said_us,
    toUnixTimestamp64Micro(Events.Timestamp[indexOf(Events.Name, 'QUEUE_START')]) AS queue_us,
    toUnixTimestamp64Micro(Events.Timestamp[indexOf(Events.Name, 'COMPUTE_START')]) AS compute_us,
    Events.Attributes[indexOf(Events.Name, 'exception')]['exception.type'] AS exception
FROM
(
SELECT
    Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ScopeName, ScopeVersion, Duration, StatusCode,
    SpanAttributes, `Events.Timestamp`, `Events.Name`, `Events.Attributes`, families, is_tgi, fields, values,
    arrayMap((c, x) -> if(x >= 0 AND x < multiIf(c IN [165, 166, 225], 10000000000, c IN [160, 161, 162, 163, 164, 165, 166, 176, 177, 192, 208, 224, 225, 226, 240, 241, 242, 256, 784], 10000000, 1000000000000) AND (is_tgi OR c NOT IN [177, 226, 242]), x / if(c IN [165, 166, 225], 1000, 1), NULL), found_codes, arrayMap(v -> toFloat64OrNull(v), values)) AS numbers
FROM
(
SELECT
    *,
    hasAll(found_codes, [177, 226, 242]) AS is_tgi,
    arrayMap(c -> intDiv(c, 16), found_codes) AS fields,
    multiIf(
        has(families, 'mlflow'), arrayMap(v -> if(startsWith(v, '"') AND endsWith(v, '"'), JSONExtractString(v), v), if(has(families, 'mlflow'), as_sent, [])),
        is_tgi, arrayMap(v -> if(regexpExtract(v, '^([0-9]+(?:[.][0-9]+)?)(ns|µs|us|ms|s)$', 1) = '', v, toString(toFloat64OrZero(regexpExtract(v, '^([0-9]+(?:[.][0-9]+)?)(ns|µs|us|ms|s)$', 1)) * transform(regexpExtract(v, '^([0-9]+(?:[.][0-9]+)?)(ns|µs|us|ms|s)$', 2), ['ns', 'µs', 'us', 'ms'], [1e-9, 1e-6, 1e-6, 1e-3], 1.))), if(is_tgi, as_sent, [])),
        as_sent) AS values
FROM
(
SELECT
    *,
    arraySort((v, r) -> r, unsorted, ranks) AS as_sent,
    arrayMap(r -> intDiv(r, 2), arraySort(ranks)) AS found_codes
FROM
(
SELECT
    *,
    arrayFilter((v, c) -> c > 0 AND v != '', all_values, all_codes) AS unsorted,
    arrayFilter((x, c, v) -> c > 0 AND v != '', arrayMap((c, i) -> 2 * c + (i > own), all_codes, arrayEnumerate(all_codes)), all_codes, all_values) AS ranks
FROM
(
SELECT
    *,
    arrayConcat(mapValues(SpanAttributes), mapValues(ResourceAttributes), parts.2) AS all_values,
    arrayMap(k -> transform(k, ['gen_ai.operation.name', 'ai.operationId', 'openinference.span.kind', 'langfuse.observation.type', 'mlflow.spanType', 'llm.request.type', 'traceloop.span.kind', 'gen_ai.provider.name', 'gen_ai.system', 'llm.provider', 'llm.system', 'ai.model.provider', 'mlflow.llm.provider', 'gen_ai.response.model', 'llm.response.model_name', 'ai.response.model', 'litellm.provider.model', 'triton.model_name', 'gen_ai.request.model', 'llm.request.model_name', 'llm.model_name', 'ai.model.id', 'langfuse.observation.model.name', 'mlflow.llm.model', 'embedding.model_name', 'llm.invocation_parameters/model', 'model', 'monitor.model', 'gen_ai.response.id', 'gen_ai.request.id', 'ai.response.id', 'litellm.call_id', 'rid', 'triton.request_id', 'gen_ai.usage.input_tokens', 'gen_ai.usage.prompt_tokens', 'llm.token_count.prompt', 'ai.usage.inputTokens', 'ai.usage.promptTokens', 'mlflow.chat.tokenUsage/input_tokens', 'langfuse.observation.usage_details/input', 'langfuse.observation.usage_details/prompt_tokens', 'langfuse.observation.usage_details/input_tokens', 'ai.usage.tokens', 'prompt_tokens', 'gen_ai.usage.output_tokens', 'gen_ai.usage.completion_tokens', 'llm.token_count.completion', 'ai.usage.outputTokens', 'ai.usage.completionTokens', 'mlflow.chat.tokenUsage/output_tokens', 'langfuse.observation.usage_details/output', 'langfuse.observation.usage_details/completion_tokens', 'langfuse.observation.usage_details/output_tokens', 'generated_tokens', 'gen_ai.usage.cache_read.input_tokens', 'gen_ai.usage.cache_read_input_tokens', 'gen_ai.usage.cached_tokens', 'llm.token_count.prompt_details.cache_read', 'ai.usage.cachedInputTokens', 'ai.usage.inputTokenDetails.cacheReadTokens', 'mlflow.chat.tokenUsage/cache_read_input_tokens', 'langfuse.observation.usage_details/input_cached_tokens', 'langfuse.observation.usage_details/cache_read_input_tokens', 'langfuse.observation.usage_details/input_cache_read', 'langfuse.observation.usage_details/prompt_tokens_details/cached_tokens', 'langfuse.observation.usage_details/input_tokens_details/cached_tokens', 'gen_ai.usage.details.cache_read_tokens', 'gen_ai.usage.cache_write.input_tokens', 'gen_ai.usage.cache_creation.input_tokens', 'gen_ai.usage.cache_creation_input_tokens', 'llm.token_count.prompt_details.cache_write', 'ai.usage.inputTokenDetails.cacheWriteTokens', 'mlflow.chat.tokenUsage/cache_creation_input_tokens', 'langfuse.observation.usage_details/cache_creation_input_tokens', 'langfuse.observation.usage_details/input_cache_creation', 'gen_ai.usage.details.cache_write_tokens', 'gen_ai.usage.reasoning.output_tokens', 'gen_ai.usage.reasoning_tokens', 'llm.token_count.completion_details.reasoning', 'ai.usage.reasoningTokens', 'ai.usage.outputTokenDetails.reasoningTokens', 'llm.usage.reasoning_tokens', 'langfuse.observation.usage_details/output_reasoning_tokens', 'langfuse.observation.usage_details/output_reasoning', 'langfuse.observation.usage_details/completion_tokens_details/reasoning_tokens', 'langfuse.observation.usage_details/output_tokens_details/reasoning_tokens', 'gen_ai.usage.details.reasoning_tokens', 'gen_ai.response.time_to_first_chunk', 'gen_ai.latency.time_to_first_token', 'gen_ai.server.time_to_first_token', 'gen_ai.client.operation.time_to_first_chunk', 'gen_ai.client.inference.time_to_first_chunk', 'ai.response.msToFirstChunk', 'ai.stream.msToFirstChunk', 'gen_ai.latency.time_in_queue', 'queue_time', 'gen_ai.latency.time_in_model_prefill', 'gen_ai.latency.time_in_model_decode', 'gen_ai.latency.e2e', 'ai.response.msToFinish', 'total_time', 'gen_ai.server.time_per_output_token', 'gen_ai.client.operation.time_per_output_chunk', 'time_per_token', 'monitor.largest_gap', 'langfuse.observation.completion_start_time', 'gen_ai.response.finish_reasons', 'gen_ai.response.finish_reason', 'llm.finish_reason', 'ai.response.finishReason', 'gen_ai.completion.0.finish_reason', 'langfuse.observation.metadata.finish_reason', 'error.type', 'exception.type', 'gen_ai.request.stream', 'gen_ai.is_streaming', 'llm.is_streaming', 'litellm.request.streaming', 'gen_ai.request.is_stream', 'stream', 'llm.invocation_parameters', 'embedding.invocation_parameters', 'monitor.cancelled', 'gen_ai.conversation.id', 'langfuse.session.id', 'session.id', 'traceloop.association.properties.session_id', 'mlflow.trace.session', 'ai.telemetry.metadata.sessionId', 'ai.settings.context.sessionId', 'gen_ai.session.id', 'user.id', 'enduser.id', 'langfuse.user.id', 'litellm.end_user.id', 'metadata.user_api_key_end_user_id', 'litellm.metadata.user_api_key_end_user_id', 'traceloop.association.properties.user_id', 'mlflow.trace.user', 'ai.telemetry.metadata.userId', 'ai.settings.context.userId', 'gen_ai.user', 'llm.user', 'gen_ai.request.user', 'deployment.environment.name', 'deployment.environment', 'langfuse.environment', 'monitor.node', 'k8s.node.name', 'host.name', 'cloud.region', 'monitor.deployment', 'monitor.pricing', 'monitor.gpu', 'monitor.variant', 'service.version', 'langfuse.release', 'monitor.experiment', 'monitor.arm', 'gen_ai.input.messages', 'gen_ai.prompt', 'input.value', 'ai.prompt.messages', 'ai.prompt', 'traceloop.entity.input', 'langfuse.observation.input', 'mlflow.spanInputs', 'gen_ai.output.messages', 'gen_ai.completion', 'output.value', 'ai.response.text', 'traceloop.entity.output', 'langfuse.observation.output', 'mlflow.spanOutputs', 'gen_ai.prompt.0.content', 'llm.input_messages.0.message.content', 'gen_ai.completion.0.content', 'llm.output_messages.0.message.content', 'gen_ai.usage.cost', 'operation.cost', 'litellm.cost.total', 'gen_ai.cost.total_cost', 'llm.cost.total', 'langfuse.observation.cost_details/total', 'mlflow.llm.cost/total_cost', 'monitor.sample_weight', 'monitor.simulated', 'monitor.tokens_estimated', 'monitor.emitter', 'monitor.seq', 'litellm.cache_hit', 'hidden_params/cache_key', 'llm.usage.total_tokens', 'logfire.span_type', 'duration', 'langfuse.observation.level', 'vllm.instrumenting_module_name', 'telemetry.sdk.name', 'gen_ai.framework', 'triton.trace_parent_id', 'code.function.name'], [16, 17, 18, 19, 20, 21, 22, 32, 33, 34, 35, 36, 37, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 64, 65, 66, 67, 68, 69, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 112, 113, 114, 115, 116, 117, 118, 119, 120, 121, 122, 123, 124, 128, 129, 130, 131, 132, 133, 134, 135, 136, 144, 145, 146, 147, 148, 149, 150, 151, 152, 153, 154, 160, 161, 162, 163, 164, 165, 166, 176, 177, 192, 208, 224, 225, 226, 240, 241, 242, 256, 272, 288, 289, 290, 291, 292, 293, 304, 305, 320, 321, 322, 323, 324, 325, 336, 337, 352, 368, 369, 370, 371, 372, 373, 374, 375, 384, 385, 386, 387, 388, 389, 390, 391, 392, 393, 394, 395, 396, 400, 401, 402, 416, 417, 418, 432, 448, 464, 480, 496, 512, 513, 528, 544, 560, 561, 562, 563, 564, 565, 566, 567, 576, 577, 578, 579, 580, 581, 582, 592, 593, 608, 609, 624, 625, 626, 627, 628, 629, 630, 640, 656, 672, 688, 704, 720, 736, 752, 768, 784, 800, 816, 832, 848, 864, 880], 0), arrayConcat(mapKeys(SpanAttributes), mapKeys(ResourceAttributes), CAST(parts.1, 'Array(LowCardinality(String))'))) AS all_codes,
    length(SpanAttributes) AS own
FROM
(
SELECT
    *,
    arrayFlatten(arrayMap((k, v) -> arrayMap(p -> (concat(k, '/', p.1), if(startsWith(p.2, '"'), JSONExtractString(p.2), p.2)), if(k IN ('hidden_params', 'langfuse.observation.cost_details', 'langfuse.observation.usage_details', 'llm.invocation_parameters', 'mlflow.chat.tokenUsage', 'mlflow.llm.cost'), arrayFilter(p -> p.2 != 'null', arrayConcat(JSONExtractKeysAndValuesRaw(v), arrayMap(q -> (concat('completion_tokens_details/', q.1), q.2), JSONExtractKeysAndValuesRaw(v, 'completion_tokens_details')), arrayMap(q -> (concat('input_tokens_details/', q.1), q.2), JSONExtractKeysAndValuesRaw(v, 'input_tokens_details')), arrayMap(q -> (concat('output_tokens_details/', q.1), q.2), JSONExtractKeysAndValuesRaw(v, 'output_tokens_details')), arrayMap(q -> (concat('prompt_tokens_details/', q.1), q.2), JSONExtractKeysAndValuesRaw(v, 'prompt_tokens_details')))), [])),
        mapKeys(if(hasAny(families, ['langfuse', 'mlflow', 'litellm', 'openinference']), SpanAttributes, map())), mapValues(if(hasAny(families, ['langfuse', 'mlflow', 'litellm', 'openinference']), SpanAttributes, map())))) AS parts
FROM
(
SELECT
    Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ScopeName, ScopeVersion, Duration, StatusCode,
    SpanAttributes, ResourceAttributes, `Events.Timestamp`, `Events.Name`, `Events.Attributes`,
    arrayMap(k -> substringIndex(k, '.', 1), mapKeys(SpanAttributes)) AS families
FROM otel_traces
WHERE arrayExists(k -> k IN ('gen_ai.operation.name', 'gen_ai.system', 'gen_ai.provider.name', 'gen_ai.request.model', 'gen_ai.latency.e2e', 'gen_ai.usage.prompt_tokens', 'gen_ai.usage.completion_tokens', 'gen_ai.request.id', 'openinference.span.kind', 'llm.request.type', 'litellm.call_id', 'ai.operationId', 'langfuse.observation.type', 'mlflow.spanType', 'triton.model_name', 'time_per_token'), mapKeys(SpanAttributes)) OR (ScopeName, SpanName) = ('fastapi', 'fastapi.endpoint')
)
)
)
)
)
)
)
)
)
WHERE operation != '';

ALTER TABLE inferences_mv MODIFY QUERY
SELECT
    Timestamp AS timestamp,
    TraceId AS trace_id,
    SpanId AS span_id,
    ParentSpanId AS parent_span_id,
    if(dialect = 'monitor' AND SpanKind IN ('Server', 'SPAN_KIND_SERVER'), 'gateway', transform(dialect, ['vllm', 'sglang', 'tgi', 'triton', 'monitor', 'litellm-proxy', 'litellm', 'openinference', 'langfuse', 'openlit', 'vercel', 'mlflow', 'pydantic-ai', 'logfire', 'openllmetry', 'otel'], ['engine', 'engine', 'engine', 'engine', 'client', 'gateway', 'gateway', 'client', 'client', 'client', 'client', 'client', 'client', 'client', 'client', 'client'], '')) AS role,
    ServiceName AS service,
    values[indexOf(fields, 25)] AS environment,
    values[indexOf(fields, 26)] AS node,
    values[indexOf(fields, 27)] AS region,
    values[indexOf(fields, 28)] AS deployment,
    values[indexOf(fields, 29)] AS pricing,
    values[indexOf(fields, 30)] AS gpu,
    transform(sent_vendor, ['vertex_ai', 'gemini', 'az.ai.inference', 'az.ai.openai', 'xai', 'unknown'], ['gcp.vertex_ai', 'gcp.gemini', 'azure.ai.inference', 'azure.ai.openai', 'x_ai', ''], sent_vendor) AS provider,
    multiIf(sent_model != '' OR sent_parameters = '', sent_model, JSONExtractString(sent_parameters, 'model')) AS model,
    values[indexOf(fields, 31)] AS variant,
    values[indexOf(fields, 32)] AS release,
    values[indexOf(fields, 33)] AS experiment,
    values[indexOf(fields, 34)] AS arm,
    operation,
    multiIf(sent_stream != '', lower(sent_stream) IN ('true', '1'), sent_parameters != '' AND operation != 'embeddings', JSONExtractBool(sent_parameters, 'stream'), first_said_us > 0 OR first_event_us > 0 OR endsWith(SpanName, '.doStream') OR (is_tgi AND SpanName = 'generate_stream'), true, NULL) AS stream,
    accurateCastOrNull(floor(sent_input_tokens + if(cached_outside, ifNull(sent_cached_tokens, 0) + ifNull(sent_cache_write_tokens, 0), 0)), 'UInt64') AS input_tokens,
    accurateCastOrNull(floor(sent_cached_tokens), 'UInt64') AS cached_tokens,
    accurateCastOrNull(floor(sent_cache_write_tokens), 'UInt64') AS cache_write_tokens,
    accurateCastOrNull(floor(total_output), 'UInt64') AS output_tokens,
    accurateCastOrNull(floor(sent_reasoning_tokens), 'UInt64') AS reasoning_tokens,
    ttft_s,
    coalesce(numbers[indexOf(fields, 11)], if(queue_us > 0 AND compute_us >= queue_us, (compute_us - queue_us) / 1e6, NULL)) AS queue_s,
    numbers[indexOf(fields, 12)] AS prefill_s,
    numbers[indexOf(fields, 13)] AS decode_s,
    duration_s,
    if(total_output >= 2, coalesce(if(sent_tpot_s > 0, sent_tpot_s, NULL), if(duration_s >= ttft_s, (duration_s - ttft_s) / (floor(total_output) - 1), NULL)), NULL) AS tpot_s,
    numbers[indexOf(fields, 16)] AS largest_gap_s,
    substringUTF8(extract(values[indexOf(fields, 18)], '[^\\[\\]\\s"\',][^\\[\\]"\',]*'), 1, 64) AS finish_reason,
    multiIf(sent_error_type != '', sent_error_type, NOT failed, '', exception != '', exception, '_OTHER') AS error_type,
    lower(values[indexOf(fields, 22)]) IN ('true', '1') AS cancelled,
    values[indexOf(fields, 4)] AS request_id,
    values[indexOf(fields, 23)] AS session_id,
    values[indexOf(fields, 24)] AS user_id,
    mapApply((k, v) -> (substring(k, 16), v), mapFilter((k, v) -> startsWith(k, 'monitor.cohort.'), SpanAttributes)) AS cohorts,
    multiIf(sent_prompt != '', sent_prompt, sent_numbered_prompt != '', arrayStringConcat(mapValues(mapFilter((k, v) -> match(k, '^(gen_ai[.]prompt|llm[.]input_messages)[.][0-9]+[.](message[.])?content$'), if(sent_numbered_prompt != '', SpanAttributes, map()))), '\n'), Events.Attributes[indexOf(Events.Name, 'gen_ai.content.prompt')]['gen_ai.prompt']) AS prompt,
    multiIf(sent_completion != '', sent_completion, sent_numbered_completion != '', arrayStringConcat(mapValues(mapFilter((k, v) -> match(k, '^(gen_ai[.]completion|llm[.]output_messages)[.][0-9]+[.](message[.])?content$'), if(sent_numbered_completion != '', SpanAttributes, map()))), '\n'), Events.Attributes[indexOf(Events.Name, 'gen_ai.content.completion')]['gen_ai.completion']) AS completion,
    if(sent_sample_weight >= 1 AND sent_sample_weight < 1e9, sent_sample_weight, 1) AS sample_weight,
    multiIf(lower(values[indexOf(fields, 45)]) IN ('true', '1') OR values[indexOf(fields, 46)] != '', 0, sent_cost_usd > 0 AND sent_cost_usd < 1000000000, sent_cost_usd, NULL) AS cost_usd,
    lower(values[indexOf(fields, 41)]) IN ('true', '1') AS simulated,
    lower(values[indexOf(fields, 42)]) IN ('true', '1') AS tokens_estimated,
    cached_outside OR reasoning_outside AS tokens_adjusted,
    values[indexOf(fields, 43)] AS emitter,
    toUInt64OrZero(values[indexOf(fields, 44)]) AS seq,
    dialect,
    ScopeVersion AS dialect_version,
    ScopeName AS scope
FROM
(
SELECT
    *,
    lower(replaceRegexpOne(values[indexOf(fields, 2)], '[.](chat|responses|completion|embedding|messages|image|generative-ai)$', '')) AS sent_vendor,
    multiIf(SpanName = 'llm_request' OR sent_vllm_module != '' OR startsWith(ScopeName, 'vllm.'), 'vllm', ScopeName = 'sglang server', 'sglang', is_tgi, 'tgi', has(families, 'triton'), 'triton', ScopeName = 'monitor.sdk', 'monitor', startsWith(sent_function, 'litellm.proxy.'), 'litellm-proxy', is_litellm, 'litellm', has(families, 'openinference'), 'openinference', has(families, 'langfuse'), 'langfuse', sent_sdk_name = 'openlit', 'openlit', has(families, 'ai') OR ScopeName = 'gen_ai', 'vercel', has(families, 'mlflow'), 'mlflow', ScopeName = 'pydantic-ai', 'pydantic-ai', has(families, 'logfire'), 'logfire', has(families, 'traceloop') OR (startsWith(ScopeName, 'opentelemetry.instrumentation.') AND NOT endsWith(ScopeName, '_v2')) OR sent_openllmetry != '', 'openllmetry', 'otel') AS dialect,
    multiIf(
        SpanName IN ('raw_gen_ai_request', 'Received Proxy Server Request', 'Failed Proxy Server Request') OR sent_span_type = 'pending_span', '',
        ScopeName = 'gen_ai' AND sent_operation = 'embeddings' AND isNull(sent_input_tokens) AND NOT failed, '',
        startsWith(ScopeName, 'logfire.') AND sent_span_type = 'span' AND isNull(sent_input_tokens) AND NOT failed, '',
        sent_operation = 'completion' AND is_litellm, 'chat',
        sent_operation != '', transform(sent_operation, ['chat', 'text_completion', 'generate_content', 'embeddings', 'completion', 'acompletion', 'atext_completion', 'embedding', 'aembedding', 'responses', 'aresponses', 'anthropic_messages', 'agenerate_content', 'agenerate_content_stream', 'generate_content_stream', 'LLM', 'CHAT_MODEL', 'EMBEDDING', 'generation', 'ai.generateText.doGenerate', 'ai.streamText.doStream', 'ai.generateObject.doGenerate', 'ai.streamObject.doStream', 'ai.embed.doEmbed', 'ai.embedMany.doEmbed'], ['chat', 'text_completion', 'generate_content', 'embeddings', 'text_completion', 'chat', 'text_completion', 'embeddings', 'embeddings', 'chat', 'chat', 'chat', 'generate_content', 'generate_content', 'generate_content', 'chat', 'chat', 'embeddings', 'chat', 'chat', 'chat', 'chat', 'chat', 'embeddings', 'embeddings'], ''),
        SpanName = 'llm_request', 'chat',
        ScopeName = 'sglang server' AND match(SpanName, '^( |decode )?Req( [0-9a-f]{8})?$'), 'chat',
        is_tgi, if(SpanName = 'chat_completions', 'chat', 'text_completion'),
        has(families, 'triton') AND values[indexOf(fields, 54)] IN ('', '0'), 'generate_content',
        SpanName = 'litellm_request' OR (is_litellm AND isNotNull(sent_input_tokens)), 'chat',
        SpanName = 'fastapi.endpoint' AND failed, transform(sent_function, ['litellm.proxy.proxy_server.chat_completion', 'litellm.proxy.proxy_server.completion', 'litellm.proxy.proxy_server.embeddings', 'litellm.proxy.response_api_endpoints.endpoints.responses_api', 'litellm.proxy.anthropic_endpoints.endpoints.anthropic_response', 'litellm.proxy.google_endpoints.endpoints.google_generate_content', 'litellm.proxy.google_endpoints.endpoints.google_stream_generate_content'], ['chat', 'text_completion', 'embeddings', 'chat', 'chat', 'generate_content', 'generate_content'], ''),
        is_litellm AND failed AND startsWith(SpanName, 'POST ') AND sent_model != '', if(endsWith(SpanName, '/embeddings'), 'embeddings', 'chat'),
        '') AS operation,
    ifNull(ifNull(sent_cached_tokens, 0) + ifNull(sent_cache_write_tokens, 0) > sent_input_tokens, false) AS cached_outside,
    ifNull(sent_reasoning_tokens > sent_output_tokens, false) AS reasoning_outside,
    sent_output_tokens + if(reasoning_outside, sent_reasoning_tokens, 0) AS total_output,
    coalesce(numbers[indexOf(fields, 14)], if(sent_span_type = 'log', numbers[indexOf(fields, 49)], NULL), Duration / 1e9) AS duration_s,
    coalesce(if(sent_sdk_name = 'openlit' AND sent_stream = 'false', NULL, numbers[indexOf(fields, 10)]), if(begin_us > 0 AND if(first_event_us >= begin_us, first_event_us, first_said_us) >= begin_us, (if(first_event_us >= begin_us, first_event_us, first_said_us) - begin_us) / 1e6, NULL)) AS ttft_s
FROM
(
SELECT
    Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ScopeName, ScopeVersion, Duration,
    SpanAttributes, `Events.Name`, `Events.Attributes`, families, is_tgi, fields, values, numbers,
    values[indexOf(fields, 1)] AS sent_operation, values[indexOf(fields, 3)] AS sent_model, values[indexOf(fields, 21)] AS sent_parameters, values[indexOf(fields, 20)] AS sent_stream, values[indexOf(fields, 19)] AS sent_error_type, values[indexOf(fields, 35)] AS sent_prompt, values[indexOf(fields, 36)] AS sent_completion, values[indexOf(fields, 37)] AS sent_numbered_prompt, values[indexOf(fields, 38)] AS sent_numbered_completion, values[indexOf(fields, 48)] AS sent_span_type, values[indexOf(fields, 51)] AS sent_vllm_module, values[indexOf(fields, 52)] AS sent_sdk_name, values[indexOf(fields, 47)] AS sent_openllmetry, numbers[indexOf(fields, 5)] AS sent_input_tokens, numbers[indexOf(fields, 6)] AS sent_output_tokens, numbers[indexOf(fields, 7)] AS sent_cached_tokens, numbers[indexOf(fields, 8)] AS sent_cache_write_tokens, numbers[indexOf(fields, 9)] AS sent_reasoning_tokens, numbers[indexOf(fields, 15)] AS sent_tpot_s, numbers[indexOf(fields, 39)] AS sent_cost_usd, numbers[indexOf(fields, 40)] AS sent_sample_weight, values[indexOf(fields, 55)] AS sent_function,
    has(families, 'litellm') OR values[indexOf(fields, 53)] = 'litellm' OR SpanName = 'litellm_request' OR ServiceName = 'litellm' AS is_litellm,
    StatusCode IN ('Error', 'STATUS_CODE_ERROR') OR values[indexOf(fields, 50)] = 'ERROR' AS failed,
    toUnixTimestamp64Micro(Timestamp) AS begin_us,
    toUnixTimestamp64Micro(Events.Timestamp[arrayFirstIndex(n -> n IN ('First Token Stream Event', 'mlflow.chunk.item.0', 'ai.stream.firstChunk') OR (n IN ('llm.content.completion.chunk', 'gen_ai.content.completion.chunk') AND length(Events.Name) < 128), Events.Name)]) AS first_event_us,
    toUnixTimestamp64Micro(parseDateTime64BestEffortOrZero(trimBoth(values[indexOf(fields, 17)], '"'), 6, 'UTC')) AS first_said_us,
    toUnixTimestamp64Micro(Events.Timestamp[indexOf(Events.Name, 'QUEUE_START')]) AS queue_us,
    toUnixTimestamp64Micro(Events.Timestamp[indexOf(Events.Name, 'COMPUTE_START')]) AS compute_us,
    Events.Attributes[indexOf(Events.Name, 'exception')]['exception.type'] AS exception
FROM
(
SELECT
    Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ScopeName, ScopeVersion, Duration, StatusCode,
    SpanAttributes, `Events.Timestamp`, `Events.Name`, `Events.Attributes`, families, is_tgi, fields, values,
    arrayMap((c, x) -> if(x >= 0 AND x < multiIf(c IN [165, 166, 225], 10000000000, c IN [160, 161, 162, 163, 164, 165, 166, 176, 177, 192, 208, 224, 225, 226, 240, 241, 242, 256, 784], 10000000, 1000000000000) AND (is_tgi OR c NOT IN [177, 226, 242]), x / if(c IN [165, 166, 225], 1000, 1), NULL), found_codes, arrayMap(v -> toFloat64OrNull(v), values)) AS numbers
FROM
(
SELECT
    *,
    hasAll(found_codes, [177, 226, 242]) AS is_tgi,
    arrayMap(c -> intDiv(c, 16), found_codes) AS fields,
    multiIf(
        has(families, 'mlflow'), arrayMap(v -> if(startsWith(v, '"') AND endsWith(v, '"'), JSONExtractString(v), v), if(has(families, 'mlflow'), as_sent, [])),
        is_tgi, arrayMap(v -> if(regexpExtract(v, '^([0-9]+(?:[.][0-9]+)?)(ns|µs|us|ms|s)$', 1) = '', v, toString(toFloat64OrZero(regexpExtract(v, '^([0-9]+(?:[.][0-9]+)?)(ns|µs|us|ms|s)$', 1)) * transform(regexpExtract(v, '^([0-9]+(?:[.][0-9]+)?)(ns|µs|us|ms|s)$', 2), ['ns', 'µs', 'us', 'ms'], [1e-9, 1e-6, 1e-6, 1e-3], 1.))), if(is_tgi, as_sent, [])),
        as_sent) AS values
FROM
(
SELECT
    *,
    arraySort((v, r) -> r, unsorted, ranks) AS as_sent,
    arrayMap(r -> intDiv(r, 2), arraySort(ranks)) AS found_codes
FROM
(
SELECT
    *,
    arrayFilter((v, c) -> c > 0 AND v != '', all_values, all_codes) AS unsorted,
    arrayFilter((x, c, v) -> c > 0 AND v != '', arrayMap((c, i) -> 2 * c + (i > own), all_codes, arrayEnumerate(all_codes)), all_codes, all_values) AS ranks
FROM
(
SELECT
    *,
    arrayConcat(mapValues(SpanAttributes), mapValues(ResourceAttributes), parts.2) AS all_values,
    arrayMap(k -> transform(k, ['gen_ai.operation.name', 'ai.operationId', 'openinference.span.kind', 'langfuse.observation.type', 'mlflow.spanType', 'llm.request.type', 'traceloop.span.kind', 'gen_ai.provider.name', 'gen_ai.system', 'llm.provider', 'llm.system', 'ai.model.provider', 'mlflow.llm.provider', 'gen_ai.response.model', 'llm.response.model_name', 'ai.response.model', 'litellm.provider.model', 'triton.model_name', 'gen_ai.request.model', 'llm.request.model_name', 'llm.model_name', 'ai.model.id', 'langfuse.observation.model.name', 'mlflow.llm.model', 'embedding.model_name', 'llm.invocation_parameters/model', 'model', 'monitor.model', 'gen_ai.response.id', 'gen_ai.request.id', 'ai.response.id', 'litellm.call_id', 'rid', 'triton.request_id', 'gen_ai.usage.input_tokens', 'gen_ai.usage.prompt_tokens', 'llm.token_count.prompt', 'ai.usage.inputTokens', 'ai.usage.promptTokens', 'mlflow.chat.tokenUsage/input_tokens', 'langfuse.observation.usage_details/input', 'langfuse.observation.usage_details/prompt_tokens', 'langfuse.observation.usage_details/input_tokens', 'ai.usage.tokens', 'prompt_tokens', 'gen_ai.usage.output_tokens', 'gen_ai.usage.completion_tokens', 'llm.token_count.completion', 'ai.usage.outputTokens', 'ai.usage.completionTokens', 'mlflow.chat.tokenUsage/output_tokens', 'langfuse.observation.usage_details/output', 'langfuse.observation.usage_details/completion_tokens', 'langfuse.observation.usage_details/output_tokens', 'generated_tokens', 'gen_ai.usage.cache_read.input_tokens', 'gen_ai.usage.cache_read_input_tokens', 'gen_ai.usage.cached_tokens', 'llm.token_count.prompt_details.cache_read', 'ai.usage.cachedInputTokens', 'ai.usage.inputTokenDetails.cacheReadTokens', 'mlflow.chat.tokenUsage/cache_read_input_tokens', 'langfuse.observation.usage_details/input_cached_tokens', 'langfuse.observation.usage_details/cache_read_input_tokens', 'langfuse.observation.usage_details/input_cache_read', 'langfuse.observation.usage_details/prompt_tokens_details/cached_tokens', 'langfuse.observation.usage_details/input_tokens_details/cached_tokens', 'gen_ai.usage.details.cache_read_tokens', 'gen_ai.usage.cache_write.input_tokens', 'gen_ai.usage.cache_creation.input_tokens', 'gen_ai.usage.cache_creation_input_tokens', 'llm.token_count.prompt_details.cache_write', 'ai.usage.inputTokenDetails.cacheWriteTokens', 'mlflow.chat.tokenUsage/cache_creation_input_tokens', 'langfuse.observation.usage_details/cache_creation_input_tokens', 'langfuse.observation.usage_details/input_cache_creation', 'gen_ai.usage.details.cache_write_tokens', 'gen_ai.usage.reasoning.output_tokens', 'gen_ai.usage.reasoning_tokens', 'llm.token_count.completion_details.reasoning', 'ai.usage.reasoningTokens', 'ai.usage.outputTokenDetails.reasoningTokens', 'llm.usage.reasoning_tokens', 'langfuse.observation.usage_details/output_reasoning_tokens', 'langfuse.observation.usage_details/output_reasoning', 'langfuse.observation.usage_details/completion_tokens_details/reasoning_tokens', 'langfuse.observation.usage_details/output_tokens_details/reasoning_tokens', 'gen_ai.usage.details.reasoning_tokens', 'gen_ai.response.time_to_first_chunk', 'gen_ai.latency.time_to_first_token', 'gen_ai.server.time_to_first_token', 'gen_ai.client.operation.time_to_first_chunk', 'gen_ai.client.inference.time_to_first_chunk', 'ai.response.msToFirstChunk', 'ai.stream.msToFirstChunk', 'gen_ai.latency.time_in_queue', 'queue_time', 'gen_ai.latency.time_in_model_prefill', 'gen_ai.latency.time_in_model_decode', 'gen_ai.latency.e2e', 'ai.response.msToFinish', 'total_time', 'gen_ai.server.time_per_output_token', 'gen_ai.client.operation.time_per_output_chunk', 'time_per_token', 'monitor.largest_gap', 'langfuse.observation.completion_start_time', 'gen_ai.response.finish_reasons', 'gen_ai.response.finish_reason', 'llm.finish_reason', 'ai.response.finishReason', 'gen_ai.completion.0.finish_reason', 'langfuse.observation.metadata.finish_reason', 'error.type', 'exception.type', 'gen_ai.request.stream', 'gen_ai.is_streaming', 'llm.is_streaming', 'litellm.request.streaming', 'gen_ai.request.is_stream', 'stream', 'llm.invocation_parameters', 'embedding.invocation_parameters', 'monitor.cancelled', 'gen_ai.conversation.id', 'langfuse.session.id', 'session.id', 'traceloop.association.properties.session_id', 'mlflow.trace.session', 'ai.telemetry.metadata.sessionId', 'ai.settings.context.sessionId', 'gen_ai.session.id', 'user.id', 'enduser.id', 'langfuse.user.id', 'litellm.end_user.id', 'metadata.user_api_key_end_user_id', 'litellm.metadata.user_api_key_end_user_id', 'traceloop.association.properties.user_id', 'mlflow.trace.user', 'ai.telemetry.metadata.userId', 'ai.settings.context.userId', 'gen_ai.user', 'llm.user', 'gen_ai.request.user', 'deployment.environment.name', 'deployment.environment', 'langfuse.environment', 'monitor.node', 'k8s.node.name', 'host.name', 'cloud.region', 'monitor.deployment', 'monitor.pricing', 'monitor.gpu', 'monitor.variant', 'service.version', 'langfuse.release', 'monitor.experiment', 'monitor.arm', 'gen_ai.input.messages', 'gen_ai.prompt', 'input.value', 'ai.prompt.messages', 'ai.prompt', 'traceloop.entity.input', 'langfuse.observation.input', 'mlflow.spanInputs', 'gen_ai.output.messages', 'gen_ai.completion', 'output.value', 'ai.response.text', 'traceloop.entity.output', 'langfuse.observation.output', 'mlflow.spanOutputs', 'gen_ai.prompt.0.content', 'llm.input_messages.0.message.content', 'gen_ai.completion.0.content', 'llm.output_messages.0.message.content', 'gen_ai.usage.cost', 'operation.cost', 'litellm.cost.total', 'gen_ai.cost.total_cost', 'llm.cost.total', 'langfuse.observation.cost_details/total', 'mlflow.llm.cost/total_cost', 'monitor.sample_weight', 'monitor.simulated', 'monitor.tokens_estimated', 'monitor.emitter', 'monitor.seq', 'litellm.cache_hit', 'hidden_params/cache_key', 'llm.usage.total_tokens', 'logfire.span_type', 'duration', 'langfuse.observation.level', 'vllm.instrumenting_module_name', 'telemetry.sdk.name', 'gen_ai.framework', 'triton.trace_parent_id', 'code.function.name'], [16, 17, 18, 19, 20, 21, 22, 32, 33, 34, 35, 36, 37, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 64, 65, 66, 67, 68, 69, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 112, 113, 114, 115, 116, 117, 118, 119, 120, 121, 122, 123, 124, 128, 129, 130, 131, 132, 133, 134, 135, 136, 144, 145, 146, 147, 148, 149, 150, 151, 152, 153, 154, 160, 161, 162, 163, 164, 165, 166, 176, 177, 192, 208, 224, 225, 226, 240, 241, 242, 256, 272, 288, 289, 290, 291, 292, 293, 304, 305, 320, 321, 322, 323, 324, 325, 336, 337, 352, 368, 369, 370, 371, 372, 373, 374, 375, 384, 385, 386, 387, 388, 389, 390, 391, 392, 393, 394, 395, 396, 400, 401, 402, 416, 417, 418, 432, 448, 464, 480, 496, 512, 513, 528, 544, 560, 561, 562, 563, 564, 565, 566, 567, 576, 577, 578, 579, 580, 581, 582, 592, 593, 608, 609, 624, 625, 626, 627, 628, 629, 630, 640, 656, 672, 688, 704, 720, 736, 752, 768, 784, 800, 816, 832, 848, 864, 880], 0), arrayConcat(mapKeys(SpanAttributes), mapKeys(ResourceAttributes), CAST(parts.1, 'Array(LowCardinality(String))'))) AS all_codes,
    length(SpanAttributes) AS own
FROM
(
SELECT
    *,
    arrayFlatten(arrayMap((k, v) -> arrayMap(p -> (concat(k, '/', p.1), if(startsWith(p.2, '"'), JSONExtractString(p.2), p.2)), if(k IN ('hidden_params', 'langfuse.observation.cost_details', 'langfuse.observation.usage_details', 'llm.invocation_parameters', 'mlflow.chat.tokenUsage', 'mlflow.llm.cost'), arrayFilter(p -> p.2 != 'null', arrayConcat(JSONExtractKeysAndValuesRaw(v), arrayMap(q -> (concat('completion_tokens_details/', q.1), q.2), JSONExtractKeysAndValuesRaw(v, 'completion_tokens_details')), arrayMap(q -> (concat('input_tokens_details/', q.1), q.2), JSONExtractKeysAndValuesRaw(v, 'input_tokens_details')), arrayMap(q -> (concat('output_tokens_details/', q.1), q.2), JSONExtractKeysAndValuesRaw(v, 'output_tokens_details')), arrayMap(q -> (concat('prompt_tokens_details/', q.1), q.2), JSONExtractKeysAndValuesRaw(v, 'prompt_tokens_details')))), [])),
        mapKeys(if(hasAny(families, ['langfuse', 'mlflow', 'litellm', 'openinference']), SpanAttributes, map())), mapValues(if(hasAny(families, ['langfuse', 'mlflow', 'litellm', 'openinference']), SpanAttributes, map())))) AS parts
FROM
(
SELECT
    Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ScopeName, ScopeVersion, Duration, StatusCode,
    SpanAttributes, ResourceAttributes, `Events.Timestamp`, `Events.Name`, `Events.Attributes`,
    arrayMap(k -> substringIndex(k, '.', 1), mapKeys(SpanAttributes)) AS families
FROM otel_traces
WHERE arrayExists(k -> k IN ('gen_ai.operation.name', 'gen_ai.system', 'gen_ai.provider.name', 'gen_ai.request.model', 'gen_ai.latency.e2e', 'gen_ai.usage.prompt_tokens', 'gen_ai.usage.completion_tokens', 'gen_ai.request.id', 'openinference.span.kind', 'llm.request.type', 'litellm.call_id', 'ai.operationId', 'langfuse.observation.type', 'mlflow.spanType', 'triton.model_name', 'time_per_token'), mapKeys(SpanAttributes)) OR (ScopeName, SpanName) = ('fastapi', 'fastapi.endpoint')
)
)
)
)
)
)
)
)
)
WHERE operation != '';
