"""GPUs over time: readings, and energy with the tokens that it bought.

`gpu_time` has one row per reading of a GPU, `gpu_energy` one per stretch between two samples (with its energy) and one per
call on a node that has GPUs here (with its tokens). Both know in which of 32 parts of the window (or step) they lie: `part`.

Energy is the difference of the energy counter where the GPU has one; where it falls the counter began anew, and what it says
then is the difference. Else it is power × time (trapezoids), over gaps of at most a minute. A stretch that crosses an end of
the window counts for its part within. Instances of a GPU that is split (MIG) are left out: the whole GPU has the energy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from monitor.kpis.coverage import period_between
from monitor.kpis.dimensions import where_sql
from monitor.kpis.gpu_periods import GPU_MINUTES, calls_by_period, middle_sql, periods_of
from monitor.kpis.hours import merged_list
from monitor.kpis.sources.question import Question, Source, between, group_by, select_list
from monitor.stats.batch_means import BATCHES
from monitor.store import Client
from monitor.store.calls import calls_source

_GPU_DIMENSIONS: Final = ("environment", "region", "node", "gpu")
_NODE_DIMENSIONS: Final = ("environment", "region", "node")
GAP_S: Final = 60
# A sample this long before or after the window still bounds a stretch that reaches into it.
_REACH_NS: Final = 300 * 10**9
# What a single reading stands for at most: after a longer gap nobody knows.
_HELD_MAX_NS: Final = 600 * 10**9
_MINUTE_NS: Final = 60 * 10**9
# Where days are added up one by one, a stretch of a counter may be as long as this across midnight.
_LONG_REACH_NS: Final = 7200 * 10**9
# NVML's reasons that are heat, hardware or power supply; running into the power cap is normal.
THROTTLED: Final = f"(status = 'degraded' OR bitAnd(coalesce(throttle_reasons, 0), {0x8 | 0x20 | 0x40 | 0x80}) != 0)"


def part_sql(question: Question) -> str:
    """Which of the equal parts of the window, or of its step, a moment lies in."""
    since = f"(toUnixTimestamp64Nano(timestamp) - {question.origin_ns})"
    if question.step_ns:
        return f"toInt64(intDiv({since} % {question.step_ns}, {-(-question.step_ns // BATCHES)}))"
    return f"toInt64(intDiv({since}, {-(-(question.end_ns - question.start_ns) // BATCHES)}))"


def _times(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """Each reading stands for the time since the one before, so that a GPU that is sampled more often weighs no more."""
    condition, _ = where_sql(question.where)
    found = periods_of(client, question)
    ends = [(question.start_ns, question.end_ns)] if found is None else found.ends(question)
    pieces = [f"SELECT {_HELD} FROM ({readings_sql(*end, condition)})" for end in ends]
    if found is not None:
        both = ", ".join(f"('{name}', {name}__x, {name}__s, {name}__n)" for name in ("busy", "memory"))
        pieces.append(f"""SELECT {found.middle} AS timestamp, {", ".join(_GPU_DIMENSIONS)}, told.1 AS reading,
            told.2 / told.3 AS share, told.3 AS held_s, told.4 AS readings
            FROM {found.rows} ARRAY JOIN [{both}] AS told WHERE told.3 > 0 AND {condition}""")
    columns = select_list([*question.key_columns, f"{part_sql(question)} AS part", "reading", "share"], {})
    inner = f"SELECT {columns}, held_s, readings FROM ({' UNION ALL '.join(pieces)})"
    return f"SELECT {select_list(question.keys, ingredients)} FROM ({inner}){group_by(question)}"


_HELD: Final = f"timestamp, {', '.join(_GPU_DIMENSIONS)}, reading, share, held_s, toFloat64(1) AS readings"


def readings_sql(start_ns: int, end_ns: int, condition: str) -> str:
    """SELECT of the readings of a window, each with the seconds that it stands for."""
    memory = """memory_used_bytes / nullIf(coalesce(memory_limit_bytes,
        memory_used_bytes + memory_free_bytes + coalesce(memory_reserved_bytes, 0)), 0)"""
    readings = " UNION ALL ".join(
        f"""SELECT timestamp, toUnixTimestamp64Nano(timestamp) AS at, environment, region, node, gpu, parent,
        '{name}' AS reading, assumeNotNull({share}) AS share FROM gpu_samples FINAL
        WHERE {between(start_ns - _HELD_MAX_NS, end_ns)} AND {condition} AND isNotNull({share}) AND {among}"""
        for name, share, among in (("busy", "coalesce(busy, engine_active)", "1"), ("memory", memory, "parent = ''"))
    )
    held = f"""SELECT *, lagInFrame(at) OVER (PARTITION BY reading, node, gpu ORDER BY at
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS at_0 FROM ({readings})"""
    # One without any before it stands for a second.
    stands = f"if(at_0 > 0, least(at - at_0, {_HELD_MAX_NS}), {10**9}) / 1e9"
    return f"SELECT *, {stands} AS held_s FROM ({held}) WHERE at >= {start_ns}"


def _energies(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    condition, _ = where_sql(question.where)
    found = periods_of(client, question)
    ends = [(question.start_ns, question.end_ns)] if found is None else found.ends(question)
    stretches = [
        f"""SELECT fromUnixTimestamp64Nano(middle_ns) AS timestamp, {_TEXTS}, joules, seconds, toFloat64(1) AS stretches
        FROM ({stretches_sql(*end)})"""
        for end in ends
    ]
    seen = [f"SELECT node, environment, region FROM gpu_samples WHERE {between(*end)} AND parent = ''" for end in ends]
    if found is not None:
        stretches.append(f"""SELECT {found.middle} AS timestamp, {_TEXTS}, energy__j AS joules, energy__s AS seconds,
            stretches__n AS stretches FROM {found.rows} WHERE energy__s > 0""")
        seen.append(f"SELECT node, environment, region FROM {found.rows} WHERE parent = ''")
    places = f"""SELECT node, max(environment) AS environment, max(region) AS region FROM ({" UNION ALL ".join(seen)}) GROUP BY node"""
    rows = f"""
SELECT timestamp, node, gpu, environment, region, joules, seconds, stretches, 0. AS requests, 0. AS tokens, toInt64(0) AS calls,
    toInt64(0) AS told
FROM ({" UNION ALL ".join(stretches)})
UNION ALL
SELECT c.timestamp AS timestamp, toString(c.node) AS node, '' AS gpu, toString(p.environment) AS environment,
    toString(p.region) AS region, 0. AS joules, 0. AS seconds, 0. AS stretches, c.requests AS requests, c.tokens AS tokens,
    c.calls AS calls, c.told AS told
FROM ({_served(client, question)}) AS c INNER JOIN ({places}) AS p ON c.node = p.node"""
    columns = select_list([*question.key_columns, f"{part_sql(question)} AS part"], {})
    taken = "node AS of_node, gpu AS of_gpu, joules, seconds, stretches, requests, tokens, calls, told"
    inner = f"SELECT {columns}, {taken} FROM ({rows}) WHERE {condition}"
    return f"SELECT {select_list(question.keys, ingredients)} FROM ({inner}){group_by(question)}"


_TEXTS: Final = ", ".join(f"toString({name}) AS {name}" for name in ("node", "gpu", "environment", "region"))


def _served(client: Client, question: Question) -> str:
    """SELECT of what was served on nodes, by the call, or by the period where calls are rolled up."""
    return " UNION ALL ".join(
        f"""SELECT timestamp, toString(node) AS node, sample_weight AS requests,
        sample_weight * toFloat64(coalesce(output_tokens, 0)) AS tokens, toInt64(1) AS calls, toInt64(isNotNull(output_tokens)) AS told
        FROM {calls_source(client, part.start_ns, part.end_ns)}"""
        if part.grain is None
        else f"""SELECT {middle_sql(part.grain)} AS timestamp, toString(node) AS node, calls__w AS requests,
        output_tokens_known__wx AS tokens, toInt64(calls__n) AS calls, toInt64(output_tokens_known__n) AS told
        FROM {part.grain.table} FINAL WHERE {period_between(part)}"""
        for part in calls_by_period(client, question)
    )


def stretches_sql(start_ns: int, end_ns: int, *, reach_ns: int = _REACH_NS) -> str:
    """SELECT of the time between neighbouring samples of each GPU, cut to the window, with the energy used in it."""
    near = f"{between(start_ns - reach_ns, end_ns + reach_ns)} AND parent = ''"
    counted = f"""(node, gpu) IN (SELECT node, gpu FROM gpu_samples WHERE {near} AND isNotNull(energy_j)
        GROUP BY node, gpu HAVING uniqExact(timestamp) > 1)"""
    # What is read of each sample: the counter in joules, or watts.
    samples = f"""SELECT toUnixTimestamp64Nano(timestamp) AS at, node, gpu, environment, region,
        {counted} AS by_counter, if(by_counter, energy_j, power_w) AS said
        FROM gpu_samples FINAL WHERE {near} AND isNotNull(said)"""
    neighbours = f"""SELECT node, gpu, environment, region, at, by_counter, assumeNotNull(said) AS now,
        lagInFrame(at) OVER w AS at_0, lagInFrame(assumeNotNull(said)) OVER w AS before
        FROM ({samples})
        WINDOW w AS (PARTITION BY node, gpu ORDER BY at ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"""
    used = "if(by_counter, if(now < before, now, now - before), (now + before) / 2 * (at - at_0) / 1e9)"
    return f"""SELECT node, gpu, environment, region, intDiv(since + until, 2) AS middle_ns, since, until, at,
        (until - since) / 1e9 AS seconds, {used} * (until - since) / (at - at_0) AS joules
        FROM (SELECT *, greatest(at_0, {start_ns}) AS since, least(at, {end_ns}) AS until FROM ({neighbours}))
        WHERE at_0 > 0 AND at > at_0 AND until > since AND (by_counter OR at - at_0 <= {GAP_S * 10**9})"""


def gpu_minutes_sql(start: int, end: int) -> str:
    """SELECT of the rows of `gpu_1m` of some minutes (Unix seconds), from samples."""
    inside = between(start * 10**9, end * 10**9)
    readings = readings_sql(start * 10**9, end * 10**9, "1")
    who = "node, gpu, parent, environment, region"
    names = list(GPU_MINUTES.columns)
    held = {
        f"{name}__{what}": f"if(reading = '{name}', {value}, 0)"
        for name in ("busy", "memory")
        for what, value in (("n", "1."), ("s", "held_s"), ("x", "share * held_s"))
    }
    throttled = "(status != '' OR isNotNull(throttle_reasons))"
    told = {
        "samples__n": "toUInt64(1)",
        "temperature__n": "toUInt64(isNotNull(temperature_c))",
        "temperature__x": "coalesce(temperature_c, 0)",
        "throttled__n": f"toUInt64({throttled})",
        "throttled__x": f"toUInt64({throttled} AND {THROTTLED})",
    }
    minute = "intDiv(toUnixTimestamp(timestamp), 60)"
    # A stretch counts in the minute in which it ends, its time and energy in all minutes that it lies in.
    cut = f"""SELECT *, minute, until - since AS long, intDiv(until - 1, {_MINUTE_NS}) AS last_minute
        FROM ({stretches_sql(start * 10**9, end * 10**9, reach_ns=_LONG_REACH_NS)})
        ARRAY JOIN range(toUInt64(intDiv(since, {_MINUTE_NS})), toUInt64(intDiv(until - 1, {_MINUTE_NS}) + 1)) AS minute"""
    part = f"(least(until, toInt64(minute + 1) * {_MINUTE_NS}) - greatest(since, toInt64(minute) * {_MINUTE_NS}))"
    energy = {
        "stretches__n": "toFloat64(minute = last_minute AND until = at)",
        "energy__s": f"{part} / 1e9",
        "energy__j": f"joules * {part} / long",
    }

    def columns(given: Mapping[str, str]) -> str:
        nothing = {
            name: "toFloat64(0)" if kind == "Float64" else "toUInt64(0)" for name, kind in GPU_MINUTES.columns.items()
        } | {"rows__n": "toUInt64(1)"}
        return ", ".join(f"{sql} AS {name}" for name, sql in ({**nothing, **given}).items() if name != "minutes")

    pieces = [
        f"SELECT toUInt64({minute}) AS minute, {who}, {columns(held)} FROM ({readings})",
        f"SELECT toUInt64({minute}) AS minute, {who}, {columns(told)} FROM gpu_samples FINAL WHERE {inside}",
        f"SELECT minute, node, gpu, '' AS parent, environment, region, {columns(energy)} FROM ({cut})",
    ]
    sums = merged_list({name: GPU_MINUTES.columns[name] for name in names if name != "minutes"})
    return f"""SELECT toDateTime(minute * 60, 'UTC') AS period, {who}, {sums},
        bitShiftLeft(toUInt64(samples__n > 0), minute % 60) AS minutes
        FROM ({" UNION ALL ".join(pieces)}) AS told GROUP BY minute, {who}"""


GPU_TIME: Final = Source(
    name="gpu_time",
    rows="readings of GPUs (`gpu_samples`), each for the time since the one before",
    nothing="no GPU was sampled in this window; `monitor gpu` does that",
    dimensions=_GPU_DIMENSIONS,
    where_keys=_GPU_DIMENSIONS,
    population={"calls__n": "toUInt64(sum(readings))"},
    build=_times,
)
GPU_ENERGY: Final = Source(
    name="gpu_energy",
    rows="the time between samples of GPUs with the energy used, and the calls on the same nodes",
    nothing="no GPU told its power or energy in this window; `monitor gpu` does that",
    dimensions=_NODE_DIMENSIONS,
    where_keys=_NODE_DIMENSIONS,
    population={"calls__n": "count()"},
    build=_energies,
)
