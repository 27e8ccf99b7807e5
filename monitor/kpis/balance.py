"""Nodes side by side for a page: what each carries against what random routing would give it, and which are hot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from monitor.kpis.dimensions import Where, check_where, where_sql
from monitor.kpis.fleet_estimators import NODES, Group, groups_of, hot_by_group
from monitor.kpis.source_hours import summed_select
from monitor.kpis.sources import Question
from monitor.kpis.sources.balanced import BALANCED
from monitor.kpis.window import Window
from monitor.stats.hot_nodes import HotNode, LogSums, NodeSums
from monitor.stats.intervals import LEVEL
from monitor.store import Client

if TYPE_CHECKING:
    import pandas as pd

_EVERYTHING: Final[Where] = {}


@dataclass(frozen=True, kw_only=True)
class HotOf:
    """A hot node, and of which service and model."""

    service: str
    model: str
    hot: HotNode


def find_hot_nodes(client: Client, *, window: Window, where: Where = _EVERYTHING) -> list[HotOf]:
    """What `fleet.hot_node` counts, the clearest first; empty also where there is nothing to compare."""
    row = _row(client, window, where)
    return [HotOf(service=key[0], model=key[1], hot=hot) for key, hot in hot_by_group(row)]


def node_loads(client: Client, *, window: Window, where: Where = _EVERYTHING) -> pd.DataFrame:
    """Each node's share of the calls of a service and model, with the band of random routing.

    Parameters
    ----------
    client : Client
    window : Window
    where : mapping
        As in `evaluate`.

    Returns
    -------
    pandas.DataFrame
        One row per service, model and node: `calls` (Σ sample_weight), `share`, `even` (1 / nodes), `band_low`, `band_high`
        (binomial, 95 % for each node by itself), `ttft_s`, `tpot_s`, `e2e_s` (geometric means; NaN where unknown),
        `temperature_c`, `throttled` (share of the GPUs' time; NaN where unknown).
    """
    import pandas as pd  # heavy, and not needed for values

    groups = groups_of(_row(client, window, where))
    records = [record for key, nodes in groups.items() for record in _records(key, nodes)]
    columns = [
        "service", "model", "node", "calls", "share", "even", "band_low", "band_high", "ttft_s", "tpot_s", "e2e_s",
        "temperature_c", "throttled",
    ]  # fmt: skip
    frame = pd.DataFrame.from_records(records, columns=columns)
    return frame.astype(dict.fromkeys(columns[3:], "float64"))


def _records(key: Group, nodes: list[NodeSums]) -> list[tuple[object, ...]]:
    from scipy import stats  # here, as it takes longer than all else at a start

    total = math.fsum(node.load for node in nodes)
    effective = total**2 / math.fsum(node.load_ww for node in nodes)
    even, tail = 1 / len(nodes), (1 - LEVEL) / 2
    low, high = (float(stats.binom.ppf(p, round(effective), even)) / effective for p in (tail, 1 - tail))
    return [
        (
            *key,
            node.node,
            node.load,
            node.load / total,
            even,
            low,
            high,
            *(_typical(sums) for _, sums in node.waits),
            node.temperature_c,
            node.throttled,
        )
        for node in nodes
    ]


def _typical(sums: LogSums) -> float:
    return math.exp(sums.mean) if sums.n else math.nan


def _row(client: Client, window: Window, where: Where) -> dict[str, list[object]]:
    checked = check_where(where)
    question = Question(start_ns=window.start_ns, end_ns=window.end_ns, where=checked, groups_max=1)
    _, parameters = where_sql(checked)
    select = summed_select(client, BALANCED, question, NODES)
    result = client.query(select, parameters=parameters)
    return dict(zip(result.column_names, result.result_rows[0], strict=True))
