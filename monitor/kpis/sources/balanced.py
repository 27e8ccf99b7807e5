"""Sums over calls of latencies' logarithms; and nodes of each service and model, with such sums and the state of their GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from monitor.kpis.dimensions import DIMENSIONS, WHERE_KEYS, where_sql
from monitor.kpis.estimators import Measure, W
from monitor.kpis.gpu_periods import periods_of
from monitor.kpis.sources.calls import CALLS
from monitor.kpis.sources.gpus import THROTTLED
from monitor.kpis.sources.question import Question, Source, between, group_by, select_list
from monitor.stats.hot_nodes import LogSums
from monitor.store import Client
from monitor.store.calls import calls_source

_PLACES: Final = ("node", "gpu")
# What a node's callers feel, over calls without an error: name -> SQL of a positive number.
WAITS: Final = {"ttft": "ttft_s", "tpot": "tpot_s", "e2e": "duration_s"}


def log_sums(name: str, value: str, condition: str = "1") -> dict[str, str]:
    """SQL of the fields of `monitor.stats.hot_nodes.LogSums` for the logarithm of a number."""
    known = f"({condition} AND isNotNull({value}) AND {value} > 0)"
    x = f"log(toFloat64(assumeNotNull({value})))"
    return {
        f"{name}_n": f"countIf({known})",
        f"{name}_w": f"sumIf({W}, {known})",
        f"{name}_ww": f"sumIf({W} * {W}, {known})",
        f"{name}_wx": f"sumIf({W} * {x}, {known})",
        f"{name}_wxx": f"sumIf({W} * {x} * {x}, {known})",
    }


def node_columns() -> dict[str, str]:
    """Sums of each node, by the names that they have in a row of this source."""
    whole = "error_type = '' AND NOT cancelled"
    columns = {"calls": "count()", "load": f"sum({W})", "load_ww": f"sum({W} * {W})"}
    for name, value in WAITS.items():
        columns |= log_sums(name, value, "error_type = ''" if name == "ttft" else whole)
    return columns | log_sums("prompt", "input_tokens")


def gpu_state_sql(client: Client, start_ns: int, end_ns: int) -> str:
    """SELECT of each node's mean temperature and share of throttled samples; NaN where no GPU tells."""
    question = Question(start_ns=start_ns, end_ns=end_ns, where={}, groups_max=1)
    found = periods_of(client, question)
    ends = [(start_ns, end_ns)] if found is None else found.ends(question)
    told = "(status != '' OR isNotNull(throttle_reasons))"
    pieces = [
        f"""SELECT node, toUInt64(isNotNull(temperature_c)) AS n, coalesce(temperature_c, 0) AS x, toUInt64({told}) AS told,
        toUInt64({told} AND {THROTTLED}) AS hits FROM gpu_samples FINAL WHERE {between(*end)} AND parent = ''"""
        for end in ends
    ]
    if found is not None:
        pieces.append(f"""SELECT node, temperature__n AS n, temperature__x AS x, throttled__n AS told, throttled__x AS hits
        FROM {found.rows} WHERE parent = ''""")
    return f"""SELECT node AS of_node, sum(x) / sum(n) AS temperature_c, sum(hits) / sum(told) AS throttled
        FROM ({" UNION ALL ".join(pieces)}) GROUP BY node"""


def wait_sums(latency: str, measure: Measure) -> tuple[Source, dict[str, str]]:
    """Where to ask for the `LogSums` of a latency, and their SQL by field, with how many calls there are.

    Those that callers feel most are added up by the hour.
    """
    source, front = (NODE_SUMS, f"nodes__{latency}") if latency in WAITS else (CALLS, "wait")
    return source, {"calls__n": "count()", **log_sums(front, measure.value, measure.among)}


def read_log_sums(row: Mapping[str, Any]) -> LogSums:
    """From a row of `wait_sums`."""
    return LogSums(**{name.rpartition("_")[2]: value for name, value in row.items() if name != "calls__n"})


def _node_sums(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    condition, _ = where_sql(question.where)
    rows = calls_source(client, question.start_ns, question.end_ns)
    columns = select_list(question.key_columns, ingredients)
    return f"SELECT {columns} FROM {rows} WHERE {condition}{group_by(question)}"


def _build(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """One row per service, model and node, from the calls: `nodes_select` over the rows of `node_sums`."""
    by_node = replace(question, by=(*question.by, "service", "model", "node"))
    sums = _node_sums(client, by_node, NODE_SUMS.population)
    return nodes_select(client, question, sums, ingredients)


def nodes_select(client: Client, question: Question, sums: str, ingredients: Mapping[str, str]) -> str:
    """The question's answer from the sums of nodes, whose service, model and node are the last three keys of groups."""
    keys = "".join(f"{key}, " for key in question.keys)
    place = len(question.by)
    last = f"g{place} AS of_service, g{place + 1} AS of_model, g{place + 2} AS on_node"
    columns = ", ".join(f"nodes__{name} AS {name}" for name in node_columns())
    nodes = f"SELECT {keys}{last}, {columns} FROM ({sums}) WHERE calls__n > 0 AND on_node != ''"
    with_gpus = f"""SELECT n.*, if(g.of_node = '', nan, coalesce(g.temperature_c, nan)) AS temperature_c,
        if(g.of_node = '', nan, coalesce(g.throttled, nan)) AS throttled
        FROM ({nodes}) AS n LEFT ANY JOIN ({gpu_state_sql(client, question.start_ns, question.end_ns)}) AS g ON n.on_node = g.of_node"""
    return f"SELECT {select_list(question.keys, ingredients)} FROM ({with_gpus}){group_by(question)}"


NODE_SUMS: Final = Source(
    name="node_sums",
    rows="calls",
    nothing="no call in this window",
    dimensions=DIMENSIONS,
    where_keys=WHERE_KEYS,
    population={"calls__n": "count()", **{f"nodes__{name}": sql for name, sql in node_columns().items()}},
    build=_node_sums,
)
BALANCED: Final = Source(
    name="nodes",
    rows="nodes that served calls of a service and model, with their calls",
    nothing="no call in this window says its node",
    dimensions=tuple(name for name in DIMENSIONS if name not in _PLACES),
    where_keys=WHERE_KEYS,
    population={"calls__n": "sum(calls)"},
    build=_build,
)
