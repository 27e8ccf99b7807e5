"""A comparison of variants as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from rich.table import Table

from monitor.kpis.compare import Compared
from monitor.stats.result import Result


def to_json(compared: Compared) -> str:
    """One JSON object with exact numbers; times in ISO 8601, UTC."""
    return json.dumps(to_record(compared), indent=2, ensure_ascii=False, allow_nan=False)


def to_record(compared: Compared) -> dict[str, Any]:
    """Plain data for JSON."""
    found = compared.found
    return {
        "dimension": compared.dimension,
        "a": compared.a.name,
        "b": compared.b.name,
        "verdict": found.verdict,
        "quality": found.quality,
        "margin": found.margin,
        "more_labels": found.more,
        "judged_by": compared.judged_by,
        "priced_by": compared.priced_by,
        "latency": compared.latency,
        "quality_difference": asdict(found.quality_difference),
        "latency_ratio": asdict(found.latency_ratio),
        "cost_ratio": asdict(found.cost_ratio),
        "always": asdict(found.always),
        "start": compared.start.isoformat(),
        "end": compared.end.isoformat(),
    }


def to_table(compared: Compared) -> Table:
    """Three rows: quality, latency, cost."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("", f"{compared.b.name} / {compared.a.name}", "95 % interval", "n"):
        table.add_column(header, no_wrap=True)
    table.add_column("note", style="dim")
    found = compared.found
    table.add_row("share right (difference)", *_cells(found.quality_difference, "{:+.2%}"))
    table.add_row(f"{compared.latency} (ratio)", *_cells(found.latency_ratio, "{:.3f}"))
    table.add_row("cost of a call (ratio)", *_cells(found.cost_ratio, "{:.3f}"))
    return table


def to_footer(compared: Compared) -> str:
    """What may be said by somebody who looks again and again."""
    found = compared.found
    return f"however often one looks while the begin stays: {found.always.verdict}"


def _cells(result: Result, form: str) -> tuple[str, str, str, str]:
    def text(value: float | None) -> str:
        return "–" if value is None else form.format(value)

    interval = "" if result.low is None and result.high is None else f"{text(result.low)} to {text(result.high)}"
    return text(result.value), interval, f"{result.n:,}", result.note
