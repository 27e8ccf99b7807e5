"""Looking for drift again and again: what the job `drift` does, without a clock.

Each look compares each feature of each group with its reference, advances the feature's game against chance, and judges
all of them together: a drift is told where the game excludes chance over all features and looks, and the effect's
interval lies above its threshold. A game that has told stays so until the effect is back below its threshold; then it
begins anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np

from monitor.drift.counting import OTHER, Bins
from monitor.drift.features import SCORE
from monitor.drift.kept import Game, Key, Look, fresh, last_look, read_games, write_looks
from monitor.drift.outcomes import weighed
from monitor.drift.plan import DAY_S, Plan, last_end, window_of
from monitor.drift.references import Reference, reference_of
from monitor.drift.texts import text_drifts
from monitor.drift.watched import Watched, first_call, groups_of, last_start, watch_group
from monitor.stats.drift import (
    Counts,
    Drift,
    Watch,
    WatchState,
    compare_counts,
    compare_shares,
    e_values_bh,
    homogeneity,
    judge_watched,
    quantile_names,
    ranked,
)
from monitor.stats.drift.effects import Array
from monitor.store import Client

LOOKS_MAX: Final = 1000
BATCH: Final = 48  # looks that are written at once
MISSING: Final = ".missing"
OUTCOME_ROWS: Final = 20_000
TEXT_LOOKS: Final = 2  # texts are read for the newest looks alone: what was missed is not made up


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One feature at one look, before it is judged."""

    watched: Watched
    drift: Drift
    p_look: float | None
    reference: str
    start_s: int | None
    end_s: int | None
    masses: tuple[Array, Array] | None = None

    @property
    def key(self) -> Key:
        return (*self.watched.group, self.drift.feature)


def run_looks(client: Client, plan: Plan, *, now: datetime, stop: threading.Event) -> tuple[int, str]:
    """Make all looks that are due; how many rows were written, and what to know about it."""
    ends = due(client, plan, now)
    if not ends:
        return 0, ""
    begin = ends[0] - plan.window_s
    watched = [
        watch_group(client, plan, group, begin, ends[-1])
        for group in groups_of(client, plan, window_of(begin, ends[-1] - begin))
    ]
    games = read_games(client, plan, plan.window_s, now=now, performance=False)
    rows = 0
    for at in range(0, len(ends), BATCH):
        if stop.is_set():
            break
        looks: list[Look] = []
        for end in ends[at : at + BATCH]:
            compared = [each for group in watched for each in compared_at(plan, group, end - plan.window_s)]
            if end in ends[-TEXT_LOOKS:]:
                compared += [each for group in watched for each in _texts(client, plan, group, end - plan.window_s)]
            looks += judged(client, plan, compared, games, end, newest=end == ends[-1])
        write_looks(client, plan, looks)
        rows += len(looks)
    if not any(group.cuts for group in watched):
        return rows, f"no feature has {plan.rows_min} calls in its reference yet"
    return rows, ""


def due(client: Client, plan: Plan, now: datetime) -> list[int]:
    """Ends of the looks that are to be made, oldest first."""
    newest = last_end(now, plan.window_s, plan.grace_s)
    oldest = newest - plan.history_s
    last = last_look(client, plan, plan.window_s, performance=False)
    if last is None:
        first = first_call(client, window_of(oldest, plan.history_s))
        if first is None:
            return []
        last = last_start(first, plan)
    begin = max(last, last_start(oldest, plan))
    return list(range(begin + plan.window_s, newest + 1, plan.window_s))[:LOOKS_MAX]


def compared_at(plan: Plan, watched: Watched, start_s: int) -> Iterator[Compared]:
    """Each feature that has calls in this look."""
    for name, cut in watched.cuts.items():
        earlier = watched.earlier[name]
        own = earlier.counts.get(start_s)
        if own is None:
            continue
        against = reference_of(plan, start_s, earlier, cut.reference, len(own))
        counts = Counts(reference=against.effect[:-1], current=own[:-1], names=_names(cut.bins))
        drift = compare_counts(name, counts, plan.method, threshold=plan.threshold)
        masses = (against.effect, own)
        yield _compared(watched, against, drift, against.pool[:-1], own[:-1], masses)
        # How many calls are judged is up to the judges, and says nothing of the calls.
        if (against.effect[-1] or own[-1]) and not name.startswith(SCORE):
            n, m = against.effect.sum(), own.sum()
            share = compare_shares(f"{name}{MISSING}", against.effect[-1], n, own[-1], m)
            yield _compared(watched, against, share, _present(against.pool), _present(own), masses)


def judged(
    client: Client, plan: Plan, compared: Sequence[Compared], games: dict[Key, Game], end_s: int, *, newest: bool
) -> list[Look]:
    """Verdicts on one look at everything; `games` goes on."""
    if not compared:
        return []
    watch = Watch(alpha=plan.alpha)
    played = [games.get(each.key) or Game(state=WatchState(pool=())) for each in compared]
    states = [watch.bet(game.state, each.p_look) for game, each in zip(played, compared, strict=True)]
    beyond = e_values_bh([state.e_value for state in states], alpha=plan.alpha)
    drifts: dict[Key, Drift] = {}
    for each, game, state, now_told in zip(compared, played, states, beyond, strict=True):
        told = bool(now_told) or game.told
        drifts[each.key] = judge_watched(
            each.drift, told=told, p_value=state.p_value, alpha=plan.alpha, rows_min=plan.rows_min
        )
        games[each.key] = _gone_on(Game(state=state, told=told), drifts[each.key], plan)
    if newest:
        drifts |= _weighed(client, plan, compared, drifts, end_s)
    ranks = {id(drift): place for place, drift in enumerate(ranked(list(drifts.values())), 1)}
    return [
        Look(
            end_s=end_s,
            length_s=plan.window_s,
            group=each.watched.group,
            drift=drifts[each.key],
            p_look=each.p_look,
            reference=each.reference,
            reference_start=each.start_s,
            reference_end=each.end_s,
            game=games[each.key],
            rank=ranks[id(drifts[each.key])],
        )
        for each in compared
    ]


def _gone_on(game: Game, drift: Drift, plan: Plan) -> Game:
    """The game for the next look: a drift that is over is forgotten, so that the next one is found as fast."""
    enough = min(drift.n_reference, drift.n_current) >= plan.rows_min
    over = game.told and enough and drift.value is not None and drift.value <= drift.threshold
    return fresh(game) if over else game


def _weighed(
    client: Client, plan: Plan, compared: Sequence[Compared], drifts: dict[Key, Drift], end_s: int
) -> dict[Key, Drift]:
    """What the drifts of this look do to latency, cost and accuracy.

    The shares are those of the comparison. What a bin's outcome is, is read from as much of the time before as holds
    some thousands of calls.
    """
    found: dict[Key, Drift] = {}
    start_s = end_s - plan.window_s
    for watched in {id(each.watched): each.watched for each in compared}.values():
        mine = [each for each in compared if each.watched is watched and drifts[each.key].drifted and each.masses]
        if not mine:
            continue
        rows = max(1, *(each.drift.n_current for each in mine))
        length = plan.window_s * max(1, min(OUTCOME_ROWS // rows, DAY_S // plan.window_s))
        before = window_of(start_s - length, length)
        if plan.reference == "pinned" and plan.pinned is not None:
            before = plan.pinned
        more = weighed(
            client,
            [drifts[each.key] for each in mine],
            [cut.bins for cut in watched.cuts.values()],
            before,
            window_of(start_s, plan.window_s),
            watched.where,
            masses={each.drift.feature.removesuffix(MISSING): each.masses for each in mine if each.masses},
        )
        found |= {each.key: drift for each, drift in zip(mine, more, strict=True)}
    return found


def _texts(client: Client, plan: Plan, watched: Watched, start_s: int) -> Iterator[Compared]:
    for drift, before in text_drifts(client, plan, watched.where, start_s):
        start, end = (int(each.timestamp()) for each in (before.start, before.end))
        name = (
            f"{datetime.fromtimestamp(start, UTC):%a %d %b %H:%M} to {datetime.fromtimestamp(end, UTC):%a %d %b %H:%M}"
        )
        yield Compared(watched=watched, drift=drift, p_look=drift.p_value, reference=name, start_s=start, end_s=end)


def _compared(
    watched: Watched, against: Reference, drift: Drift, pool: Array, own: Array, masses: tuple[Array, Array]
) -> Compared:
    found = homogeneity(pool, own) if pool.sum() and own.sum() else None
    return Compared(
        watched=watched,
        drift=drift,
        p_look=float(found.p_value) if found is not None and found.df > 0 else None,
        reference=against.name,
        start_s=against.start_s,
        end_s=against.end_s,
        masses=masses,
    )


def _present(counts: Array) -> Array:
    return np.array([counts[:-1].sum(), counts[-1]])


def _names(bins: Bins) -> tuple[str, ...]:
    return quantile_names(np.array(bins.edges)) if bins.feature.number else (*bins.categories, OTHER)


__all__ = ["run_looks"]
