-- What the SDK says of itself: up to which number all of an emitter's calls are sent, or lost. Read beside `inferences`, which
-- has what arrived. A counter that begins is a report of 0 at its begin.
CREATE TABLE IF NOT EXISTS sdk_reports
(
    timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    emitter LowCardinality(String),
    service LowCardinality(String),
    environment LowCardinality(String),
    deployment LowCardinality(String),
    pricing LowCardinality(String),
    region LowCardinality(String),
    node LowCardinality(String),
    gpu LowCardinality(String),
    variant LowCardinality(String),
    release LowCardinality(String),
    settled UInt64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(timestamp)
ORDER BY (toStartOfHour(timestamp), emitter, timestamp)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS sdk_reports_mv TO sdk_reports AS
SELECT
    moment.1 AS timestamp,
    ResourceAttributes['monitor.emitter'] AS emitter,
    ServiceName AS service,
    if(ResourceAttributes['deployment.environment.name'] != '', ResourceAttributes['deployment.environment.name'], ResourceAttributes['deployment.environment']) AS environment,
    ResourceAttributes['monitor.deployment'] AS deployment,
    ResourceAttributes['monitor.pricing'] AS pricing,
    ResourceAttributes['cloud.region'] AS region,
    multiIf(ResourceAttributes['monitor.node'] != '', ResourceAttributes['monitor.node'], ResourceAttributes['k8s.node.name'] != '', ResourceAttributes['k8s.node.name'], ResourceAttributes['host.name']) AS node,
    ResourceAttributes['monitor.gpu'] AS gpu,
    ResourceAttributes['monitor.variant'] AS variant,
    ResourceAttributes['service.version'] AS release,
    moment.2 AS settled
FROM otel_metrics_sum
ARRAY JOIN [(StartTimeUnix, toUInt64(0)), (TimeUnix, toUInt64(greatest(Value, 0)))] AS moment
WHERE MetricName = 'monitor.sdk.calls.settled' AND ResourceAttributes['monitor.emitter'] != '' AND isFinite(Value)
    AND Value < 1e15 AND moment.1 > toDateTime64('2000-01-01 00:00:00', 9);
