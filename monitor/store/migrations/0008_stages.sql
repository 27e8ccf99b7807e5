-- Stages of calls that an engine tells in spans of their own: queue, prefill, decode. No row here is a call; `calls` adds
-- their times to the call that they are part of. `name` is that of the span, or what the span is where names hold ids:
-- `thread` and `prefill` are spans between a stage and its call (SGLang: one for each thread, and the first half of a call
-- that two servers share); `queue` is no span but an event of Triton's span of the call, and so its own parent.
CREATE TABLE IF NOT EXISTS inference_stages
(
    timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    parent_span_id String CODEC(ZSTD(1)),
    service LowCardinality(String),
    name LowCardinality(String),
    dialect LowCardinality(String),
    duration_s Float64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(timestamp)
ORDER BY (toStartOfHour(timestamp), cityHash64(trace_id), span_id)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS inference_stages_mv TO inference_stages AS
SELECT
    if(has(Events.Name, 'QUEUE_START'), Events.Timestamp[indexOf(Events.Name, 'QUEUE_START')], Timestamp) AS timestamp,
    TraceId AS trace_id,
    SpanId AS span_id,
    if(has(Events.Name, 'QUEUE_START'), SpanId, ParentSpanId) AS parent_span_id,
    ServiceName AS service,
    multiIf(
        has(Events.Name, 'QUEUE_START'), 'queue',
        has(mapKeys(SpanAttributes), 'thread_label'), 'thread',
        startsWith(SpanName, 'prefill Req'), 'prefill',
        SpanName) AS name,
    if(ScopeName = 'triton-server', 'triton', 'sglang') AS dialect,
    if(has(Events.Name, 'QUEUE_START'), 0, Duration / 1e9) AS duration_s
FROM otel_traces
WHERE (ScopeName = 'triton-server' AND (SpanName = 'compute' OR has(Events.Name, 'QUEUE_START')))
    OR (ScopeName = 'sglang server' AND (SpanName IN ('prefill_waiting', 'prefill_forward', 'decode_forward')
        OR startsWith(SpanName, 'prefill Req') OR has(mapKeys(SpanAttributes), 'thread_label')));
