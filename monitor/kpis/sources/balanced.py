"""Nodes of each service and model, with sums over their calls and the state of their GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from monitor.kpis.dimensions import DIMENSIONS, WHERE_KEYS, where_sql
from monitor.kpis.estimators import W
from monitor.kpis.sources.question import Question, Source, between, group_by, select_list
from monitor.store import Client
from monitor.store.calls import calls_source

_PLACES: Final = ("node", "gpu")
# What a node's callers feel, over calls without an error: name -> SQL of a positive number.
WAITS: Final = {"ttft": "ttft_s", "tpot": "tpot_s", "e2e": "duration_s"}
# NVML's reasons that are heat, hardware or power supply; running into the power cap is normal.
_THROTTLED: Final = 0x8 | 0x20 | 0x40 | 0x80


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


def gpu_state_sql(start_ns: int, end_ns: int) -> str:
    """SELECT of each node's mean temperature and share of throttled samples; NaN where no GPU tells."""
    return f"""SELECT node AS of_node, avg(temperature_c) AS temperature_c,
        avgIf(toFloat64(status = 'degraded' OR bitAnd(coalesce(throttle_reasons, 0), {_THROTTLED}) != 0),
            status != '' OR isNotNull(throttle_reasons)) AS throttled
        FROM gpu_samples FINAL WHERE {between(start_ns, end_ns)} AND parent = '' GROUP BY node"""


def _build(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    condition, _ = where_sql(question.where)
    rows = calls_source(client, question.start_ns, question.end_ns)
    keys = "".join(f"{key}, " for key in question.keys)
    columns = select_list([*question.key_columns, "service AS of_service", "model AS of_model", "node AS on_node"], {})
    sums = select_list([], node_columns())
    inner = f"SELECT {columns}, {', '.join(_read())} FROM {rows} WHERE node != '' AND {condition}"
    nodes = f"SELECT {keys}of_service, of_model, on_node, {sums} FROM ({inner}) GROUP BY {keys}of_service, of_model, on_node"
    with_gpus = f"""SELECT n.*, if(g.of_node = '', nan, coalesce(g.temperature_c, nan)) AS temperature_c,
        if(g.of_node = '', nan, coalesce(g.throttled, nan)) AS throttled
        FROM ({nodes}) AS n LEFT ANY JOIN ({gpu_state_sql(question.start_ns, question.end_ns)}) AS g ON n.on_node = g.of_node"""
    return f"SELECT {select_list(question.keys, ingredients)} FROM ({with_gpus}){group_by(question)}"


def _read() -> list[str]:
    return ["sample_weight", "error_type", "cancelled", "input_tokens", *WAITS.values()]


BALANCED: Final = Source(
    name="nodes",
    rows="nodes that served calls of a service and model, with their calls",
    nothing="no call in this window says its node",
    dimensions=tuple(name for name in DIMENSIONS if name not in _PLACES),
    where_keys=WHERE_KEYS,
    population={"calls__n": "sum(calls)"},
    build=_build,
)
