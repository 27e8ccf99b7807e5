-- Logs and metrics, as the OpenTelemetry Collector's ClickHouse exporter makes and fills the tables, and the facts that
-- hang off them: judgements and engagement.
-- Of the exporter's skip indexes only those that pay for themselves are kept, see 0001.
CREATE TABLE IF NOT EXISTS otel_logs
(
    Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    TraceFlags UInt8,
    SeverityText LowCardinality(String) CODEC(ZSTD(1)),
    SeverityNumber UInt8,
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    Body String CODEC(ZSTD(1)),
    ResourceSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion LowCardinality(String) CODEC(ZSTD(1)),
    ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    LogAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    EventName String CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_lower_body lower(Body) TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 8
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (toStartOfFiveMinutes(Timestamp), ServiceName, Timestamp)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

ALTER TABLE otel_logs MODIFY SETTING non_replicated_deduplication_window = 10000;

-- A table that an exporter of before 2025 made.
ALTER TABLE otel_logs ADD COLUMN IF NOT EXISTS EventName String CODEC(ZSTD(1));

CREATE TABLE IF NOT EXISTS otel_metrics_gauge
(
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ResourceSchemaUrl String CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeDroppedAttrCount UInt32 CODEC(ZSTD(1)),
    ScopeSchemaUrl String CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    MetricName LowCardinality(String) CODEC(ZSTD(1)),
    MetricDescription String CODEC(ZSTD(1)),
    MetricUnit String CODEC(ZSTD(1)),
    Attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    StartTimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    Value Float64 CODEC(ZSTD(1)),
    Flags UInt32 CODEC(ZSTD(1)),
    Exemplars Nested
    (
        FilteredAttributes Map(LowCardinality(String), String),
        TimeUnix DateTime64(9),
        Value Float64,
        SpanId String,
        TraceId String
    ) CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(TimeUnix)
ORDER BY (ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

ALTER TABLE otel_metrics_gauge MODIFY SETTING non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS otel_metrics_sum
(
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ResourceSchemaUrl String CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeDroppedAttrCount UInt32 CODEC(ZSTD(1)),
    ScopeSchemaUrl String CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    MetricName LowCardinality(String) CODEC(ZSTD(1)),
    MetricDescription String CODEC(ZSTD(1)),
    MetricUnit String CODEC(ZSTD(1)),
    Attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    StartTimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    Value Float64 CODEC(ZSTD(1)),
    Flags UInt32 CODEC(ZSTD(1)),
    Exemplars Nested
    (
        FilteredAttributes Map(LowCardinality(String), String),
        TimeUnix DateTime64(9),
        Value Float64,
        SpanId String,
        TraceId String
    ) CODEC(ZSTD(1)),
    AggregationTemporality Int32 CODEC(ZSTD(1)),
    IsMonotonic Bool CODEC(Delta(1), ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(TimeUnix)
ORDER BY (ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

ALTER TABLE otel_metrics_sum MODIFY SETTING non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS otel_metrics_histogram
(
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ResourceSchemaUrl String CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeDroppedAttrCount UInt32 CODEC(ZSTD(1)),
    ScopeSchemaUrl String CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    MetricName LowCardinality(String) CODEC(ZSTD(1)),
    MetricDescription String CODEC(ZSTD(1)),
    MetricUnit String CODEC(ZSTD(1)),
    Attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    StartTimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    Count UInt64 CODEC(Delta(8), ZSTD(1)),
    Sum Float64 CODEC(ZSTD(1)),
    BucketCounts Array(UInt64) CODEC(ZSTD(1)),
    ExplicitBounds Array(Float64) CODEC(ZSTD(1)),
    Exemplars Nested
    (
        FilteredAttributes Map(LowCardinality(String), String),
        TimeUnix DateTime64(9),
        Value Float64,
        SpanId String,
        TraceId String
    ) CODEC(ZSTD(1)),
    Flags UInt32 CODEC(ZSTD(1)),
    Min Float64 CODEC(ZSTD(1)),
    Max Float64 CODEC(ZSTD(1)),
    AggregationTemporality Int32 CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(TimeUnix)
ORDER BY (ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

ALTER TABLE otel_metrics_histogram MODIFY SETTING non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS otel_metrics_exponential_histogram
(
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ResourceSchemaUrl String CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeDroppedAttrCount UInt32 CODEC(ZSTD(1)),
    ScopeSchemaUrl String CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    MetricName LowCardinality(String) CODEC(ZSTD(1)),
    MetricDescription String CODEC(ZSTD(1)),
    MetricUnit String CODEC(ZSTD(1)),
    Attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    StartTimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    Count UInt64 CODEC(Delta(8), ZSTD(1)),
    Sum Float64 CODEC(ZSTD(1)),
    Scale Int32 CODEC(ZSTD(1)),
    ZeroCount UInt64 CODEC(ZSTD(1)),
    PositiveOffset Int32 CODEC(ZSTD(1)),
    PositiveBucketCounts Array(UInt64) CODEC(ZSTD(1)),
    NegativeOffset Int32 CODEC(ZSTD(1)),
    NegativeBucketCounts Array(UInt64) CODEC(ZSTD(1)),
    Exemplars Nested
    (
        FilteredAttributes Map(LowCardinality(String), String),
        TimeUnix DateTime64(9),
        Value Float64,
        SpanId String,
        TraceId String
    ) CODEC(ZSTD(1)),
    Flags UInt32 CODEC(ZSTD(1)),
    Min Float64 CODEC(ZSTD(1)),
    Max Float64 CODEC(ZSTD(1)),
    AggregationTemporality Int32 CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(TimeUnix)
ORDER BY (ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

ALTER TABLE otel_metrics_exponential_histogram MODIFY SETTING non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS otel_metrics_summary
(
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ResourceSchemaUrl String CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeDroppedAttrCount UInt32 CODEC(ZSTD(1)),
    ScopeSchemaUrl String CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    MetricName LowCardinality(String) CODEC(ZSTD(1)),
    MetricDescription String CODEC(ZSTD(1)),
    MetricUnit String CODEC(ZSTD(1)),
    Attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    StartTimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    Count UInt64 CODEC(Delta(8), ZSTD(1)),
    Sum Float64 CODEC(ZSTD(1)),
    ValueAtQuantiles Nested
    (
        Quantile Float64,
        Value Float64
    ) CODEC(ZSTD(1)),
    Flags UInt32 CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(TimeUnix)
ORDER BY (ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

ALTER TABLE otel_metrics_summary MODIFY SETTING non_replicated_deduplication_window = 10000;

-- One row per data point of any kind, kept nowhere: an insert of one segment is parsed once and the views below send each
-- point to its table.
CREATE TABLE IF NOT EXISTS otel_metrics_in
(
    Kind LowCardinality(String),
    ResourceAttributes Map(LowCardinality(String), String),
    ResourceSchemaUrl String,
    ScopeName String,
    ScopeVersion String,
    ScopeAttributes Map(LowCardinality(String), String),
    ScopeDroppedAttrCount UInt32,
    ScopeSchemaUrl String,
    ServiceName LowCardinality(String),
    MetricName LowCardinality(String),
    MetricDescription String,
    MetricUnit String,
    Attributes Map(LowCardinality(String), String),
    StartTimeUnix DateTime64(9),
    TimeUnix DateTime64(9),
    Flags UInt32,
    Value Float64,
    Count UInt64,
    Sum Float64,
    Min Float64,
    Max Float64,
    BucketCounts Array(UInt64),
    ExplicitBounds Array(Float64),
    Scale Int32,
    ZeroCount UInt64,
    PositiveOffset Int32,
    PositiveBucketCounts Array(UInt64),
    NegativeOffset Int32,
    NegativeBucketCounts Array(UInt64),
    Quantiles Array(Float64),
    QuantileValues Array(Float64),
    ExemplarAttributes Array(Map(LowCardinality(String), String)),
    ExemplarTimes Array(DateTime64(9)),
    ExemplarValues Array(Float64),
    ExemplarSpanIds Array(String),
    ExemplarTraceIds Array(String),
    AggregationTemporality Int32,
    IsMonotonic Bool
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS otel_metrics_gauge_mv TO otel_metrics_gauge AS
SELECT ResourceAttributes, ResourceSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, ScopeDroppedAttrCount, ScopeSchemaUrl,
    ServiceName, MetricName, MetricDescription, MetricUnit, Attributes, StartTimeUnix, TimeUnix, Value, Flags,
    ExemplarAttributes AS `Exemplars.FilteredAttributes`, ExemplarTimes AS `Exemplars.TimeUnix`,
    ExemplarValues AS `Exemplars.Value`, ExemplarSpanIds AS `Exemplars.SpanId`, ExemplarTraceIds AS `Exemplars.TraceId`
FROM otel_metrics_in
WHERE Kind = 'gauge';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel_metrics_sum_mv TO otel_metrics_sum AS
SELECT ResourceAttributes, ResourceSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, ScopeDroppedAttrCount, ScopeSchemaUrl,
    ServiceName, MetricName, MetricDescription, MetricUnit, Attributes, StartTimeUnix, TimeUnix, Value, Flags,
    ExemplarAttributes AS `Exemplars.FilteredAttributes`, ExemplarTimes AS `Exemplars.TimeUnix`,
    ExemplarValues AS `Exemplars.Value`, ExemplarSpanIds AS `Exemplars.SpanId`, ExemplarTraceIds AS `Exemplars.TraceId`,
    AggregationTemporality, IsMonotonic
FROM otel_metrics_in
WHERE Kind = 'sum';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel_metrics_histogram_mv TO otel_metrics_histogram AS
SELECT ResourceAttributes, ResourceSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, ScopeDroppedAttrCount, ScopeSchemaUrl,
    ServiceName, MetricName, MetricDescription, MetricUnit, Attributes, StartTimeUnix, TimeUnix, Count, Sum, BucketCounts,
    ExplicitBounds,
    ExemplarAttributes AS `Exemplars.FilteredAttributes`, ExemplarTimes AS `Exemplars.TimeUnix`,
    ExemplarValues AS `Exemplars.Value`, ExemplarSpanIds AS `Exemplars.SpanId`, ExemplarTraceIds AS `Exemplars.TraceId`,
    Flags, Min, Max, AggregationTemporality
FROM otel_metrics_in
WHERE Kind = 'histogram';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel_metrics_exponential_histogram_mv TO otel_metrics_exponential_histogram AS
SELECT ResourceAttributes, ResourceSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, ScopeDroppedAttrCount, ScopeSchemaUrl,
    ServiceName, MetricName, MetricDescription, MetricUnit, Attributes, StartTimeUnix, TimeUnix, Count, Sum, Scale, ZeroCount,
    PositiveOffset, PositiveBucketCounts, NegativeOffset, NegativeBucketCounts,
    ExemplarAttributes AS `Exemplars.FilteredAttributes`, ExemplarTimes AS `Exemplars.TimeUnix`,
    ExemplarValues AS `Exemplars.Value`, ExemplarSpanIds AS `Exemplars.SpanId`, ExemplarTraceIds AS `Exemplars.TraceId`,
    Flags, Min, Max, AggregationTemporality
FROM otel_metrics_in
WHERE Kind = 'exponential_histogram';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel_metrics_summary_mv TO otel_metrics_summary AS
SELECT ResourceAttributes, ResourceSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, ScopeDroppedAttrCount, ScopeSchemaUrl,
    ServiceName, MetricName, MetricDescription, MetricUnit, Attributes, StartTimeUnix, TimeUnix, Count, Sum,
    Quantiles AS `ValueAtQuantiles.Quantile`, QuantileValues AS `ValueAtQuantiles.Value`, Flags
FROM otel_metrics_in
WHERE Kind = 'summary';

-- Judgements of any kind on an inference. A judgement that an emitter sent twice counts once (read with FINAL); one that was
-- made again later is another row. `source`: ground_truth, human, user, judge, moderation, probe; empty if not said.
CREATE TABLE IF NOT EXISTS evaluations
(
    timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    response_id String CODEC(ZSTD(1)),
    service LowCardinality(String),
    name LowCardinality(String),
    score Nullable(Float64) CODEC(ZSTD(1)),
    label LowCardinality(String),
    source LowCardinality(String),
    evaluator LowCardinality(String),
    explanation String CODEC(ZSTD(1)),
    error_type LowCardinality(String),
    inserted_at DateTime64(3) DEFAULT now64(3) CODEC(Delta(8), ZSTD(1)),
    INDEX idx_trace_id trace_id TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(inserted_at)
PARTITION BY toDate(timestamp)
ORDER BY (toStartOfHour(timestamp), name, cityHash64(trace_id), span_id, response_id, source, evaluator, timestamp)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS evaluations_from_logs_mv TO evaluations AS
SELECT
    Timestamp AS timestamp,
    TraceId AS trace_id,
    SpanId AS span_id,
    LogAttributes['gen_ai.response.id'] AS response_id,
    ServiceName AS service,
    LogAttributes['gen_ai.evaluation.name'] AS name,
    if(isFinite(toFloat64OrNull(LogAttributes['gen_ai.evaluation.score.value'])), toFloat64OrNull(LogAttributes['gen_ai.evaluation.score.value']), NULL) AS score,
    LogAttributes['gen_ai.evaluation.score.label'] AS label,
    LogAttributes['monitor.evaluation.source'] AS source,
    LogAttributes['monitor.evaluation.evaluator'] AS evaluator,
    LogAttributes['gen_ai.evaluation.explanation'] AS explanation,
    LogAttributes['error.type'] AS error_type
FROM otel_logs
WHERE (EventName = 'gen_ai.evaluation.result' OR LogAttributes['event.name'] = 'gen_ai.evaluation.result')
    AND LogAttributes['gen_ai.evaluation.name'] != '';

CREATE MATERIALIZED VIEW IF NOT EXISTS evaluations_from_spans_mv TO evaluations AS
SELECT
    event_time AS timestamp,
    TraceId AS trace_id,
    SpanId AS span_id,
    said['gen_ai.response.id'] AS response_id,
    ServiceName AS service,
    said['gen_ai.evaluation.name'] AS name,
    if(isFinite(toFloat64OrNull(said['gen_ai.evaluation.score.value'])), toFloat64OrNull(said['gen_ai.evaluation.score.value']), NULL) AS score,
    said['gen_ai.evaluation.score.label'] AS label,
    said['monitor.evaluation.source'] AS source,
    said['monitor.evaluation.evaluator'] AS evaluator,
    said['gen_ai.evaluation.explanation'] AS explanation,
    said['error.type'] AS error_type
FROM otel_traces
ARRAY JOIN Events.Timestamp AS event_time, Events.Name AS event_name, Events.Attributes AS said
WHERE has(Events.Name, 'gen_ai.evaluation.result') AND event_name = 'gen_ai.evaluation.result' AND said['gen_ai.evaluation.name'] != '';

-- What users did with an answer: copy, regenerate, edit, accept, share, abandon, thumbs (value up or down), report …
CREATE TABLE IF NOT EXISTS engagement_events
(
    timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    response_id String CODEC(ZSTD(1)),
    service LowCardinality(String),
    kind LowCardinality(String),
    value String CODEC(ZSTD(1)),
    comment String CODEC(ZSTD(1)),
    session_id String CODEC(ZSTD(1)),
    user_id String CODEC(ZSTD(1)),
    inserted_at DateTime64(3) DEFAULT now64(3) CODEC(Delta(8), ZSTD(1)),
    INDEX idx_trace_id trace_id TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(inserted_at)
PARTITION BY toDate(timestamp)
ORDER BY (toStartOfHour(timestamp), kind, cityHash64(trace_id), span_id, response_id, session_id, user_id, timestamp)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS engagement_from_logs_mv TO engagement_events AS
SELECT
    Timestamp AS timestamp,
    TraceId AS trace_id,
    SpanId AS span_id,
    LogAttributes['gen_ai.response.id'] AS response_id,
    ServiceName AS service,
    LogAttributes['monitor.engagement.kind'] AS kind,
    LogAttributes['monitor.engagement.value'] AS value,
    LogAttributes['monitor.engagement.comment'] AS comment,
    if(LogAttributes['gen_ai.conversation.id'] != '', LogAttributes['gen_ai.conversation.id'], LogAttributes['session.id']) AS session_id,
    LogAttributes['user.id'] AS user_id
FROM otel_logs
WHERE (EventName = 'monitor.engagement' OR LogAttributes['event.name'] = 'monitor.engagement')
    AND LogAttributes['monitor.engagement.kind'] != '';

CREATE MATERIALIZED VIEW IF NOT EXISTS engagement_from_spans_mv TO engagement_events AS
SELECT
    event_time AS timestamp,
    TraceId AS trace_id,
    SpanId AS span_id,
    said['gen_ai.response.id'] AS response_id,
    ServiceName AS service,
    said['monitor.engagement.kind'] AS kind,
    said['monitor.engagement.value'] AS value,
    said['monitor.engagement.comment'] AS comment,
    if(SpanAttributes['gen_ai.conversation.id'] != '', SpanAttributes['gen_ai.conversation.id'], SpanAttributes['session.id']) AS session_id,
    if(said['user.id'] != '', said['user.id'], SpanAttributes['user.id']) AS user_id
FROM otel_traces
ARRAY JOIN Events.Timestamp AS event_time, Events.Name AS event_name, Events.Attributes AS said
WHERE has(Events.Name, 'monitor.engagement') AND event_name = 'monitor.engagement' AND said['monitor.engagement.kind'] != '';
