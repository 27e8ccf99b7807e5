"""Headline numbers: each with its change, its interval and what it is computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import streamlit as st

from dashboards import data
from dashboards.filters import View
from dashboards.tables import say_evidence
from dashboards.wording import better, change_text, differs, help_text, label, short_unit, value_text
from monitor.kpis import KpiValue

NO_HELP: Final[Mapping[str, str]] = {}


def tiles(
    view: View,
    names: Sequence[str],
    *,
    key: str,
    compared: bool = True,
    helps: Mapping[str, str] = NO_HELP,
    width: int = 165,
) -> list[KpiValue]:
    """Draw KPIs of this time, and how they changed since the time before; returns their values.

    Parameters
    ----------
    helps : mapping
        Name -> what it means, for KPIs that the registry does not declare.
    width : int
        Least width of a tile in pixels.
    """
    window = view.window()
    if compared:
        now, then = data.both(tuple(names), window, where=view.where)
    else:
        now = then = data.values(tuple(names), window, where=view.where)
    with st.grid("auto", min_column_width=width, gap="small", key=key):
        for value, before in zip(now, then, strict=True):
            tile(value, before if compared else None, said=helps.get(value.name, ""))
    return now


def tile(value: KpiValue, before: KpiValue | None = None, *, said: str = "", named: str = "") -> None:
    """One number in a box; green or red only if it certainly moved and one direction is better."""
    wanted = better(value.name)
    change = change_text(value, before) if before is not None else ""
    telling = wanted is not None and before is not None and differs(value, before)
    value = replace(value, unit=short_unit(value))
    with st.container(border=True, height="stretch", gap="xsmall", key=f"kpi-{value.name.replace('.', '-')}"):
        st.metric(
            named or label(value.name),
            value_text(value.value, value.unit),
            delta=change or None,
            delta_color=("inverse" if wanted == "lower" else "normal") if telling else "off",
            delta_arrow="off" if change.startswith("0 ") else "auto",
            help=said or help_text(value.name) or None,
        )
        say_evidence(value)


def say_compared(now: KpiValue, then: KpiValue) -> None:
    """What the changes are against."""
    longer = then.end - then.start != now.end - now.start
    time = f"{(then.end - then.start) / timedelta(hours=1):g} hours before" if longer else "equally long time before"
    if then.n:
        totals = ", totals cut down to equal length" if longer else ""
        st.caption(f"Changes are against the {time}{totals}; grey where the two intervals overlap.")
    else:
        st.caption(f"Nothing is known of the {time}, so there is nothing to compare with.")
