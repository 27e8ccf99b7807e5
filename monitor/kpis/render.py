"""KPI values as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from monitor.kpis.kpi import KpiValue

_NONE = "–"
_DIGITS = 4
# Whole numbers of what the KPI's name says already.
_COUNTED = ("call", "token", "user", "session", "node", "label")


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """How to write numbers of one row: times what, with how many decimals, followed by what."""

    factor: float
    decimals: int
    suffix: str

    def text(self, value: float | None) -> str:
        return _NONE if value is None else f"{value * self.factor:,.{self.decimals}f}"


def to_table(values: Sequence[KpiValue]) -> Table:
    """A table with one row per value: name, group, value with unit, interval, n, note."""
    dimensions = list(dict.fromkeys(name for value in values for name in value.group))
    noted = any(value.note for value in values)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("KPI", no_wrap=True)
    for dimension in dimensions:
        table.add_column(dimension)
    for header in ("value", "95 % interval", "n"):
        table.add_column(header, justify="right", no_wrap=True)
    if noted:
        table.add_column("note", style="dim")
    for value in values:
        groups = [_group_text(value.group.get(dimension)) for dimension in dimensions]
        number, interval = value_text(value), interval_text(value)
        table.add_row(value.name, *groups, number, interval, f"{value.n:,}", *([value.note] if noted else []))
    return table


def value_text(value: KpiValue) -> str:
    """The value with sensible digits and its unit: `312.4 ms`, `1.250 %`, `19,366`; `–` if there is none."""
    if value.value is None:
        return _NONE
    scale = _scale(value)
    return f"{scale.text(value.value)}{scale.suffix}"


def interval_text(value: KpiValue) -> str:
    """Both ends in the value's own scale; `–` for an open end, and nothing if there is no interval."""
    if value.value is None or (value.low is None and value.high is None):
        return ""
    scale = _scale(value)
    return f"{scale.text(value.low)} to {scale.text(value.high)}"


def to_json(values: Sequence[KpiValue]) -> str:
    """A JSON list of objects with exact numbers; times in ISO 8601, UTC."""
    return json.dumps([to_record(value) for value in values], indent=2, ensure_ascii=False, allow_nan=False)


def to_record(value: KpiValue) -> dict[str, object]:
    """One value as plain data."""
    return {
        "name": value.name,
        "unit": value.unit,
        "group": value.group,
        "value": value.value,
        "low": value.low,
        "high": value.high,
        "n": value.n,
        "start": value.start.isoformat(),
        "end": value.end.isoformat(),
        "method": value.method,
        "note": value.note,
    }


def _group_text(group: str | None) -> str:
    return _NONE if group is None else group or "(unknown)"


def _scale(value: KpiValue) -> _Scale:
    size = max((abs(end) for end in (value.value, value.high) if end is not None), default=0.0)
    if value.unit == "s":
        for factor, suffix, least in ((1.0, " s", 1.0), (1e3, " ms", 1e-3), (1e6, " µs", 0.0)):
            if size >= least:
                return _Scale(factor=factor, decimals=_decimals(size * factor), suffix=suffix)
    if value.unit == "1":
        return _Scale(factor=100.0, decimals=_decimals(size * 100), suffix=" %")
    suffix = "" if value.unit in _COUNTED else f" {value.unit}"
    ends = [end for end in (value.value, value.low, value.high) if end is not None]
    whole = value.unit in _COUNTED and (size >= 10 ** (_DIGITS - 1) or all(end == int(end) for end in ends))
    return _Scale(factor=1.0, decimals=0 if whole else _decimals(size), suffix=suffix)


def _decimals(size: float) -> int:
    """Decimals that leave four digits in all, and not more than six."""
    if size == 0:
        return 0
    return min(6, max(0, _DIGITS - 1 - math.floor(math.log10(size))))
