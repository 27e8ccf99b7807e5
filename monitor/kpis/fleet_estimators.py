"""Estimators over GPUs and nodes: averages over time, ratios of energy, balance of load."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from monitor.kpis.estimators import Estimate
from monitor.kpis.sources.balanced import WAITS, node_columns
from monitor.stats.balance import METHOD, Spread, imbalance
from monitor.stats.batch_means import BATCHES, batch_ratio
from monitor.stats.hot_nodes import HotNode, LogSums, NodeSums, hot_nodes
from monitor.stats.result import Result

Row = Mapping[str, Any]
Group = tuple[str, str]  # service and model
_NAMED: Final = 5
_SENTENCE: Final = (
    f"Student's t over means of up to {BATCHES} parts of the window, joined in pairs while neighbours resemble each other,"
    " so that it holds for autocorrelated readings"
)


@dataclass(frozen=True, kw_only=True)
class OverTime:
    """Mean over GPUs and time of a share."""

    reading: Literal["busy", "memory"]

    @property
    def method(self) -> str:
        return "batch-means"

    @property
    def interval(self) -> str:
        return _SENTENCE

    @property
    def ingredients(self) -> Mapping[str, str]:
        mine = f"reading = '{self.reading}'"
        return {
            f"{self.reading}__n": f"sumIf(readings, {mine})",
            f"{self.reading}__sum_by_part": f"sumMapIf(map(part, share * held_s), {mine})",
            f"{self.reading}__time_by_part": f"sumMapIf(map(part, held_s), {mine})",
        }

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        n = int(row[f"{self.reading}__n"])
        if not n:
            return Estimate(value=None, method=self.method, note=f"none of {row['calls__n']} readings of GPUs tells it")
        times: Mapping[int, float] = row[f"{self.reading}__time_by_part"]
        sums: Mapping[int, float] = row[f"{self.reading}__sum_by_part"]
        parts = sorted(times)
        found = batch_ratio(
            [sums.get(part, 0.0) for part in parts], [times[part] for part in parts], n=n, bounds=(0.0, 1.0)
        )
        return _from(found)


@dataclass(frozen=True, kw_only=True)
class EnergyPer:
    """Energy over what it was used for: time (so it is power), tokens or requests."""

    per: Literal["seconds", "tokens", "requests"]

    @property
    def method(self) -> str:
        return "batch-means"

    @property
    def interval(self) -> str:
        return f"for the ratio of two sums: {_SENTENCE}"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return {
            **{f"{name}__by_part": f"sumMap(map(part, {name}))" for name in ("joules", self.per)},
            "stretches__n": "sumIf(stretches, seconds > 0)",
            "served__n": "sum(calls)",
            "served__told": "sum(told)",
            "measured__seconds": "sum(seconds)",
            "measured__gpus": "uniqExactIf((of_node, of_gpu), seconds > 0)",
            "nodes__measured": "uniqExactIf(of_node, seconds > 0)",
            "nodes__served": "uniqExactIf(of_node, calls > 0)",
        }

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        joules, amounts = row["joules__by_part"], row[f"{self.per}__by_part"]
        if not row["stretches__n"]:
            return Estimate(value=None, method=self.method, note="no GPU told its power or energy twice in this window")
        n = {"seconds": int(row["stretches__n"]), "tokens": row["served__told"], "requests": row["served__n"]}[self.per]
        if not sum(amounts.values()):
            what = (
                "call is known on a node with GPU readings" if self.per == "requests" else "output token is known there"
            )
            return Estimate(value=None, n=int(n), method=self.method, note=f"no {what}; does `node` agree?")
        parts = sorted({*joules, *amounts})
        found = batch_ratio(
            [joules.get(part, 0.0) for part in parts],
            [amounts.get(part, 0.0) for part in parts],
            n=int(n),
            bounds=(0.0, math.inf),
        )
        return _from(found, *self._notes(row, seconds))

    def _notes(self, row: Row, seconds: float) -> Iterable[str]:
        covered = row["measured__seconds"] / (row["measured__gpus"] * seconds)
        if covered < 0.99:
            yield f"energy is known for {covered:.0%} of the time of {row['measured__gpus']} GPUs"
        if self.per != "seconds" and row["nodes__measured"] > row["nodes__served"]:
            yield f"{row['nodes__measured'] - row['nodes__served']} of {row['nodes__measured']} nodes served no call; their energy is in it"
        if self.per == "tokens" and row["served__told"] < row["served__n"]:
            yield f"{row['served__n'] - row['served__told']} of {row['served__n']} calls did not say their tokens"


_NODE: Final = ("of_service", "of_model", "on_node", *node_columns(), "temperature_c", "throttled")
NODES: Final = {
    f"node__{name}": f"groupArray(toString({name}))"
    if name.startswith(("of_", "on_"))
    else f"groupArray(toFloat64({name}))"
    for name in _NODE
}


@dataclass(frozen=True, kw_only=True)
class Evenness:
    """How uneven load is spread over the nodes of a service and model, beyond chance."""

    @property
    def method(self) -> str:
        return METHOD

    @property
    def interval(self) -> str:
        return (
            "by inverting the noncentral chi-square distribution; a low end of 0 says that random routing explains it, and"
            " the note tells up to where it does"
        )

    @property
    def ingredients(self) -> Mapping[str, str]:
        return NODES

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        spreads = []
        for nodes in groups_of(row).values():
            load = [node.load for node in nodes]
            squares = math.fsum(node.load_ww for node in nodes)
            spreads.append(Spread(load=load, effective_n=math.fsum(load) ** 2 / squares))
        found = imbalance(spreads)
        notes = []
        if found.band is not None and found.p_value is not None:
            notes.append(f"{found.nodes} nodes; random routing gives up to {found.band:.1%} (p = {found.p_value:.2g})")
        return _from(found, *notes)


@dataclass(frozen=True, kw_only=True)
class HotNodes:
    """How many nodes are worse off than their peers; which and why is in the note."""

    @property
    def method(self) -> str:
        return "bonferroni-5%"

    @property
    def interval(self) -> str:
        return (
            "none: it is the outcome of tests that give a false alarm in at most 5 % of windows for a service and model"
        )

    @property
    def ingredients(self) -> Mapping[str, str]:
        return NODES

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        groups = [nodes for nodes in groups_of(row).values() if len(nodes) > 1]
        if not groups:
            return Estimate(
                value=None, method=self.method, note="insufficient: it takes 2 nodes of one service and model"
            )
        found = hot_by_group(row)
        several = len(groups) > 1
        said = [f"{hot.sentence} ({' / '.join(key)})" if several else hot.sentence for key, hot in found[:_NAMED]]
        if len(found) > _NAMED:
            said.append(f"and {len(found) - _NAMED} more")
        return Estimate(
            value=float(len({hot.node for _, hot in found})),
            n=int(row["calls__n"]),
            method=self.method,
            note="; ".join(said or [f"{sum(len(nodes) for nodes in groups)} nodes compared"]),
        )


def hot_by_group(row: Row) -> list[tuple[Group, HotNode]]:
    """The hot nodes of a row with the ingredients `NODES`, the clearest first, each with its service and model."""
    found = [(key, hot) for key, nodes in groups_of(row).items() for hot in hot_nodes(nodes)]
    return sorted(found, key=lambda each: (each[1].p_value, each[0], each[1].node))


def groups_of(row: Row) -> dict[Group, list[NodeSums]]:
    """Nodes by service and model."""
    groups: dict[Group, list[NodeSums]] = {}
    for values in zip(*(row[f"node__{name}"] for name in _NODE), strict=True):
        node = dict(zip(_NODE, values, strict=True))
        groups.setdefault((node["of_service"], node["of_model"]), []).append(_node(node))
    return {key: sorted(nodes, key=lambda node: node.node) for key, nodes in sorted(groups.items())}


def _node(node: Mapping[str, Any]) -> NodeSums:
    return NodeSums(
        node=node["on_node"],
        load=node["load"],
        load_ww=node["load_ww"],
        waits=tuple((name, _log_sums(node, name)) for name in WAITS),
        prompts=_log_sums(node, "prompt"),
        temperature_c=_known(node["temperature_c"]),
        throttled=_known(node["throttled"]),
    )


def _log_sums(node: Mapping[str, Any], name: str) -> LogSums:
    return LogSums(
        n=int(node[f"{name}_n"]),
        w=node[f"{name}_w"],
        ww=node[f"{name}_ww"],
        wx=node[f"{name}_wx"],
        wxx=node[f"{name}_wxx"],
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _from(found: Result, *notes: str) -> Estimate:
    return Estimate(
        value=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
        method=found.method,
        note="; ".join(note for note in (found.note, *notes) if note),
    )
