-- What calls and machines cost. Amounts are whole nano-units (10⁻⁹) of `currency`, prices whole femto-units (10⁻¹⁵) per token.
-- Unknown is NULL, never 0. `book` names the prices that a row was computed with; a newer `version` of a row replaces it, and
-- one with `deleted` takes it away.

-- Prices as they were used: what the price book answered for the models that were called.
CREATE TABLE IF NOT EXISTS prices
(
    book LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    batch Bool,
    valid_from DateTime('UTC'),
    valid_until DateTime('UTC'),
    above UInt64,
    marginal Bool,
    input Int64,
    cached Int64,
    cache_write Int64,
    output Int64,
    reasoning Int64,
    request Int64,
    source LowCardinality(String),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (book, provider, model, batch, valid_from, above);

-- The ledger of machines: cost = used + idle. service, provider, model, variant and release are those of all its calls in
-- the hour, or empty where they differ.
CREATE TABLE IF NOT EXISTS node_hours
(
    hour DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    node LowCardinality(String),
    service LowCardinality(String),
    environment LowCardinality(String),
    deployment LowCardinality(String),
    pricing LowCardinality(String),
    region LowCardinality(String),
    gpu LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    variant LowCardinality(String),
    release LowCardinality(String),
    gpus UInt32,
    minutes UInt8,
    busy Float64,
    basis LowCardinality(String),
    hourly Int64,
    cost Int64,
    used Int64,
    idle Int64,
    currency LowCardinality(String),
    book LowCardinality(String),
    version UInt64,
    deleted UInt8
)
ENGINE = ReplacingMergeTree(version, deleted)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, node);

-- One row per call; `cost` is that of all calls that the row stands for (`sample_weight`).
CREATE TABLE IF NOT EXISTS call_costs
(
    timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    role LowCardinality(String),
    service LowCardinality(String),
    environment LowCardinality(String),
    node LowCardinality(String),
    region LowCardinality(String),
    deployment LowCardinality(String),
    pricing LowCardinality(String),
    gpu LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    variant LowCardinality(String),
    release LowCardinality(String),
    experiment LowCardinality(String),
    arm LowCardinality(String),
    operation LowCardinality(String),
    stream Nullable(Bool),
    finish_reason LowCardinality(String),
    error_type LowCardinality(String),
    cancelled Bool,
    simulated Bool,
    dialect LowCardinality(String),
    session_id String CODEC(ZSTD(1)),
    user_id String CODEC(ZSTD(1)),
    sample_weight Float64 CODEC(ZSTD(1)),
    input_tokens Nullable(UInt64) CODEC(ZSTD(1)),
    output_tokens Nullable(UInt64) CODEC(ZSTD(1)),
    kind LowCardinality(String),
    source LowCardinality(String),
    reason LowCardinality(String),
    cost Nullable(Int64) CODEC(ZSTD(1)),
    reported Nullable(Int64) CODEC(ZSTD(1)),
    currency LowCardinality(String),
    book LowCardinality(String),
    version UInt64 CODEC(ZSTD(1)),
    deleted UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, deleted)
PARTITION BY toDate(timestamp)
ORDER BY (toStartOfHour(timestamp), model, cityHash64(trace_id), span_id)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;

-- Costs by the hour; kind is `token`, `gpu` (requests' share of machines) or `idle` (what nobody used of them, without requests).
-- `weight`, `tokens` and the sums after them are of the calls that have a cost: of w², w²c², w²c, w²ct, w²t² and w(w − 1)c² for
-- costs c, tokens t and weights w, which intervals are made of.
CREATE TABLE IF NOT EXISTS cost_results
(
    hour DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    service LowCardinality(String),
    environment LowCardinality(String),
    deployment LowCardinality(String),
    pricing LowCardinality(String),
    region LowCardinality(String),
    node LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    variant LowCardinality(String),
    release LowCardinality(String),
    kind LowCardinality(String),
    requests UInt64,
    calls Float64,
    unpriced UInt64,
    unpriced_calls Float64,
    cost Int64,
    reported Int64,
    weight Float64,
    tokens Float64,
    ww Float64,
    wwcc Float64,
    wwc Float64,
    wwct Float64,
    wwtt Float64,
    sampled Float64,
    currency LowCardinality(String),
    book LowCardinality(String),
    version UInt64,
    deleted UInt8
)
ENGINE = ReplacingMergeTree(version, deleted)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, service, environment, deployment, pricing, region, node, provider, model, variant, release, kind);

-- Budgets and what the month will have cost, as of the last run of the job; the columns are the budget's filter.
CREATE TABLE IF NOT EXISTS cost_budgets
(
    month Date,
    name String,
    service LowCardinality(String),
    environment LowCardinality(String),
    deployment LowCardinality(String),
    pricing LowCardinality(String),
    region LowCardinality(String),
    node LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    variant LowCardinality(String),
    release LowCardinality(String),
    at DateTime('UTC'),
    amount Int64,
    spent Int64,
    forecast Nullable(Float64),
    low Nullable(Float64),
    high Nullable(Float64),
    n UInt64,
    method LowCardinality(String),
    note String,
    currency LowCardinality(String),
    version UInt64,
    deleted UInt8
)
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY (month, name);

-- How far the job has come: nanoseconds since 1970, by name.
CREATE TABLE IF NOT EXISTS cost_state
(
    name LowCardinality(String),
    value Int64,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY name;
