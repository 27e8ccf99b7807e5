"""What a run of the job has before it judges: each group's features, their bins, and counts of new looks and of earlier ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from monitor.drift.counting import Bins, Side, count, fit
from monitor.drift.features import COHORT, NUMBERS, SCORE, Feature, feature_named, find_features
from monitor.drift.kept import Cut, Group, milliseconds, read_counts, read_cuts, write_counts, write_cuts
from monitor.drift.plan import DAY_S, SEASONS, WEEK_S, Plan, last_end, window_of
from monitor.drift.references import History
from monitor.drift.sampled import TEXTS
from monitor.kpis import Window
from monitor.kpis.dimensions import dimension_sql, where_sql
from monitor.kpis.sources.question import between
from monitor.stats.drift.effects import Array
from monitor.store import Client

# What is looked at unless told otherwise. A new release or variant is a change that somebody made; it needs no finding.
STANDARD: Final = (*NUMBERS, "finish_reason", "error_type", "refusal", "model", "region")
BINS: Final = 10
MEMORY_S: Final = (SEASONS + 1) * WEEK_S


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A group with the bins of its features, and counts of each in all looks, those to be made included."""

    group: Group
    where: Mapping[str, tuple[str, ...]]
    cuts: Mapping[str, Cut]
    earlier: Mapping[str, History]


def groups_of(client: Client, plan: Plan, window: Window) -> list[Group]:
    """The groups with most calls; both names are empty where the plan does not split by them."""
    if not plan.split:
        return [("", "")]
    names = [dimension_sql(name) if name in plan.split else "''" for name in ("service", "model")]
    condition, parameters = where_sql(plan.where)
    rows = client.query(
        f"SELECT {names[0]} AS first, {names[1]} AS second, count() AS calls FROM inferences"
        f" WHERE {between(window.start_ns, window.end_ns)} AND {condition}"
        f" GROUP BY first, second ORDER BY calls DESC, first, second LIMIT {plan.groups_max}",
        parameters=parameters,
    ).result_rows
    return [(str(service), str(model)) for service, model, _ in rows]


def first_call(client: Client, window: Window) -> int | None:
    """When the first call of the window began, in Unix seconds."""
    moment, n = client.query(
        f"SELECT toUnixTimestamp(min(timestamp)), count() FROM inferences WHERE {between(window.start_ns, window.end_ns)}"
    ).result_rows[0]
    return int(moment) if n else None


def watch_group(client: Client, plan: Plan, group: Group, begin_s: int, end_s: int) -> Watched:
    """Count what is new from `begin_s` to `end_s`, and fetch what it is held against.

    A feature that is new, or whose bins are older than the plan's history, gets bins from that history, and all of its
    looks are counted in them.
    """
    where = {
        **plan.where,
        **{name: (value,) for name, value in zip(("service", "model"), group, strict=True) if name in plan.split},
    }
    run = window_of(begin_s, end_s - begin_s)
    cuts = read_cuts(client, group, plan)
    now_ms = milliseconds(client)
    old = {name: cut for name, cut in cuts.items() if cut.fitted >= now_ms - plan.history_s * 1000}
    counts = _since(client, group, plan, old, begin_s, end_s)
    found = _by_look(client, plan, old, run, where)
    write_counts(client, group, old, found)
    for name, by_start in found.items():
        counts[name] |= by_start
    # What nobody says in these looks needs no look at all of the history; what was said before, and is no more, is watched.
    unknown = [feature for feature in _features(client, plan, run, where) if feature.name not in old]
    new = [each.feature for each in fit(client, run, unknown, where, numbers=BINS)]
    if new:
        made, fresh = _from_history(client, plan, new, where, begin_s, end_s, fitted=now_ms)
        write_cuts(client, group, plan, list(made.values()))
        write_counts(client, group, made, fresh)
        old |= made
        counts |= fresh
    earlier = {name: History(plan, counts[name]) for name in old}
    return Watched(group=group, where=where, cuts=old, earlier=earlier)


def _features(client: Client, plan: Plan, window: Window, where: Mapping[str, tuple[str, ...]]) -> list[Feature]:
    if plan.features:
        names = [name for name in plan.features if name not in TEXTS]
    else:
        found = [feature.name for feature in find_features(client, window, (), where)]
        names = [name for name in found if name in STANDARD or name.startswith((COHORT, SCORE))]
    return [feature_named(name) for name in names if plan.watches(name)]


def _since(
    client: Client, group: Group, plan: Plan, cuts: Mapping[str, Cut], begin_s: int, end_s: int
) -> dict[str, dict[int, Array]]:
    seasonal = plan.reference == "seasonal" and plan.window_s < DAY_S
    starts = range(begin_s, end_s, plan.window_s)
    of_day = sorted({start % DAY_S for start in starts}) if seasonal else []
    return read_counts(client, group, cuts, begin_s - MEMORY_S, of_day=of_day)


def _from_history(
    client: Client,
    plan: Plan,
    features: Sequence[Feature],
    where: Mapping[str, tuple[str, ...]],
    begin_s: int,
    end_s: int,
    *,
    fitted: int,
) -> tuple[dict[str, Cut], dict[str, dict[int, Array]]]:
    history = window_of(end_s - plan.history_s, plan.history_s)
    reference = plan.pinned if plan.reference == "pinned" and plan.pinned is not None else history
    bins = fit(client, reference, features, where, numbers=BINS)
    pinned: list[Array | None] = [None] * len(bins)
    if plan.reference == "pinned" and bins:
        pinned = [_row(side) for side in count(client, reference, bins, where, None)[0]]
    cuts = {
        each.feature.name: Cut(bins=each, fitted=fitted, reference=own) for each, own in zip(bins, pinned, strict=True)
    }
    first = last_start(end_s - plan.history_s, plan)
    if plan.reference == "pinned":
        first = max(first, last_start(int(reference.end.timestamp()), plan))
    start_s = min(first, begin_s)
    counts = _by_look(client, plan, cuts, window_of(start_s, end_s - start_s), where)
    rows = {name: sum(float(each.sum()) for each in by_start.values()) for name, by_start in counts.items()}
    kept = {name for name, n in rows.items() if n >= plan.rows_min}
    return (
        {name: cut for name, cut in cuts.items() if name in kept},
        {name: by_start for name, by_start in counts.items() if name in kept},
    )


def _by_look(
    client: Client, plan: Plan, cuts: Mapping[str, Cut], window: Window, where: Mapping[str, tuple[str, ...]]
) -> dict[str, dict[int, Array]]:
    """Counts of each look with calls."""
    bins: list[Bins] = [cut.bins for cut in cuts.values()]
    if not bins:
        return {}
    counted = count(client, window, bins, where, timedelta(seconds=plan.window_s))
    start_s = int(window.start.timestamp())
    found: dict[str, dict[int, Array]] = {name: {} for name in cuts}
    for step, sides in counted.items():
        for name, side in zip(cuts, sides, strict=True):
            row = _row(side)
            if row.sum():
                found[name][start_s + step * plan.window_s] = row
    return found


def last_start(moment_s: int, plan: Plan) -> int:
    """Begin of the look that a moment is in."""
    return last_end(datetime.fromtimestamp(moment_s, UTC), plan.window_s, 0)


def _row(side: Side) -> Array:
    return np.append(side.counts, side.missing)
