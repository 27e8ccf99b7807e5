"""A store full of made-up calls, and what belongs to them, made in ClickHouse itself: for benchmarks of questions.

Calls are spread evenly over the days. A session is 8 calls a minute apart, of one user, service, model and emitter; every
fourth is an agent's, two calls a trace. There are 3 services with 4 emitters each that restart at midnight, 16 nodes of 3
regions with a GPU each, 4 models, 2 variants, and a release every 6 days; of 2,000 calls one is lost.
They end at midnight of `BENCHMARK_END`, a date.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Final

from monitor.jobs.cost_sql import insert_hours_sql, insert_sessions_sql
from monitor.kpis.sources.cost import NANO, SESSIONS_SINCE
from monitor.store import Client

DAYS: Final = 30
END: Final = datetime.fromisoformat(os.environ.get("BENCHMARK_END", "2026-03-31")).replace(tzinfo=UTC)
START: Final = END - timedelta(days=DAYS)
_TURNS: Final = 8
_EMITTERS: Final = 12
_SAMPLE_S: Final = 30
# One part for each day and table: what is written is sorted once, and nothing is left to be merged.
_ONE_PART: Final = {"max_threads": 1, "max_insert_threads": 1, "max_block_size": 262_144}
_ROWS_MAX: Final = 4_000_000
_CPUS: Final = 2


def fill(client: Client, calls: int, *, said: bool = True, days: int = DAYS) -> None:
    """About so many calls and GPU samples and, if `said`, judgements, events and costs; some days at a time.

    With fewer `days`, the first days of as many calls; GPUs are sampled on all.
    """
    of_calls = (_judgements, _events, _costs) if said else ()
    insert_all(client, _gpu_samples(calls))
    for statements in (_calls, *of_calls):
        insert_all(client, islice(statements(calls), days))
    if said:
        _add_up_costs(client, days)


def users_of(calls: int, day: int) -> int:
    """How many users there are by that day."""
    return max(1, round(calls / 50 * (0.5 + 0.5 * day / DAYS)))


def insert_all(client: Client, statements: Iterable[str]) -> None:
    """Each statement writes one part; so many at a time as there are cores."""
    with ThreadPoolExecutor(_CPUS) as pool:
        list(pool.map(partial(_insert, client), statements))


def _add_up_costs(client: Client, days: int) -> None:
    """By the hour, as the job `cost` does."""
    for start, end in islice(_days(), days):
        hours = f"(hour >= toDateTime({start}, 'UTC') AND hour < toDateTime({end}, 'UTC'))"
        client.command(insert_hours_sql(hours, _between(start, end)), parameters={"version": 1})
        client.command(insert_sessions_sql(_between(start, end)), parameters={"version": 1})
    known = [["known_until", int(END.timestamp()), 1], [SESSIONS_SINCE, 0, 1]]
    client.insert("cost_state", known, column_names=["name", "value", "version"])


def _insert(client: Client, sql: str) -> None:
    rows = {"min_insert_block_size_rows": _ROWS_MAX, "min_insert_block_size_bytes": 0}
    client.command(sql, settings={**_ONE_PART, **rows})


def _days() -> Iterator[tuple[int, int]]:
    for day in range(DAYS):
        begin = int((START + timedelta(days=day)).timestamp())
        yield begin, begin + 86_400


def _between(start: int, end: int) -> str:
    return f"timestamp >= toDateTime64({start}, 9) AND timestamp < toDateTime64({end}, 9)"


def _calls(calls: int) -> Iterator[str]:
    each = calls // DAYS
    # So many sessions run beside each other: a call of each a minute.
    beside = _EMITTERS * max(1, round(60 * each / 86_400 / _EMITTERS))
    for day, (begin, _) in enumerate(_days()):
        users = users_of(calls, day)
        yield f"""
INSERT INTO inferences (timestamp, trace_id, span_id, role, service, environment, node, region, deployment, provider, model,
    variant, release, operation, stream, input_tokens, output_tokens, ttft_s, queue_s, prefill_s, decode_s, duration_s, tpot_s,
    finish_reason, error_type, cancelled, session_id, user_id, sample_weight, cost_usd, emitter, seq)
WITH cityHash64(number, {day}) AS h, number % {_TURNS * beside} AS place, intDiv(place, {beside}) AS turn,
    intDiv(number, {_TURNS * beside}) * {beside} + place % {beside} AS session, cityHash64(session, {day}, 1) AS of_session,
    of_session % 4 AS m, m * 4 + h % 4 AS n, number % {_EMITTERS} AS e,
    round(exp(randNormal(-1.2, 0.5, number)), 6) AS ttft, round(exp(randNormal(-4., 0.3, number + 1)), 6) AS tpot,
    1 + bitShiftRight(h, 8) % 400 AS out, 1 + bitShiftRight(h, 16) % 3000 AS held, bitShiftRight(h, 32) % 50 = 0 AS broken_off,
    bitShiftRight(h, 24) % 100 = 0 AS failed
SELECT fromUnixTimestamp64Nano(toInt64(({begin} + number * 86400 / {each}) * 1e9)),
    lower(hex(sipHash128(session, {day}, intDiv(turn, if(session % 4 = 0, 2, 1))))), lower(hex(h)), 'client',
    ['chat', 'search', 'agent'][1 + e % 3], 'prod', concat('gpu-', toString(n)), ['eu', 'us', 'asia'][1 + n % 3],
    'on_premises', 'vllm', ['llama', 'qwen', 'mistral', 'gemma'][1 + m], ['fp16', 'fp8'][1 + n % 2],
    concat('r', toString(intDiv({day}, 6))), 'chat', true, held, out, ttft, round(ttft / 10, 6), round(ttft * 0.8, 6),
    round(tpot * out, 6), round(ttft + tpot * out, 6), tpot, if(failed, '', 'stop'), if(failed, 'timeout', ''), broken_off,
    concat('s', toString({day}), '-', toString(session)),
    concat('u', toString(toUInt64({users} * pow(bitShiftRight(of_session, 11) / 9007199254740992., 2)))), 1,
    (held + 4 * out) * 1e-7, concat(['chat', 'search', 'agent'][1 + e % 3], '-', toString(e), '-', toString({day})),
    intDiv(number, {_EMITTERS}) + 1
FROM numbers({each}) WHERE bitShiftRight(h, 40) % 2000 != 0"""


def _judgements(_: int) -> Iterator[str]:
    """A tenth of the calls is moderated, of 50 a judge sees one and of 500 a person; of 50 the model says how sure it is."""
    kinds = {
        "moderation": (10, "if(h % 300 = 0, 'flagged', 'passed')", "NULL", "moderation"),
        "refusal": (50, "if(h % 40 = 0, 'yes', 'no')", "NULL", "judge"),
        "correct": (50, "if(h % 5 = 0, 'no', 'yes')", "NULL", "judge"),
        "confidence": (50, "''", "(h % 100) / 100", "judge"),
        "helpful": (50, "''", "(h % 5) / 5", "judge"),
    }
    for start, end in _days():
        pieces = [
            f"SELECT timestamp, trace_id, span_id, '', service, '{name}', {score}, {label}, '{source}', 'made-up'"
            f" FROM (SELECT *, cityHash64(span_id, 2) AS h FROM rows) WHERE intDiv(h, 1024) % {one_in} = 0"
            for name, (one_in, label, score, source) in kinds.items()
        ]
        pieces.append(
            "SELECT timestamp, trace_id, span_id, '', service, 'correct', NULL, if(h % 6 = 0, 'no', 'yes'), 'human', 'made-up'"
            " FROM (SELECT *, cityHash64(span_id, 2) AS h FROM rows) WHERE intDiv(h, 1024) % 500 = 0"
        )
        yield f"""
INSERT INTO evaluations (timestamp, trace_id, span_id, response_id, service, name, score, label, source, evaluator)
WITH rows AS (SELECT timestamp, trace_id, span_id, service FROM inferences WHERE {_between(start, end)} AND cityHash64(span_id, 2) > 0)
{" UNION ALL ".join(pieces)}"""


def _events(_: int) -> Iterator[str]:
    """Thumbs for 3 of 100 calls, a copy for 5, a regeneration for 1, and an abandoned session for 1 of 800."""
    kinds = "multiIf(p < 300, 'thumbs', p < 800, 'copy', p < 900, 'regenerate', p < 913, 'abandon', 'report')"
    for start, end in _days():
        yield f"""
INSERT INTO engagement_events (timestamp, trace_id, span_id, response_id, service, kind, value, session_id, user_id)
SELECT timestamp + 30, trace_id, span_id, '', service, {kinds}, multiIf(p < 250, 'up', p < 300, 'down', ''), session_id, user_id
FROM (SELECT *, cityHash64(span_id, 3) % 10000 AS p FROM inferences WHERE {_between(start, end)}) WHERE p < 914"""


def _gpu_samples(_: int) -> Iterator[str]:
    for start, end in _days():
        yield f"""
INSERT INTO gpu_samples (timestamp, node, gpu, environment, region, busy, memory_used_bytes, memory_limit_bytes, power_w, energy_j,
    temperature_c, throttle_reasons)
WITH number % 16 AS n, intDiv(number, 16) * {_SAMPLE_S} AS second, cityHash64(number, {start}) AS h
SELECT fromUnixTimestamp64Nano(toInt64({start} + second) * 1000000000 + n * 50000000), concat('gpu-', toString(n)),
    concat('GPU-', toString(n)), 'prod', ['eu', 'us', 'asia'][1 + n % 3], (h % 1000) / 1000, 6e10 + h % 10000000000, 8.5e10,
    300 + h % 300, (toInt64({start}) - 1700000000 + second) * 450., 50 + h % 20, if(h % 50 = 0, 32, 0)
FROM numbers({(end - start) // _SAMPLE_S * 16})"""


def _costs(_: int) -> Iterator[str]:
    """As the job `cost` would write them; made here, as it is not what is measured."""
    copied = (
        "timestamp, trace_id, span_id, role, service, environment, node, region, deployment, pricing, gpu, provider, model, variant,"
        " release, experiment, arm, operation, stream, finish_reason, error_type, cancelled, simulated, dialect, session_id, user_id,"
        " sample_weight, input_tokens, output_tokens"
    )
    for start, end in _days():
        yield f"""
INSERT INTO call_costs ({copied}, kind, source, reason, cost, reported, currency, book, version, deleted)
SELECT {copied}, 'token', 'made-up', '', toInt64(round(cost_usd * {NANO})), NULL, 'USD', 'made-up', 1, 0
FROM inferences WHERE {_between(start, end)}"""
