-- Generated from monitor/gpu_semconv.py by `python -m monitor.store.gpu_dialects`; do not edit.
-- One row per GPU, or MIG instance of one, and time of sample; read with FINAL. Unknown is NULL or empty, never 0.
--   busy: share of time that any kernel ran
--   engine_active: share of time that the compute engine was active, measured by the profiling counters
--   sm_active: share of time that a multiprocessor had work, mean over all
--   tensor_active: share of cycles that the tensor cores were active
--   dram_active: share of cycles that memory was read or written
--   memory_busy: share of time that memory was read or written
--   encoder: video encoder, share of its capacity
--   decoder: video decoder, share of its capacity
--   memory_used_bytes: memory in use, with what the driver reserves where the emitter counts so
--   memory_free_bytes: memory not in use
--   memory_reserved_bytes: memory that the driver keeps for itself, where it is not among the used
--   memory_limit_bytes: memory in all, as the emitter said
--   power_w: power drawn
--   power_limit_w: power limit that is enforced
--   energy_j: energy used since the driver was loaded, counter
--   temperature_c: temperature of the chip
--   memory_temperature_c: temperature of the memory
--   sm_clock_hz: clock of the multiprocessors
--   memory_clock_hz: clock of the memory
--   throttle_reasons: why the clocks are not higher, NVML's bit mask
--   ecc_corrected: memory errors corrected since the driver was loaded, counter
--   ecc_uncorrected: memory errors not corrected since the driver was loaded, counter
--   remapped_rows_corrected: memory rows replaced after corrected errors, counter
--   remapped_rows_uncorrected: memory rows replaced after uncorrected errors, counter
--   remap_failure: 1 if a row could not be replaced
--   xid: number of the last XID error; 0 if there was none
--   pcie_tx_bytes_per_s: bytes a second sent over PCIe
--   pcie_rx_bytes_per_s: bytes a second received over PCIe
--   pcie_replays: PCIe packets sent again, counter
--   io_tx_bytes: bytes sent over NVLink (or whatever the emitter counts as the GPU's transfers), counter
--   io_rx_bytes: bytes received likewise, counter
--   processes: compute processes that use it
--   xid_errors: XID errors by number since the collector started
--   utilization: `busy`, else `engine_active`, which MIG instances have
--   memory_total_bytes: as said, else used, free and reserved together
CREATE TABLE IF NOT EXISTS gpu_samples
(
    timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    node LowCardinality(String),
    gpu LowCardinality(String),
    gpu_index SimpleAggregateFunction(max, Nullable(UInt32)) CODEC(ZSTD(1)),
    gpu_model SimpleAggregateFunction(max, LowCardinality(String)),
    parent SimpleAggregateFunction(max, LowCardinality(String)),
    profile SimpleAggregateFunction(max, LowCardinality(String)),
    pod SimpleAggregateFunction(max, LowCardinality(String)),
    namespace SimpleAggregateFunction(max, LowCardinality(String)),
    service SimpleAggregateFunction(max, LowCardinality(String)),
    environment SimpleAggregateFunction(max, LowCardinality(String)),
    region SimpleAggregateFunction(max, LowCardinality(String)),
    status SimpleAggregateFunction(max, LowCardinality(String)),
    busy SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    engine_active SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    sm_active SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    tensor_active SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    dram_active SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    memory_busy SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    encoder SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    decoder SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    memory_used_bytes SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    memory_free_bytes SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    memory_reserved_bytes SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    memory_limit_bytes SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    power_w SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    power_limit_w SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    energy_j SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    temperature_c SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    memory_temperature_c SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    sm_clock_hz SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    memory_clock_hz SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    throttle_reasons SimpleAggregateFunction(max, Nullable(UInt64)) CODEC(ZSTD(1)),
    ecc_corrected SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    ecc_uncorrected SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    remapped_rows_corrected SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    remapped_rows_uncorrected SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    remap_failure SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    xid SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    pcie_tx_bytes_per_s SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    pcie_rx_bytes_per_s SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    pcie_replays SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    io_tx_bytes SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    io_rx_bytes SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    processes SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1)),
    xid_errors SimpleAggregateFunction(maxMap, Map(String, Float64)) CODEC(ZSTD(1)),
    utilization Nullable(Float64) ALIAS coalesce(busy, engine_active),
    memory_total_bytes Nullable(Float64) ALIAS coalesce(memory_limit_bytes, memory_used_bytes + memory_free_bytes + coalesce(memory_reserved_bytes, 0))
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(timestamp)
ORDER BY (toStartOfHour(timestamp), node, gpu, timestamp)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS gpu_samples_from_gauge_mv TO gpu_samples AS
SELECT
    TimeUnix AS timestamp,
    arrayFirst(x -> x != '', [at_node, if(position(said_host, 'dcgm-exporter') > 0, '', said_host), at_place]) AS node,
    if(of_instance, concat(uuid, '/', said_instance), uuid) AS gpu,
    toUInt32OrNull(said_index) AS gpu_index,
    said_gpu_model AS gpu_model,
    if(of_instance, uuid, said_parent) AS parent,
    if(to_whole, '', said_profile) AS profile,
    if(to_whole OR position(said_pod, 'dcgm-exporter') > 0, '', said_pod) AS pod,
    if(to_whole OR position(said_pod, 'dcgm-exporter') > 0, '', said_namespace) AS namespace,
    ServiceName AS service,
    arrayFirst(x -> x != '', [at_environment, said_environment]) AS environment,
    at_region AS region,
    if(MetricName = 'hw.status', Attributes['hw.state'], '') AS status,
    if(column = 'busy', number, NULL) AS busy,
    if(column = 'engine_active', number, NULL) AS engine_active,
    if(column = 'sm_active', number, NULL) AS sm_active,
    if(column = 'tensor_active', number, NULL) AS tensor_active,
    if(column = 'dram_active', number, NULL) AS dram_active,
    if(column = 'memory_busy', number, NULL) AS memory_busy,
    if(column = 'encoder', number, NULL) AS encoder,
    if(column = 'decoder', number, NULL) AS decoder,
    if(column = 'memory_used_bytes', number, NULL) AS memory_used_bytes,
    if(column = 'memory_free_bytes', number, NULL) AS memory_free_bytes,
    if(column = 'memory_reserved_bytes', number, NULL) AS memory_reserved_bytes,
    if(column = 'memory_limit_bytes', number, NULL) AS memory_limit_bytes,
    if(column = 'power_w', number, NULL) AS power_w,
    if(column = 'power_limit_w', number, NULL) AS power_limit_w,
    if(column = 'energy_j', number, NULL) AS energy_j,
    if(column = 'temperature_c', number, NULL) AS temperature_c,
    if(column = 'memory_temperature_c', number, NULL) AS memory_temperature_c,
    if(column = 'sm_clock_hz', number, NULL) AS sm_clock_hz,
    if(column = 'memory_clock_hz', number, NULL) AS memory_clock_hz,
    if(column = 'throttle_reasons', accurateCastOrNull(number, 'UInt64'), NULL) AS throttle_reasons,
    if(column = 'ecc_corrected', number, NULL) AS ecc_corrected,
    if(column = 'ecc_uncorrected', number, NULL) AS ecc_uncorrected,
    if(column = 'remapped_rows_corrected', number, NULL) AS remapped_rows_corrected,
    if(column = 'remapped_rows_uncorrected', number, NULL) AS remapped_rows_uncorrected,
    if(column = 'remap_failure', number, NULL) AS remap_failure,
    if(column = 'xid', number, NULL) AS xid,
    if(column = 'pcie_tx_bytes_per_s', number, NULL) AS pcie_tx_bytes_per_s,
    if(column = 'pcie_rx_bytes_per_s', number, NULL) AS pcie_rx_bytes_per_s,
    if(column = 'pcie_replays', number, NULL) AS pcie_replays,
    if(column = 'io_tx_bytes', number, NULL) AS io_tx_bytes,
    if(column = 'io_rx_bytes', number, NULL) AS io_rx_bytes,
    if(column = 'processes', number, NULL) AS processes,
    if(xid_number != '' AND Value >= 0, map(xid_number, Value), map()) AS xid_errors
FROM
(
SELECT
    *,
    if(said_uuid = '' AND said_index != '', concat('gpu ', said_index), said_uuid) AS uuid,
    said_instance != '' AND MetricName IN ('DCGM_FI_DEV_GPU_UTIL', 'DCGM_FI_DEV_MEM_COPY_UTIL', 'DCGM_FI_DEV_ENC_UTIL', 'DCGM_FI_DEV_DEC_UTIL', 'DCGM_FI_DEV_POWER_USAGE', 'DCGM_FI_DEV_ENFORCED_POWER_LIMIT', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', 'DCGM_FI_DEV_GPU_TEMP', 'DCGM_FI_DEV_MEMORY_TEMP', 'DCGM_FI_DEV_SM_CLOCK', 'DCGM_FI_DEV_MEM_CLOCK', 'DCGM_FI_DEV_CLOCK_THROTTLE_REASONS', 'DCGM_FI_DEV_CLOCKS_EVENT_REASONS', 'DCGM_FI_DEV_ECC_SBE_VOL_TOTAL', 'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL', 'DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS', 'DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS', 'DCGM_FI_DEV_ROW_REMAP_FAILURE', 'DCGM_FI_DEV_XID_ERRORS', 'DCGM_FI_PROF_PCIE_TX_BYTES', 'DCGM_FI_PROF_PCIE_RX_BYTES', 'DCGM_FI_DEV_PCIE_REPLAY_COUNTER') AS to_whole,
    said_instance != '' AND NOT to_whole AS of_instance,
    transform(MetricName, ['hw.gpu.utilization', 'monitor.gpu.active', 'hw.temperature', 'monitor.gpu.clock', 'hw.errors', 'monitor.gpu.remapped_rows', 'monitor.gpu.pcie.throughput', 'hw.gpu.io'], ['hw.gpu.task', 'monitor.gpu.part', 'hw.sensor_location', 'monitor.gpu.part', 'error.type', 'error.type', 'network.io.direction', 'network.io.direction'], '') AS told_by,
    if(told_by = '', '', Attributes[told_by]) AS told,
    concat(MetricName, '|', told) AS key,
    transform(key, ['hw.gpu.utilization|general', 'hw.gpu.utilization|encoder', 'hw.gpu.utilization|decoder', 'monitor.gpu.active|engine', 'monitor.gpu.active|sm', 'monitor.gpu.active|tensor', 'monitor.gpu.active|dram', 'monitor.gpu.memory.busy|', 'hw.gpu.memory.usage|', 'monitor.gpu.memory.free|', 'monitor.gpu.memory.reserved|', 'hw.gpu.memory.limit|', 'hw.power|', 'monitor.gpu.power.limit|', 'hw.energy|', 'hw.temperature|', 'hw.temperature|memory', 'monitor.gpu.clock|sm', 'monitor.gpu.clock|memory', 'monitor.gpu.throttle_reasons|', 'hw.errors|corrected', 'hw.errors|uncorrected', 'monitor.gpu.remapped_rows|corrected', 'monitor.gpu.remapped_rows|uncorrected', 'monitor.gpu.remap_failure|', 'monitor.gpu.xid|', 'monitor.gpu.pcie.throughput|transmit', 'monitor.gpu.pcie.throughput|receive', 'monitor.gpu.pcie.replays|', 'hw.gpu.io|transmit', 'hw.gpu.io|receive', 'monitor.gpu.processes|', 'gpu.utilization|', 'gpu.enc.utilization|', 'gpu.dec.utilization|', 'gpu.memory.used|', 'gpu.memory.free|', 'gpu.memory.total|', 'gpu.power.draw|', 'gpu.power.limit|', 'gpu.temperature|', 'DCGM_FI_DEV_GPU_UTIL|', 'DCGM_FI_DEV_MEM_COPY_UTIL|', 'DCGM_FI_DEV_ENC_UTIL|', 'DCGM_FI_DEV_DEC_UTIL|', 'DCGM_FI_PROF_GR_ENGINE_ACTIVE|', 'DCGM_FI_PROF_SM_ACTIVE|', 'DCGM_FI_PROF_PIPE_TENSOR_ACTIVE|', 'DCGM_FI_PROF_DRAM_ACTIVE|', 'DCGM_FI_DEV_FB_USED|', 'DCGM_FI_DEV_FB_FREE|', 'DCGM_FI_DEV_FB_RESERVED|', 'DCGM_FI_DEV_FB_TOTAL|', 'DCGM_FI_DEV_POWER_USAGE|', 'DCGM_FI_DEV_ENFORCED_POWER_LIMIT|', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION|', 'DCGM_FI_DEV_GPU_TEMP|', 'DCGM_FI_DEV_MEMORY_TEMP|', 'DCGM_FI_DEV_SM_CLOCK|', 'DCGM_FI_DEV_MEM_CLOCK|', 'DCGM_FI_DEV_CLOCK_THROTTLE_REASONS|', 'DCGM_FI_DEV_CLOCKS_EVENT_REASONS|', 'DCGM_FI_DEV_ECC_SBE_VOL_TOTAL|', 'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL|', 'DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS|', 'DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS|', 'DCGM_FI_DEV_ROW_REMAP_FAILURE|', 'DCGM_FI_DEV_XID_ERRORS|', 'DCGM_FI_PROF_PCIE_TX_BYTES|', 'DCGM_FI_PROF_PCIE_RX_BYTES|', 'DCGM_FI_DEV_PCIE_REPLAY_COUNTER|', 'hw.gpu.utilization|'], ['busy', 'encoder', 'decoder', 'engine_active', 'sm_active', 'tensor_active', 'dram_active', 'memory_busy', 'memory_used_bytes', 'memory_free_bytes', 'memory_reserved_bytes', 'memory_limit_bytes', 'power_w', 'power_limit_w', 'energy_j', 'temperature_c', 'memory_temperature_c', 'sm_clock_hz', 'memory_clock_hz', 'throttle_reasons', 'ecc_corrected', 'ecc_uncorrected', 'remapped_rows_corrected', 'remapped_rows_uncorrected', 'remap_failure', 'xid', 'pcie_tx_bytes_per_s', 'pcie_rx_bytes_per_s', 'pcie_replays', 'io_tx_bytes', 'io_rx_bytes', 'processes', 'busy', 'encoder', 'decoder', 'memory_used_bytes', 'memory_free_bytes', 'memory_limit_bytes', 'power_w', 'power_limit_w', 'temperature_c', 'busy', 'memory_busy', 'encoder', 'decoder', 'engine_active', 'sm_active', 'tensor_active', 'dram_active', 'memory_used_bytes', 'memory_free_bytes', 'memory_reserved_bytes', 'memory_limit_bytes', 'power_w', 'power_limit_w', 'energy_j', 'temperature_c', 'memory_temperature_c', 'sm_clock_hz', 'memory_clock_hz', 'throttle_reasons', 'throttle_reasons', 'ecc_corrected', 'ecc_uncorrected', 'remapped_rows_corrected', 'remapped_rows_uncorrected', 'remap_failure', 'xid', 'pcie_tx_bytes_per_s', 'pcie_rx_bytes_per_s', 'pcie_replays', 'busy'], '') AS column,
    Value * transform(key, ['gpu.memory.used|', 'gpu.memory.free|', 'gpu.memory.total|', 'DCGM_FI_DEV_FB_USED|', 'DCGM_FI_DEV_FB_FREE|', 'DCGM_FI_DEV_FB_RESERVED|', 'DCGM_FI_DEV_FB_TOTAL|', 'DCGM_FI_DEV_SM_CLOCK|', 'DCGM_FI_DEV_MEM_CLOCK|'], [1048576.0, 1048576.0, 1048576.0, 1048576.0, 1048576.0, 1048576.0, 1048576.0, 1000000.0, 1000000.0], 1.) / transform(key, ['gpu.utilization|', 'gpu.enc.utilization|', 'gpu.dec.utilization|', 'DCGM_FI_DEV_GPU_UTIL|', 'DCGM_FI_DEV_MEM_COPY_UTIL|', 'DCGM_FI_DEV_ENC_UTIL|', 'DCGM_FI_DEV_DEC_UTIL|', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION|'], [100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 1000.0], 1.) AS number,
    if(MetricName = 'hw.errors' AND startsWith(told, 'xid_'), substring(told, 5), '') AS xid_number
FROM
(
SELECT
    TimeUnix, ServiceName, MetricName, Attributes, Value,
    arrayFirst(x -> x != '', [Attributes['hw.id'], Attributes['gpu.uuid'], Attributes['UUID'], Attributes['uuid'], Attributes['gpu_uuid']]) AS said_uuid,
    arrayFirst(x -> x != '', [Attributes['gpu.index'], Attributes['gpu']]) AS said_index,
    arrayFirst(x -> x != '', [Attributes['hw.model'], Attributes['gpu.name'], Attributes['modelName'], Attributes['model_name']]) AS said_gpu_model,
    Attributes['hw.parent'] AS said_parent,
    arrayFirst(x -> x != '', [Attributes['monitor.gpu.profile'], Attributes['GPU_I_PROFILE']]) AS said_profile,
    Attributes['GPU_I_ID'] AS said_instance,
    arrayFirst(x -> x != '', [Attributes['hostname'], Attributes['Hostname']]) AS said_host,
    arrayFirst(x -> x != '', [Attributes['k8s.pod.name'], Attributes['exported_pod'], Attributes['pod']]) AS said_pod,
    arrayFirst(x -> x != '', [Attributes['k8s.namespace.name'], Attributes['exported_namespace'], Attributes['namespace']]) AS said_namespace,
    arrayFirst(x -> x != '', [Attributes['deployment.environment.name'], Attributes['deployment.environment']]) AS said_environment,
    ResourceAttributes['monitor.node'] AS at_node,
    arrayFirst(x -> x != '', [ResourceAttributes['k8s.node.name'], ResourceAttributes['host.name'], ResourceAttributes['server.address']]) AS at_place,
    arrayFirst(x -> x != '', [ResourceAttributes['deployment.environment.name'], ResourceAttributes['deployment.environment']]) AS at_environment,
    ResourceAttributes['cloud.region'] AS at_region
FROM otel_metrics_gauge
WHERE MetricName IN ('hw.gpu.utilization', 'monitor.gpu.active', 'monitor.gpu.memory.busy', 'hw.gpu.memory.usage', 'monitor.gpu.memory.free', 'monitor.gpu.memory.reserved', 'hw.gpu.memory.limit', 'hw.power', 'monitor.gpu.power.limit', 'hw.energy', 'hw.temperature', 'monitor.gpu.clock', 'monitor.gpu.throttle_reasons', 'hw.errors', 'monitor.gpu.remapped_rows', 'monitor.gpu.remap_failure', 'monitor.gpu.xid', 'monitor.gpu.pcie.throughput', 'monitor.gpu.pcie.replays', 'hw.gpu.io', 'monitor.gpu.processes', 'gpu.utilization', 'gpu.enc.utilization', 'gpu.dec.utilization', 'gpu.memory.used', 'gpu.memory.free', 'gpu.memory.total', 'gpu.power.draw', 'gpu.power.limit', 'gpu.temperature', 'DCGM_FI_DEV_GPU_UTIL', 'DCGM_FI_DEV_MEM_COPY_UTIL', 'DCGM_FI_DEV_ENC_UTIL', 'DCGM_FI_DEV_DEC_UTIL', 'DCGM_FI_PROF_GR_ENGINE_ACTIVE', 'DCGM_FI_PROF_SM_ACTIVE', 'DCGM_FI_PROF_PIPE_TENSOR_ACTIVE', 'DCGM_FI_PROF_DRAM_ACTIVE', 'DCGM_FI_DEV_FB_USED', 'DCGM_FI_DEV_FB_FREE', 'DCGM_FI_DEV_FB_RESERVED', 'DCGM_FI_DEV_FB_TOTAL', 'DCGM_FI_DEV_POWER_USAGE', 'DCGM_FI_DEV_ENFORCED_POWER_LIMIT', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', 'DCGM_FI_DEV_GPU_TEMP', 'DCGM_FI_DEV_MEMORY_TEMP', 'DCGM_FI_DEV_SM_CLOCK', 'DCGM_FI_DEV_MEM_CLOCK', 'DCGM_FI_DEV_CLOCK_THROTTLE_REASONS', 'DCGM_FI_DEV_CLOCKS_EVENT_REASONS', 'DCGM_FI_DEV_ECC_SBE_VOL_TOTAL', 'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL', 'DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS', 'DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS', 'DCGM_FI_DEV_ROW_REMAP_FAILURE', 'DCGM_FI_DEV_XID_ERRORS', 'DCGM_FI_PROF_PCIE_TX_BYTES', 'DCGM_FI_PROF_PCIE_RX_BYTES', 'DCGM_FI_DEV_PCIE_REPLAY_COUNTER', 'hw.status')
    AND bitAnd(Flags, 1) = 0
    AND isFinite(Value)
    AND NOT (startsWith(MetricName, 'DCGM_') AND ((Value >= 2147483632 AND Value <= 2147483647) OR (Value >= 140737488355328 AND Value <= 140737488355343) OR (Value >= 9223372036854774784 AND Value <= 18446744073709551616)))
)
WHERE MetricName NOT IN ('hw.power', 'hw.energy', 'hw.temperature', 'hw.errors', 'hw.status') OR Attributes['hw.type'] = 'gpu' OR match(uuid, '^(GPU|MIG)-')
)
WHERE uuid != '' AND (column != '' AND (Value >= 0 OR column IN ('temperature_c', 'memory_temperature_c')) OR xid_number != '' OR MetricName = 'hw.status' AND Value >= 1);

ALTER TABLE gpu_samples_from_gauge_mv MODIFY QUERY
SELECT
    TimeUnix AS timestamp,
    arrayFirst(x -> x != '', [at_node, if(position(said_host, 'dcgm-exporter') > 0, '', said_host), at_place]) AS node,
    if(of_instance, concat(uuid, '/', said_instance), uuid) AS gpu,
    toUInt32OrNull(said_index) AS gpu_index,
    said_gpu_model AS gpu_model,
    if(of_instance, uuid, said_parent) AS parent,
    if(to_whole, '', said_profile) AS profile,
    if(to_whole OR position(said_pod, 'dcgm-exporter') > 0, '', said_pod) AS pod,
    if(to_whole OR position(said_pod, 'dcgm-exporter') > 0, '', said_namespace) AS namespace,
    ServiceName AS service,
    arrayFirst(x -> x != '', [at_environment, said_environment]) AS environment,
    at_region AS region,
    if(MetricName = 'hw.status', Attributes['hw.state'], '') AS status,
    if(column = 'busy', number, NULL) AS busy,
    if(column = 'engine_active', number, NULL) AS engine_active,
    if(column = 'sm_active', number, NULL) AS sm_active,
    if(column = 'tensor_active', number, NULL) AS tensor_active,
    if(column = 'dram_active', number, NULL) AS dram_active,
    if(column = 'memory_busy', number, NULL) AS memory_busy,
    if(column = 'encoder', number, NULL) AS encoder,
    if(column = 'decoder', number, NULL) AS decoder,
    if(column = 'memory_used_bytes', number, NULL) AS memory_used_bytes,
    if(column = 'memory_free_bytes', number, NULL) AS memory_free_bytes,
    if(column = 'memory_reserved_bytes', number, NULL) AS memory_reserved_bytes,
    if(column = 'memory_limit_bytes', number, NULL) AS memory_limit_bytes,
    if(column = 'power_w', number, NULL) AS power_w,
    if(column = 'power_limit_w', number, NULL) AS power_limit_w,
    if(column = 'energy_j', number, NULL) AS energy_j,
    if(column = 'temperature_c', number, NULL) AS temperature_c,
    if(column = 'memory_temperature_c', number, NULL) AS memory_temperature_c,
    if(column = 'sm_clock_hz', number, NULL) AS sm_clock_hz,
    if(column = 'memory_clock_hz', number, NULL) AS memory_clock_hz,
    if(column = 'throttle_reasons', accurateCastOrNull(number, 'UInt64'), NULL) AS throttle_reasons,
    if(column = 'ecc_corrected', number, NULL) AS ecc_corrected,
    if(column = 'ecc_uncorrected', number, NULL) AS ecc_uncorrected,
    if(column = 'remapped_rows_corrected', number, NULL) AS remapped_rows_corrected,
    if(column = 'remapped_rows_uncorrected', number, NULL) AS remapped_rows_uncorrected,
    if(column = 'remap_failure', number, NULL) AS remap_failure,
    if(column = 'xid', number, NULL) AS xid,
    if(column = 'pcie_tx_bytes_per_s', number, NULL) AS pcie_tx_bytes_per_s,
    if(column = 'pcie_rx_bytes_per_s', number, NULL) AS pcie_rx_bytes_per_s,
    if(column = 'pcie_replays', number, NULL) AS pcie_replays,
    if(column = 'io_tx_bytes', number, NULL) AS io_tx_bytes,
    if(column = 'io_rx_bytes', number, NULL) AS io_rx_bytes,
    if(column = 'processes', number, NULL) AS processes,
    if(xid_number != '' AND Value >= 0, map(xid_number, Value), map()) AS xid_errors
FROM
(
SELECT
    *,
    if(said_uuid = '' AND said_index != '', concat('gpu ', said_index), said_uuid) AS uuid,
    said_instance != '' AND MetricName IN ('DCGM_FI_DEV_GPU_UTIL', 'DCGM_FI_DEV_MEM_COPY_UTIL', 'DCGM_FI_DEV_ENC_UTIL', 'DCGM_FI_DEV_DEC_UTIL', 'DCGM_FI_DEV_POWER_USAGE', 'DCGM_FI_DEV_ENFORCED_POWER_LIMIT', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', 'DCGM_FI_DEV_GPU_TEMP', 'DCGM_FI_DEV_MEMORY_TEMP', 'DCGM_FI_DEV_SM_CLOCK', 'DCGM_FI_DEV_MEM_CLOCK', 'DCGM_FI_DEV_CLOCK_THROTTLE_REASONS', 'DCGM_FI_DEV_CLOCKS_EVENT_REASONS', 'DCGM_FI_DEV_ECC_SBE_VOL_TOTAL', 'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL', 'DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS', 'DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS', 'DCGM_FI_DEV_ROW_REMAP_FAILURE', 'DCGM_FI_DEV_XID_ERRORS', 'DCGM_FI_PROF_PCIE_TX_BYTES', 'DCGM_FI_PROF_PCIE_RX_BYTES', 'DCGM_FI_DEV_PCIE_REPLAY_COUNTER') AS to_whole,
    said_instance != '' AND NOT to_whole AS of_instance,
    transform(MetricName, ['hw.gpu.utilization', 'monitor.gpu.active', 'hw.temperature', 'monitor.gpu.clock', 'hw.errors', 'monitor.gpu.remapped_rows', 'monitor.gpu.pcie.throughput', 'hw.gpu.io'], ['hw.gpu.task', 'monitor.gpu.part', 'hw.sensor_location', 'monitor.gpu.part', 'error.type', 'error.type', 'network.io.direction', 'network.io.direction'], '') AS told_by,
    if(told_by = '', '', Attributes[told_by]) AS told,
    concat(MetricName, '|', told) AS key,
    transform(key, ['hw.gpu.utilization|general', 'hw.gpu.utilization|encoder', 'hw.gpu.utilization|decoder', 'monitor.gpu.active|engine', 'monitor.gpu.active|sm', 'monitor.gpu.active|tensor', 'monitor.gpu.active|dram', 'monitor.gpu.memory.busy|', 'hw.gpu.memory.usage|', 'monitor.gpu.memory.free|', 'monitor.gpu.memory.reserved|', 'hw.gpu.memory.limit|', 'hw.power|', 'monitor.gpu.power.limit|', 'hw.energy|', 'hw.temperature|', 'hw.temperature|memory', 'monitor.gpu.clock|sm', 'monitor.gpu.clock|memory', 'monitor.gpu.throttle_reasons|', 'hw.errors|corrected', 'hw.errors|uncorrected', 'monitor.gpu.remapped_rows|corrected', 'monitor.gpu.remapped_rows|uncorrected', 'monitor.gpu.remap_failure|', 'monitor.gpu.xid|', 'monitor.gpu.pcie.throughput|transmit', 'monitor.gpu.pcie.throughput|receive', 'monitor.gpu.pcie.replays|', 'hw.gpu.io|transmit', 'hw.gpu.io|receive', 'monitor.gpu.processes|', 'gpu.utilization|', 'gpu.enc.utilization|', 'gpu.dec.utilization|', 'gpu.memory.used|', 'gpu.memory.free|', 'gpu.memory.total|', 'gpu.power.draw|', 'gpu.power.limit|', 'gpu.temperature|', 'DCGM_FI_DEV_GPU_UTIL|', 'DCGM_FI_DEV_MEM_COPY_UTIL|', 'DCGM_FI_DEV_ENC_UTIL|', 'DCGM_FI_DEV_DEC_UTIL|', 'DCGM_FI_PROF_GR_ENGINE_ACTIVE|', 'DCGM_FI_PROF_SM_ACTIVE|', 'DCGM_FI_PROF_PIPE_TENSOR_ACTIVE|', 'DCGM_FI_PROF_DRAM_ACTIVE|', 'DCGM_FI_DEV_FB_USED|', 'DCGM_FI_DEV_FB_FREE|', 'DCGM_FI_DEV_FB_RESERVED|', 'DCGM_FI_DEV_FB_TOTAL|', 'DCGM_FI_DEV_POWER_USAGE|', 'DCGM_FI_DEV_ENFORCED_POWER_LIMIT|', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION|', 'DCGM_FI_DEV_GPU_TEMP|', 'DCGM_FI_DEV_MEMORY_TEMP|', 'DCGM_FI_DEV_SM_CLOCK|', 'DCGM_FI_DEV_MEM_CLOCK|', 'DCGM_FI_DEV_CLOCK_THROTTLE_REASONS|', 'DCGM_FI_DEV_CLOCKS_EVENT_REASONS|', 'DCGM_FI_DEV_ECC_SBE_VOL_TOTAL|', 'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL|', 'DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS|', 'DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS|', 'DCGM_FI_DEV_ROW_REMAP_FAILURE|', 'DCGM_FI_DEV_XID_ERRORS|', 'DCGM_FI_PROF_PCIE_TX_BYTES|', 'DCGM_FI_PROF_PCIE_RX_BYTES|', 'DCGM_FI_DEV_PCIE_REPLAY_COUNTER|', 'hw.gpu.utilization|'], ['busy', 'encoder', 'decoder', 'engine_active', 'sm_active', 'tensor_active', 'dram_active', 'memory_busy', 'memory_used_bytes', 'memory_free_bytes', 'memory_reserved_bytes', 'memory_limit_bytes', 'power_w', 'power_limit_w', 'energy_j', 'temperature_c', 'memory_temperature_c', 'sm_clock_hz', 'memory_clock_hz', 'throttle_reasons', 'ecc_corrected', 'ecc_uncorrected', 'remapped_rows_corrected', 'remapped_rows_uncorrected', 'remap_failure', 'xid', 'pcie_tx_bytes_per_s', 'pcie_rx_bytes_per_s', 'pcie_replays', 'io_tx_bytes', 'io_rx_bytes', 'processes', 'busy', 'encoder', 'decoder', 'memory_used_bytes', 'memory_free_bytes', 'memory_limit_bytes', 'power_w', 'power_limit_w', 'temperature_c', 'busy', 'memory_busy', 'encoder', 'decoder', 'engine_active', 'sm_active', 'tensor_active', 'dram_active', 'memory_used_bytes', 'memory_free_bytes', 'memory_reserved_bytes', 'memory_limit_bytes', 'power_w', 'power_limit_w', 'energy_j', 'temperature_c', 'memory_temperature_c', 'sm_clock_hz', 'memory_clock_hz', 'throttle_reasons', 'throttle_reasons', 'ecc_corrected', 'ecc_uncorrected', 'remapped_rows_corrected', 'remapped_rows_uncorrected', 'remap_failure', 'xid', 'pcie_tx_bytes_per_s', 'pcie_rx_bytes_per_s', 'pcie_replays', 'busy'], '') AS column,
    Value * transform(key, ['gpu.memory.used|', 'gpu.memory.free|', 'gpu.memory.total|', 'DCGM_FI_DEV_FB_USED|', 'DCGM_FI_DEV_FB_FREE|', 'DCGM_FI_DEV_FB_RESERVED|', 'DCGM_FI_DEV_FB_TOTAL|', 'DCGM_FI_DEV_SM_CLOCK|', 'DCGM_FI_DEV_MEM_CLOCK|'], [1048576.0, 1048576.0, 1048576.0, 1048576.0, 1048576.0, 1048576.0, 1048576.0, 1000000.0, 1000000.0], 1.) / transform(key, ['gpu.utilization|', 'gpu.enc.utilization|', 'gpu.dec.utilization|', 'DCGM_FI_DEV_GPU_UTIL|', 'DCGM_FI_DEV_MEM_COPY_UTIL|', 'DCGM_FI_DEV_ENC_UTIL|', 'DCGM_FI_DEV_DEC_UTIL|', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION|'], [100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 1000.0], 1.) AS number,
    if(MetricName = 'hw.errors' AND startsWith(told, 'xid_'), substring(told, 5), '') AS xid_number
FROM
(
SELECT
    TimeUnix, ServiceName, MetricName, Attributes, Value,
    arrayFirst(x -> x != '', [Attributes['hw.id'], Attributes['gpu.uuid'], Attributes['UUID'], Attributes['uuid'], Attributes['gpu_uuid']]) AS said_uuid,
    arrayFirst(x -> x != '', [Attributes['gpu.index'], Attributes['gpu']]) AS said_index,
    arrayFirst(x -> x != '', [Attributes['hw.model'], Attributes['gpu.name'], Attributes['modelName'], Attributes['model_name']]) AS said_gpu_model,
    Attributes['hw.parent'] AS said_parent,
    arrayFirst(x -> x != '', [Attributes['monitor.gpu.profile'], Attributes['GPU_I_PROFILE']]) AS said_profile,
    Attributes['GPU_I_ID'] AS said_instance,
    arrayFirst(x -> x != '', [Attributes['hostname'], Attributes['Hostname']]) AS said_host,
    arrayFirst(x -> x != '', [Attributes['k8s.pod.name'], Attributes['exported_pod'], Attributes['pod']]) AS said_pod,
    arrayFirst(x -> x != '', [Attributes['k8s.namespace.name'], Attributes['exported_namespace'], Attributes['namespace']]) AS said_namespace,
    arrayFirst(x -> x != '', [Attributes['deployment.environment.name'], Attributes['deployment.environment']]) AS said_environment,
    ResourceAttributes['monitor.node'] AS at_node,
    arrayFirst(x -> x != '', [ResourceAttributes['k8s.node.name'], ResourceAttributes['host.name'], ResourceAttributes['server.address']]) AS at_place,
    arrayFirst(x -> x != '', [ResourceAttributes['deployment.environment.name'], ResourceAttributes['deployment.environment']]) AS at_environment,
    ResourceAttributes['cloud.region'] AS at_region
FROM otel_metrics_gauge
WHERE MetricName IN ('hw.gpu.utilization', 'monitor.gpu.active', 'monitor.gpu.memory.busy', 'hw.gpu.memory.usage', 'monitor.gpu.memory.free', 'monitor.gpu.memory.reserved', 'hw.gpu.memory.limit', 'hw.power', 'monitor.gpu.power.limit', 'hw.energy', 'hw.temperature', 'monitor.gpu.clock', 'monitor.gpu.throttle_reasons', 'hw.errors', 'monitor.gpu.remapped_rows', 'monitor.gpu.remap_failure', 'monitor.gpu.xid', 'monitor.gpu.pcie.throughput', 'monitor.gpu.pcie.replays', 'hw.gpu.io', 'monitor.gpu.processes', 'gpu.utilization', 'gpu.enc.utilization', 'gpu.dec.utilization', 'gpu.memory.used', 'gpu.memory.free', 'gpu.memory.total', 'gpu.power.draw', 'gpu.power.limit', 'gpu.temperature', 'DCGM_FI_DEV_GPU_UTIL', 'DCGM_FI_DEV_MEM_COPY_UTIL', 'DCGM_FI_DEV_ENC_UTIL', 'DCGM_FI_DEV_DEC_UTIL', 'DCGM_FI_PROF_GR_ENGINE_ACTIVE', 'DCGM_FI_PROF_SM_ACTIVE', 'DCGM_FI_PROF_PIPE_TENSOR_ACTIVE', 'DCGM_FI_PROF_DRAM_ACTIVE', 'DCGM_FI_DEV_FB_USED', 'DCGM_FI_DEV_FB_FREE', 'DCGM_FI_DEV_FB_RESERVED', 'DCGM_FI_DEV_FB_TOTAL', 'DCGM_FI_DEV_POWER_USAGE', 'DCGM_FI_DEV_ENFORCED_POWER_LIMIT', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', 'DCGM_FI_DEV_GPU_TEMP', 'DCGM_FI_DEV_MEMORY_TEMP', 'DCGM_FI_DEV_SM_CLOCK', 'DCGM_FI_DEV_MEM_CLOCK', 'DCGM_FI_DEV_CLOCK_THROTTLE_REASONS', 'DCGM_FI_DEV_CLOCKS_EVENT_REASONS', 'DCGM_FI_DEV_ECC_SBE_VOL_TOTAL', 'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL', 'DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS', 'DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS', 'DCGM_FI_DEV_ROW_REMAP_FAILURE', 'DCGM_FI_DEV_XID_ERRORS', 'DCGM_FI_PROF_PCIE_TX_BYTES', 'DCGM_FI_PROF_PCIE_RX_BYTES', 'DCGM_FI_DEV_PCIE_REPLAY_COUNTER', 'hw.status')
    AND bitAnd(Flags, 1) = 0
    AND isFinite(Value)
    AND NOT (startsWith(MetricName, 'DCGM_') AND ((Value >= 2147483632 AND Value <= 2147483647) OR (Value >= 140737488355328 AND Value <= 140737488355343) OR (Value >= 9223372036854774784 AND Value <= 18446744073709551616)))
)
WHERE MetricName NOT IN ('hw.power', 'hw.energy', 'hw.temperature', 'hw.errors', 'hw.status') OR Attributes['hw.type'] = 'gpu' OR match(uuid, '^(GPU|MIG)-')
)
WHERE uuid != '' AND (column != '' AND (Value >= 0 OR column IN ('temperature_c', 'memory_temperature_c')) OR xid_number != '' OR MetricName = 'hw.status' AND Value >= 1);

CREATE MATERIALIZED VIEW IF NOT EXISTS gpu_samples_from_sum_mv TO gpu_samples AS
SELECT
    TimeUnix AS timestamp,
    arrayFirst(x -> x != '', [at_node, if(position(said_host, 'dcgm-exporter') > 0, '', said_host), at_place]) AS node,
    if(of_instance, concat(uuid, '/', said_instance), uuid) AS gpu,
    toUInt32OrNull(said_index) AS gpu_index,
    said_gpu_model AS gpu_model,
    if(of_instance, uuid, said_parent) AS parent,
    if(to_whole, '', said_profile) AS profile,
    if(to_whole OR position(said_pod, 'dcgm-exporter') > 0, '', said_pod) AS pod,
    if(to_whole OR position(said_pod, 'dcgm-exporter') > 0, '', said_namespace) AS namespace,
    ServiceName AS service,
    arrayFirst(x -> x != '', [at_environment, said_environment]) AS environment,
    at_region AS region,
    if(MetricName = 'hw.status', Attributes['hw.state'], '') AS status,
    if(column = 'busy', number, NULL) AS busy,
    if(column = 'engine_active', number, NULL) AS engine_active,
    if(column = 'sm_active', number, NULL) AS sm_active,
    if(column = 'tensor_active', number, NULL) AS tensor_active,
    if(column = 'dram_active', number, NULL) AS dram_active,
    if(column = 'memory_busy', number, NULL) AS memory_busy,
    if(column = 'encoder', number, NULL) AS encoder,
    if(column = 'decoder', number, NULL) AS decoder,
    if(column = 'memory_used_bytes', number, NULL) AS memory_used_bytes,
    if(column = 'memory_free_bytes', number, NULL) AS memory_free_bytes,
    if(column = 'memory_reserved_bytes', number, NULL) AS memory_reserved_bytes,
    if(column = 'memory_limit_bytes', number, NULL) AS memory_limit_bytes,
    if(column = 'power_w', number, NULL) AS power_w,
    if(column = 'power_limit_w', number, NULL) AS power_limit_w,
    if(column = 'energy_j', number, NULL) AS energy_j,
    if(column = 'temperature_c', number, NULL) AS temperature_c,
    if(column = 'memory_temperature_c', number, NULL) AS memory_temperature_c,
    if(column = 'sm_clock_hz', number, NULL) AS sm_clock_hz,
    if(column = 'memory_clock_hz', number, NULL) AS memory_clock_hz,
    if(column = 'throttle_reasons', accurateCastOrNull(number, 'UInt64'), NULL) AS throttle_reasons,
    if(column = 'ecc_corrected', number, NULL) AS ecc_corrected,
    if(column = 'ecc_uncorrected', number, NULL) AS ecc_uncorrected,
    if(column = 'remapped_rows_corrected', number, NULL) AS remapped_rows_corrected,
    if(column = 'remapped_rows_uncorrected', number, NULL) AS remapped_rows_uncorrected,
    if(column = 'remap_failure', number, NULL) AS remap_failure,
    if(column = 'xid', number, NULL) AS xid,
    if(column = 'pcie_tx_bytes_per_s', number, NULL) AS pcie_tx_bytes_per_s,
    if(column = 'pcie_rx_bytes_per_s', number, NULL) AS pcie_rx_bytes_per_s,
    if(column = 'pcie_replays', number, NULL) AS pcie_replays,
    if(column = 'io_tx_bytes', number, NULL) AS io_tx_bytes,
    if(column = 'io_rx_bytes', number, NULL) AS io_rx_bytes,
    if(column = 'processes', number, NULL) AS processes,
    if(xid_number != '' AND Value >= 0, map(xid_number, Value), map()) AS xid_errors
FROM
(
SELECT
    *,
    if(said_uuid = '' AND said_index != '', concat('gpu ', said_index), said_uuid) AS uuid,
    said_instance != '' AND MetricName IN ('DCGM_FI_DEV_GPU_UTIL', 'DCGM_FI_DEV_MEM_COPY_UTIL', 'DCGM_FI_DEV_ENC_UTIL', 'DCGM_FI_DEV_DEC_UTIL', 'DCGM_FI_DEV_POWER_USAGE', 'DCGM_FI_DEV_ENFORCED_POWER_LIMIT', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', 'DCGM_FI_DEV_GPU_TEMP', 'DCGM_FI_DEV_MEMORY_TEMP', 'DCGM_FI_DEV_SM_CLOCK', 'DCGM_FI_DEV_MEM_CLOCK', 'DCGM_FI_DEV_CLOCK_THROTTLE_REASONS', 'DCGM_FI_DEV_CLOCKS_EVENT_REASONS', 'DCGM_FI_DEV_ECC_SBE_VOL_TOTAL', 'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL', 'DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS', 'DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS', 'DCGM_FI_DEV_ROW_REMAP_FAILURE', 'DCGM_FI_DEV_XID_ERRORS', 'DCGM_FI_PROF_PCIE_TX_BYTES', 'DCGM_FI_PROF_PCIE_RX_BYTES', 'DCGM_FI_DEV_PCIE_REPLAY_COUNTER') AS to_whole,
    said_instance != '' AND NOT to_whole AS of_instance,
    transform(MetricName, ['hw.gpu.utilization', 'monitor.gpu.active', 'hw.temperature', 'monitor.gpu.clock', 'hw.errors', 'monitor.gpu.remapped_rows', 'monitor.gpu.pcie.throughput', 'hw.gpu.io'], ['hw.gpu.task', 'monitor.gpu.part', 'hw.sensor_location', 'monitor.gpu.part', 'error.type', 'error.type', 'network.io.direction', 'network.io.direction'], '') AS told_by,
    if(told_by = '', '', Attributes[told_by]) AS told,
    concat(MetricName, '|', told) AS key,
    transform(key, ['hw.gpu.utilization|general', 'hw.gpu.utilization|encoder', 'hw.gpu.utilization|decoder', 'monitor.gpu.active|engine', 'monitor.gpu.active|sm', 'monitor.gpu.active|tensor', 'monitor.gpu.active|dram', 'monitor.gpu.memory.busy|', 'hw.gpu.memory.usage|', 'monitor.gpu.memory.free|', 'monitor.gpu.memory.reserved|', 'hw.gpu.memory.limit|', 'hw.power|', 'monitor.gpu.power.limit|', 'hw.energy|', 'hw.temperature|', 'hw.temperature|memory', 'monitor.gpu.clock|sm', 'monitor.gpu.clock|memory', 'monitor.gpu.throttle_reasons|', 'hw.errors|corrected', 'hw.errors|uncorrected', 'monitor.gpu.remapped_rows|corrected', 'monitor.gpu.remapped_rows|uncorrected', 'monitor.gpu.remap_failure|', 'monitor.gpu.xid|', 'monitor.gpu.pcie.throughput|transmit', 'monitor.gpu.pcie.throughput|receive', 'monitor.gpu.pcie.replays|', 'hw.gpu.io|transmit', 'hw.gpu.io|receive', 'monitor.gpu.processes|', 'gpu.utilization|', 'gpu.enc.utilization|', 'gpu.dec.utilization|', 'gpu.memory.used|', 'gpu.memory.free|', 'gpu.memory.total|', 'gpu.power.draw|', 'gpu.power.limit|', 'gpu.temperature|', 'DCGM_FI_DEV_GPU_UTIL|', 'DCGM_FI_DEV_MEM_COPY_UTIL|', 'DCGM_FI_DEV_ENC_UTIL|', 'DCGM_FI_DEV_DEC_UTIL|', 'DCGM_FI_PROF_GR_ENGINE_ACTIVE|', 'DCGM_FI_PROF_SM_ACTIVE|', 'DCGM_FI_PROF_PIPE_TENSOR_ACTIVE|', 'DCGM_FI_PROF_DRAM_ACTIVE|', 'DCGM_FI_DEV_FB_USED|', 'DCGM_FI_DEV_FB_FREE|', 'DCGM_FI_DEV_FB_RESERVED|', 'DCGM_FI_DEV_FB_TOTAL|', 'DCGM_FI_DEV_POWER_USAGE|', 'DCGM_FI_DEV_ENFORCED_POWER_LIMIT|', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION|', 'DCGM_FI_DEV_GPU_TEMP|', 'DCGM_FI_DEV_MEMORY_TEMP|', 'DCGM_FI_DEV_SM_CLOCK|', 'DCGM_FI_DEV_MEM_CLOCK|', 'DCGM_FI_DEV_CLOCK_THROTTLE_REASONS|', 'DCGM_FI_DEV_CLOCKS_EVENT_REASONS|', 'DCGM_FI_DEV_ECC_SBE_VOL_TOTAL|', 'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL|', 'DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS|', 'DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS|', 'DCGM_FI_DEV_ROW_REMAP_FAILURE|', 'DCGM_FI_DEV_XID_ERRORS|', 'DCGM_FI_PROF_PCIE_TX_BYTES|', 'DCGM_FI_PROF_PCIE_RX_BYTES|', 'DCGM_FI_DEV_PCIE_REPLAY_COUNTER|', 'hw.gpu.utilization|'], ['busy', 'encoder', 'decoder', 'engine_active', 'sm_active', 'tensor_active', 'dram_active', 'memory_busy', 'memory_used_bytes', 'memory_free_bytes', 'memory_reserved_bytes', 'memory_limit_bytes', 'power_w', 'power_limit_w', 'energy_j', 'temperature_c', 'memory_temperature_c', 'sm_clock_hz', 'memory_clock_hz', 'throttle_reasons', 'ecc_corrected', 'ecc_uncorrected', 'remapped_rows_corrected', 'remapped_rows_uncorrected', 'remap_failure', 'xid', 'pcie_tx_bytes_per_s', 'pcie_rx_bytes_per_s', 'pcie_replays', 'io_tx_bytes', 'io_rx_bytes', 'processes', 'busy', 'encoder', 'decoder', 'memory_used_bytes', 'memory_free_bytes', 'memory_limit_bytes', 'power_w', 'power_limit_w', 'temperature_c', 'busy', 'memory_busy', 'encoder', 'decoder', 'engine_active', 'sm_active', 'tensor_active', 'dram_active', 'memory_used_bytes', 'memory_free_bytes', 'memory_reserved_bytes', 'memory_limit_bytes', 'power_w', 'power_limit_w', 'energy_j', 'temperature_c', 'memory_temperature_c', 'sm_clock_hz', 'memory_clock_hz', 'throttle_reasons', 'throttle_reasons', 'ecc_corrected', 'ecc_uncorrected', 'remapped_rows_corrected', 'remapped_rows_uncorrected', 'remap_failure', 'xid', 'pcie_tx_bytes_per_s', 'pcie_rx_bytes_per_s', 'pcie_replays', 'busy'], '') AS column,
    Value * transform(key, ['gpu.memory.used|', 'gpu.memory.free|', 'gpu.memory.total|', 'DCGM_FI_DEV_FB_USED|', 'DCGM_FI_DEV_FB_FREE|', 'DCGM_FI_DEV_FB_RESERVED|', 'DCGM_FI_DEV_FB_TOTAL|', 'DCGM_FI_DEV_SM_CLOCK|', 'DCGM_FI_DEV_MEM_CLOCK|'], [1048576.0, 1048576.0, 1048576.0, 1048576.0, 1048576.0, 1048576.0, 1048576.0, 1000000.0, 1000000.0], 1.) / transform(key, ['gpu.utilization|', 'gpu.enc.utilization|', 'gpu.dec.utilization|', 'DCGM_FI_DEV_GPU_UTIL|', 'DCGM_FI_DEV_MEM_COPY_UTIL|', 'DCGM_FI_DEV_ENC_UTIL|', 'DCGM_FI_DEV_DEC_UTIL|', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION|'], [100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 1000.0], 1.) AS number,
    if(MetricName = 'hw.errors' AND startsWith(told, 'xid_'), substring(told, 5), '') AS xid_number
FROM
(
SELECT
    TimeUnix, ServiceName, MetricName, Attributes, Value,
    arrayFirst(x -> x != '', [Attributes['hw.id'], Attributes['gpu.uuid'], Attributes['UUID'], Attributes['uuid'], Attributes['gpu_uuid']]) AS said_uuid,
    arrayFirst(x -> x != '', [Attributes['gpu.index'], Attributes['gpu']]) AS said_index,
    arrayFirst(x -> x != '', [Attributes['hw.model'], Attributes['gpu.name'], Attributes['modelName'], Attributes['model_name']]) AS said_gpu_model,
    Attributes['hw.parent'] AS said_parent,
    arrayFirst(x -> x != '', [Attributes['monitor.gpu.profile'], Attributes['GPU_I_PROFILE']]) AS said_profile,
    Attributes['GPU_I_ID'] AS said_instance,
    arrayFirst(x -> x != '', [Attributes['hostname'], Attributes['Hostname']]) AS said_host,
    arrayFirst(x -> x != '', [Attributes['k8s.pod.name'], Attributes['exported_pod'], Attributes['pod']]) AS said_pod,
    arrayFirst(x -> x != '', [Attributes['k8s.namespace.name'], Attributes['exported_namespace'], Attributes['namespace']]) AS said_namespace,
    arrayFirst(x -> x != '', [Attributes['deployment.environment.name'], Attributes['deployment.environment']]) AS said_environment,
    ResourceAttributes['monitor.node'] AS at_node,
    arrayFirst(x -> x != '', [ResourceAttributes['k8s.node.name'], ResourceAttributes['host.name'], ResourceAttributes['server.address']]) AS at_place,
    arrayFirst(x -> x != '', [ResourceAttributes['deployment.environment.name'], ResourceAttributes['deployment.environment']]) AS at_environment,
    ResourceAttributes['cloud.region'] AS at_region
FROM otel_metrics_sum
WHERE MetricName IN ('hw.gpu.utilization', 'monitor.gpu.active', 'monitor.gpu.memory.busy', 'hw.gpu.memory.usage', 'monitor.gpu.memory.free', 'monitor.gpu.memory.reserved', 'hw.gpu.memory.limit', 'hw.power', 'monitor.gpu.power.limit', 'hw.energy', 'hw.temperature', 'monitor.gpu.clock', 'monitor.gpu.throttle_reasons', 'hw.errors', 'monitor.gpu.remapped_rows', 'monitor.gpu.remap_failure', 'monitor.gpu.xid', 'monitor.gpu.pcie.throughput', 'monitor.gpu.pcie.replays', 'hw.gpu.io', 'monitor.gpu.processes', 'gpu.utilization', 'gpu.enc.utilization', 'gpu.dec.utilization', 'gpu.memory.used', 'gpu.memory.free', 'gpu.memory.total', 'gpu.power.draw', 'gpu.power.limit', 'gpu.temperature', 'DCGM_FI_DEV_GPU_UTIL', 'DCGM_FI_DEV_MEM_COPY_UTIL', 'DCGM_FI_DEV_ENC_UTIL', 'DCGM_FI_DEV_DEC_UTIL', 'DCGM_FI_PROF_GR_ENGINE_ACTIVE', 'DCGM_FI_PROF_SM_ACTIVE', 'DCGM_FI_PROF_PIPE_TENSOR_ACTIVE', 'DCGM_FI_PROF_DRAM_ACTIVE', 'DCGM_FI_DEV_FB_USED', 'DCGM_FI_DEV_FB_FREE', 'DCGM_FI_DEV_FB_RESERVED', 'DCGM_FI_DEV_FB_TOTAL', 'DCGM_FI_DEV_POWER_USAGE', 'DCGM_FI_DEV_ENFORCED_POWER_LIMIT', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', 'DCGM_FI_DEV_GPU_TEMP', 'DCGM_FI_DEV_MEMORY_TEMP', 'DCGM_FI_DEV_SM_CLOCK', 'DCGM_FI_DEV_MEM_CLOCK', 'DCGM_FI_DEV_CLOCK_THROTTLE_REASONS', 'DCGM_FI_DEV_CLOCKS_EVENT_REASONS', 'DCGM_FI_DEV_ECC_SBE_VOL_TOTAL', 'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL', 'DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS', 'DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS', 'DCGM_FI_DEV_ROW_REMAP_FAILURE', 'DCGM_FI_DEV_XID_ERRORS', 'DCGM_FI_PROF_PCIE_TX_BYTES', 'DCGM_FI_PROF_PCIE_RX_BYTES', 'DCGM_FI_DEV_PCIE_REPLAY_COUNTER', 'hw.status')
    AND bitAnd(Flags, 1) = 0
    AND isFinite(Value)
    AND NOT (startsWith(MetricName, 'DCGM_') AND ((Value >= 2147483632 AND Value <= 2147483647) OR (Value >= 140737488355328 AND Value <= 140737488355343) OR (Value >= 9223372036854774784 AND Value <= 18446744073709551616)))
)
WHERE MetricName NOT IN ('hw.power', 'hw.energy', 'hw.temperature', 'hw.errors', 'hw.status') OR Attributes['hw.type'] = 'gpu' OR match(uuid, '^(GPU|MIG)-')
)
WHERE uuid != '' AND (column != '' AND (Value >= 0 OR column IN ('temperature_c', 'memory_temperature_c')) OR xid_number != '' OR MetricName = 'hw.status' AND Value >= 1);

ALTER TABLE gpu_samples_from_sum_mv MODIFY QUERY
SELECT
    TimeUnix AS timestamp,
    arrayFirst(x -> x != '', [at_node, if(position(said_host, 'dcgm-exporter') > 0, '', said_host), at_place]) AS node,
    if(of_instance, concat(uuid, '/', said_instance), uuid) AS gpu,
    toUInt32OrNull(said_index) AS gpu_index,
    said_gpu_model AS gpu_model,
    if(of_instance, uuid, said_parent) AS parent,
    if(to_whole, '', said_profile) AS profile,
    if(to_whole OR position(said_pod, 'dcgm-exporter') > 0, '', said_pod) AS pod,
    if(to_whole OR position(said_pod, 'dcgm-exporter') > 0, '', said_namespace) AS namespace,
    ServiceName AS service,
    arrayFirst(x -> x != '', [at_environment, said_environment]) AS environment,
    at_region AS region,
    if(MetricName = 'hw.status', Attributes['hw.state'], '') AS status,
    if(column = 'busy', number, NULL) AS busy,
    if(column = 'engine_active', number, NULL) AS engine_active,
    if(column = 'sm_active', number, NULL) AS sm_active,
    if(column = 'tensor_active', number, NULL) AS tensor_active,
    if(column = 'dram_active', number, NULL) AS dram_active,
    if(column = 'memory_busy', number, NULL) AS memory_busy,
    if(column = 'encoder', number, NULL) AS encoder,
    if(column = 'decoder', number, NULL) AS decoder,
    if(column = 'memory_used_bytes', number, NULL) AS memory_used_bytes,
    if(column = 'memory_free_bytes', number, NULL) AS memory_free_bytes,
    if(column = 'memory_reserved_bytes', number, NULL) AS memory_reserved_bytes,
    if(column = 'memory_limit_bytes', number, NULL) AS memory_limit_bytes,
    if(column = 'power_w', number, NULL) AS power_w,
    if(column = 'power_limit_w', number, NULL) AS power_limit_w,
    if(column = 'energy_j', number, NULL) AS energy_j,
    if(column = 'temperature_c', number, NULL) AS temperature_c,
    if(column = 'memory_temperature_c', number, NULL) AS memory_temperature_c,
    if(column = 'sm_clock_hz', number, NULL) AS sm_clock_hz,
    if(column = 'memory_clock_hz', number, NULL) AS memory_clock_hz,
    if(column = 'throttle_reasons', accurateCastOrNull(number, 'UInt64'), NULL) AS throttle_reasons,
    if(column = 'ecc_corrected', number, NULL) AS ecc_corrected,
    if(column = 'ecc_uncorrected', number, NULL) AS ecc_uncorrected,
    if(column = 'remapped_rows_corrected', number, NULL) AS remapped_rows_corrected,
    if(column = 'remapped_rows_uncorrected', number, NULL) AS remapped_rows_uncorrected,
    if(column = 'remap_failure', number, NULL) AS remap_failure,
    if(column = 'xid', number, NULL) AS xid,
    if(column = 'pcie_tx_bytes_per_s', number, NULL) AS pcie_tx_bytes_per_s,
    if(column = 'pcie_rx_bytes_per_s', number, NULL) AS pcie_rx_bytes_per_s,
    if(column = 'pcie_replays', number, NULL) AS pcie_replays,
    if(column = 'io_tx_bytes', number, NULL) AS io_tx_bytes,
    if(column = 'io_rx_bytes', number, NULL) AS io_rx_bytes,
    if(column = 'processes', number, NULL) AS processes,
    if(xid_number != '' AND Value >= 0, map(xid_number, Value), map()) AS xid_errors
FROM
(
SELECT
    *,
    if(said_uuid = '' AND said_index != '', concat('gpu ', said_index), said_uuid) AS uuid,
    said_instance != '' AND MetricName IN ('DCGM_FI_DEV_GPU_UTIL', 'DCGM_FI_DEV_MEM_COPY_UTIL', 'DCGM_FI_DEV_ENC_UTIL', 'DCGM_FI_DEV_DEC_UTIL', 'DCGM_FI_DEV_POWER_USAGE', 'DCGM_FI_DEV_ENFORCED_POWER_LIMIT', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', 'DCGM_FI_DEV_GPU_TEMP', 'DCGM_FI_DEV_MEMORY_TEMP', 'DCGM_FI_DEV_SM_CLOCK', 'DCGM_FI_DEV_MEM_CLOCK', 'DCGM_FI_DEV_CLOCK_THROTTLE_REASONS', 'DCGM_FI_DEV_CLOCKS_EVENT_REASONS', 'DCGM_FI_DEV_ECC_SBE_VOL_TOTAL', 'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL', 'DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS', 'DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS', 'DCGM_FI_DEV_ROW_REMAP_FAILURE', 'DCGM_FI_DEV_XID_ERRORS', 'DCGM_FI_PROF_PCIE_TX_BYTES', 'DCGM_FI_PROF_PCIE_RX_BYTES', 'DCGM_FI_DEV_PCIE_REPLAY_COUNTER') AS to_whole,
    said_instance != '' AND NOT to_whole AS of_instance,
    transform(MetricName, ['hw.gpu.utilization', 'monitor.gpu.active', 'hw.temperature', 'monitor.gpu.clock', 'hw.errors', 'monitor.gpu.remapped_rows', 'monitor.gpu.pcie.throughput', 'hw.gpu.io'], ['hw.gpu.task', 'monitor.gpu.part', 'hw.sensor_location', 'monitor.gpu.part', 'error.type', 'error.type', 'network.io.direction', 'network.io.direction'], '') AS told_by,
    if(told_by = '', '', Attributes[told_by]) AS told,
    concat(MetricName, '|', told) AS key,
    transform(key, ['hw.gpu.utilization|general', 'hw.gpu.utilization|encoder', 'hw.gpu.utilization|decoder', 'monitor.gpu.active|engine', 'monitor.gpu.active|sm', 'monitor.gpu.active|tensor', 'monitor.gpu.active|dram', 'monitor.gpu.memory.busy|', 'hw.gpu.memory.usage|', 'monitor.gpu.memory.free|', 'monitor.gpu.memory.reserved|', 'hw.gpu.memory.limit|', 'hw.power|', 'monitor.gpu.power.limit|', 'hw.energy|', 'hw.temperature|', 'hw.temperature|memory', 'monitor.gpu.clock|sm', 'monitor.gpu.clock|memory', 'monitor.gpu.throttle_reasons|', 'hw.errors|corrected', 'hw.errors|uncorrected', 'monitor.gpu.remapped_rows|corrected', 'monitor.gpu.remapped_rows|uncorrected', 'monitor.gpu.remap_failure|', 'monitor.gpu.xid|', 'monitor.gpu.pcie.throughput|transmit', 'monitor.gpu.pcie.throughput|receive', 'monitor.gpu.pcie.replays|', 'hw.gpu.io|transmit', 'hw.gpu.io|receive', 'monitor.gpu.processes|', 'gpu.utilization|', 'gpu.enc.utilization|', 'gpu.dec.utilization|', 'gpu.memory.used|', 'gpu.memory.free|', 'gpu.memory.total|', 'gpu.power.draw|', 'gpu.power.limit|', 'gpu.temperature|', 'DCGM_FI_DEV_GPU_UTIL|', 'DCGM_FI_DEV_MEM_COPY_UTIL|', 'DCGM_FI_DEV_ENC_UTIL|', 'DCGM_FI_DEV_DEC_UTIL|', 'DCGM_FI_PROF_GR_ENGINE_ACTIVE|', 'DCGM_FI_PROF_SM_ACTIVE|', 'DCGM_FI_PROF_PIPE_TENSOR_ACTIVE|', 'DCGM_FI_PROF_DRAM_ACTIVE|', 'DCGM_FI_DEV_FB_USED|', 'DCGM_FI_DEV_FB_FREE|', 'DCGM_FI_DEV_FB_RESERVED|', 'DCGM_FI_DEV_FB_TOTAL|', 'DCGM_FI_DEV_POWER_USAGE|', 'DCGM_FI_DEV_ENFORCED_POWER_LIMIT|', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION|', 'DCGM_FI_DEV_GPU_TEMP|', 'DCGM_FI_DEV_MEMORY_TEMP|', 'DCGM_FI_DEV_SM_CLOCK|', 'DCGM_FI_DEV_MEM_CLOCK|', 'DCGM_FI_DEV_CLOCK_THROTTLE_REASONS|', 'DCGM_FI_DEV_CLOCKS_EVENT_REASONS|', 'DCGM_FI_DEV_ECC_SBE_VOL_TOTAL|', 'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL|', 'DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS|', 'DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS|', 'DCGM_FI_DEV_ROW_REMAP_FAILURE|', 'DCGM_FI_DEV_XID_ERRORS|', 'DCGM_FI_PROF_PCIE_TX_BYTES|', 'DCGM_FI_PROF_PCIE_RX_BYTES|', 'DCGM_FI_DEV_PCIE_REPLAY_COUNTER|', 'hw.gpu.utilization|'], ['busy', 'encoder', 'decoder', 'engine_active', 'sm_active', 'tensor_active', 'dram_active', 'memory_busy', 'memory_used_bytes', 'memory_free_bytes', 'memory_reserved_bytes', 'memory_limit_bytes', 'power_w', 'power_limit_w', 'energy_j', 'temperature_c', 'memory_temperature_c', 'sm_clock_hz', 'memory_clock_hz', 'throttle_reasons', 'ecc_corrected', 'ecc_uncorrected', 'remapped_rows_corrected', 'remapped_rows_uncorrected', 'remap_failure', 'xid', 'pcie_tx_bytes_per_s', 'pcie_rx_bytes_per_s', 'pcie_replays', 'io_tx_bytes', 'io_rx_bytes', 'processes', 'busy', 'encoder', 'decoder', 'memory_used_bytes', 'memory_free_bytes', 'memory_limit_bytes', 'power_w', 'power_limit_w', 'temperature_c', 'busy', 'memory_busy', 'encoder', 'decoder', 'engine_active', 'sm_active', 'tensor_active', 'dram_active', 'memory_used_bytes', 'memory_free_bytes', 'memory_reserved_bytes', 'memory_limit_bytes', 'power_w', 'power_limit_w', 'energy_j', 'temperature_c', 'memory_temperature_c', 'sm_clock_hz', 'memory_clock_hz', 'throttle_reasons', 'throttle_reasons', 'ecc_corrected', 'ecc_uncorrected', 'remapped_rows_corrected', 'remapped_rows_uncorrected', 'remap_failure', 'xid', 'pcie_tx_bytes_per_s', 'pcie_rx_bytes_per_s', 'pcie_replays', 'busy'], '') AS column,
    Value * transform(key, ['gpu.memory.used|', 'gpu.memory.free|', 'gpu.memory.total|', 'DCGM_FI_DEV_FB_USED|', 'DCGM_FI_DEV_FB_FREE|', 'DCGM_FI_DEV_FB_RESERVED|', 'DCGM_FI_DEV_FB_TOTAL|', 'DCGM_FI_DEV_SM_CLOCK|', 'DCGM_FI_DEV_MEM_CLOCK|'], [1048576.0, 1048576.0, 1048576.0, 1048576.0, 1048576.0, 1048576.0, 1048576.0, 1000000.0, 1000000.0], 1.) / transform(key, ['gpu.utilization|', 'gpu.enc.utilization|', 'gpu.dec.utilization|', 'DCGM_FI_DEV_GPU_UTIL|', 'DCGM_FI_DEV_MEM_COPY_UTIL|', 'DCGM_FI_DEV_ENC_UTIL|', 'DCGM_FI_DEV_DEC_UTIL|', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION|'], [100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 1000.0], 1.) AS number,
    if(MetricName = 'hw.errors' AND startsWith(told, 'xid_'), substring(told, 5), '') AS xid_number
FROM
(
SELECT
    TimeUnix, ServiceName, MetricName, Attributes, Value,
    arrayFirst(x -> x != '', [Attributes['hw.id'], Attributes['gpu.uuid'], Attributes['UUID'], Attributes['uuid'], Attributes['gpu_uuid']]) AS said_uuid,
    arrayFirst(x -> x != '', [Attributes['gpu.index'], Attributes['gpu']]) AS said_index,
    arrayFirst(x -> x != '', [Attributes['hw.model'], Attributes['gpu.name'], Attributes['modelName'], Attributes['model_name']]) AS said_gpu_model,
    Attributes['hw.parent'] AS said_parent,
    arrayFirst(x -> x != '', [Attributes['monitor.gpu.profile'], Attributes['GPU_I_PROFILE']]) AS said_profile,
    Attributes['GPU_I_ID'] AS said_instance,
    arrayFirst(x -> x != '', [Attributes['hostname'], Attributes['Hostname']]) AS said_host,
    arrayFirst(x -> x != '', [Attributes['k8s.pod.name'], Attributes['exported_pod'], Attributes['pod']]) AS said_pod,
    arrayFirst(x -> x != '', [Attributes['k8s.namespace.name'], Attributes['exported_namespace'], Attributes['namespace']]) AS said_namespace,
    arrayFirst(x -> x != '', [Attributes['deployment.environment.name'], Attributes['deployment.environment']]) AS said_environment,
    ResourceAttributes['monitor.node'] AS at_node,
    arrayFirst(x -> x != '', [ResourceAttributes['k8s.node.name'], ResourceAttributes['host.name'], ResourceAttributes['server.address']]) AS at_place,
    arrayFirst(x -> x != '', [ResourceAttributes['deployment.environment.name'], ResourceAttributes['deployment.environment']]) AS at_environment,
    ResourceAttributes['cloud.region'] AS at_region
FROM otel_metrics_sum
WHERE MetricName IN ('hw.gpu.utilization', 'monitor.gpu.active', 'monitor.gpu.memory.busy', 'hw.gpu.memory.usage', 'monitor.gpu.memory.free', 'monitor.gpu.memory.reserved', 'hw.gpu.memory.limit', 'hw.power', 'monitor.gpu.power.limit', 'hw.energy', 'hw.temperature', 'monitor.gpu.clock', 'monitor.gpu.throttle_reasons', 'hw.errors', 'monitor.gpu.remapped_rows', 'monitor.gpu.remap_failure', 'monitor.gpu.xid', 'monitor.gpu.pcie.throughput', 'monitor.gpu.pcie.replays', 'hw.gpu.io', 'monitor.gpu.processes', 'gpu.utilization', 'gpu.enc.utilization', 'gpu.dec.utilization', 'gpu.memory.used', 'gpu.memory.free', 'gpu.memory.total', 'gpu.power.draw', 'gpu.power.limit', 'gpu.temperature', 'DCGM_FI_DEV_GPU_UTIL', 'DCGM_FI_DEV_MEM_COPY_UTIL', 'DCGM_FI_DEV_ENC_UTIL', 'DCGM_FI_DEV_DEC_UTIL', 'DCGM_FI_PROF_GR_ENGINE_ACTIVE', 'DCGM_FI_PROF_SM_ACTIVE', 'DCGM_FI_PROF_PIPE_TENSOR_ACTIVE', 'DCGM_FI_PROF_DRAM_ACTIVE', 'DCGM_FI_DEV_FB_USED', 'DCGM_FI_DEV_FB_FREE', 'DCGM_FI_DEV_FB_RESERVED', 'DCGM_FI_DEV_FB_TOTAL', 'DCGM_FI_DEV_POWER_USAGE', 'DCGM_FI_DEV_ENFORCED_POWER_LIMIT', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', 'DCGM_FI_DEV_GPU_TEMP', 'DCGM_FI_DEV_MEMORY_TEMP', 'DCGM_FI_DEV_SM_CLOCK', 'DCGM_FI_DEV_MEM_CLOCK', 'DCGM_FI_DEV_CLOCK_THROTTLE_REASONS', 'DCGM_FI_DEV_CLOCKS_EVENT_REASONS', 'DCGM_FI_DEV_ECC_SBE_VOL_TOTAL', 'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL', 'DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS', 'DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS', 'DCGM_FI_DEV_ROW_REMAP_FAILURE', 'DCGM_FI_DEV_XID_ERRORS', 'DCGM_FI_PROF_PCIE_TX_BYTES', 'DCGM_FI_PROF_PCIE_RX_BYTES', 'DCGM_FI_DEV_PCIE_REPLAY_COUNTER', 'hw.status')
    AND bitAnd(Flags, 1) = 0
    AND isFinite(Value)
    AND NOT (startsWith(MetricName, 'DCGM_') AND ((Value >= 2147483632 AND Value <= 2147483647) OR (Value >= 140737488355328 AND Value <= 140737488355343) OR (Value >= 9223372036854774784 AND Value <= 18446744073709551616)))
)
WHERE MetricName NOT IN ('hw.power', 'hw.energy', 'hw.temperature', 'hw.errors', 'hw.status') OR Attributes['hw.type'] = 'gpu' OR match(uuid, '^(GPU|MIG)-')
)
WHERE uuid != '' AND (column != '' AND (Value >= 0 OR column IN ('temperature_c', 'memory_temperature_c')) OR xid_number != '' OR MetricName = 'hw.status' AND Value >= 1);
