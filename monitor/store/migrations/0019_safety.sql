-- Counterfactual probes: each run's paired differences of a group to its set's baseline, by score. Read with FINAL. `value`
-- is group less baseline, over `n` pairs of prompts that differ in the group's term alone; NULL where no pair was answered.
CREATE TABLE IF NOT EXISTS probe_results
(
    run_at DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    kind LowCardinality(String),
    endpoint LowCardinality(String),
    model LowCardinality(String),
    cohort LowCardinality(String),
    baseline LowCardinality(String),
    metric LowCardinality(String),
    value Nullable(Float64) CODEC(ZSTD(1)),
    low Nullable(Float64) CODEC(ZSTD(1)),
    high Nullable(Float64) CODEC(ZSTD(1)),
    p_value Nullable(Float64) CODEC(ZSTD(1)),
    p_adjusted Nullable(Float64) CODEC(ZSTD(1)),
    group_value Nullable(Float64) CODEC(ZSTD(1)),
    baseline_value Nullable(Float64) CODEC(ZSTD(1)),
    n UInt64 CODEC(ZSTD(1)),
    n_differing UInt64 CODEC(ZSTD(1)),
    method LowCardinality(String),
    test LowCardinality(String),
    verdict LowCardinality(String),
    reason String CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(run_at)
ORDER BY (kind, metric, cohort, model, endpoint, run_at)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;

-- Classifiers of refusals, trained on labels of this store, as JSON (words with their weights); the newest counts. An empty
-- `model` says that the rules are used from then on, and `note` why.
CREATE TABLE IF NOT EXISTS refusal_models
(
    trained_at DateTime64(3, 'UTC'),
    version LowCardinality(String),
    model String CODEC(ZSTD(3)),
    n UInt64,
    n_refused UInt64,
    accuracy Nullable(Float64),
    rules_accuracy Nullable(Float64),
    brier Nullable(Float64),
    note String
)
ENGINE = ReplacingMergeTree
ORDER BY trained_at;

-- How far the job `safety` has come: milliseconds since 1970, by name.
CREATE TABLE IF NOT EXISTS safety_state
(
    name LowCardinality(String),
    value Int64,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY name;
