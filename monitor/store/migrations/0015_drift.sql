-- Looks of the job `drift`: each feature over the window that ended at `window_end`, against `reference`. Read with FINAL: a look
-- that is made again replaces its row. A number that could not be given is NULL, and `verdict` says why. `setup` to `told` is what
-- the next look goes on from (docs/drift.md, "Looking every hour").
CREATE TABLE IF NOT EXISTS drift_results
(
    window_end DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    window_s UInt32 CODEC(ZSTD(1)),
    service LowCardinality(String),
    model LowCardinality(String),
    filter Map(LowCardinality(String), Array(String)) CODEC(ZSTD(1)),
    feature LowCardinality(String),
    method LowCardinality(String),
    value Nullable(Float64) CODEC(ZSTD(1)),
    low Nullable(Float64) CODEC(ZSTD(1)),
    high Nullable(Float64) CODEC(ZSTD(1)),
    p_value Nullable(Float64) CODEC(ZSTD(1)),
    p_look Nullable(Float64) CODEC(ZSTD(1)),
    threshold Float64 CODEC(ZSTD(1)),
    drifted Bool,
    verdict String CODEC(ZSTD(1)),
    n_reference UInt64 CODEC(ZSTD(1)),
    n_current UInt64 CODEC(ZSTD(1)),
    reference LowCardinality(String),
    reference_start Nullable(DateTime('UTC')) CODEC(ZSTD(1)),
    reference_end Nullable(DateTime('UTC')) CODEC(ZSTD(1)),
    moved Array(String) CODEC(ZSTD(1)),
    reference_traces Array(String) CODEC(ZSTD(1)),
    current_traces Array(String) CODEC(ZSTD(1)),
    brings Map(LowCardinality(String), Float64) CODEC(ZSTD(1)),
    impact Nullable(Float64) CODEC(ZSTD(1)),
    rank UInt16,
    note String CODEC(ZSTD(1)),
    setup LowCardinality(String),
    looks UInt32 CODEC(ZSTD(1)),
    capital Float64 CODEC(ZSTD(1)),
    kept Float64 CODEC(ZSTD(1)),
    highest Float64 CODEC(ZSTD(1)),
    told Bool,
    version UInt64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(window_end)
ORDER BY (feature, method, service, model, window_s, window_end)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;

-- How the values of a feature are cut into bins, and the counts of a pinned reference in them. `fitted` (Unix time in ms) names the
-- cut; counts of another one are of no use.
CREATE TABLE IF NOT EXISTS drift_bins
(
    service LowCardinality(String),
    model LowCardinality(String),
    feature LowCardinality(String),
    setup LowCardinality(String),
    fitted UInt64,
    edges Array(Float64),
    categories Array(String),
    complete Bool,
    reference Array(Float64),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (service, model, feature, setup);

-- Calls in each bin, by look; the last number is of those without a value. They are the references of later looks.
CREATE TABLE IF NOT EXISTS drift_counts
(
    window_start DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    service LowCardinality(String),
    model LowCardinality(String),
    feature LowCardinality(String),
    fitted UInt64 CODEC(ZSTD(1)),
    counts Array(Float64) CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(window_start)
ORDER BY (service, model, feature, fitted, window_start)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;

-- Looks of the job `bias`: rows with a `gap` are gaps between groups (`worst` is the group that fares worst, `best` the other
-- side), rows with a `grp` are the groups' own values.
CREATE TABLE IF NOT EXISTS bias_results
(
    window_end DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    window_s UInt32 CODEC(ZSTD(1)),
    service LowCardinality(String),
    model LowCardinality(String),
    cohort LowCardinality(String),
    metric LowCardinality(String),
    gap LowCardinality(String),
    grp String CODEC(ZSTD(1)),
    worst String CODEC(ZSTD(1)),
    best String CODEC(ZSTD(1)),
    value Nullable(Float64) CODEC(ZSTD(1)),
    low Nullable(Float64) CODEC(ZSTD(1)),
    high Nullable(Float64) CODEC(ZSTD(1)),
    strict_low Nullable(Float64) CODEC(ZSTD(1)),
    strict_high Nullable(Float64) CODEC(ZSTD(1)),
    corrected Nullable(Float64) CODEC(ZSTD(1)),
    n UInt64 CODEC(ZSTD(1)),
    n_groups UInt32 CODEC(ZSTD(1)),
    sufficient Bool,
    p_value Nullable(Float64) CODEC(ZSTD(1)),
    q_value Nullable(Float64) CODEC(ZSTD(1)),
    tolerance Nullable(Float64) CODEC(ZSTD(1)),
    verdict LowCardinality(String),
    reason String CODEC(ZSTD(1)),
    traces Array(String) CODEC(ZSTD(1)),
    note String CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(window_end)
ORDER BY (cohort, metric, gap, grp, service, model, window_s, window_end)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;
