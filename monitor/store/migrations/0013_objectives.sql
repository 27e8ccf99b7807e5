-- Objectives as they were configured, for processes that read only the store: a row says what held from `valid_from` on, until
-- the next row of that name. `removed`: from then on there is none. Few rows, kept for ever: old calls are judged by old rows.
CREATE TABLE IF NOT EXISTS objectives
(
    name String,
    valid_from DateTime64(9),
    definition String,
    removed Bool,
    written_at DateTime64(3) DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(written_at)
ORDER BY (name, valid_from);

-- What was changed from outside, for charts and alerts: deploys, prices, configuration. `where`: which calls it concerns,
-- dimension -> values; empty: all. The same change, reported again with the same time, counts once.
CREATE TABLE IF NOT EXISTS changes
(
    timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    kind LowCardinality(String),
    title String,
    author String,
    `where` Map(LowCardinality(String), Array(String)),
    link String,
    source LowCardinality(String),
    inserted_at DateTime64(3) DEFAULT now64(3) CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(inserted_at)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (timestamp, kind, title, source)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;

-- Calls that objectives are about, of which it is known whether they were good, and that were: by hour and the keys of the other
-- rollups. Read with FINAL: an hour that is added up again replaces its rows. `__n` counts rows, `__w` is the sum of their weights.
CREATE TABLE IF NOT EXISTS objective_counts
(
    objective LowCardinality(String),
    period DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    service LowCardinality(String),
    environment LowCardinality(String),
    deployment LowCardinality(String),
    region LowCardinality(String),
    node LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    variant LowCardinality(String),
    release LowCardinality(String),
    version UInt64 CODEC(ZSTD(1)),
    calls__n UInt64 CODEC(ZSTD(1)),
    calls__w Float64 CODEC(ZSTD(1)),
    calls__ww Float64 CODEC(ZSTD(1)),
    calls__w_min Float64 CODEC(ZSTD(1)),
    calls__w_max Float64 CODEC(ZSTD(1)),
    about__n UInt64 CODEC(ZSTD(1)),
    about__w Float64 CODEC(ZSTD(1)),
    known__n UInt64 CODEC(ZSTD(1)),
    known__w Float64 CODEC(ZSTD(1)),
    known__ww Float64 CODEC(ZSTD(1)),
    good__n UInt64 CODEC(ZSTD(1)),
    good__w Float64 CODEC(ZSTD(1)),
    good__ww Float64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(period)
ORDER BY (objective, period, service, environment, deployment, region, node, provider, model, variant, release)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;

-- From when to when an objective's counts are there, but for rows inserted after `seen`, and by which rule (a hash of it).
CREATE TABLE IF NOT EXISTS objective_counts_state
(
    objective LowCardinality(String),
    rule String,
    since DateTime('UTC'),
    until DateTime('UTC'),
    seen DateTime64(3, 'UTC'),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY objective;
