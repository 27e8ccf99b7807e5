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

from monitor.kpis.dimensions import where_sql
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


def part_sql(question: Question) -> str:
    """Which of the equal parts of the window, or of its step, a moment lies in."""
    since = f"(toUnixTimestamp64Nano(timestamp) - {question.origin_ns})"
    if question.step_ns:
        return f"toInt64(intDiv({since} % {question.step_ns}, {-(-question.step_ns // BATCHES)}))"
    return f"toInt64(intDiv({since}, {-(-(question.end_ns - question.start_ns) // BATCHES)}))"


def _times(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """Each reading stands for the time since the one before, so that a GPU that is sampled more often weighs no more."""
    condition, _ = where_sql(question.where)
    memory = """memory_used_bytes / nullIf(coalesce(memory_limit_bytes,
        memory_used_bytes + memory_free_bytes + coalesce(memory_reserved_bytes, 0)), 0)"""
    readings = " UNION ALL ".join(
        f"""SELECT timestamp, toUnixTimestamp64Nano(timestamp) AS at, environment, region, node, gpu,
        '{name}' AS reading, assumeNotNull({share}) AS share FROM gpu_samples FINAL
        WHERE {between(question.start_ns - _HELD_MAX_NS, question.end_ns)} AND {condition} AND isNotNull({share}) AND {among}"""
        for name, share, among in (("busy", "coalesce(busy, engine_active)", "1"), ("memory", memory, "parent = ''"))
    )
    held = f"""SELECT *, lagInFrame(at) OVER (PARTITION BY reading, node, gpu ORDER BY at
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS at_0 FROM ({readings})"""
    # One without any before it stands for a second.
    stands = f"if(at_0 > 0, least(at - at_0, {_HELD_MAX_NS}), {10**9}) / 1e9"
    columns = select_list([*question.key_columns, f"{part_sql(question)} AS part", "reading", "share"], {})
    inner = f"SELECT {columns}, {stands} AS held_s FROM ({held}) WHERE at >= {question.start_ns}"
    return f"SELECT {select_list(question.keys, ingredients)} FROM ({inner}){group_by(question)}"


def _energies(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    condition, _ = where_sql(question.where)
    places = f"""SELECT node, max(environment) AS environment, max(region) AS region FROM gpu_samples
        WHERE {between(question.start_ns, question.end_ns)} AND parent = '' GROUP BY node"""
    calls = calls_source(client, question.start_ns, question.end_ns)
    rows = f"""
SELECT fromUnixTimestamp64Nano(middle_ns) AS timestamp, toString(node) AS node, toString(gpu) AS gpu, toString(environment) AS environment,
    toString(region) AS region, joules, seconds, 0. AS requests, 0. AS tokens, 0 AS calls, 0 AS told
FROM ({stretches_sql(question.start_ns, question.end_ns)})
UNION ALL
SELECT c.timestamp AS timestamp, toString(c.node) AS node, '' AS gpu, toString(p.environment) AS environment,
    toString(p.region) AS region, 0. AS joules, 0. AS seconds, c.sample_weight AS requests,
    c.sample_weight * toFloat64(coalesce(c.output_tokens, 0)) AS tokens, 1 AS calls, toInt32(isNotNull(c.output_tokens)) AS told
FROM {calls} AS c INNER JOIN ({places}) AS p ON c.node = p.node"""
    columns = select_list([*question.key_columns, f"{part_sql(question)} AS part"], {})
    taken = "node AS of_node, gpu AS of_gpu, joules, seconds, requests, tokens, calls, told"
    inner = f"SELECT {columns}, {taken} FROM ({rows}) WHERE {condition}"
    return f"SELECT {select_list(question.keys, ingredients)} FROM ({inner}){group_by(question)}"


def stretches_sql(start_ns: int, end_ns: int) -> str:
    """SELECT of the time between neighbouring samples of each GPU, cut to the window, with the energy used in it."""
    near = f"{between(start_ns - _REACH_NS, end_ns + _REACH_NS)} AND parent = ''"
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
    return f"""SELECT node, gpu, environment, region, intDiv(since + until, 2) AS middle_ns,
        (until - since) / 1e9 AS seconds, {used} * (until - since) / (at - at_0) AS joules
        FROM (SELECT *, greatest(at_0, {start_ns}) AS since, least(at, {end_ns}) AS until FROM ({neighbours}))
        WHERE at_0 > 0 AND at > at_0 AND until > since AND (by_counter OR at - at_0 <= {GAP_S * 10**9})"""


GPU_TIME: Final = Source(
    name="gpu_time",
    rows="readings of GPUs (`gpu_samples`), each for the time since the one before",
    nothing="no GPU was sampled in this window; `monitor gpu` does that",
    dimensions=_GPU_DIMENSIONS,
    where_keys=_GPU_DIMENSIONS,
    population={"calls__n": "count()"},
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
