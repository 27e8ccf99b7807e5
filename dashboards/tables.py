"""Tables of KPI values: numbers that sort, the unit in the heading, n and intervals beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboards.wording import Scale, dimension_label, evidence, group_text, interval_text, label, scale_of
from monitor.kpis import KpiValue

Group = Mapping[str, str]


def kpi_table(
    values: Sequence[KpiValue],
    *,
    by: Sequence[str],
    intervals: Sequence[str],
    n_of: str,
    key: str,
    alt: str,
    link: Callable[[Group], str] | None = None,
    n_help: str = "Calls that the numbers are computed from",
) -> None:
    """One row for each group, one column for each KPI.

    Parameters
    ----------
    values : sequence of KpiValue
        As `monitor.kpis.evaluate` gives them.
    intervals : sequence of str
        KPIs whose 95 % interval gets a column.
    n_of : str
        The KPI whose n is shown.
    link : callable, optional
        Where a row leads.
    n_help : str
        What n counts.
    """
    names = list(dict.fromkeys(value.name for value in values))
    scales = {
        name: scale_of(_unit(values, name), [value.value for value in values if value.name == name]) for name in names
    }
    rows = _rows(values, by, intervals, n_of, scales)
    if link is not None:
        for group, row in rows.items():
            row["Traces"] = link(dict(group))
    frame = pd.DataFrame(list(rows.values()))
    config: dict[str, Any] = {
        heading(name, scales[name]): st.column_config.NumberColumn(
            format="%.3g" if scales[name].suffix else "localized"
        )
        for name in names
    }
    config |= {interval_heading(name): st.column_config.TextColumn("95 % interval") for name in intervals}
    config["n"] = st.column_config.NumberColumn(format="localized", help=n_help)
    config["Traces"] = st.column_config.LinkColumn(display_text="open", width="small")
    st.dataframe(frame, hide_index=True, column_config=config, key=key, alt=alt, height=_height(len(frame)))
    cut = {value.note for value in values if " largest of " in value.note}
    if cut:
        st.caption(f"Shown are {next(iter(cut)).split('; ')[-1]}.")


def records(frame: pd.DataFrame) -> Iterable[Any]:
    """Rows with their columns as attributes."""
    return frame.itertuples()


def interval_heading(name: str) -> str:
    """Name of the column with a KPI's interval; in a downloaded file it must tell whose it is."""
    return f"{label(name)} 95 % interval"


def say_evidence(value: KpiValue) -> None:
    """Interval and n under a headline number."""
    st.caption("  \n".join(part for part in evidence(value) if part))


def heading(name: str, scale: Scale) -> str:
    """Column heading of a KPI, with its unit."""
    return f"{label(name)}, {scale.suffix}" if scale.suffix else label(name)


def _rows(
    values: Sequence[KpiValue],
    by: Sequence[str],
    intervals: Sequence[str],
    n_of: str,
    scales: Mapping[str, Scale],
) -> dict[tuple[tuple[str, str], ...], dict[str, Any]]:
    rows: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for value in values:
        group = tuple(value.group.items())
        if group not in rows:
            rows[group] = {dimension_label(name): group_text(value.group.get(name, "")) for name in by} | {"n": 0}
        row = rows[group]
        scale = scales[value.name]
        row[heading(value.name, scale)] = None if value.value is None else _rounded(value.value * scale.factor)
        if value.name in intervals:
            row[interval_heading(value.name)] = interval_text(value.low, value.high, value.unit) or "too few calls"
        if value.name == n_of:
            row["n"] = value.n
    return rows


def _rounded(value: float) -> float:
    return float(f"{value:.4g}") if abs(value) < 1e4 else round(value)


def _unit(values: Sequence[KpiValue], name: str) -> str:
    return next(value.unit for value in values if value.name == name)


_ROW_PX: Final = 35


def _height(rows: int) -> int:
    return min(12, rows + 1) * _ROW_PX + 3
