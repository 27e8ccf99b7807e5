-- What KPIs of feedback, judgements, nodes, users, sessions, emitters and GPUs are made of, by the hour (GPUs also by the minute).
-- Made by `python -m monitor.kpis.source_hours`, `.units`, `.emitters` and `.gpu_periods`. Read with FINAL: a period that is added up
-- again replaces its rows; one with nothing in it (`rows__n` 0) counts for none.

-- From when to when something is added up, but for rows inserted after `seen`, and by which rule (a hash of it).
CREATE TABLE IF NOT EXISTS hour_state
(
    name LowCardinality(String),
    rule String,
    since DateTime('UTC'),
    until DateTime('UTC'),
    seen DateTime64(3, 'UTC'),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY name;

CREATE TABLE IF NOT EXISTS source_hours
(
    source LowCardinality(String),
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
    rows__n UInt64 CODEC(ZSTD(1)),
    calls__n UInt64 CODEC(ZSTD(1)),
    calls__w Float64 CODEC(ZSTD(1)),
    calls__ww Float64 CODEC(ZSTD(1)),
    calls__w_min Float64 CODEC(ZSTD(1)),
    calls__w_max Float64 CODEC(ZSTD(1)),
    given__n UInt64 CODEC(ZSTD(1)),
    given__w Float64 CODEC(ZSTD(1)),
    given__ww Float64 CODEC(ZSTD(1)),
    thumbs_given__n UInt64 CODEC(ZSTD(1)),
    thumbs_given__w Float64 CODEC(ZSTD(1)),
    thumbs_given__ww Float64 CODEC(ZSTD(1)),
    thumbs_up__n UInt64 CODEC(ZSTD(1)),
    thumbs_up__w Float64 CODEC(ZSTD(1)),
    thumbs_up__ww Float64 CODEC(ZSTD(1)),
    strata__calls_by_key Map(String, Float64) CODEC(ZSTD(1)),
    strata__n_by_key Map(String, Float64) CODEC(ZSTD(1)),
    strata__w_by_key Map(String, Float64) CODEC(ZSTD(1)),
    strata__ww_by_key Map(String, Float64) CODEC(ZSTD(1)),
    strata__hits_by_key Map(String, Float64) CODEC(ZSTD(1)),
    strata__hits_ww_by_key Map(String, Float64) CODEC(ZSTD(1)),
    regenerated_calls__n UInt64 CODEC(ZSTD(1)),
    regenerated_calls__w Float64 CODEC(ZSTD(1)),
    regenerated_calls__ww Float64 CODEC(ZSTD(1)),
    copied_calls__n UInt64 CODEC(ZSTD(1)),
    copied_calls__w Float64 CODEC(ZSTD(1)),
    copied_calls__ww Float64 CODEC(ZSTD(1)),
    safety_flagged__n UInt64 CODEC(ZSTD(1)),
    safety_flagged__w Float64 CODEC(ZSTD(1)),
    safety_flagged__ww Float64 CODEC(ZSTD(1)),
    safety_blocked__n UInt64 CODEC(ZSTD(1)),
    safety_blocked__w Float64 CODEC(ZSTD(1)),
    safety_blocked__ww Float64 CODEC(ZSTD(1)),
    safety_pii__n UInt64 CODEC(ZSTD(1)),
    safety_pii__w Float64 CODEC(ZSTD(1)),
    safety_pii__ww Float64 CODEC(ZSTD(1)),
    safety_refused__n UInt64 CODEC(ZSTD(1)),
    safety_refused__w Float64 CODEC(ZSTD(1)),
    safety_refused__ww Float64 CODEC(ZSTD(1)),
    safety_reported__n UInt64 CODEC(ZSTD(1)),
    safety_reported__x Float64 CODEC(ZSTD(1)),
    safety_reported__wx Float64 CODEC(ZSTD(1)),
    safety_reported__wxx Float64 CODEC(ZSTD(1)),
    safety_reported__wwxx Float64 CODEC(ZSTD(1)),
    labelled__n UInt64 CODEC(ZSTD(1)),
    labelled__w Float64 CODEC(ZSTD(1)),
    labelled__ww Float64 CODEC(ZSTD(1)),
    right__n UInt64 CODEC(ZSTD(1)),
    right__w Float64 CODEC(ZSTD(1)),
    right__ww Float64 CODEC(ZSTD(1)),
    both__n_by_hour Map(Int64, Float64) CODEC(ZSTD(1)),
    both__w_by_hour Map(Int64, Float64) CODEC(ZSTD(1)),
    both__ww_by_hour Map(Int64, Float64) CODEC(ZSTD(1)),
    both__wy_by_hour Map(Int64, Float64) CODEC(ZSTD(1)),
    both__wf_by_hour Map(Int64, Float64) CODEC(ZSTD(1)),
    both__wwy_by_hour Map(Int64, Float64) CODEC(ZSTD(1)),
    both__wwf_by_hour Map(Int64, Float64) CODEC(ZSTD(1)),
    both__wwyy_by_hour Map(Int64, Float64) CODEC(ZSTD(1)),
    both__wwyf_by_hour Map(Int64, Float64) CODEC(ZSTD(1)),
    both__wwff_by_hour Map(Int64, Float64) CODEC(ZSTD(1)),
    scored__n_by_hour Map(Int64, Float64) CODEC(ZSTD(1)),
    scored__w_by_hour Map(Int64, Float64) CODEC(ZSTD(1)),
    scored__ww_by_hour Map(Int64, Float64) CODEC(ZSTD(1)),
    scored__wf_by_hour Map(Int64, Float64) CODEC(ZSTD(1)),
    scored__wwf_by_hour Map(Int64, Float64) CODEC(ZSTD(1)),
    scored__wwff_by_hour Map(Int64, Float64) CODEC(ZSTD(1)),
    judged__n UInt64 CODEC(ZSTD(1)),
    judged__w Float64 CODEC(ZSTD(1)),
    judged__ww Float64 CODEC(ZSTD(1)),
    said_right__n UInt64 CODEC(ZSTD(1)),
    said_right__w Float64 CODEC(ZSTD(1)),
    said_right__ww Float64 CODEC(ZSTD(1)),
    confident__n_by_bin Map(Int64, Float64) CODEC(ZSTD(1)),
    confident__w_by_bin Map(Int64, Float64) CODEC(ZSTD(1)),
    confident__ww_by_bin Map(Int64, Float64) CODEC(ZSTD(1)),
    confident__sum_by_bin Map(Int64, Float64) CODEC(ZSTD(1)),
    labelled__n_by_bin Map(Int64, Float64) CODEC(ZSTD(1)),
    labelled__hits_by_bin Map(Int64, Float64) CODEC(ZSTD(1)),
    compared__n UInt64 CODEC(ZSTD(1)),
    compared__w Float64 CODEC(ZSTD(1)),
    compared__ww Float64 CODEC(ZSTD(1)),
    agreed__n UInt64 CODEC(ZSTD(1)),
    agreed__w Float64 CODEC(ZSTD(1)),
    agreed__ww Float64 CODEC(ZSTD(1)),
    verdicts__n_by_pair Map(String, Float64) CODEC(ZSTD(1)),
    verdicts__w_by_pair Map(String, Float64) CODEC(ZSTD(1)),
    verdicts__ww_by_pair Map(String, Float64) CODEC(ZSTD(1)),
    confidence__n_by_bin Map(Int64, Float64) CODEC(ZSTD(1)),
    confidence__w_by_bin Map(Int64, Float64) CODEC(ZSTD(1)),
    confidence__ww_by_bin Map(Int64, Float64) CODEC(ZSTD(1)),
    confidence__right_by_bin Map(Int64, Float64) CODEC(ZSTD(1)),
    confidence__confidence_by_bin Map(Int64, Float64) CODEC(ZSTD(1)),
    pairs__n_by_pair Map(String, Float64) CODEC(ZSTD(1)),
    pairs__w_by_pair Map(String, Float64) CODEC(ZSTD(1)),
    pairs__ww_by_pair Map(String, Float64) CODEC(ZSTD(1)),
    nodes__calls Float64 CODEC(ZSTD(1)),
    nodes__load Float64 CODEC(ZSTD(1)),
    nodes__load_ww Float64 CODEC(ZSTD(1)),
    nodes__ttft_n Float64 CODEC(ZSTD(1)),
    nodes__ttft_w Float64 CODEC(ZSTD(1)),
    nodes__ttft_ww Float64 CODEC(ZSTD(1)),
    nodes__ttft_wx Float64 CODEC(ZSTD(1)),
    nodes__ttft_wxx Float64 CODEC(ZSTD(1)),
    nodes__tpot_n Float64 CODEC(ZSTD(1)),
    nodes__tpot_w Float64 CODEC(ZSTD(1)),
    nodes__tpot_ww Float64 CODEC(ZSTD(1)),
    nodes__tpot_wx Float64 CODEC(ZSTD(1)),
    nodes__tpot_wxx Float64 CODEC(ZSTD(1)),
    nodes__e2e_n Float64 CODEC(ZSTD(1)),
    nodes__e2e_w Float64 CODEC(ZSTD(1)),
    nodes__e2e_ww Float64 CODEC(ZSTD(1)),
    nodes__e2e_wx Float64 CODEC(ZSTD(1)),
    nodes__e2e_wxx Float64 CODEC(ZSTD(1)),
    nodes__prompt_n Float64 CODEC(ZSTD(1)),
    nodes__prompt_w Float64 CODEC(ZSTD(1)),
    nodes__prompt_ww Float64 CODEC(ZSTD(1)),
    nodes__prompt_wx Float64 CODEC(ZSTD(1)),
    nodes__prompt_wxx Float64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(period)
ORDER BY (source, period, service, environment, deployment, region, node, provider, model, variant, release)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS user_hours
(
    bucket UInt16 CODEC(ZSTD(1)),
    period DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    unit UInt64 CODEC(ZSTD(1)),
    service LowCardinality(String),
    environment LowCardinality(String),
    deployment LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    variant LowCardinality(String),
    release LowCardinality(String),
    version UInt64 CODEC(ZSTD(1)),
    rows__n UInt64 CODEC(ZSTD(1)),
    kept__w_max Float64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(period)
ORDER BY (bucket, period, unit, service, environment, deployment, provider, model, variant, release)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS session_hours
(
    bucket UInt16 CODEC(ZSTD(1)),
    period DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    unit UInt64 CODEC(ZSTD(1)),
    service LowCardinality(String),
    environment LowCardinality(String),
    deployment LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    variant LowCardinality(String),
    release LowCardinality(String),
    version UInt64 CODEC(ZSTD(1)),
    rows__n UInt64 CODEC(ZSTD(1)),
    kept__w_max Float64 CODEC(ZSTD(1)),
    turns Array(UInt64) CODEC(ZSTD(1)),
    begins_min Int64 CODEC(ZSTD(1)),
    ends_max Int64 CODEC(ZSTD(1)),
    abandoned_max UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(period)
ORDER BY (bucket, period, unit, service, environment, deployment, provider, model, variant, release)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS emitter_hours
(
    period DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    emitter LowCardinality(String),
    version UInt64 CODEC(ZSTD(1)),
    rows__n UInt64 CODEC(ZSTD(1)),
    runs Array(Tuple(UInt64, UInt64)) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(period)
ORDER BY (period, emitter)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS emitter_ends
(
    period DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    told_by LowCardinality(String),
    emitter LowCardinality(String),
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
    rows__n UInt64 CODEC(ZSTD(1)),
    first_min UInt64 CODEC(ZSTD(1)),
    last_max UInt64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(period)
ORDER BY (period, told_by, emitter, service, environment, deployment, region, node, provider, model, variant, release)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS gpu_1m
(
    period DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    node LowCardinality(String),
    gpu LowCardinality(String),
    parent LowCardinality(String),
    environment LowCardinality(String),
    region LowCardinality(String),
    version UInt64 CODEC(ZSTD(1)),
    rows__n UInt64 CODEC(ZSTD(1)),
    samples__n UInt64 CODEC(ZSTD(1)),
    busy__n Float64 CODEC(ZSTD(1)),
    busy__s Float64 CODEC(ZSTD(1)),
    busy__x Float64 CODEC(ZSTD(1)),
    memory__n Float64 CODEC(ZSTD(1)),
    memory__s Float64 CODEC(ZSTD(1)),
    memory__x Float64 CODEC(ZSTD(1)),
    stretches__n Float64 CODEC(ZSTD(1)),
    energy__s Float64 CODEC(ZSTD(1)),
    energy__j Float64 CODEC(ZSTD(1)),
    temperature__n UInt64 CODEC(ZSTD(1)),
    temperature__x Float64 CODEC(ZSTD(1)),
    throttled__n UInt64 CODEC(ZSTD(1)),
    throttled__x UInt64 CODEC(ZSTD(1)),
    minutes UInt64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(period)
ORDER BY (period, node, gpu, parent, environment, region)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS gpu_1h
(
    period DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    node LowCardinality(String),
    gpu LowCardinality(String),
    parent LowCardinality(String),
    environment LowCardinality(String),
    region LowCardinality(String),
    version UInt64 CODEC(ZSTD(1)),
    rows__n UInt64 CODEC(ZSTD(1)),
    samples__n UInt64 CODEC(ZSTD(1)),
    busy__n Float64 CODEC(ZSTD(1)),
    busy__s Float64 CODEC(ZSTD(1)),
    busy__x Float64 CODEC(ZSTD(1)),
    memory__n Float64 CODEC(ZSTD(1)),
    memory__s Float64 CODEC(ZSTD(1)),
    memory__x Float64 CODEC(ZSTD(1)),
    stretches__n Float64 CODEC(ZSTD(1)),
    energy__s Float64 CODEC(ZSTD(1)),
    energy__j Float64 CODEC(ZSTD(1)),
    temperature__n UInt64 CODEC(ZSTD(1)),
    temperature__x Float64 CODEC(ZSTD(1)),
    throttled__n UInt64 CODEC(ZSTD(1)),
    throttled__x UInt64 CODEC(ZSTD(1)),
    minutes UInt64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(period)
ORDER BY (period, node, gpu, parent, environment, region)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;

-- What sessions cost, by the hour; the job `cost` writes it. Amounts are whole nano-units of `currency`.
CREATE TABLE IF NOT EXISTS session_costs
(
    bucket UInt16 CODEC(ZSTD(1)),
    hour DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    unit UInt64 CODEC(ZSTD(1)),
    service LowCardinality(String),
    environment LowCardinality(String),
    deployment LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    variant LowCardinality(String),
    release LowCardinality(String),
    requests UInt64 CODEC(ZSTD(1)),
    unpriced UInt64 CODEC(ZSTD(1)),
    cost Int64 CODEC(ZSTD(1)),
    weight_max Float64 CODEC(ZSTD(1)),
    currency LowCardinality(String),
    version UInt64 CODEC(ZSTD(1)),
    deleted UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, deleted)
PARTITION BY toYYYYMM(hour)
ORDER BY (bucket, hour, unit, service, environment, deployment, provider, model, variant, release)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;

-- Goodput over the calls that say what they cost.
ALTER TABLE objective_counts
    ADD COLUMN IF NOT EXISTS priced__n UInt64 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS priced__wx Float64 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS priced__wwx Float64 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS priced__wwxx Float64 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS priced_good__n UInt64 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS priced_good__w Float64 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS priced_good__ww Float64 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS priced_good__wwx Float64 CODEC(ZSTD(1));
