"""Groups side by side, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import pandas as pd
import streamlit as st

from dashboards.charts.lines import nothing
from dashboards.theme import MUTED
from dashboards.wording import interval_text, scale_of, value_text

BARS_MAX: Final = 20
_ROW_PX: Final = 27
_AROUND_PX: Final = 76


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One group; an end of its interval that is not known is None."""

    group: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    note: str = ""


def draw_bars(
    bars: Sequence[Bar],
    *,
    unit: str,
    title: str,
    colours: Mapping[str, str],
    key: str,
    reference: tuple[str, float] | None = None,
    on_pick: Callable[[str], None] | None = None,
) -> None:
    """A bar for each group, in the order given, with intervals as whiskers; says so if there is none.

    Parameters
    ----------
    colours : mapping
        Group -> colour.
    reference : (str, float), optional
        A value to compare with, such as that of the whole, and its name.
    on_pick : callable, optional
        Called with the group of a bar that was clicked.
    """
    if not bars:
        nothing(f"No group to show for {title}.", key=key)
        return
    shown = list(bars[:BARS_MAX])
    ends = [end for bar in shown for end in (bar.value, bar.high) if end is not None]
    scale = scale_of(unit, [*ends, *([reference[1]] if reference else [])])
    frame = pd.DataFrame(
        {
            "group": [bar.group for bar in shown],
            "value": [bar.value * scale.factor for bar in shown],
            "zero": [0.0 for _ in shown],
            "low": [None if bar.low is None or bar.high is None else bar.low * scale.factor for bar in shown],
            "high": [None if bar.low is None or bar.high is None else bar.high * scale.factor for bar in shown],
            "said": [value_text(bar.value, unit) for bar in shown],
            "between": [interval_text(bar.low, bar.high, unit) or "none" for bar in shown],
            "n": ["" if bar.n is None else f"{bar.n:,}" for bar in shown],
            "note": [bar.note for bar in shown],
        }
    ).astype({"low": "float64", "high": "float64"})
    y = alt.Y("group:N", title=None, sort=None, axis=alt.Axis(labelLimit=170, ticks=False, domain=False))
    x = alt.X(
        "value:Q",
        title=", ".join([title, *([scale.suffix] if scale.suffix else [])]),
        axis=alt.Axis(format="~r", tickCount=5),
    )
    tooltip = [
        alt.Tooltip("group:N", title="Of"),
        alt.Tooltip("said:N", title=title),
        alt.Tooltip("between:N", title="95 %"),
        alt.Tooltip("n:N", title="n"),
    ]
    if any(bar.note for bar in shown):
        tooltip.append(alt.Tooltip("note:N", title="Note"))
    colour = alt.Color(
        "group:N",
        scale=alt.Scale(domain=[bar.group for bar in shown], range=[colours.get(bar.group, MUTED) for bar in shown]),
        legend=None,
    )
    base = alt.Chart(frame).encode(y=y, tooltip=tooltip)
    drawn = base.mark_bar(opacity=0.8, cornerRadiusEnd=2, cursor="pointer" if on_pick else "default").encode(
        x=x, x2="zero:Q", color=colour
    )
    if on_pick is not None:
        drawn = drawn.add_params(alt.selection_point(name="pick", fields=["group"], on="click", clear=False))
    layers: list[Any] = [drawn]
    if frame["low"].notna().any():
        whisker = base.transform_filter("isValid(datum.low)")
        layers.append(whisker.mark_rule(strokeWidth=1.5, color=MUTED).encode(x="low:Q", x2="high:Q"))
        layers += [
            whisker.mark_tick(thickness=1.5, size=9, color=MUTED).encode(x=f"{end}:Q") for end in ("low", "high")
        ]
    if reference is not None:
        line = pd.DataFrame({"at": [reference[1] * scale.factor], "name": [reference[0]]})
        layers.append(
            alt.Chart(line)
            .mark_rule(strokeDash=[4, 3], strokeWidth=1.5, color=MUTED)
            .encode(x="at:Q", tooltip=[alt.Tooltip("name:N", title="Dashed")])
        )
    chart = alt.layer(*layers).properties(height=len(shown) * _ROW_PX + _AROUND_PX)
    words = _alt(shown, unit=unit, title=title, reference=reference)
    if on_pick is None:
        st.altair_chart(chart, width="stretch", key=key, alt=words)
    else:

        def picked() -> None:
            points = st.session_state[key].get("selection", {}).get("pick", [])
            if points:
                on_pick(str(points[0]["group"]))

        st.altair_chart(chart, width="stretch", key=key, alt=words, on_select=picked)
    if len(bars) > BARS_MAX:
        st.caption(f"{BARS_MAX} of {len(bars)} groups are drawn.")


def _alt(bars: Sequence[Bar], *, unit: str, title: str, reference: tuple[str, float] | None) -> str:
    said = "; ".join(f"{bar.group} {value_text(bar.value, unit)}" for bar in bars)
    compared = f" Dashed: {reference[0]} {value_text(reference[1], unit)}." if reference else ""
    return f"{title} by group. {said}.{compared}"
