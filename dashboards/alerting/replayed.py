"""The KPI of a draft over the time, with the threshold and the stretches in which it would have fired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboards import charts, data, facts, timerange
from dashboards.charts import Firing, Marker, Threshold, Watched
from dashboards.explore import step_words
from dashboards.filters import View
from dashboards.theme import PALETTE, colour_of
from dashboards.watch import MARKERS_MAX, merged
from dashboards.wording import age_text, count_text, escaped, group_text, label, value_text
from monitor.kpis import Window, parse_duration

# Steps of the chart; the replay itself looks at each window.
POINTS_MAX: Final = 300
EXPECTED: Final = {"page": "Pages a week", "ticket": "Tickets a week", "info": "Notes a week"}


def show_replays(view: View, rule: Mapping[str, Any], replays: Sequence[Mapping[str, Any]]) -> None:
    """Draw figures, chart and groups; `replays` as the API gives them, one for each rule that the draft makes."""
    for replay in replays:
        if len(replays) > 1:
            st.markdown(f"**{escaped(str(replay['name']))}**: {escaped(str(replay['condition']))}")
        if replay["skipped"]:
            st.caption(f"It cannot be replayed: {replay['skipped']}.")
            continue
        _figures(replay)
    for kpi in dict.fromkeys(str(each["kpi"]) for each in replays if each["kpi"]) or [str(rule.get("kpi", ""))]:
        if kpi:
            _chart(view, rule, kpi, [each for each in replays if each["kpi"] == kpi])
    for replay in replays:
        _groups(replay)


def _figures(replay: Mapping[str, Any]) -> None:
    with st.grid("auto", min_column_width=150, gap="small", key=f"replay-{replay['name']}"):
        figures = {
            "Would have fired": f"{replay['fired']:,} ×",
            "In all": age_text(replay["seconds"]) if replay["fired"] else "–",
            "Longest": age_text(replay["longest_s"]) if replay["fired"] else "–",
            EXPECTED.get(str(replay["severity"]), "A week"): f"{replay['a_week']:.3g}",
        }
        for name, value in figures.items():
            with st.container(border=True):
                st.metric(name, value)
    if replay["looked_s"] < 86_400 and replay["fired"]:
        st.caption(
            f"From {age_text(replay['looked_s'])} of history; take a longer time range to know better what a week brings."
        )


def _chart(view: View, rule: Mapping[str, Any], kpi: str, replays: Sequence[Mapping[str, Any]]) -> None:
    window = view.window()
    by = tuple(replays[0]["by"] if replays else rule.get("by", ()))
    where = tuple(
        sorted((key, tuple(str(each) for each in values)) for key, values in dict(rule.get("where", {})).items())
    )
    wanted = replays[0]["window_s"] if replays else parse_duration(str(rule.get("window", "5m"))).total_seconds()
    step_s = max(1, round(wanted))
    if window.seconds / step_s > POINTS_MAX:
        step_s = next(
            (step for step in timerange.STEPS_S if window.seconds / step <= POINTS_MAX and step >= step_s), step_s
        )
    step_s = min(step_s, max(1, int(window.seconds)))
    window = timerange.aligned(window, step_s)
    frame = data.lines((kpi,), window, step_s=step_s, by=by, where=where).copy()
    if frame.empty:
        charts.nothing(
            "Nothing was measured in this time, so there is no history to hold a rule against.", key="draft-chart"
        )
        return
    if by:
        parts = [[group_text(str(value)) for value in frame[key]] for key in by]
        frame["line"] = [" · ".join(each) for each in zip(*parts, strict=True)]
        lines = list(dict.fromkeys(frame["line"]))
        colours = {line: PALETTE[place % len(PALETTE)] for place, line in enumerate(lines)}
    else:
        frame["line"] = label(kpi)
        colours = {label(kpi): colour_of(kpi)}
    unit = data.unit_of(kpi)
    st.markdown(f"**{label(kpi)}**")
    charts.draw_lines(
        charts.Line(
            frame=frame,
            unit=unit,
            colours=colours,
            window=window,
            title=label(kpi),
            step_s=step_s,
            reach=True,
            watched=Watched(
                markers=[
                    Marker(at=each.timestamp, title=f"{each.kind}: {each.title}")
                    for each in facts.changes(window, where)[-MARKERS_MAX:]
                ],
                thresholds=[
                    Threshold(value=bound, rule="threshold") for each in replays for bound in each["thresholds"]
                ],
                firing=_shaded(replays, window),
            ),
        ),
        key="draft-chart",
        height=280,
    )
    known = frame["value"].dropna()
    shaded = " Shaded: it would have fired." if any(each["spells"] for each in replays) else ""
    said = f"Steps of {step_words(step_s)}.{shaded}"
    if len(known):
        low, high = (value_text(float(known.quantile(share)), unit) for share in (0.01, 0.99))
        said += f" 98 % of the steps were between {low} and {high}."
    st.caption(said)


def _shaded(replays: Sequence[Mapping[str, Any]], window: Window) -> list[Firing]:
    spells = [
        Firing(
            start=datetime.fromisoformat(spell["start"]),
            end=window.end if spell["goes_on"] else datetime.fromisoformat(spell["end"]),
            rule=" · ".join(group_text(each) for each in spell["group"].values()) or str(replay["name"]),
        )
        for replay in replays
        for spell in replay["spells"]
    ]
    return merged(spells, window)


def _groups(replay: Mapping[str, Any]) -> None:
    if not replay["by"] or not replay["groups"]:
        return
    frame = pd.DataFrame(
        {"Group": [name or "(unknown)" for name in replay["groups"]], "Times": list(replay["groups"].values())}
    )
    with st.expander(f"Which of them: {count_text(len(frame), 'group')}"):
        st.dataframe(
            frame, hide_index=True, key=f"replay-groups-{replay['name']}", alt="How often each group would have fired"
        )
