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
