-- Alert rules that were made in the dashboard or by the API: every version is kept, the newest counts, unless it says `removed`.
-- `definition` is JSON with the keys of `alerts` in the configuration.
CREATE TABLE IF NOT EXISTS alert_rules
(
    name String,
    version UInt64,
    written_at DateTime64(3, 'UTC'),
    author String,
    comment String,
    definition String,
    removed Bool
)
ENGINE = ReplacingMergeTree
ORDER BY (name, version, written_at);

-- Instances (one group of one rule) as they stand: those that are pending, alarming, or resolved lately. Read with FINAL;
-- `deleted`: there is nothing to tell of it any more. Times in microseconds are exact, so that a restart keeps pending clocks.
-- `since` is when the present state began, `quiet_since` since when there is too little data to judge, `missed` how many
-- evaluations in a row had no such group.
CREATE TABLE IF NOT EXISTS alert_state
(
    rule String,
    fingerprint String,
    state LowCardinality(String),
    labels Map(LowCardinality(String), String),
    grp Map(LowCardinality(String), String),
    `where` Map(LowCardinality(String), Array(String)),
    since DateTime64(6, 'UTC'),
    active_at Nullable(DateTime64(6, 'UTC')),
    fired_at Nullable(DateTime64(6, 'UTC')),
    recovering_at Nullable(DateTime64(6, 'UTC')),
    quiet_since Nullable(DateTime64(6, 'UTC')),
    resolved_at Nullable(DateTime64(6, 'UTC')),
    missed UInt16,
    evaluated_at DateTime64(6, 'UTC'),
    window_start DateTime64(6, 'UTC'),
    window_end DateTime64(6, 'UTC'),
    kpi LowCardinality(String),
    unit LowCardinality(String),
    value Nullable(Float64),
    low Nullable(Float64),
    high Nullable(Float64),
    n UInt64,
    condition String,
    threshold Nullable(Float64),
    summary String,
    reason String,
    severity LowCardinality(String),
    receivers Array(String),
    runbook String,
    annotations Map(LowCardinality(String), String),
    version UInt64,
    deleted UInt8
)
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY (rule, fingerprint);

-- How each rule did at its last evaluation: `ok`, `error` with its reason, or `waiting` for what it is about to exist.
CREATE TABLE IF NOT EXISTS alert_health
(
    rule String,
    state LowCardinality(String),
    health LowCardinality(String),
    reason String,
    since DateTime64(6, 'UTC'),
    evaluated_at DateTime64(6, 'UTC'),
    instances UInt32,
    version UInt64,
    deleted UInt8
)
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY rule;

-- What happened: each change of an instance's state. `active_at` names the episode: all rows of it have the same.
CREATE TABLE IF NOT EXISTS alert_events
(
    at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    rule LowCardinality(String),
    fingerprint String,
    before LowCardinality(String),
    state LowCardinality(String),
    active_at DateTime64(6, 'UTC'),
    severity LowCardinality(String),
    labels Map(LowCardinality(String), String),
    grp Map(LowCardinality(String), String),
    `where` Map(LowCardinality(String), Array(String)),
    kpi LowCardinality(String),
    unit LowCardinality(String),
    value Nullable(Float64),
    low Nullable(Float64),
    high Nullable(Float64),
    n UInt64,
    threshold Nullable(Float64),
    condition String,
    summary String,
    reason String,
    inserted_at DateTime64(3) DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(inserted_at)
PARTITION BY toYYYYMM(at)
ORDER BY (rule, fingerprint, at, state)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;

-- What people said of an episode: `ack`: somebody is on it; `false` or `true`: whether it was right to fire. The newest of a kind counts.
CREATE TABLE IF NOT EXISTS alert_marks
(
    rule LowCardinality(String),
    fingerprint String,
    active_at DateTime64(6, 'UTC'),
    kind LowCardinality(String),
    mark LowCardinality(String),
    author String,
    comment String,
    at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(at)
PARTITION BY toYYYYMM(active_at)
ORDER BY (rule, fingerprint, active_at, kind)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;
