"""Compare: two groups, two times, or before and after a change; what may be concluded, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboards import address, charts, comparing, data, states, store
from dashboards.charts.front import Point, draw_front, on_front
from dashboards.comparing import CHANGES_MAX, Group, Line
from dashboards.filters import View
from dashboards.theme import assigned
from dashboards.timerange import window_words
from dashboards.wording import DIMENSION_LABELS, NOTHING, count_text, group_text, interval_text, label, value_text
from monitor.errors import BadInput
from monitor.kpis import Window
from monitor.kpis.compare import Compared
from monitor.stats.result import Result
from monitor.store.changes import Change

MODES: Final = {"groups": "Two groups", "times": "Two times", "change": "Before and after a change"}
DIMENSIONS: Final = (
    "variant", "release", "region", "deployment", "model", "node", "provider", "environment", "experiment", "arm", "service",
    "pricing",
)  # fmt: skip
BACK: Final = {
    "before": ("the same length before", None),
    "day": ("the same time a day ago", timedelta(days=1)),
    "week": ("the same time a week ago", timedelta(days=7)),
}
LATENCIES: Final = {"e2e": "End to end", "ttft": "TTFT", "tpot": "TPOT"}
MARGINS: Final = {"0.01": "1 point", "0.02": "2 points", "0.05": "5 points"}
ICONS: Final = {"non-inferior": "green", "inferior": "red", "inconclusive": "orange", "insufficient": "gray"}


def page() -> None:
    """Draw the page."""
    view: View = st.session_state["view"]
    if not states.something_arrived():
        return
    with st.container(horizontal=True, vertical_alignment="bottom", key="compare-choices"):
        mode = address.buttons("Compare", list(MODES), name="mode", default="groups", said=lambda each: MODES[each])
        latency = address.menu(
            "Latency", list(LATENCIES), name="latency", default="e2e", said=lambda each: LATENCIES[each], width=140
        )
        margin = address.menu(
            "Accepted loss of quality",
            list(MARGINS),
            name="margin",
            default="0.02",
            said=lambda each: MARGINS[each],
            width=200,
        )
    window = view.window()
    try:
        sides = {"groups": _groups, "times": _times, "change": _around}[mode](view, window)
        if sides is not None:
            _both(view, *sides, margin=float(margin), latency=latency)
    except BadInput as error:
        st.warning(states.sentence(error))
    dimension = str(st.query_params.get("by", DIMENSIONS[0]))
    _front(view, window, dimension if dimension in DIMENSIONS else DIMENSIONS[0], latency)
    _changes(view, window)


def _groups(view: View, window: Window) -> tuple[Group, Group] | None:
    with st.container(horizontal=True, vertical_alignment="bottom", key="groups"):
        by = address.menu(
            "That differ in",
            DIMENSIONS,
            name="by",
            default=DIMENSIONS[0],
            said=lambda each: DIMENSION_LABELS[each].lower(),
            width=170,
        )
        known = [value for value in data.options(_stable(window), (by,))[by] if value]
        if len(known) < 2:
            st.info(
                f"In this time calls have {'one' if known else 'no'} {DIMENSION_LABELS[by].lower()}"
                f"{f' ({known[0]})' if known else ''}, so there is nothing to compare; choose another, or a longer time."
            )
            return None
        a = address.menu("Accepted", known, name="a", default=known[0], said=group_text, width=220)
        b = address.menu("Candidate", known, name="b", default=known[1], said=group_text, width=220)
    if a == b:
        st.info("Choose two that differ.")
        return None
    where = tuple((key, values) for key, values in view.where if key != by)
    return ((a, window.start, window.end, (*where, (by, (a,)))), (b, window.start, window.end, (*where, (by, (b,)))))


def _times(view: View, window: Window) -> tuple[Group, Group]:
    back = address.menu(
        "Compare this time with", list(BACK), name="back", default="before", said=lambda each: BACK[each][0], width=260
    )
    shift = BACK[back][1] or (window.end - window.start)
    before = (BACK[back][0], window.start - shift, window.end - shift, view.where)
    return before, ("this time", window.start, window.end, view.where)


def _around(view: View, window: Window) -> tuple[Group, Group] | None:
    known = comparing.changes(store.store_url(), window.start, window.end)
    if not known:
        st.info(
            "No change is on record. Deploys, prices and configuration get there by themselves or by `POST /api/changes`."
        )
        return None
    names = {_id(change): _said(change, view) for change in known}
    chosen = address.menu(
        "Change", list(names), name="change", default=next(iter(names)), said=lambda each: names[each], width=520
    )
    change = next(change for change in known if _id(change) == chosen)
    return _before_after(view, change, window)


def _before_after(view: View, change: Change, window: Window) -> tuple[Group, Group] | None:
    """As long before the change as after it: the range's length, or what has passed since."""
    length = min(window.end - window.start, window.end - change.timestamp)
    if length < timedelta(minutes=1):
        return None
    at = change.timestamp
    own = tuple((str(key), tuple(values)) for key, values in change.where.items() if key in DIMENSIONS)
    where = (*((key, values) for key, values in view.where if key not in dict(own)), *own)
    # A release or variant that came with the change was not there before it.
    before = tuple((key, values) for key, values in where if key not in ("release", "variant"))
    return ("before", at - length, at, before), ("after", at, at + length, where)


def _both(view: View, a: Group, b: Group, *, margin: float, latency: str) -> None:
    _verdict(comparing.compared(store.store_url(), a, b, margin, latency), a, b, view)
    st.subheader("Line by line", anchor=False)
    lines = comparing.line_by_line(store.store_url(), a, b)
    if not lines:
        st.info("Neither side has a call in this time.")
        return
    st.dataframe(
        _frame(lines, a[0], b[0]), hide_index=True, key="compare-lines", alt=f"{b[0]} against {a[0]}, KPI by KPI",
        height=(len(lines) + 1) * 35 + 3,
    )  # fmt: skip
    st.caption(
        "Change: difference of shares in points, ratio of everything else, with the interval that both intervals make. Where the"
        " two do not serve the same mix of questions, some of a difference may be the mix."
    )


def _verdict(found: Compared, a: Group, b: Group, view: View) -> None:
    told = found.found
    with st.container(border=True, key="verdict"):
        name_a, name_b = (f"`{group[0].replace('`', '')}`" for group in (a, b))
        st.markdown(f"#### :{ICONS[told.quality]}[●] {name_b} against {name_a}: {_capital(told.verdict)}")
        rows = [
            ("Share right, difference", told.quality_difference, told.always.quality_difference, True),
            (f"{LATENCIES[found.latency]}, ratio", told.latency_ratio, told.always.latency_ratio, False),
            ("Cost of a call, ratio", told.cost_ratio, told.always.cost_ratio, False),
        ]
        frame = pd.DataFrame(
            [
                {"": name, f"{b[0]} / {a[0]}": _number(once, share), "95 %, if this is the only look": _ends(once, share),
                 "95 %, however often one looks": _ends(always, share), "n": f"{once.n:,}", "Note": once.note}
                for name, once, always, share in rows
            ]
        )  # fmt: skip
        st.dataframe(
            frame, hide_index=True, key="verdict-table", alt="Quality, latency and cost with intervals", height=143
        )
        st.markdown(f"Looking again and again, one may say: **{_capital(told.always.verdict)}**.")
        whose = "judges' verdicts" if found.judged_by == "judge" else "people's labels and ground truth"
        moving = (
            ""
            if view.custom is not None
            else " This time range moves along; that needs one with a fixed begin (Custom)."
        )
        st.caption(
            f"Quality by {whose}; cost by {'the ledger' if found.priced_by == 'ledger' else 'what emitters report'}. {_when(a, b, view)}"
            f" The second interval holds for all looks together while the begin stays where it is.{moving}"
        )


def _when(a: Group, b: Group, view: View) -> str:
    first, second = (window_words(Window(group[1], group[2]), view.zone) for group in (a, b))
    return f"{first}." if first == second else f"{a[0]}: {first}; {b[0]}: {second}."


def _frame(lines: Sequence[Line], a: str, b: str) -> pd.DataFrame:
    def shown(line: Line, side: Any) -> str:
        if side is None or side.value is None:
            return NOTHING
        ends = interval_text(side.low, side.high, line.unit)
        return f"{value_text(side.value, line.unit)}{f' ({ends})' if ends else ''}"

    return pd.DataFrame(
        [
            {
                "KPI": label(line.name),
                "Means": line.word,
                "Change": _number(line.change, not line.is_ratio),
                "95 % interval": _ends(line.change, not line.is_ratio),
                a: shown(line, line.a),
                b: shown(line, line.b),
                "n": " / ".join(f"{side.n:,}" if side is not None else NOTHING for side in (line.a, line.b)),
            }
            for line in lines
        ]
    )


def _number(result: Result, share: bool) -> str:
    if result.value is None:
        return NOTHING
    return f"{100 * result.value:+.2f} pp" if share else f"×{result.value:.3f}"


def _ends(result: Result, share: bool) -> str:
    if result.low is None or result.high is None:
        return NOTHING if result.value is None else "none"
    if share:
        return f"{100 * result.low:+.2f} to {100 * result.high:+.2f} pp"
    return f"×{result.low:.3f} to ×{result.high:.3f}"


def _front(view: View, window: Window, dimension: str, latency: str) -> None:
    name = DIMENSION_LABELS[dimension].lower()
    st.subheader(f"Quality, latency and cost by {name}", anchor=False)
    found = comparing.front(store.store_url(), dimension, window, view.where, latency)
    quality = (
        "accuracy.correct" if any(_has(each, "accuracy.correct") for each in found.values()) else "accuracy.estimated"
    )
    wait = f"latency.{latency}.p50"
    known = {group: each for group, each in found.items() if _has(each, quality) and _has(each, wait)}
    if not known:
        charts.nothing(f"No {name} has both calls and enough labels or judges' verdicts in this time.", key="front")
        return
    colours = assigned().of(dimension, known)
    points = [_point(group, each, quality, wait, colours[group]) for group, each in known.items()]
    draw_front(points, latency=label(wait), quality=label(quality), key="front")
    best = sorted(on_front(points))
    st.caption(
        f"Filled: {', '.join(best)}; no other is better in one and as good in the rest, by the numbers alone. Larger is dearer; bars"
        " are 95 % intervals."
    )


def _has(values: Any, name: str) -> bool:
    return name in values and values[name].value is not None


def _point(group: str, values: Any, quality: str, wait: str, colour: str) -> Point:
    good, slow, cost = values[quality], values[wait], values.get("cost.per_request")
    return Point(
        name=group_text(group),
        colour=colour,
        quality=good.value,
        quality_ends=(good.low, good.high),
        latency=slow.value,
        latency_ends=(slow.low, slow.high),
        cost=cost.value if cost is not None else None,
        cost_unit=cost.unit if cost is not None else "",
        n=values["traffic.requests"].n if "traffic.requests" in values else good.n,
    )


def _changes(view: View, window: Window) -> None:
    """What each of the last changes did."""
    known = comparing.changes(store.store_url(), window.start, window.end)
    if not known:
        return
    st.subheader("Changes and what they did", anchor=False)
    # Measured when somebody wants to see it: it takes as many questions as the rest of the page for each change.
    words = f"Measure what the last {count_text(min(len(known), CHANGES_MAX), 'change')} did"
    place = st.expander(words, key="measured-changes", on_change="rerun")
    if place.open:
        with place:
            _effects(view, window, known)


def _effects(view: View, window: Window, known: Sequence[Change]) -> None:
    rows = []
    for change in known[:CHANGES_MAX]:
        sides = _before_after(view, change, window)
        row: dict[str, Any] = {
            "When": change.timestamp.astimezone(view.zone),
            "Change": change.title,
            "By": change.author,
        }
        if sides is not None:
            for line in comparing.effect(store.store_url(), *sides):
                share = not line.is_ratio
                mark = {"better": "▲ ", "worse": "▼ "}.get(line.word, "")
                row[label(line.name)] = f"{mark}{_number(line.change, share)} ({_ends(line.change, share)})"
        row["Compare"] = f"compare?{view.query(mode='change', change=_id(change))}"
        rows.append(row)
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, key="changes", alt="Changes with their measured effect",
        column_config={
            "When": st.column_config.DatetimeColumn(format="D MMM HH:mm", timezone=view.zone.key),
            "Compare": st.column_config.LinkColumn(display_text="open", width="small"),
        },
    )  # fmt: skip
    st.caption(
        "After against before, each as long as the time range, or as has passed since. ▲ better, ▼ worse, without a mark: no"
        " difference shown. Other things may have changed at the same time."
    )


def _id(change: Change) -> str:
    return f"{change.timestamp.isoformat(timespec='seconds')} {change.kind}"


def _said(change: Change, view: View) -> str:
    return f"{change.timestamp.astimezone(view.zone):%-d %b %H:%M} {change.title}"


def _lower(dimension: str) -> str:
    return DIMENSION_LABELS[dimension].lower()


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _stable(window: Window) -> Window:
    """In steps of a minute, so that options are not asked for with every look."""
    minute = timedelta(minutes=1)
    start, end = (
        datetime.fromtimestamp(int(each.timestamp()) // 60 * 60, each.tzinfo) for each in (window.start, window.end)
    )
    return Window(start, end + minute)


page()
