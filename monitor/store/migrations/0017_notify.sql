-- Silences: alerts whose labels meet all matchers are not told between the two moments. Read with FINAL: the newest version counts.
-- One that is deleted ends at that moment; rows stay, to tell who kept what quiet.
CREATE TABLE IF NOT EXISTS silences
(
    id String,
    version UInt64,
    matchers Array(String),
    starts_at DateTime64(3, 'UTC'),
    ends_at DateTime64(3, 'UTC'),
    created_by String,
    comment String,
    created_at DateTime64(3, 'UTC'),
    updated_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 1000;

-- What is to be told, and what became of it: one row for each message to one channel, in the order `seq` of its group there; read
-- with FINAL. `firing` and `resolved` are fingerprints: they say what the channel knows after it. `message` is what is sent, the
-- same at each attempt. `state`: pending, sent, failed (given up), retired (the address is gone), cleared (nothing to send).
CREATE TABLE IF NOT EXISTS alert_outbox
(
    key String,
    version UInt64,
    group_key String,
    channel String,
    seq UInt64,
    planned_at DateTime64(6, 'UTC'),
    why LowCardinality(String),
    firing Array(String),
    resolved Array(String),
    known String CODEC(ZSTD(3)),
    thread String,
    subject String,
    message String CODEC(ZSTD(3)),
    target String,
    state LowCardinality(String),
    attempts UInt32,
    next_at DateTime64(6, 'UTC'),
    settled_at Nullable(DateTime64(6, 'UTC')),
    last_error String
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(planned_at)
ORDER BY (key, planned_at)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

-- Who sends which message now: one row for each attempt that was begun. The insert carries `key:attempt` as its token, so of two
-- processes that begin the same attempt one has it, as with the claims of jobs. All rows of a key are on one shard.
CREATE TABLE IF NOT EXISTS alert_sends
(
    key String,
    attempt UInt32,
    holder String,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree
ORDER BY (key, attempt)
TTL toDate(at) + toIntervalDay(30)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

-- The notification log: a row for each message that was sent, written after a channel took it.
CREATE TABLE IF NOT EXISTS notifications
(
    sent_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    key String,
    group_key String,
    channel LowCardinality(String),
    seq UInt64,
    why LowCardinality(String),
    subject String,
    firing Array(String),
    resolved Array(String),
    attempt UInt32,
    possibly_repeated Bool,
    detail String,
    inserted_at DateTime64(3) DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(inserted_at)
PARTITION BY toYYYYMM(sent_at)
ORDER BY (key, sent_at)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;
