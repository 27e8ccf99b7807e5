"""The SQL of `gpu_samples`: any emitter's GPU metrics, as one row per device and time of sample.

`monitor.gpu_semconv` is the table that people read and change; this renders it. The data points of one sample arrive as
rows of two tables and in several inserts, so each point makes a row with one value, and rows of the same device and time
are merged into one: read with FINAL. Merging takes the largest value, so a point that was sent twice counts once.

After a change, write the new views as the next migration: `python -m monitor.store.gpu_dialects > NEXT.sql`. A test
compares the newest such migration with the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from monitor import gpu_semconv as gpu
from monitor.gpu_semconv import Name
from monitor.store.flatten import literal, literals

# Column -> attributes that may hold it: of the data point, then of the resource; the first that is not empty counts. An
# exporter's page names the node it is about; the resource may be that of a Collector elsewhere that reads the page.
POINT: Final[dict[str, tuple[str, ...]]] = {
    "uuid": (gpu.ID, "gpu.uuid", *gpu.DCGM_UUID),
    "index": (gpu.INDEX, *gpu.DCGM_INDEX),
    "gpu_model": (gpu.MODEL, "gpu.name", *gpu.DCGM_MODEL),
    "parent": (gpu.PARENT,),
    "profile": (gpu.PROFILE, gpu.DCGM_PROFILE),
    "instance": (gpu.DCGM_INSTANCE,),
    "host": gpu.DCGM_HOST,
    "pod": (gpu.POD, *gpu.DCGM_POD),
    "namespace": (gpu.NAMESPACE, *gpu.DCGM_NAMESPACE),
    "environment": ("deployment.environment.name", "deployment.environment"),
}
RESOURCE: Final[dict[str, tuple[str, ...]]] = {
    "node": ("monitor.node",),
    "place": ("k8s.node.name", "host.name", "server.address"),
    "environment": ("deployment.environment.name", "deployment.environment"),
    "region": ("cloud.region",),
}
TEXTS: Final = ("gpu_model", "parent", "profile", "pod", "namespace", "service", "environment", "region", "status")
INTEGERS: Final = ("throttle_reasons",)
NAMES: Final = (*gpu.OTEL, *gpu.OPENLIT, *gpu.DCGM)
METRICS: Final = tuple(dict.fromkeys((*(name.metric for name in NAMES), gpu.STATUS)))
SEPARATOR: Final = "|"


def _keys() -> dict[str, Name]:
    """Metric and the value of the attribute that tells its columns apart -> name."""
    found: dict[str, Name] = {}
    for name in NAMES:
        key = f"{name.metric}{SEPARATOR}{name.value}"
        assert key not in found, f"{key} stands for two columns"
        found[key] = name
    # Without a task it is the general one.
    found[f"hw.gpu.utilization{SEPARATOR}"] = found[f"hw.gpu.utilization{SEPARATOR}general"]
    return found


def _column(name: str) -> str:
    if name in INTEGERS:
        return f"    {name} SimpleAggregateFunction(max, Nullable(UInt64)) CODEC(ZSTD(1))"
    return f"    {name} SimpleAggregateFunction(max, Nullable(Float64)) CODEC(ZSTD(1))"


def table() -> str:
    """The CREATE TABLE."""
    texts = ",\n".join(f"    {name} SimpleAggregateFunction(max, LowCardinality(String))" for name in TEXTS)
    numbers = ",\n".join(_column(name) for name in gpu.COLUMNS)
    return f"""
CREATE TABLE IF NOT EXISTS gpu_samples
(
    timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    node LowCardinality(String),
    gpu LowCardinality(String),
    gpu_index SimpleAggregateFunction(max, Nullable(UInt32)) CODEC(ZSTD(1)),
{texts},
{numbers},
    xid_errors SimpleAggregateFunction(maxMap, Map(String, Float64)) CODEC(ZSTD(1)),
    utilization Nullable(Float64) ALIAS coalesce(busy, engine_active),
    memory_total_bytes Nullable(Float64) ALIAS coalesce(memory_limit_bytes, memory_used_bytes + memory_free_bytes + coalesce(memory_reserved_bytes, 0))
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(timestamp)
ORDER BY (toStartOfHour(timestamp), node, gpu, timestamp)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000""".strip()


def _first(attributes: str, names: Iterable[str]) -> str:
    wanted = [f"{attributes}[{literal(name)}]" for name in names]
    return wanted[0] if len(wanted) == 1 else _either(*wanted)


def _either(*expressions: str) -> str:
    return f"arrayFirst(x -> x != '', [{', '.join(expressions)}])"


def _transform(expression: str, pairs: dict[str, str], default: str) -> str:
    return f"transform({expression}, [{literals(pairs)}], [{', '.join(pairs.values())}], {default})"


def view(source: str) -> str:
    """The SELECT of the view from one of the exporter's metric tables."""
    keys = _keys()
    told_apart = {name.metric: literal(name.attribute) for name in NAMES if name.attribute}
    factors = {key: repr(name.factor) for key, name in keys.items() if name.factor != 1}
    divisors = {key: repr(name.per) for key, name in keys.items() if name.per != 1}
    whole = [name.metric for name in NAMES if name.whole_gpu]
    whole_number = "accurateCastOrNull(number, 'UInt64')"
    numbers = ",\n    ".join(
        f"if(column = {literal(name)}, {whole_number if name in INTEGERS else 'number'}, NULL) AS {name}"
        for name in gpu.COLUMNS
    )
    blanks = " OR ".join(f"(Value >= {low:.0f} AND Value <= {high:.0f})" for low, high in gpu.DCGM_BLANKS)
    points = ",\n    ".join(f"{_first('Attributes', names)} AS said_{name}" for name, names in POINT.items())
    resources = ",\n    ".join(
        f"{_first('ResourceAttributes', names)} AS at_{name}" for name, names in RESOURCE.items()
    )
    xid = gpu.XID_PREFIX
    exporter_pod, exporter_host = (
        f"position({name}, {literal(gpu.DCGM_EXPORTER)}) > 0" for name in ("said_pod", "said_host")
    )
    empty = literal("")
    return f"""
SELECT
    TimeUnix AS timestamp,
    {_either("at_node", f"if({exporter_host}, {empty}, said_host)", "at_place")} AS node,
    if(of_instance, concat(uuid, '/', said_instance), uuid) AS gpu,
    toUInt32OrNull(said_index) AS gpu_index,
    said_gpu_model AS gpu_model,
    if(of_instance, uuid, said_parent) AS parent,
    if(to_whole, '', said_profile) AS profile,
    if(to_whole OR {exporter_pod}, '', said_pod) AS pod,
    if(to_whole OR {exporter_pod}, '', said_namespace) AS namespace,
    ServiceName AS service,
    {_either("at_environment", "said_environment")} AS environment,
    at_region AS region,
    if(MetricName = {literal(gpu.STATUS)}, Attributes[{literal(gpu.STATE)}], '') AS status,
    {numbers},
    if(xid_number != '' AND Value >= 0, map(xid_number, Value), map()) AS xid_errors
FROM
(
SELECT
    *,
    if(said_uuid = '' AND said_index != '', concat('gpu ', said_index), said_uuid) AS uuid,
    said_instance != '' AND MetricName IN ({literals(whole)}) AS to_whole,
    said_instance != '' AND NOT to_whole AS of_instance,
    {_transform("MetricName", told_apart, "''")} AS told_by,
    if(told_by = '', '', Attributes[told_by]) AS told,
    concat(MetricName, {literal(SEPARATOR)}, told) AS key,
    {_transform("key", {key: literal(name.column) for key, name in keys.items()}, "''")} AS column,
    Value * {_transform("key", factors, "1.")} / {_transform("key", divisors, "1.")} AS number,
    if(MetricName = {literal(gpu.ERRORS)} AND startsWith(told, {literal(xid)}), substring(told, {len(xid) + 1}), '') AS xid_number
FROM
(
SELECT
    TimeUnix, ServiceName, MetricName, Attributes, Value,
    {points},
    {resources}
FROM {source}
WHERE MetricName IN ({literals(METRICS)})
    AND bitAnd(Flags, 1) = 0
    AND isFinite(Value)
    AND NOT (startsWith(MetricName, 'DCGM_') AND ({blanks}))
)
WHERE MetricName NOT IN ({literals(gpu.SHARED)}) OR Attributes[{literal(gpu.TYPE)}] = 'gpu' OR match(uuid, '^(GPU|MIG)-')
)
WHERE uuid != '' AND (column != '' AND (Value >= 0 OR column IN ({literals(gpu.SIGNED)})) OR xid_number != '' OR MetricName = {literal(gpu.STATUS)} AND Value >= 1)""".strip()


VIEWS: Final = {"gpu_samples_from_gauge_mv": "otel_metrics_gauge", "gpu_samples_from_sum_mv": "otel_metrics_sum"}


def migration() -> str:
    """The text of a migration that makes, or changes to, the present table of names."""
    comments = "\n".join(f"--   {name}: {meaning}" for name, meaning in gpu.COLUMNS.items())
    head = (
        "-- Generated from monitor/gpu_semconv.py by `python -m monitor.store.gpu_dialects`; do not edit.\n"
        "-- One row per GPU, or MIG instance of one, and time of sample; read with FINAL. Unknown is NULL or empty, never 0.\n"
        f"{comments}\n"
        "--   xid_errors: XID errors by number since the collector started\n"
        "--   utilization: `busy`, else `engine_active`, which MIG instances have\n"
        f"--   memory_total_bytes: as said, else used, free and reserved together\n{table()};\n"
    )
    parts = [head]
    for name, source in VIEWS.items():
        select = view(source)
        parts.append(f"CREATE MATERIALIZED VIEW IF NOT EXISTS {name} TO gpu_samples AS\n{select};\n")
        parts.append(f"ALTER TABLE {name} MODIFY QUERY\n{select};\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(migration(), end="")
