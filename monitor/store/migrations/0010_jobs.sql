-- Runs of scheduled jobs: a row when one begins and a row when it ends, of which the newest counts; read with FINAL.
-- A row that stays `running` belongs to a process that was killed; whoever takes over the job marks it `abandoned`.
CREATE TABLE IF NOT EXISTS job_runs
(
    job LowCardinality(String),
    token String,
    worker String,
    state LowCardinality(String),
    started_at DateTime64(6) CODEC(Delta(8), ZSTD(1)),
    ended_at Nullable(DateTime64(6)) CODEC(ZSTD(1)),
    duration_s Nullable(Float64),
    rows UInt64,
    note String,
    error String,
    updated_at DateTime64(6) DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY toYYYYMM(started_at)
ORDER BY (job, started_at, token)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;

-- Who runs a job now, on a server without KeeperMap; `monitor.jobs.claims` says how it is decided. All rows of a job are
-- in one partition and on one shard, as that is how far an insert's token is known again. Merges leave one row a job.
CREATE TABLE IF NOT EXISTS job_claims
(
    job String,
    round UInt64,
    step UInt64,
    version UInt64,
    holder String,
    state String,
    claimed_ms Int64 DEFAULT toUnixTimestamp64Milli(now64(3)),
    seen_ms Int64 DEFAULT toUnixTimestamp64Milli(now64(3))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY job
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;
