"""Drift as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from monitor.stats.drift import Drift, ranked

_NONE = "–"


def to_record(drift: Drift) -> dict[str, Any]:
    """What a program reads; None where there is no number."""
    record: dict[str, Any] = {
        "feature": drift.feature,
        "method": drift.method,
        "value": _number(drift.value),
        "low": _number(drift.low),
        "high": _number(drift.high),
        "p_value": _number(drift.p_value),
        "p_adjusted": _number(drift.p_adjusted),
        "threshold": drift.threshold,
        "drifted": drift.drifted,
        "reason": drift.reason,
        "n_reference": drift.n_reference,
        "n_current": drift.n_current,
    }
    if drift.chunk is not None:
        record["chunk"] = drift.chunk
    for name in ("reference_rows", "current_rows", "reference_traces", "current_traces"):
        if examples := getattr(drift, name):
            record[name] = list(examples)
    if drift.brings:
        record |= {"brings": dict(drift.brings), "impact": _number(drift.impact)}
    return record | {
        "interval": drift.interval,
        "test": drift.test,
        "moved": list(drift.moved),
        "note": drift.note,
    }


def to_json(found: Sequence[Drift]) -> str:
    """A JSON array with one object a line."""
    if not found:
        return "[]"
    return "[\n" + ",\n".join(json.dumps(to_record(each), ensure_ascii=False) for each in found) + "\n]"


def to_table(found: Sequence[Drift]) -> Table:
    """What drifted first, by what it does to accuracy, latency and cost; then by how far above its threshold an effect is."""
    chunked = any(each.chunk is not None for each in found)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("feature", no_wrap=True)
    if chunked:
        table.add_column("chunk", justify="right")
    table.add_column("method", no_wrap=True)
    for header in ("value", "95 % interval", "p", "n"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("verdict")
    table.add_column("moved")
    weighed = any(each.brings for each in found)
    if weighed:
        table.add_column("brings")
    for each in ranked(found):
        table.add_row(
            each.feature,
            *([_NONE if each.chunk is None else str(each.chunk)] if chunked else []),
            each.method,
            _text(each.value),
            _NONE if each.low is None else f"{_text(each.low)} … {_text(each.high)}",
            _text(each.p_adjusted if each.p_adjusted is not None else each.p_value),
            f"{each.n_reference:,} / {each.n_current:,}",
            each.reason.split(":")[0],
            "; ".join(each.moved[:2]),
            *([", ".join(f"{name} {change:+.3g}" for name, change in each.brings)] if weighed else []),
            style="bold red" if each.drifted else "",
        )
    return table


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _text(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3g}"
