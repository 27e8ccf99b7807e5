-- Calls that somebody put aside under a name: what a model is tuned on, or tried on again. An item is by the call's ids; the
-- call itself stays where it is. `called_at` is when it began, so that it is found again without a look at all days.
CREATE TABLE IF NOT EXISTS dataset_items
(
    dataset LowCardinality(String),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    called_at DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    reason LowCardinality(String),
    note String CODEC(ZSTD(1)),
    author LowCardinality(String),
    added_at DateTime64(6, 'UTC') CODEC(ZSTD(1)),
    version UInt64,
    deleted UInt8
)
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY (dataset, trace_id, span_id);

-- What became of a call in the review queue. A label itself is an evaluation, as any other.
CREATE TABLE IF NOT EXISTS reviews
(
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    name LowCardinality(String),
    state LowCardinality(String),
    author LowCardinality(String),
    at DateTime64(6, 'UTC') CODEC(ZSTD(1)),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (name, trace_id, span_id);
