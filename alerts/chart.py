"""The KPI of an alert over the last hours as a picture: the line, the threshold, and since when it is beyond it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from alerts.model import Instance
from monitor.kpis import Window, series
from monitor.store import Client
from monitor.store.changes import Change

if TYPE_CHECKING:
    import pandas as pd

WIDTH: Final = 520
HEIGHT: Final = 170
# On a ground of its own: mails are read on light and on dark ones.
GROUND: Final = "#FFFFFF"
LINE: Final = "#2F6FBF"
LIMIT: Final = "#D9483B"
QUIET: Final = "#6B7280"
_STEPS: Final = 60


def draw(client: Client, instance: Instance, changes: Sequence[Change] = ()) -> str:
    """A PNG in base64; empty where there is nothing to draw.

    Raises
    ------
    BadInput
        If the KPI or a dimension of the alert is unknown.
    """
    if not instance.kpi:
        return ""
    window_s = max(60.0, (instance.window_end - instance.window_start).total_seconds())
    began = instance.active_at or instance.window_start
    length = max(timedelta(hours=2), 12 * timedelta(seconds=window_s), 1.5 * (instance.window_end - began))
    length = min(length, timedelta(days=30))
    step_s = max(60.0, round(length.total_seconds() / _STEPS / 60) * 60)
    end = instance.window_end
    where = {**instance.where, **{key: [value] for key, value in instance.group.items()}}
    frame = series(
        client, instance.kpi, window=Window(end - length, end), step_s=step_s, where=where, intervals=False
    ).dropna(subset=["value"])
    if len(frame) < 2:
        return ""
    return render(frame, instance, changes)


def render(frame: pd.DataFrame, instance: Instance, changes: Sequence[Change] = ()) -> str:
    """The picture of these points, with columns `time` and `value`."""
    import altair as alt
    import pandas as pd
    import vl_convert

    factor, suffix = (100.0, "%") if instance.unit == "1" else (1.0, instance.unit)
    if instance.unit == "s" and frame["value"].abs().max() < 1:
        factor, suffix = 1000.0, "ms"
    points = pd.DataFrame(
        {"time": frame["time"].dt.tz_convert("UTC").dt.tz_localize(None), "value": frame["value"] * factor}
    )
    x = alt.X("time:T", title=None, axis=alt.Axis(format="%H:%M", labelOverlap=True, tickCount=6))
    zero = bool(points["value"].min() >= 0)
    y = alt.Y("value:Q", title=f"{instance.kpi} ({suffix})" if suffix else instance.kpi, scale=alt.Scale(zero=zero))
    layers: list[Any] = []
    began = instance.active_at
    if began is not None:
        until = max(_plain(instance.resolved_at or instance.window_end), _plain(began))
        shade = pd.DataFrame({"from": [max(_plain(began), points["time"].min())], "to": [until]})
        layers.append(alt.Chart(shade).mark_rect(color=LIMIT, opacity=0.13).encode(x="from:T", x2="to:T"))
    marks = [change for change in changes if _plain(change.timestamp) >= points["time"].min()]
    if marks:
        at = pd.DataFrame(
            {"at": [_plain(change.timestamp) for change in marks], "title": [c.title[:24] for c in marks]}
        )
        base = alt.Chart(at).encode(x="at:T")
        layers.append(base.mark_rule(color=QUIET, strokeDash=[2, 2]))
        layers.append(
            base.mark_text(align="left", dx=4, baseline="top", color=QUIET, fontSize=10).encode(
                y=alt.value(2), text="title:N"
            )
        )
    layers.append(alt.Chart(points).mark_line(color=LINE, strokeWidth=2, clip=True).encode(x=x, y=y))
    layers.append(alt.Chart(points).mark_circle(color=LINE, size=14).encode(x=x, y=y))
    if instance.threshold is not None:
        limit = pd.DataFrame({"value": [instance.threshold * factor]})
        layers.append(alt.Chart(limit).mark_rule(color=LIMIT, strokeDash=[6, 4], strokeWidth=1.5).encode(y="value:Q"))
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, background=GROUND, padding=10)
    chart = chart.configure_view(stroke=None).configure_axis(
        labelColor="#374151", titleColor="#374151", gridColor="#E5E7EB", labelFontSize=11, titleFontSize=11,
        titleFontWeight="normal", domainColor="#9CA3AF", tickColor="#9CA3AF",
    )  # fmt: skip
    return base64.b64encode(vl_convert.vegalite_to_png(chart.to_json(), scale=2)).decode()


def words_of(instance: Instance) -> str:
    """The picture for who does not see it."""
    limit = " with its threshold" if instance.threshold is not None else ""
    return f"{instance.kpi} over the last hours{limit}"


def _plain(moment: Any) -> Any:
    import pandas as pd

    return pd.Timestamp(moment).tz_convert("UTC").tz_localize(None)
