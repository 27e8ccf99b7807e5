"""The statements of the cost job: prices and the ledger's shares are computed where the calls are.

Whole numbers throughout, the same arithmetic as `monitor.stats.pricing` and `monitor.stats.ledger`, against which it is
tested. Amounts are nano-units, prices femto-units per token.
"""

from __future__ import annotations

from typing import Final

from monitor.kpis.sources.cost import HOURLY
from monitor.kpis.units import UNIT_KEYS, bucket_sql, unit_sql
from monitor.stats.pricing import FEMTO_PER_NANO, NANO

# A token that is written takes about four times as much of a GPU as one that is read: what providers' prices say as well.
OUTPUT_WEIGHT: Final = 4
RENTED: Final = ("on_demand", "reserved", "spot", "serverless", "owned")
COPIED: Final = (
    "timestamp", "trace_id", "span_id", "role", "service", "environment", "node", "region", "deployment", "pricing", "gpu",
    "provider", "model", "variant", "release", "experiment", "arm", "operation", "stream", "finish_reason", "error_type",
    "cancelled", "simulated", "dialect", "session_id", "user_id", "sample_weight", "input_tokens", "output_tokens",
)  # fmt: skip
_NODE: Final = ("environment", "deployment", "pricing", "region", "gpu")
_ONLY: Final = ("service", "provider", "model", "variant", "release")
_BATCH: Final = "(operation = 'batch' OR cohorts['processing'] = 'batch')"
_RENTED: Final = ", ".join(f"'{name}'" for name in RENTED)
# What may be on a machine of the user's: never a call that says that it is paid by the token.
ON_A_NODE: Final = f"(node != '' AND (pricing IN ({_RENTED}) OR (pricing = '' AND deployment != 'api')))"
_TIME: Final = "(prefill_s + decode_s)"
_TOKENS: Final = (  # `greatest` passes over NULL, so unknown tokens are asked for first
    "if(isNull(input_tokens) OR isNull(output_tokens), NULL,"
    " toFloat64(greatest(toInt64(assumeNotNull(input_tokens)) - toInt64(ifNull(cached_tokens, 0)), 0))"
    f" + {OUTPUT_WEIGHT} * toFloat64(assumeNotNull(output_tokens)))"
)


# Whole numbers of 128 bits are wrong in some compiled expressions of ClickHouse 26.7; those of a batch gain little by it.
EXACT: Final = {"compile_expressions": 0}


def models_sql(calls: str) -> str:
    """Which models were called, and when first and last."""
    return f"SELECT provider, model, min(timestamp), max(timestamp) FROM {calls} GROUP BY provider, model"


def activity_sql(calls: str) -> str:
    """What happened on each node in each hour; `minutes` are those in which a call was on it."""
    begin, end = "toUnixTimestamp64Nano(timestamp)", "toUnixTimestamp64Nano(timestamp) + toInt64(duration_s * 1e9)"
    hour_end = f"(toInt64(toUnixTimestamp(toStartOfHour(timestamp, 'UTC'))) + 3600) * {NANO}"
    until = f"least({end}, {hour_end})"
    last_minute = f"intDiv(greatest({until} - 1, {begin}), 60000000000) % 60"
    some = ", ".join(f"max({name}) AS some_{name}" for name in _NODE)
    only = ", ".join(f"if(uniqExact({name}) = 1, any({name}), '') AS only_{name}" for name in _ONLY)
    return f"""SELECT toStartOfHour(timestamp, 'UTC') AS hour, node, {some}, {only},
        intervalLengthSum({begin}, {until}) / 1e9 AS occupied_s,
        if(sum(duration_s) > 0, sum(sample_weight * duration_s) / sum(duration_s), 1) AS weight,
        groupUniqArrayArray(range(toUInt8(toMinute(timestamp, 'UTC')), toUInt8({last_minute} + 1))) AS minutes,
        multiIf({_basis(_TIME)}, 'time', {_basis(_TOKENS)}, 'tokens', sum(duration_s) > 0, 'duration', '') AS basis
    FROM {calls} WHERE {ON_A_NODE} GROUP BY hour, node"""


def _basis(value: str) -> str:
    """Whether all calls without an error have it, and any has more than none."""
    return f"(countIf(error_type = '' AND isNull({value})) = 0 AND sum(ifNull({value}, 0)) > 0)"


def samples_sql(between: str) -> str:
    """Which GPUs of which node reported in which minutes of each hour."""
    return f"""SELECT toStartOfHour(timestamp, 'UTC') AS hour, node, greatest(uniqExactIf(gpu, parent = ''), 1) AS gpus,
        groupUniqArray(toMinute(timestamp, 'UTC')) AS minutes, max(gpu_model) AS gpu_name, max(service) AS service,
        max(environment) AS environment, max(region) AS region
    FROM gpu_samples WHERE node != '' AND {between} GROUP BY hour, node"""


def insert_calls_sql(calls: str, hours: str) -> str:
    """Price all calls of the hours.

    Parameters are `book`, `currency`, `version` and `usd` (nano-units of our currency for a dollar; -1: no rate).
    """
    copied = ", ".join(COPIED)
    return f"""INSERT INTO call_costs ({copied}, kind, source, reason, cost, reported, currency, book, version, deleted)
SELECT {copied}, kind,
    multiIf(found, 'ledger', kind = 'token' AND isNotNull(listed), price_source, isNotNull(reported), 'reported', '') AS source,
    multiIf(isNotNull(cost), '', kind = 'gpu', 'rate', priced, 'tokens', 'price') AS reason,
    multiIf(found, toNullable(toInt64(share + if(place <= left_over AND work > 0, 1, 0))),
        kind = 'token', coalesce(listed, reported), reported) AS cost,
    reported, {{currency:String}}, {{book:String}}, {{version:UInt64}}, 0
FROM
(
    SELECT *, used - sum(share) OVER node_hour AS left_over,
        row_number() OVER (PARTITION BY hour, node, kind ORDER BY remainder DESC, trace_id, span_id) AS place
    FROM
    (
        SELECT *, if(whole > 0, intDiv(toInt128(used) * work, if(whole > 0, whole, 1)), 0) AS share,
            if(whole > 0, (toInt128(used) * work) % if(whole > 0, whole, 1), 0) AS remainder
        FROM
        (
            SELECT *, sum(work) OVER (PARTITION BY hour, node, kind) AS whole FROM ({_priced(calls, hours)})
        )
    )
    WINDOW node_hour AS (PARTITION BY hour, node, kind)
)"""


def _priced(calls: str, hours: str) -> str:
    copied = ", ".join(COPIED)
    return f"""SELECT {copied}, hour, kind, found, if(kind = 'gpu', used, 0) AS used, price_source, priced,
        toInt128(if(kind = 'gpu', round(sample_weight * 1e6 * least(ifNull(multiIf(basis = 'time', {_TIME},
            basis = 'tokens', {_TOKENS}, basis = 'duration', duration_s, 0), 0), 1e9)), 0)) AS work,
        {_times_weight("nano")} AS listed,
        if({{usd:Int64}} < 0, NULL, {_times_weight("toInt64(round(cost_usd * {usd:Int64}))")} ) AS reported
    FROM
    (
        SELECT *, if(known, toInt64(intDiv(2 * total + parts * {FEMTO_PER_NANO}, 2 * parts * {FEMTO_PER_NANO})), NULL) AS nano
        FROM
        (
            SELECT *, length(tiers) = 0 AS unlisted, NOT unlisted AS priced,
                NOT unlisted AND NOT (error_type = '' AND isNull(input_tokens) AND arrayExists(t -> t.2 > 0, tiers))
                    AND NOT (error_type = '' AND isNull(output_tokens) AND arrayExists(t -> t.5 > 0, tiers)) AS known,
                toInt128(if(length(tiers) < 2, 1, held)) AS parts,
                arraySum((t, width) -> width * {_femto("t")}, tiers, widths) AS total
            FROM ({_tiers(calls, hours)})
        )
    )"""


def _femto(t: str) -> str:
    """Cost of the call at one tier; a failed call is charged for the tokens that it reports, if any."""
    cached, written = "toInt64(ifNull(cached_tokens, 0))", "toInt64(ifNull(cache_write_tokens, 0))"
    reasoned, out = "toInt64(ifNull(reasoning_tokens, 0))", "toInt64(ifNull(output_tokens, 0))"
    # `greatest` of Int128 is wrong in compiled expressions (ClickHouse 26.7: negative numbers win), of Int64 it is right.
    return (
        f"(toInt128(greatest(toInt64(held) - {cached} - {written}, 0)) * {t}.2 + toInt128({cached}) * {t}.3"
        f" + toInt128({written}) * {t}.4 + toInt128(greatest({out} - {reasoned}, 0)) * {t}.5 + toInt128({reasoned}) * {t}.6"
        f" + if(error_type != '' AND isNull(input_tokens) AND isNull(output_tokens), 0, {t}.7))"
    )


def _tiers(calls: str, hours: str) -> str:
    """Calls with the tiers that price them, what part of them each does, and the ledger's row of their node."""
    return f"""SELECT *, arrayFirst(v -> v.1 <= timestamp AND timestamp < v.2, validities) AS price, price.5 AS price_source,
        ifNull(input_tokens, 0) AS held, arrayFilter(t -> t.1 = 0 OR held > t.1, price.3) AS reached,
        if(price.4, reached, arraySlice(reached, -1)) AS tiers,
        if(length(tiers) < 2, arrayMap(t -> toInt128(1), tiers), arrayMap((t, until) -> toInt128(until) - t.1, tiers,
            arraySlice(arrayPushBack(arrayPopFront(arrayMap(t -> t.1, tiers)), held), 1, length(tiers)))) AS widths,
        if(node_found AND {ON_A_NODE} OR pricing IN ({_RENTED}), 'gpu', 'token') AS kind,
        node_found AND kind = 'gpu' AS found
    FROM
    (
        SELECT * FROM
        (
            SELECT * FROM (SELECT *, toStartOfHour(timestamp, 'UTC') AS hour, {_BATCH} AS batch FROM {calls}) AS calls
            LEFT JOIN ({_prices()}) AS listed USING (provider, model, batch)
        ) AS listed_calls
        LEFT JOIN (SELECT hour, node, used, basis, true AS node_found FROM node_hours FINAL WHERE {hours}) AS ledger
        USING (hour, node)
    )"""


def _prices() -> str:
    tier = "(above, input, cached, cache_write, output, reasoning, request)"
    return f"""SELECT provider, model, batch, groupArray((valid_from, until, tiers, is_marginal, from_where)) AS validities
    FROM (SELECT provider, model, batch, valid_from, any(valid_until) AS until, any(marginal) AS is_marginal,
            any(source) AS from_where, arraySort(groupArray({tier})) AS tiers
        FROM prices FINAL WHERE book = {{book:String}} GROUP BY provider, model, batch, valid_from)
    GROUP BY provider, model, batch"""


def _times_weight(nano: str) -> str:
    return f"if(sample_weight = 1, {nano}, toInt64(round({nano} * sample_weight)))"


def insert_hours_sql(hours: str, stamps: str) -> str:
    """Costs by the hour, from those of the calls and from the ledger's idle rest."""
    keys = ", ".join(HOURLY)
    c, t = f"(cost / {NANO})", "toFloat64(ifNull(input_tokens, 0) + ifNull(output_tokens, 0))"
    w, priced = "sample_weight", "isNotNull(cost)"
    return f"""INSERT INTO cost_results (hour, {keys}, kind, requests, calls, unpriced, unpriced_calls, cost, reported, weight,
    tokens, ww, wwcc, wwc, wwct, wwtt, sampled, currency, book, version, deleted)
SELECT toStartOfHour(timestamp, 'UTC') AS hour, {keys}, kind, count(), sum({w}), countIf(NOT {priced}), sumIf({w}, NOT {priced}),
    ifNull(sum(call_costs.cost), 0), ifNull(sum(call_costs.reported), 0), sumIf({w}, {priced}), sumIf({w} * {t}, {priced}),
    sumIf({w} * {w}, {priced}), ifNull(sum({c} * {c}), 0), ifNull(sum({c} * {w}), 0), ifNull(sum({c} * {w} * {t}), 0),
    sumIf({w} * {w} * {t} * {t}, {priced}), ifNull(sumIf({c} * {c} * (1 - 1 / {w}), source != 'ledger'), 0),
    any(currency), any(book), {{version:UInt64}}, 0
FROM call_costs FINAL WHERE {stamps} GROUP BY hour, {keys}, kind
UNION ALL
SELECT hour, {keys}, 'idle', 0, 0, 0, 0, sum(idle), 0, 0, 0, 0, 0, 0, 0, 0, 0, any(currency), any(book), {{version:UInt64}}, 0
FROM node_hours FINAL WHERE {hours} GROUP BY hour, {keys}"""


def insert_sessions_sql(stamps: str) -> str:
    """Costs of sessions by the hour, from those of the calls.

    On a cluster such an insert is taken apart for the shards, where the table has another name; an alias stays.
    """
    keys = ", ".join(UNIT_KEYS)
    return f"""INSERT INTO session_costs (hour, bucket, unit, {keys}, requests, unpriced, cost, weight_max, currency, version, deleted)
SELECT toStartOfHour(timestamp, 'UTC') AS hour, {bucket_sql("unit")} AS bucket, {unit_sql("session_id")} AS unit, {keys}, count(),
    countIf(isNull(calls.cost)), ifNull(sum(calls.cost), 0), max(sample_weight), any(currency), {{version:UInt64}}, 0
FROM call_costs AS calls FINAL WHERE session_id != '' AND {stamps} GROUP BY hour, unit, {keys}"""


def forget_sql(table: str, inside: str, columns: tuple[str, ...]) -> str:
    """Take away the rows of these hours that this version did not write anew."""
    listed = ", ".join(columns)
    return f"""INSERT INTO {table} ({listed}, version, deleted)
SELECT {listed}, {{version:UInt64}}, 1 FROM {table} FINAL WHERE {inside} AND version < {{version:UInt64}}"""


def hours_between(start_s: int, end_s: int) -> str:
    return f"(hour >= toDateTime({int(start_s)}, 'UTC') AND hour < toDateTime({int(end_s)}, 'UTC'))"


def stamps_between(start_s: int, end_s: int) -> str:
    start, end = (f"fromUnixTimestamp64Nano(toInt64({int(each) * NANO}))" for each in (start_s, end_s))
    return f"(timestamp >= {start} AND timestamp < {end})"
