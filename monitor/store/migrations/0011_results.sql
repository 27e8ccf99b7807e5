-- KPI values as jobs computed them: what a KPI was over the window that ended at `window_end`, for the whole (an empty
-- `grp`) and for groups. Read with FINAL: a window that is computed again replaces its row. A value that could not be
-- given is NULL, and `note` says why.
CREATE TABLE IF NOT EXISTS kpi_results
(
    window_end DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    window_s UInt32 CODEC(ZSTD(1)),
    name LowCardinality(String),
    unit LowCardinality(String),
    grp Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    value Nullable(Float64) CODEC(ZSTD(1)),
    low Nullable(Float64) CODEC(ZSTD(1)),
    high Nullable(Float64) CODEC(ZSTD(1)),
    n UInt64 CODEC(ZSTD(1)),
    method LowCardinality(String),
    note String CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(window_end)
ORDER BY (name, window_s, window_end, mapKeys(grp), mapValues(grp))
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;
