"""What looks leave for later ones, in the store: bins, counts and the state of each game; and the results themselves.

A restart, or another process, goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from monitor.drift.counting import Bins
from monitor.drift.features import feature_named
from monitor.drift.plan import Plan
from monitor.stats.drift import Drift, WatchState
from monitor.stats.drift.effects import Array
from monitor.store import Client

PERFORMANCE: Final = "performance."
MEMORY_S: Final = 60 * 86400  # a game that was not played for so long is forgotten

Group = tuple[str, str]  # service and model; '' where the plan does not split by it
Key = tuple[str, str, str]  # and the feature


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A feature's bins, since when they are (Unix ms), and the pinned reference's counts in them, if there is one."""

    bins: Bins
    fitted: int
    reference: Array | None = None


@dataclass(frozen=True, kw_only=True)
class Game:
    """Where the game over all looks at a feature stands, and whether it has told of a drift that lasts."""

    state: WatchState
    told: bool = False


@dataclass(frozen=True, kw_only=True)
class Look:
    """One row of the results."""

    end_s: int
    length_s: int
    group: Group
    drift: Drift
    p_look: float | None
    reference: str
    reference_start: int | None
    reference_end: int | None
    game: Game
    rank: int = 0


def read_cuts(client: Client, group: Group, plan: Plan) -> dict[str, Cut]:
    """By feature; what was fitted for another setup is not there, nor what the plan does not look at any more."""
    rows = client.query(
        "SELECT feature, fitted, edges, categories, complete, reference FROM drift_bins FINAL"
        " WHERE service = {service:String} AND model = {model:String} AND setup = {setup:String}",
        parameters={"service": group[0], "model": group[1], "setup": plan.setup},
    ).result_rows
    return {
        str(name): Cut(
            bins=Bins(
                feature=feature_named(str(name)),
                edges=tuple(map(float, edges)),
                categories=tuple(map(str, categories)),
                complete=bool(complete),
            ),
            fitted=int(fitted),
            reference=np.array(reference, dtype=np.float64) if reference else None,
        )
        for name, fitted, edges, categories, complete, reference in rows
        if plan.watches(str(name))
    }


def write_cuts(client: Client, group: Group, plan: Plan, cuts: Sequence[Cut]) -> None:
    names = [
        "service", "model", "feature", "setup", "fitted", "edges", "categories", "complete", "reference", "version",
    ]  # fmt: skip
    rows = [
        [
            *group, cut.bins.feature.name, plan.setup, cut.fitted, list(cut.bins.edges), list(cut.bins.categories),
            cut.bins.complete, [] if cut.reference is None else cut.reference.tolist(), cut.fitted,
        ]
        for cut in cuts
    ]  # fmt: skip
    if rows:
        client.insert("drift_bins", rows, column_names=names)


def read_counts(
    client: Client, group: Group, cuts: Mapping[str, Cut], since_s: int, *, of_day: Sequence[int] = ()
) -> dict[str, dict[int, Array]]:
    """Feature -> start of a look -> calls in each bin, and without a value; of looks at these seconds of the day, or all."""
    if not cuts:
        return {}
    rows = client.query(
        "SELECT feature, fitted, toUnixTimestamp(window_start), counts FROM drift_counts FINAL"
        " WHERE service = {service:String} AND model = {model:String} AND fitted IN {fitted:Array(UInt64)}"
        f" AND window_start >= toDateTime({since_s})"
        + (f" AND toUnixTimestamp(window_start) % 86400 IN ({', '.join(map(str, of_day))})" if of_day else ""),
        parameters={
            "service": group[0],
            "model": group[1],
            "fitted": sorted({cut.fitted for cut in cuts.values()}),
        },
    ).result_rows
    found: dict[str, dict[int, Array]] = {name: {} for name in cuts}
    for name, fitted, start, counts in rows:
        if str(name) in cuts and cuts[str(name)].fitted == fitted:
            found[str(name)][int(start)] = np.array(counts, dtype=np.float64)
    return found


def write_counts(
    client: Client, group: Group, cuts: Mapping[str, Cut], found: Mapping[str, Mapping[int, Array]]
) -> None:
    names = ["window_start", "service", "model", "feature", "fitted", "counts", "version"]
    version = milliseconds(client)
    rows = [
        [datetime.fromtimestamp(start, UTC), *group, name, cuts[name].fitted, counts.tolist(), version]
        for name, by_start in found.items()
        for start, counts in by_start.items()
    ]
    if rows:
        client.insert("drift_counts", rows, column_names=names)


def read_games(client: Client, plan: Plan, length_s: int, *, now: datetime, performance: bool) -> dict[Key, Game]:
    """Where each game stood at its last look."""
    since = int(now.timestamp()) - MEMORY_S
    rows = client.query(
        "SELECT service, model, feature, argMax((looks, capital, kept, highest, told), window_end) AS last"
        f" FROM drift_results FINAL WHERE {_mine(length_s, performance)} AND setup = {{setup:String}}"
        f" AND window_end >= toDateTime({since}) GROUP BY service, model, feature",
        parameters={"setup": plan.setup},
    ).result_rows
    return {
        (str(service), str(model), str(feature)): Game(
            state=WatchState(pool=(), looks=int(last[0]), capital=last[1], kept=last[2], highest=last[3]),
            told=bool(last[4]),
        )
        for service, model, feature, last in rows
    }


def last_look(client: Client, plan: Plan, length_s: int, *, performance: bool) -> int | None:
    """End of the newest look of this setup, in Unix seconds."""
    end, n = client.query(
        f"SELECT toUnixTimestamp(max(window_end)), count() FROM drift_results WHERE {_mine(length_s, performance)}"
        " AND setup = {setup:String}",
        parameters={"setup": plan.setup},
    ).result_rows[0]
    return int(end) if n else None


def write_looks(client: Client, plan: Plan, looks: Sequence[Look]) -> None:
    if not looks:
        return
    version = milliseconds(client)
    rows = [_row(plan, look, version) for look in looks]
    client.insert("drift_results", [list(row.values()) for row in rows], column_names=list(rows[0]))


def milliseconds(client: Client) -> int:
    """The store's clock."""
    return int(client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows[0][0])


def fresh(game: Game) -> Game:
    """A new game, as at its begin; the references stay."""
    return Game(state=replace(game.state, looks=0, capital=0.0, kept=1.0, highest=1.0))


def _mine(length_s: int, performance: bool) -> str:
    return f"window_s = {length_s} AND {'' if performance else 'NOT '}startsWith(feature, '{PERFORMANCE}')"


def _row(plan: Plan, look: Look, version: int) -> dict[str, Any]:
    drift, state = look.drift, look.game.state
    return {
        "window_end": datetime.fromtimestamp(look.end_s, UTC),
        "window_s": look.length_s,
        "service": look.group[0],
        "model": look.group[1],
        "filter": {key: list(values) for key, values in plan.where.items()},
        "feature": drift.feature,
        "method": drift.method,
        "value": drift.value,
        "low": drift.low,
        "high": drift.high,
        "p_value": drift.p_value,
        "p_look": look.p_look,
        "threshold": drift.threshold,
        "drifted": drift.drifted,
        "verdict": drift.reason,
        "n_reference": drift.n_reference,
        "n_current": drift.n_current,
        "reference": look.reference,
        "reference_start": None if look.reference_start is None else datetime.fromtimestamp(look.reference_start, UTC),
        "reference_end": None if look.reference_end is None else datetime.fromtimestamp(look.reference_end, UTC),
        "moved": list(drift.moved),
        "reference_traces": list(drift.reference_traces),
        "current_traces": list(drift.current_traces),
        "brings": dict(drift.brings),
        "impact": drift.impact,
        "rank": look.rank,
        "note": drift.note,
        "setup": plan.setup,
        "looks": state.looks,
        "capital": state.capital,
        "kept": state.kept,
        "highest": state.highest,
        "told": look.game.told,
        "version": version,
    }
