-- Generated from monitor/store/dialects.py by `python -m monitor.store.dialects`; do not edit.
CREATE MATERIALIZED VIEW IF NOT EXISTS inferences_mv TO inferences AS
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
    values[indexOf(fields, 23)] AS environment,
    values[indexOf(fields, 24)] AS node,
    values[indexOf(fields, 25)] AS region,
    values[indexOf(fields, 26)] AS deployment,
    values[indexOf(fields, 27)] AS pricing,
    values[indexOf(fields, 28)] AS gpu,
    values[indexOf(fields, 29)] AS variant,
    values[indexOf(fields, 30)] AS release,
    values[indexOf(fields, 31)] AS experiment,
    values[indexOf(fields, 32)] AS arm,
    values[indexOf(fields, 4)] AS request_id,
    values[indexOf(fields, 21)] AS session_id,
    values[indexOf(fields, 22)] AS user_id,
    values[indexOf(fields, 39)] AS emitter,
    values[indexOf(fields, 3)] AS model,
    transform(values[indexOf(fields, 2)], ['vertex_ai', 'gemini', 'az.ai.inference', 'az.ai.openai', 'xai', 'Unknown'], ['gcp.vertex_ai', 'gcp.gemini', 'azure.ai.inference', 'azure.ai.openai', 'x_ai', ''], values[indexOf(fields, 2)]) AS provider,
    multiIf(SpanName = 'llm_request' OR vllm_module != '', 'engine', has_litellm OR SpanName = 'litellm_request' OR ServiceName = 'litellm', 'gateway', has_openinference, 'client', has_openllmetry, 'client', ScopeName = 'monitor.sdk', 'client', 'client') AS role,
    multiIf(SpanName = 'llm_request' OR vllm_module != '', 'vllm', has_litellm OR SpanName = 'litellm_request' OR ServiceName = 'litellm', 'litellm', has_openinference, 'openinference', has_openllmetry, 'openllmetry', ScopeName = 'monitor.sdk', 'monitor', 'otel') AS dialect,
    ScopeVersion AS dialect_version,
    canonical AS operation,
    if(values[indexOf(fields, 19)] = '', NULL, lower(values[indexOf(fields, 19)]) IN ('true', '1')) AS stream,
    accurateCastOrNull(floor(toFloat64OrNull(values[indexOf(fields, 5)])), 'UInt64') AS tokens_in,
    accurateCastOrNull(floor(toFloat64OrNull(values[indexOf(fields, 7)])), 'UInt64') AS cached_tokens,
    accurateCastOrNull(floor(toFloat64OrNull(values[indexOf(fields, 8)])), 'UInt64') AS cache_write_tokens,
    accurateCastOrNull(floor(toFloat64OrNull(values[indexOf(fields, 6)])), 'UInt64') AS output_tokens,
    accurateCastOrNull(floor(toFloat64OrNull(values[indexOf(fields, 9)])), 'UInt64') AS reasoning_tokens,
    coalesce(if(toFloat64OrNull(values[indexOf(fields, 10)]) >= 0 AND toFloat64OrNull(values[indexOf(fields, 10)]) < 1e7, toFloat64OrNull(values[indexOf(fields, 10)]), NULL), first_token_event_s) AS ttft_s,
    if(toFloat64OrNull(values[indexOf(fields, 11)]) >= 0 AND toFloat64OrNull(values[indexOf(fields, 11)]) < 1e7, toFloat64OrNull(values[indexOf(fields, 11)]), NULL) AS queue_s,
    if(toFloat64OrNull(values[indexOf(fields, 12)]) >= 0 AND toFloat64OrNull(values[indexOf(fields, 12)]) < 1e7, toFloat64OrNull(values[indexOf(fields, 12)]), NULL) AS prefill_s,
    if(toFloat64OrNull(values[indexOf(fields, 13)]) >= 0 AND toFloat64OrNull(values[indexOf(fields, 13)]) < 1e7, toFloat64OrNull(values[indexOf(fields, 13)]), NULL) AS decode_s,
    coalesce(if(toFloat64OrNull(values[indexOf(fields, 14)]) >= 0 AND toFloat64OrNull(values[indexOf(fields, 14)]) < 1e7, toFloat64OrNull(values[indexOf(fields, 14)]), NULL), Duration / 1e9) AS duration_s,
    if(toFloat64OrNull(values[indexOf(fields, 15)]) >= 0 AND toFloat64OrNull(values[indexOf(fields, 15)]) < 1e7, toFloat64OrNull(values[indexOf(fields, 15)]), NULL) AS tpot_given,
    if(toFloat64OrNull(values[indexOf(fields, 16)]) >= 0 AND toFloat64OrNull(values[indexOf(fields, 16)]) < 1e7, toFloat64OrNull(values[indexOf(fields, 16)]), NULL) AS largest_gap_s,
    trimBoth(splitByChar(',', replaceRegexpAll(values[indexOf(fields, 17)], '[\\[\\]"]', ''))[1]) AS finish_reason,
    multiIf(values[indexOf(fields, 18)] != '', values[indexOf(fields, 18)], StatusCode IN ('Error', 'STATUS_CODE_ERROR'), '_OTHER', '') AS error_type,
    lower(values[indexOf(fields, 20)]) IN ('true', '1') AS cancelled,
    mapApply((k, v) -> (substring(k, 16), v), mapFilter((k, v) -> startsWith(k, 'monitor.cohort.'), SpanAttributes)) AS cohorts,
    if(notEmpty(values[indexOf(fields, 33)]), values[indexOf(fields, 33)], arrayStringConcat(mapValues(mapFilter((k, v) -> match(k, '^(gen_ai\\.prompt|llm\\.input_messages)\\.\\d+\\.(message\\.)?content$'), SpanAttributes)), '\n')) AS prompt,
    if(notEmpty(values[indexOf(fields, 34)]), values[indexOf(fields, 34)], arrayStringConcat(mapValues(mapFilter((k, v) -> match(k, '^(gen_ai\\.completion|llm\\.output_messages)\\.\\d+\\.(message\\.)?content$'), SpanAttributes)), '\n')) AS completion,
    if(toFloat64OrZero(values[indexOf(fields, 36)]) >= 1 AND toFloat64OrZero(values[indexOf(fields, 36)]) < 1e9, toFloat64OrZero(values[indexOf(fields, 36)]), 1) AS sample_weight,
    if(lower(values[indexOf(fields, 41)]) IN ('true', '1'), 0, toFloat64OrNull(values[indexOf(fields, 35)])) AS cost_usd,
    lower(values[indexOf(fields, 37)]) IN ('true', '1') AS simulated,
    lower(values[indexOf(fields, 38)]) IN ('true', '1') AS tokens_estimated,
    toUInt64OrZero(values[indexOf(fields, 40)]) AS seq
FROM
(
SELECT
    *,
    values[indexOf(fields, 43)] AS vllm_module,
    values[indexOf(fields, 1)] AS sent_operation,
    multiIf(
        SpanName IN ('raw_gen_ai_request', 'Received Proxy Server Request', 'Failed Proxy Server Request') OR values[indexOf(fields, 42)] = 'pending_span', '',
        sent_operation != '', transform(sent_operation, ['chat', 'text_completion', 'generate_content', 'embeddings', 'completion', 'acompletion', 'atext_completion', 'embedding', 'aembedding', 'responses', 'aresponses', 'LLM', 'EMBEDDING'], ['chat', 'text_completion', 'generate_content', 'embeddings', 'text_completion', 'chat', 'text_completion', 'embeddings', 'embeddings', 'chat', 'chat', 'chat', 'embeddings'], ''),
        SpanName = 'llm_request', 'chat',
        SpanName = 'litellm_request' OR (has_litellm AND notEmpty(values[indexOf(fields, 5)])), 'chat',
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
    arrayMap(k -> transform(k, ['gen_ai.operation.name', 'openinference.span.kind', 'llm.request.type', 'traceloop.span.kind', 'gen_ai.provider.name', 'gen_ai.system', 'llm.provider', 'llm.system', 'gen_ai.response.model', 'llm.response.model_name', 'litellm.provider.model', 'gen_ai.request.model', 'llm.request.model_name', 'llm.model_name', 'embedding.model_name', 'monitor.model', 'gen_ai.response.id', 'gen_ai.request.id', 'litellm.call_id', 'gen_ai.usage.input_tokens', 'gen_ai.usage.prompt_tokens', 'llm.token_count.prompt', 'gen_ai.usage.output_tokens', 'gen_ai.usage.completion_tokens', 'llm.token_count.completion', 'gen_ai.usage.cache_read.input_tokens', 'gen_ai.usage.cache_read_input_tokens', 'gen_ai.usage.cached_tokens', 'llm.token_count.prompt_details.cache_read', 'gen_ai.usage.details.cache_read_tokens', 'gen_ai.usage.cache_write.input_tokens', 'gen_ai.usage.cache_creation.input_tokens', 'gen_ai.usage.cache_creation_input_tokens', 'llm.token_count.prompt_details.cache_write', 'gen_ai.usage.reasoning.output_tokens', 'gen_ai.usage.reasoning_tokens', 'llm.token_count.completion_details.reasoning', 'llm.usage.reasoning_tokens', 'gen_ai.usage.details.reasoning_tokens', 'gen_ai.response.time_to_first_chunk', 'gen_ai.latency.time_to_first_token', 'gen_ai.server.time_to_first_token', 'gen_ai.client.operation.time_to_first_chunk', 'gen_ai.client.inference.time_to_first_chunk', 'gen_ai.latency.time_in_queue', 'gen_ai.latency.time_in_model_prefill', 'gen_ai.latency.time_in_model_decode', 'gen_ai.latency.e2e', 'gen_ai.server.time_per_output_token', 'monitor.largest_gap', 'gen_ai.response.finish_reasons', 'gen_ai.response.finish_reason', 'llm.finish_reason', 'gen_ai.completion.0.finish_reason', 'error.type', 'exception.type', 'gen_ai.request.stream', 'gen_ai.is_streaming', 'llm.is_streaming', 'litellm.request.streaming', 'monitor.cancelled', 'gen_ai.conversation.id', 'session.id', 'langfuse.session.id', 'traceloop.association.properties.session_id', 'gen_ai.session.id', 'user.id', 'enduser.id', 'litellm.end_user.id', 'metadata.user_api_key_end_user_id', 'traceloop.association.properties.user_id', 'gen_ai.user', 'llm.user', 'gen_ai.request.user', 'deployment.environment.name', 'deployment.environment', 'monitor.node', 'k8s.node.name', 'host.name', 'cloud.region', 'monitor.deployment', 'monitor.pricing', 'monitor.gpu', 'monitor.variant', 'service.version', 'monitor.experiment', 'monitor.arm', 'gen_ai.input.messages', 'gen_ai.prompt', 'input.value', 'traceloop.entity.input', 'gen_ai.output.messages', 'gen_ai.completion', 'output.value', 'traceloop.entity.output', 'gen_ai.usage.cost', 'operation.cost', 'litellm.cost.total', 'gen_ai.cost.total_cost', 'llm.cost.total', 'monitor.sample_weight', 'monitor.simulated', 'monitor.tokens_estimated', 'monitor.emitter', 'monitor.seq', 'litellm.cache_hit', 'logfire.span_type', 'vllm.instrumenting_module_name'], [16, 17, 18, 19, 32, 33, 34, 35, 48, 49, 50, 51, 52, 53, 54, 55, 64, 65, 66, 80, 81, 82, 96, 97, 98, 112, 113, 114, 115, 116, 128, 129, 130, 131, 144, 145, 146, 147, 148, 160, 161, 162, 163, 164, 176, 192, 208, 224, 240, 256, 272, 273, 274, 275, 288, 289, 304, 305, 306, 307, 320, 336, 337, 338, 339, 340, 352, 353, 354, 355, 356, 357, 358, 359, 368, 369, 384, 385, 386, 400, 416, 432, 448, 464, 480, 496, 512, 528, 529, 530, 531, 544, 545, 546, 547, 560, 561, 562, 563, 564, 576, 592, 608, 624, 640, 656, 672, 688], 0), arrayConcat(mapKeys(SpanAttributes), mapKeys(ResourceAttributes))) AS all_codes,
    arraySort(i -> all_codes[i], arrayFilter((i, c, v) -> c > 0 AND v != '', arrayEnumerate(all_codes), all_codes, all_values)) AS found,
    arrayMap(i -> intDiv(all_codes[i], 16), found) AS fields,
    arrayMap(i -> all_values[i], found) AS values
FROM otel_traces
WHERE arrayExists(k -> k IN ('gen_ai.operation.name', 'gen_ai.system', 'gen_ai.provider.name', 'gen_ai.request.model', 'gen_ai.latency.e2e', 'gen_ai.usage.prompt_tokens', 'gen_ai.usage.completion_tokens', 'openinference.span.kind', 'llm.request.type', 'litellm.call_id'), mapKeys(SpanAttributes))
)
WHERE canonical != ''
)
);

ALTER TABLE inferences_mv MODIFY QUERY
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
    values[indexOf(fields, 23)] AS environment,
    values[indexOf(fields, 24)] AS node,
    values[indexOf(fields, 25)] AS region,
    values[indexOf(fields, 26)] AS deployment,
    values[indexOf(fields, 27)] AS pricing,
    values[indexOf(fields, 28)] AS gpu,
    values[indexOf(fields, 29)] AS variant,
    values[indexOf(fields, 30)] AS release,
    values[indexOf(fields, 31)] AS experiment,
    values[indexOf(fields, 32)] AS arm,
    values[indexOf(fields, 4)] AS request_id,
    values[indexOf(fields, 21)] AS session_id,
    values[indexOf(fields, 22)] AS user_id,
    values[indexOf(fields, 39)] AS emitter,
    values[indexOf(fields, 3)] AS model,
    transform(values[indexOf(fields, 2)], ['vertex_ai', 'gemini', 'az.ai.inference', 'az.ai.openai', 'xai', 'Unknown'], ['gcp.vertex_ai', 'gcp.gemini', 'azure.ai.inference', 'azure.ai.openai', 'x_ai', ''], values[indexOf(fields, 2)]) AS provider,
    multiIf(SpanName = 'llm_request' OR vllm_module != '', 'engine', has_litellm OR SpanName = 'litellm_request' OR ServiceName = 'litellm', 'gateway', has_openinference, 'client', has_openllmetry, 'client', ScopeName = 'monitor.sdk', 'client', 'client') AS role,
    multiIf(SpanName = 'llm_request' OR vllm_module != '', 'vllm', has_litellm OR SpanName = 'litellm_request' OR ServiceName = 'litellm', 'litellm', has_openinference, 'openinference', has_openllmetry, 'openllmetry', ScopeName = 'monitor.sdk', 'monitor', 'otel') AS dialect,
    ScopeVersion AS dialect_version,
    canonical AS operation,
    if(values[indexOf(fields, 19)] = '', NULL, lower(values[indexOf(fields, 19)]) IN ('true', '1')) AS stream,
    accurateCastOrNull(floor(toFloat64OrNull(values[indexOf(fields, 5)])), 'UInt64') AS tokens_in,
    accurateCastOrNull(floor(toFloat64OrNull(values[indexOf(fields, 7)])), 'UInt64') AS cached_tokens,
    accurateCastOrNull(floor(toFloat64OrNull(values[indexOf(fields, 8)])), 'UInt64') AS cache_write_tokens,
    accurateCastOrNull(floor(toFloat64OrNull(values[indexOf(fields, 6)])), 'UInt64') AS output_tokens,
    accurateCastOrNull(floor(toFloat64OrNull(values[indexOf(fields, 9)])), 'UInt64') AS reasoning_tokens,
    coalesce(if(toFloat64OrNull(values[indexOf(fields, 10)]) >= 0 AND toFloat64OrNull(values[indexOf(fields, 10)]) < 1e7, toFloat64OrNull(values[indexOf(fields, 10)]), NULL), first_token_event_s) AS ttft_s,
    if(toFloat64OrNull(values[indexOf(fields, 11)]) >= 0 AND toFloat64OrNull(values[indexOf(fields, 11)]) < 1e7, toFloat64OrNull(values[indexOf(fields, 11)]), NULL) AS queue_s,
    if(toFloat64OrNull(values[indexOf(fields, 12)]) >= 0 AND toFloat64OrNull(values[indexOf(fields, 12)]) < 1e7, toFloat64OrNull(values[indexOf(fields, 12)]), NULL) AS prefill_s,
    if(toFloat64OrNull(values[indexOf(fields, 13)]) >= 0 AND toFloat64OrNull(values[indexOf(fields, 13)]) < 1e7, toFloat64OrNull(values[indexOf(fields, 13)]), NULL) AS decode_s,
    coalesce(if(toFloat64OrNull(values[indexOf(fields, 14)]) >= 0 AND toFloat64OrNull(values[indexOf(fields, 14)]) < 1e7, toFloat64OrNull(values[indexOf(fields, 14)]), NULL), Duration / 1e9) AS duration_s,
    if(toFloat64OrNull(values[indexOf(fields, 15)]) >= 0 AND toFloat64OrNull(values[indexOf(fields, 15)]) < 1e7, toFloat64OrNull(values[indexOf(fields, 15)]), NULL) AS tpot_given,
    if(toFloat64OrNull(values[indexOf(fields, 16)]) >= 0 AND toFloat64OrNull(values[indexOf(fields, 16)]) < 1e7, toFloat64OrNull(values[indexOf(fields, 16)]), NULL) AS largest_gap_s,
    trimBoth(splitByChar(',', replaceRegexpAll(values[indexOf(fields, 17)], '[\\[\\]"]', ''))[1]) AS finish_reason,
    multiIf(values[indexOf(fields, 18)] != '', values[indexOf(fields, 18)], StatusCode IN ('Error', 'STATUS_CODE_ERROR'), '_OTHER', '') AS error_type,
    lower(values[indexOf(fields, 20)]) IN ('true', '1') AS cancelled,
    mapApply((k, v) -> (substring(k, 16), v), mapFilter((k, v) -> startsWith(k, 'monitor.cohort.'), SpanAttributes)) AS cohorts,
    if(notEmpty(values[indexOf(fields, 33)]), values[indexOf(fields, 33)], arrayStringConcat(mapValues(mapFilter((k, v) -> match(k, '^(gen_ai\\.prompt|llm\\.input_messages)\\.\\d+\\.(message\\.)?content$'), SpanAttributes)), '\n')) AS prompt,
    if(notEmpty(values[indexOf(fields, 34)]), values[indexOf(fields, 34)], arrayStringConcat(mapValues(mapFilter((k, v) -> match(k, '^(gen_ai\\.completion|llm\\.output_messages)\\.\\d+\\.(message\\.)?content$'), SpanAttributes)), '\n')) AS completion,
    if(toFloat64OrZero(values[indexOf(fields, 36)]) >= 1 AND toFloat64OrZero(values[indexOf(fields, 36)]) < 1e9, toFloat64OrZero(values[indexOf(fields, 36)]), 1) AS sample_weight,
    if(lower(values[indexOf(fields, 41)]) IN ('true', '1'), 0, toFloat64OrNull(values[indexOf(fields, 35)])) AS cost_usd,
    lower(values[indexOf(fields, 37)]) IN ('true', '1') AS simulated,
    lower(values[indexOf(fields, 38)]) IN ('true', '1') AS tokens_estimated,
    toUInt64OrZero(values[indexOf(fields, 40)]) AS seq
FROM
(
SELECT
    *,
    values[indexOf(fields, 43)] AS vllm_module,
    values[indexOf(fields, 1)] AS sent_operation,
    multiIf(
        SpanName IN ('raw_gen_ai_request', 'Received Proxy Server Request', 'Failed Proxy Server Request') OR values[indexOf(fields, 42)] = 'pending_span', '',
        sent_operation != '', transform(sent_operation, ['chat', 'text_completion', 'generate_content', 'embeddings', 'completion', 'acompletion', 'atext_completion', 'embedding', 'aembedding', 'responses', 'aresponses', 'LLM', 'EMBEDDING'], ['chat', 'text_completion', 'generate_content', 'embeddings', 'text_completion', 'chat', 'text_completion', 'embeddings', 'embeddings', 'chat', 'chat', 'chat', 'embeddings'], ''),
        SpanName = 'llm_request', 'chat',
        SpanName = 'litellm_request' OR (has_litellm AND notEmpty(values[indexOf(fields, 5)])), 'chat',
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
    arrayMap(k -> transform(k, ['gen_ai.operation.name', 'openinference.span.kind', 'llm.request.type', 'traceloop.span.kind', 'gen_ai.provider.name', 'gen_ai.system', 'llm.provider', 'llm.system', 'gen_ai.response.model', 'llm.response.model_name', 'litellm.provider.model', 'gen_ai.request.model', 'llm.request.model_name', 'llm.model_name', 'embedding.model_name', 'monitor.model', 'gen_ai.response.id', 'gen_ai.request.id', 'litellm.call_id', 'gen_ai.usage.input_tokens', 'gen_ai.usage.prompt_tokens', 'llm.token_count.prompt', 'gen_ai.usage.output_tokens', 'gen_ai.usage.completion_tokens', 'llm.token_count.completion', 'gen_ai.usage.cache_read.input_tokens', 'gen_ai.usage.cache_read_input_tokens', 'gen_ai.usage.cached_tokens', 'llm.token_count.prompt_details.cache_read', 'gen_ai.usage.details.cache_read_tokens', 'gen_ai.usage.cache_write.input_tokens', 'gen_ai.usage.cache_creation.input_tokens', 'gen_ai.usage.cache_creation_input_tokens', 'llm.token_count.prompt_details.cache_write', 'gen_ai.usage.reasoning.output_tokens', 'gen_ai.usage.reasoning_tokens', 'llm.token_count.completion_details.reasoning', 'llm.usage.reasoning_tokens', 'gen_ai.usage.details.reasoning_tokens', 'gen_ai.response.time_to_first_chunk', 'gen_ai.latency.time_to_first_token', 'gen_ai.server.time_to_first_token', 'gen_ai.client.operation.time_to_first_chunk', 'gen_ai.client.inference.time_to_first_chunk', 'gen_ai.latency.time_in_queue', 'gen_ai.latency.time_in_model_prefill', 'gen_ai.latency.time_in_model_decode', 'gen_ai.latency.e2e', 'gen_ai.server.time_per_output_token', 'monitor.largest_gap', 'gen_ai.response.finish_reasons', 'gen_ai.response.finish_reason', 'llm.finish_reason', 'gen_ai.completion.0.finish_reason', 'error.type', 'exception.type', 'gen_ai.request.stream', 'gen_ai.is_streaming', 'llm.is_streaming', 'litellm.request.streaming', 'monitor.cancelled', 'gen_ai.conversation.id', 'session.id', 'langfuse.session.id', 'traceloop.association.properties.session_id', 'gen_ai.session.id', 'user.id', 'enduser.id', 'litellm.end_user.id', 'metadata.user_api_key_end_user_id', 'traceloop.association.properties.user_id', 'gen_ai.user', 'llm.user', 'gen_ai.request.user', 'deployment.environment.name', 'deployment.environment', 'monitor.node', 'k8s.node.name', 'host.name', 'cloud.region', 'monitor.deployment', 'monitor.pricing', 'monitor.gpu', 'monitor.variant', 'service.version', 'monitor.experiment', 'monitor.arm', 'gen_ai.input.messages', 'gen_ai.prompt', 'input.value', 'traceloop.entity.input', 'gen_ai.output.messages', 'gen_ai.completion', 'output.value', 'traceloop.entity.output', 'gen_ai.usage.cost', 'operation.cost', 'litellm.cost.total', 'gen_ai.cost.total_cost', 'llm.cost.total', 'monitor.sample_weight', 'monitor.simulated', 'monitor.tokens_estimated', 'monitor.emitter', 'monitor.seq', 'litellm.cache_hit', 'logfire.span_type', 'vllm.instrumenting_module_name'], [16, 17, 18, 19, 32, 33, 34, 35, 48, 49, 50, 51, 52, 53, 54, 55, 64, 65, 66, 80, 81, 82, 96, 97, 98, 112, 113, 114, 115, 116, 128, 129, 130, 131, 144, 145, 146, 147, 148, 160, 161, 162, 163, 164, 176, 192, 208, 224, 240, 256, 272, 273, 274, 275, 288, 289, 304, 305, 306, 307, 320, 336, 337, 338, 339, 340, 352, 353, 354, 355, 356, 357, 358, 359, 368, 369, 384, 385, 386, 400, 416, 432, 448, 464, 480, 496, 512, 528, 529, 530, 531, 544, 545, 546, 547, 560, 561, 562, 563, 564, 576, 592, 608, 624, 640, 656, 672, 688], 0), arrayConcat(mapKeys(SpanAttributes), mapKeys(ResourceAttributes))) AS all_codes,
    arraySort(i -> all_codes[i], arrayFilter((i, c, v) -> c > 0 AND v != '', arrayEnumerate(all_codes), all_codes, all_values)) AS found,
    arrayMap(i -> intDiv(all_codes[i], 16), found) AS fields,
    arrayMap(i -> all_values[i], found) AS values
FROM otel_traces
WHERE arrayExists(k -> k IN ('gen_ai.operation.name', 'gen_ai.system', 'gen_ai.provider.name', 'gen_ai.request.model', 'gen_ai.latency.e2e', 'gen_ai.usage.prompt_tokens', 'gen_ai.usage.completion_tokens', 'openinference.span.kind', 'llm.request.type', 'litellm.call_id'), mapKeys(SpanAttributes))
)
WHERE canonical != ''
)
);
