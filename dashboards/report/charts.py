"""KPIs over time as SVG that stands in the page itself; on a ground of its own, as mails are read on light and dark ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dashboards.wording import label, scale_of, value_text
from monitor.kpis import Window, series
from monitor.store import Client

if TYPE_CHECKING:
    import pandas as pd

WIDTH: Final = 330
HEIGHT: Final = 130
LINE: Final = "#2F6FBF"
STEPS: Final = 28


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A chart: its title, its SVG, and what it shows in words."""

    title: str
    svg: str
    alt: str


def draw(client: Client, window: Window, names: Sequence[str]) -> tuple[Drawn, ...]:
    """A chart for each KPI with at least two values in the window."""
    step_s = max(3600.0 if window.seconds > 2 * 86_400 else 60.0, round(window.seconds / STEPS / 60) * 60)
    found = []
    frame = series(client, names, window=window, step_s=step_s) if names else None
    for name in names:
        assert frame is not None
        points = frame[(frame["name"] == name)]
        known = points.dropna(subset=["value"])
        if len(known) < 2 or not known["n"].any():
            continue
        unit = _unit(name)
        low, high = value_text(float(known["value"].min()), unit), value_text(float(known["value"].max()), unit)
        found.append(
            Drawn(title=label(name), svg=_svg(points, unit), alt=f"{label(name)} over time, from {low} to {high}")
        )
    return tuple(found)


def _svg(points: pd.DataFrame, unit: str) -> str:
    import altair as alt
    import vl_convert

    scale = scale_of(unit, points["value"].dropna().tolist())
    frame = points.assign(
        **{name: points[name].astype("float64") * scale.factor for name in ("value", "low", "high")},
        time=points["time"].dt.tz_convert("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S"),
    )[["time", "value", "low", "high"]]
    x = alt.X("time:T", title=None, axis=alt.Axis(format="%-d %b", tickCount=5, grid=False, labelOverlap=True))
    y = alt.Y("value:Q", title=scale.suffix or None, axis=alt.Axis(tickCount=4), scale=alt.Scale(zero=True, nice=True))
    base = alt.Chart(frame).encode(x=x)
    band = base.transform_filter("isValid(datum.low) && isValid(datum.high)").mark_area(opacity=0.18, color=LINE)
    layers: list[Any] = [
        band.encode(y=alt.Y("low:Q", title=scale.suffix or None), y2="high:Q"),
        base.mark_line(color=LINE, strokeWidth=1.8).encode(y=y),
        base.mark_point(color=LINE, filled=True, size=12).encode(y=y),
    ]
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, background="#FFFFFF").configure_view(stroke=None)
    return str(vl_convert.vegalite_to_svg(chart.to_json()))


def _unit(name: str) -> str:
    from monitor.kpis.registry import REGISTRY

    return REGISTRY[name].unit
