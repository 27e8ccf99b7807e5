"""When alerts fired: one row for each rule, one bar for each alert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import altair as alt
import pandas as pd
import streamlit as st

from dashboards.charts.lines import milliseconds, nothing, time_axis
from dashboards.theme import ERROR, PALETTE
from dashboards.wording import age_text
from monitor.kpis import Window

SEVERITIES: Final = {"page": ERROR, "ticket": PALETTE[1], "info": PALETTE[0]}
_ROW_PX: Final = 34
_AROUND_PX: Final = 96
ROWS_MAX: Final = 25


@dataclass(frozen=True, kw_only=True)
class Spell:
    """One alert; `goes_on`: it had not ended by the end of what is shown."""

    rule: str
    of: str
    severity: str
    start: datetime
    end: datetime
    goes_on: bool


def draw_spells(spells: Sequence[Spell], window: Window, *, key: str) -> None:
    """Rules from the one that fired last; says so if none did."""
    if not spells:
        nothing("No alert fired in this time.", key=key)
        return
    zone = st.context.timezone or "UTC"
    rules = list(dict.fromkeys(each.rule for each in sorted(spells, key=lambda each: each.start, reverse=True)))
    shown = [each for each in spells if each.rule in rules[:ROWS_MAX]]
    starts = pd.Series(pd.to_datetime([max(each.start, window.start) for each in shown], utc=True))
    ends = pd.Series(pd.to_datetime([min(each.end, window.end) for each in shown], utc=True))
    frame = pd.DataFrame(
        {
            "ms": milliseconds(starts),
            "until": milliseconds(ends),
            "rule": [each.rule for each in shown],
            "of": [each.of or "all" for each in shown],
            "severity": [each.severity for each in shown],
            "began": [pd.Timestamp(each.start).tz_convert(zone).strftime("%-d %b %H:%M:%S") for each in shown],
            "lasted": [
                age_text((each.end - each.start).total_seconds()) + (", goes on" if each.goes_on else "")
                for each in shown
            ],
        }
    )
    names = [name for name in SEVERITIES if name in set(frame["severity"])]
    colour = alt.Color(
        "severity:N",
        scale=alt.Scale(domain=names, range=[SEVERITIES[name] for name in names]),
        legend=alt.Legend(title=None, orient="top", symbolOpacity=1),
    )
    # With an edge, so that a minute is seen in a week.
    bars = (
        alt.Chart(frame)
        .mark_bar(height=14, opacity=0.65, strokeWidth=3, clip=True)
        .encode(
            x=time_axis(window),
            x2="until:T",
            y=alt.Y("rule:N", sort=rules, title=None, axis=alt.Axis(labelLimit=180, labelOverlap=False)),
            color=colour,
            stroke=alt.Stroke(
                "severity:N", scale=alt.Scale(domain=names, range=[SEVERITIES[name] for name in names]), legend=None
            ),
            tooltip=[
                alt.Tooltip("rule:N", title="Rule"),
                alt.Tooltip("of:N", title="Of"),
                alt.Tooltip("began:N", title="Began"),
                alt.Tooltip("lasted:N", title="Lasted"),
            ],
        )
    )
    height = min(len(rules), ROWS_MAX) * _ROW_PX + _AROUND_PX
    st.altair_chart(bars.properties(height=height), width="stretch", key=key, alt=_words(spells, rules))
    if len(rules) > ROWS_MAX:
        st.caption(f"Shown are the {ROWS_MAX} rules that fired last, of {len(rules)}.")


def _words(spells: Sequence[Spell], rules: Sequence[str]) -> str:
    parts = []
    for rule in rules[:10]:
        mine = [each for each in spells if each.rule == rule]
        total_s = sum((each.end - each.start).total_seconds() for each in mine)
        parts.append(f"{rule} {len(mine)} times, {age_text(total_s)} in all")
    return f"When alerts fired. {'; '.join(parts)}."
