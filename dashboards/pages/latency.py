"""Latency: how slow, since when, where, and how it is spread."""

from __future__ import annotations

from typing import Final

import pandas as pd
import streamlit as st

from dashboards import address, answers, charts, data, explore, facts, states, timerange
from dashboards.answers import ATTENTION, Finding
from dashboards.filters import FILTERS, View
from dashboards.latency_places import draw_map, draw_places
from dashboards.loads import draw_loads, hot_words
from dashboards.tables import kpi_table, say_evidence
from dashboards.theme import MUTED, STATISTICS, assigned
from dashboards.watch import watched
from dashboards.wording import DIMENSION_LABELS, MEASURES, group_text, help_text, label, value_text
from monitor.kpis import REGISTRY, KpiValue
from monitor.kpis.estimators import Quantile

STATISTIC_NAMES: Final = ("p50", "p90", "p95", "p99", "mean")
DEFAULT_LINES: Final = ("p50", "p95", "p99")
TABLE_STATISTICS: Final = ("p50", "p95", "p99", "mean")
PLACE: Final = ("model", "variant", "node")
NOT_SPLIT: Final = ""
SPLITS: Final = (NOT_SPLIT, *FILTERS, "pricing", "gpu", "operation", "finish_reason")
# A quantile of fewer calls than these is only the largest of them.
CALLS_BEYOND: Final = 1


def answer(view: View, measure: str) -> None:
    """Whether calls became slower, and whether one place is slower than its peers."""
    names = (f"latency.{measure}.p50", f"latency.{measure}.p95")
    found = answers.moved(view, names, among=_all_of(measure))
    found += [
        Finding(level=ATTENTION, words=hot_words(each)) for each in facts.hot_nodes(view.window(), view.where)[:3]
    ]
    values = {value.name: value for value in data.values(_all_of(measure), view.window(), where=view.where)}
    p50, p95 = (values[name] for name in names)
    fine = (
        f"Half of the calls take at most {value_text(p50.value, 's')} ({MEASURES[measure]}), 95 % at most"
        f" {value_text(p95.value, 's')}; no slower than in the time before, and no node is slower than its peers."
    )
    answers.say(found, fine=fine if p50.value is not None else _why_nothing(measure, p50))


def over_time(view: View, measure: str, by: str, statistics: tuple[str, ...]) -> None:
    """Lines of each statistic, or of one statistic for each group."""
    window = view.window()
    names = tuple(f"latency.{measure}.{statistic}" for statistic in statistics)
    split = (by,) if by else ()
    whole = data.values((names[0],), window, where=view.where)[0]
    if whole.n == 0:
        charts.nothing(_why_nothing(measure, whole), key="over-time")
        return
    groups = data.values((names[0],), window, by=split, where=view.where) if by else [whole]
    smallest = sorted((group.n for group in groups), reverse=True)[: data.LINES_MAX][-1] if by else whole.n
    step_s = timerange.step_s(
        window, calls=max(smallest, whole.n / data.LINES_MAX / 2), calls_wanted=calls_needed(names)
    )
    window = timerange.aligned(window, step_s)
    frame = data.lines(names, window, step_s=step_s, by=split, where=view.where)
    kept, thin = _telling(frame)
    if by:
        kept["line"] = [group_text(value) for value in kept[by]]
        colours = {
            group_text(value): colour for value, colour in assigned().of(by, list(dict.fromkeys(frame[by]))).items()
        }
    else:
        kept["line"] = [name.rpartition(".")[2] for name in kept["name"]]
        colours = {statistic: STATISTICS[statistic] for statistic in statistics}
    title = f"{MEASURES[measure]} {statistics[0]}" if by else MEASURES[measure]
    line = charts.Line(
        frame=kept,
        unit="s",
        colours=colours,
        window=window,
        title=title,
        step_s=step_s,
        watched=watched(names, window, view.where),
    )
    charts.draw_lines(
        line,
        key="over-time",
        height=300,
        on_pick=lambda at, name: explore.look(
            names[0] if by or name not in statistics else f"latency.{measure}.{name}", at
        ),
    )
    _say_what_is_missing(frame, thin, step_s)
    explore.looked_at(view, [explore.Chart(title=title, names=names)], step_s)


def _say_what_is_missing(frame: pd.DataFrame, thin: int, step_s: int) -> None:
    words = [
        f"Bands are 95 % intervals; steps of {explore.step_words(step_s)}. Click a point to take its moment apart."
    ]
    if thin:
        measured = int((frame["n"] > 0).sum())
        words.append(f"{thin} of {measured} points have too few calls for their percentile and are not drawn.")
    words += [f"Shown are {note}." for note in frame.attrs.get("notes", []) if " largest of " in note]
    st.caption(" ".join(words))


def calls_needed(names: tuple[str, ...]) -> int:
    """Calls in a step from which all of these can be drawn."""
    return max(3 * _calls_min(name) for name in names)


def _calls_min(name: str) -> int:
    """Calls from which a KPI is worth drawing: one call is expected beyond a percentile."""
    estimator = REGISTRY[name].estimator
    return round(CALLS_BEYOND / (1 - estimator.level)) if isinstance(estimator, Quantile) else 2


def _telling(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The frame without values of too few calls, and how many those were."""
    kept = frame.copy()
    thin = pd.Series(False, index=kept.index)
    for name in kept["name"].unique():
        thin |= (kept["name"] == name) & (kept["n"] > 0) & (kept["n"] < _calls_min(str(name)))
    kept.loc[thin, ["value", "low", "high"]] = None
    return kept, int(thin.sum())


def headlines(view: View, measure: str) -> None:
    """The statistics of the whole time."""
    found = data.values(_all_of(measure), view.window(), where=view.where)
    with st.grid("auto", min_column_width=150, gap="small", key="latency-headlines"):
        for value in found:
            with st.container(border=True, height="stretch", gap="xsmall", key=f"kpi-{value.name.replace('.', '-')}"):
                st.metric(label(value.name), value_text(value.value, value.unit), help=help_text(value.name))
                say_evidence(value)


def _all_of(measure: str) -> tuple[str, ...]:
    return tuple(f"latency.{measure}.{statistic}" for statistic in STATISTIC_NAMES)


def table(view: View, measure: str, by: str) -> None:
    """Every statistic with its interval, by group."""
    split = (by,) if by else PLACE
    names = tuple(f"latency.{measure}.{statistic}" for statistic in TABLE_STATISTICS)
    found = data.values(names, view.window(), by=split, where=view.where)
    st.subheader(
        f"{MEASURES[measure]} by {' and '.join(DIMENSION_LABELS[name].lower() for name in split)}", anchor=False
    )
    if not any(value.n for value in found):
        charts.nothing(_why_nothing(measure, found[0]), key="latency-table")
        return
    kpi_table(
        found,
        by=split,
        intervals=names,
        n_of=names[0],
        key="latency-table",
        alt=f"{MEASURES[measure]}: percentiles and mean of each {', '.join(split)}, with 95 % intervals and n",
        link=lambda group: f"traces?{view.query(**{key: value for key, value in group.items() if key in FILTERS})}",
    )


def distribution(view: View, measure: str, by: str) -> None:
    """How the latency is spread, and how that compares: between groups, or with the time before."""
    window = view.window()
    found = data.histogram(measure, window, by=by, where=view.where)
    st.subheader(f"Distribution of {MEASURES[measure]}", anchor=False)
    if found.bins.empty:
        whole = data.values((f"latency.{measure}.p50",), window, where=view.where)[0]
        why = "All calls took no time at all." if whole.n else _why_nothing(measure, whole)
        charts.nothing(why, key="distribution")
        return
    small = {group: n for group, n in found.totals.items() if n < CALLS_MIN}
    bins = found.bins[~found.bins["group"].isin(list(small))]
    words = [f"{group_text(group)}: {n} calls are too few to draw" for group, n in small.items()]
    if bins.empty:
        calls = ", ".join(f"{n}" for n in small.values())
        charts.nothing(f"Too few calls to draw a distribution: {calls}; it needs {CALLS_MIN}.", key="distribution")
        return
    if by:
        colours = {group_text(v): c for v, c in assigned().of(by, list(dict.fromkeys(bins["group"]))).items()}
        drawn = bins.assign(group=[group_text(group) for group in bins["group"]])
        marks: list[tuple[str, float]] = []
    else:
        drawn, colours = _with_time_before(view, measure, bins)
        values = data.values(_all_of(measure), window, where=view.where)
        marks = [
            (v.name.rpartition(".")[2], v.value) for v in values if v.value and v.name.endswith(("p50", "p95", "p99"))
        ]
        if len(colours) == 1:
            words.append("There are too few calls in the time before to compare with")
    charts.draw_histogram(drawn, colours=colours, marks=marks, title=MEASURES[measure], key="distribution")
    words += [
        f"{group_text(group) + ': ' if by else ''}{value_text(share, '1')} took no time at all and are not on this scale"
        for group, share in found.zeros.items()
        if share
    ]
    if found.left_out:
        words.append(f"{found.left_out} smaller groups are left out")
    words.append(f"n = {sum(found.totals.values()):,}")
    st.caption("; ".join(words) + ".")


CALLS_MIN: Final = 30
NOW_NAME, BEFORE_NAME = "this time", "the time before"


def _with_time_before(view: View, measure: str, bins: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    before = data.histogram(measure, timerange.before(view.window()), where=view.where)
    colours = {NOW_NAME: STATISTICS["p50"]}
    parts = [bins.assign(group=NOW_NAME)]
    if sum(before.totals.values()) >= CALLS_MIN and not before.bins.empty:
        parts.append(before.bins.assign(group=BEFORE_NAME))
        colours[BEFORE_NAME] = MUTED
    return pd.concat(parts), colours


def loads(view: View) -> None:
    """How evenly calls are spread."""
    st.subheader("Load by node", anchor=False)
    imbalance = data.values(("fleet.imbalance",), view.window(), where=view.where)[0]
    if imbalance.value is not None:
        st.caption(f"Imbalance {value_text(imbalance.value, '1')}: {imbalance.note or 'as even as random routing'}.")
    draw_loads(view, key="loads")


def _why_nothing(measure: str, whole: KpiValue) -> str:
    note = whole.note or "no call in this window"
    return f"Nothing to draw for {MEASURES[measure]}: {note}."


def page() -> None:
    """Draw the page."""
    if not states.something_arrived():
        return
    view: View = st.session_state["view"]
    if data.values(("traffic.requests",), view.window(), where=view.where)[0].n == 0:
        states.panel(view, states.nothing_in_range)
        return
    with st.container(horizontal=True, vertical_alignment="bottom", key="latency-choices"):
        measure = address.buttons(
            "Latency", list(MEASURES), name="latency", default="ttft", said=lambda name: MEASURES[name]
        )
        by = address.menu(
            "Split by",
            SPLITS,
            name="by",
            default=NOT_SPLIT,
            said=lambda name: DIMENSION_LABELS.get(name, "not split"),
            width=170,
        )
        if by:
            one = st.segmented_control(
                "Statistic", STATISTIC_NAMES, default="p95", key="statistic", bind="query-params", required=True
            )
            statistics: tuple[str, ...] = (one or "p95",)
        else:
            several = st.segmented_control(
                "Statistics",
                STATISTIC_NAMES,
                default=list(DEFAULT_LINES),
                selection_mode="multi",
                key="statistics",
                bind="query-params",
            )
            statistics = tuple(name for name in STATISTIC_NAMES if name in (several or DEFAULT_LINES))
    st.caption(REGISTRY[f"latency.{measure}.mean"].meaning.removesuffix(": the mean.") + ".")
    states.panel(view, lambda seen: answer(seen, measure))
    states.panel(view, lambda seen: headlines(seen, measure))
    states.panel(view, lambda seen: over_time(seen, measure, by, statistics))
    states.panel(view, lambda seen: draw_map(seen, measure))
    states.panel(view, lambda seen: table(seen, measure, by))
    states.panel(view, lambda seen: draw_places(seen, measure))
    states.panel(view, loads)
    states.panel(view, lambda seen: distribution(seen, measure, by))


page()
