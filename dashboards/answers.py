"""The first thing that a page says: is it all right, since when, where, and what may be why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import pandas as pd
import streamlit as st

from dashboards import data, facts, timerange
from dashboards.filters import View
from dashboards.wording import (
    better,
    change_text,
    differs,
    dimension_label,
    escaped,
    group_text,
    label,
    moment_text,
    value_text,
)
from monitor.kpis import KpiValue, Window

GOOD, ATTENTION, BAD, UNKNOWN = "good", "attention", "bad", "unknown"
_LOOKS: Final = {
    GOOD: (":green[:material/check_circle:]", "All right"),
    ATTENTION: (":orange[:material/error:]", "Needs a look"),
    BAD: (":red[:material/cancel:]", "Not all right"),
    UNKNOWN: (":gray[:material/help:]", "Not known"),
}
_RANK: Final = {GOOD: 0, UNKNOWN: 1, ATTENTION: 2, BAD: 3}
PLACES: Final = ("node", "model", "variant", "release", "region")
# A change may need some time to be felt, and its time may be that of its announcement.
SUSPECT: Final = (timedelta(minutes=30), timedelta(minutes=5))
# What moved by less than this is nothing to act on, however certain.
RATIO_MIN: Final = 1.1
POINTS_MIN: Final = 0.005
CALLS_A_STEP: Final = 80


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One statement, in Markdown, and how grave it is."""

    level: str
    words: str


def say(findings: Sequence[Finding], *, fine: str, key: str = "answer") -> None:
    """Draw the answer: the gravest first, or that all is fine."""
    ordered = sorted(findings, key=lambda finding: -_RANK[finding.level])
    level = ordered[0].level if ordered else GOOD
    icon, verdict = _LOOKS[level]
    with st.container(border=True, key=key, gap="xsmall"):
        st.markdown(f"{icon} **{verdict}.** {ordered[0].words if ordered else fine}")
        for finding in ordered[1:]:
            st.markdown(f"{_LOOKS[finding.level][0]} {finding.words}")


def moved(
    view: View, names: Sequence[str], *, among: Sequence[str] = (), step_min_s: int = 1, places: Sequence[str] = PLACES
) -> list[Finding]:
    """Findings on KPIs that certainly became worse since the time before: since when, where, and what changed just then.

    `among` are KPIs that the page asks for anyway, with these in them: then nothing is asked twice.
    """
    window, asked = view.window(), tuple(among or names)
    now, then = data.both(asked, window, where=view.where)
    worse = [
        (value, before)
        for value, before in zip(now, then, strict=True)
        if value.name in names and is_worse(value, before)
    ]
    if not worse:
        return []
    starts = _since(view, worse, step_min_s=step_min_s)
    worst = worst_places(view, [value for value, _ in worse], places)
    return [_worse(view, value, before, starts[value.name], worst[value.name]) for value, before in worse]


def is_worse(value: KpiValue, before: KpiValue) -> bool:
    """Whether it is worse, beyond chance and by enough to act on."""
    if not differs(value, before) or value.value is None or before.value is None:
        return False
    wanted = better(value.name)
    rose = value.value > before.value
    if wanted is None or rose != (wanted == "lower"):
        return False
    if value.unit == "1":
        return abs(value.value - before.value) >= POINTS_MIN
    low, high = sorted((abs(value.value), abs(before.value)))
    return low == 0 or high / low >= RATIO_MIN


def _worse(view: View, value: KpiValue, before: KpiValue, since: datetime | None, place: str) -> Finding:
    words = f"{label(value.name)} is {value_text(value.value, value.unit)}, {_against(value, before)}"
    if since is not None:
        words += f", since about {moment_text(since, view.zone, now=datetime.now(UTC))}"
    if place:
        words += f"; worst at {place}"
    suspects = _suspects(view, since)
    return Finding(level=ATTENTION, words=f"{words}.{f' {suspects}' if suspects else ''}")


def _against(value: KpiValue, before: KpiValue) -> str:
    change = change_text(value, before)
    return (
        f"{change} against the time before"
        if change
        else f"after {value_text(before.value, before.unit)} in the time before"
    )


def _since(view: View, worse: Sequence[tuple[KpiValue, KpiValue]], *, step_min_s: int) -> dict[str, datetime | None]:
    """By name, when its longest stretch began that lies apart from the time before."""
    window = view.window()
    fewest = min(value.n for value, _ in worse)
    step_s = max(step_min_s, timerange.step_s(window, calls=fewest, calls_wanted=CALLS_A_STEP))
    names = tuple(value.name for value, _ in worse)
    frame = data.lines(names, timerange.aligned(window, step_s), step_s=step_s, where=view.where)
    return {
        value.name: first_of_longest(
            frame[frame["name"] == value.name], before, rose=(value.value or 0) > (before.value or 0)
        )
        for value, before in worse
    }


def first_of_longest(frame: pd.DataFrame, before: KpiValue, *, rose: bool) -> datetime | None:
    """When the longest stretch of steps began that lie on the wrong side of what was before; None if there is none."""
    edge = before.high if rose else before.low
    if edge is None:
        edge = before.value
    known = frame.dropna(subset=["value"])
    if edge is None or known.empty:
        return None
    ends = known["low"].fillna(known["value"]) if rose else known["high"].fillna(known["value"])
    beyond = (ends > edge) if rose else (ends < edge)
    if not beyond.any():
        return None
    stretch = (beyond != beyond.shift()).cumsum()
    lengths = beyond.groupby(stretch).sum()
    longest = lengths.idxmax()
    return pd.Timestamp(known.loc[stretch == longest, "time"].iloc[0]).to_pydatetime()


def worst_places(view: View, values: Sequence[KpiValue], places: Sequence[str] = PLACES) -> dict[str, str]:
    """By name, the group whose interval lies farthest on the wrong side of the whole: "node gpu-2 (1.9 s)"; empty if none does."""
    window = view.window()
    known = data.options(Window(window.start, window.end), tuple(places))
    names = tuple(value.name for value in values)
    wholes = {value.name: value for value in values}
    best = dict.fromkeys(names, (1.0, ""))
    for dimension in (name for name in places if len(set(known[name]) - {""}) > 1):
        for group in data.values(names, window, by=(dimension,), where=view.where):
            whole, name = wholes[group.name], group.group.get(dimension, "")
            ratio = _times_worse(group, whole)
            if name and ratio > best[group.name][0] * 1.02:
                said = f"{dimension_label(dimension).lower()} {escaped(group_text(name))} ({value_text(group.value, group.unit)})"
                best[group.name] = ratio, said
    return {name: said for name, (_, said) in best.items()}


def _times_worse(group: KpiValue, whole: KpiValue) -> float:
    """How many times worse a group is than the whole; 1 where that may be chance, or the group is all there is."""
    if not group.value or not whole.value or group.n == whole.n or not differs(group, whole):
        return 1.0
    return group.value / whole.value if better(group.name) == "lower" else whole.value / group.value


def _suspects(view: View, since: datetime | None) -> str:
    if since is None:
        return ""
    found = [
        change
        for change in facts.changes(view.window(), view.where)
        if since - SUSPECT[0] <= change.timestamp <= since + SUSPECT[1]
    ]
    if not found:
        return ""
    now = datetime.now(UTC)
    said = ", ".join(
        f"{escaped(change.title)} ({change.kind}, {moment_text(change.timestamp, view.zone, now=now)})"
        for change in found[-3:]
    )
    return f"Shortly before that changed: {said}."


def said_only(words: str, level: str = UNKNOWN) -> list[Finding]:
    """A single statement."""
    return [Finding(level=level, words=words)]


__all__ = [
    "ATTENTION", "BAD", "GOOD", "UNKNOWN", "Finding", "first_of_longest", "is_worse", "moved", "said_only", "say", "worst_places",
]  # fmt: skip
