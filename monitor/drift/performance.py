"""Changes of accuracy, and of the judge: looks at how right answers are, by labels, by a judge and by the model's confidence."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from monitor.drift.kept import PERFORMANCE, Game, Group, Key, Look, fresh, last_look, read_games, write_looks
from monitor.drift.plan import Plan, last_end, window_of
from monitor.drift.watched import groups_of
from monitor.kpis import REGISTRY, Window
from monitor.kpis.dimensions import where_sql
from monitor.kpis.estimators import Estimator, Measure
from monitor.kpis.label_estimators import Proportion
from monitor.kpis.sources import SOURCES, Question
from monitor.kpis.sources.question import between
from monitor.stats.drift import Drift, Watch, WatchState, e_values_bh, judge_watched, ranked
from monitor.stats.drift.change import METHOD, change, size_of, whose
from monitor.stats.result import Result
from monitor.store import Client
from monitor.store.client import any_rows

GRACE_S: Final = 3600  # labels take longer than calls
LOOKS_MAX: Final = 7  # what was missed for longer is not made up
ROWS_MIN: Final = 30
ACCURACY, EXPECTED, AGREEMENT, VERDICTS = (
    f"{PERFORMANCE}{name}" for name in ("accuracy", "expected_accuracy", "judge_agreement", "judge_verdicts")
)
_VERDICT: Final = Measure(name="verdict", value="verdict", missing="has a judge's verdict")
_YES: Final = Measure(name="verdict_yes", value="verdict", among="verdict >= 0.5")
_ESTIMATORS: Final[Mapping[str, Estimator]] = {
    ACCURACY: REGISTRY["accuracy.correct"].estimator,
    f"{PERFORMANCE}estimated_accuracy": REGISTRY["accuracy.estimated"].estimator,
    EXPECTED: REGISTRY["accuracy.expected"].estimator,
    AGREEMENT: REGISTRY["accuracy.judge_agreement"].estimator,
    VERDICTS: Proportion(of=_VERDICT, hit=_YES),
}


def run_performance(client: Client, plan: Plan, *, now: datetime, stop: threading.Event) -> int:
    """Make the looks that are due, where anything was judged; how many rows were written."""
    length = plan.performance_s
    newest = last_end(now, length, GRACE_S)
    last = last_look(client, plan, length, performance=True)
    begin = max(newest - LOOKS_MAX * length, last if last is not None else newest - length)
    games = read_games(client, plan, length, now=now, performance=True)
    rows = 0
    for end in range(begin + length, newest + 1, length):
        if stop.is_set():
            break
        current = window_of(end - length, length)
        reference = _reference(plan, current)
        looks: list[Look] = []
        for group in groups_of(client, plan, current) if _any_judged(client, current) else []:
            looks += _judged(plan, group, _changes(client, plan, group, reference, current), games, end, reference)
        ranks = {id(drift): place for place, drift in enumerate(ranked([look.drift for look in looks]), 1)}
        write_looks(client, plan, [replace(look, rank=ranks[id(look.drift)]) for look in looks])
        rows += len(looks)
    return rows


def _any_judged(client: Client, window: Window) -> bool:
    names = "('correct', 'answer', 'confidence')"
    inside = between(window.start_ns, window.end_ns)
    return any_rows(client, f"evaluations WHERE {inside} AND name IN {names}")


def _reference(plan: Plan, current: Window) -> Window:
    """The pinned one, or the time before: accuracy hardly has hours of its own, and labels are few."""
    if plan.reference == "pinned" and plan.pinned is not None:
        return plan.pinned
    start = int(current.start.timestamp())
    return window_of(start - max(plan.rolling_s, plan.performance_s), max(plan.rolling_s, plan.performance_s))


def _changes(client: Client, plan: Plan, group: Group, reference: Window, current: Window) -> list[Drift]:
    where = {
        **plan.where,
        **{name: (value,) for name, value in zip(("service", "model"), group, strict=True) if name in plan.split},
    }
    before, after = (_estimates(client, window, where) for window in (reference, current))
    return [
        change(name, before[name], after[name], tolerance=plan.performance_tolerance)
        for name in _ESTIMATORS
        if name in before and name in after
    ]


def _estimates(client: Client, window: Window, where: Mapping[str, tuple[str, ...]]) -> dict[str, Result]:
    """What the window says of each, where anything is judged."""
    source = SOURCES["judged"]
    ingredients = dict(source.population)
    for estimator in _ESTIMATORS.values():
        ingredients |= estimator.ingredients
    question = Question(start_ns=window.start_ns, end_ns=window.end_ns, where=where, groups_max=1)
    _, parameters = where_sql(where)
    result = client.query(source.build(client, question, ingredients), parameters=parameters)
    rows = [dict(zip(result.column_names, values, strict=True)) for values in result.result_rows]
    if not rows or not rows[0]["calls__n"]:
        return {}
    found = {}
    for name, estimator in _ESTIMATORS.items():
        told = estimator.estimate(rows[0], seconds=window.seconds)
        if told.n or told.value is not None:
            found[name] = Result(
                value=told.value, low=told.low, high=told.high, n=told.n, method=told.method, note=told.note
            )
    return found


def _judged(
    plan: Plan, group: Group, changes: list[Drift], games: dict[Key, Game], end_s: int, reference: Window
) -> list[Look]:
    if not changes:
        return []
    watch = Watch(alpha=plan.alpha)
    rows_min = min(plan.rows_min, ROWS_MIN)
    keys: list[Key] = [(*group, each.feature) for each in changes]
    played = [games.get(key) or Game(state=WatchState(pool=())) for key in keys]
    states = [watch.bet(game.state, each.p_value) for game, each in zip(played, changes, strict=True)]
    beyond = e_values_bh([state.e_value for state in states], alpha=plan.alpha)
    verdicts: dict[str, Drift] = {}
    for each, key, game, state, now_told in zip(changes, keys, played, states, beyond, strict=True):
        told = bool(now_told) or game.told
        size = judge_watched(size_of(each), told=told, p_value=state.p_value, alpha=plan.alpha, rows_min=rows_min)
        verdicts[each.feature] = replace(
            each, drifted=size.drifted, reason=size.reason, p_value=size.p_value, p_adjusted=None
        )
        over = told and size.value is not None and size.value <= size.threshold
        game = Game(state=state, told=told)
        games[key] = fresh(game) if over else game
    said = whose(*(verdicts.get(name) for name in (ACCURACY, AGREEMENT, VERDICTS)))
    looks = []
    for each, key in zip(changes, keys, strict=True):
        drift = verdicts[each.feature]
        if said and drift.drifted:
            drift = replace(drift, note="; ".join(note for note in (said, drift.note) if note))
        looks.append(
            Look(
                end_s=end_s,
                length_s=plan.performance_s,
                group=group,
                drift=drift,
                p_look=each.p_value,
                reference="pinned" if plan.reference == "pinned" else "previous",
                reference_start=int(reference.start.timestamp()),
                reference_end=int(reference.end.timestamp()),
                game=games[key],
            )
        )
    return looks


__all__ = ["METHOD", "run_performance"]
