"""A bias report as JSON Lines for programs, and as tables for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from monitor.bias.benchmark import BbqScore
from monitor.stats.bias import BiasReport, Gap, GroupValue

_STYLES = {"alert": "bold red", "within": "green", "unclear": "yellow", "insufficient": "dim"}


def to_json(report: BiasReport) -> str:
    """A list of objects: one for each metric and group, then one for each gap."""
    return _lines([*map(asdict, report.values), *map(asdict, report.gaps)])


def bbq_to_json(scores: Sequence[BbqScore]) -> str:
    """A list of objects, one for each category, column of answers and metric."""
    return _lines([bbq_record(score) for score in scores])


def bbq_record(score: BbqScore) -> dict[str, Any]:
    result = score.result
    return {
        "metric": f"bbq.{score.metric}",
        "category": score.category,
        "answers": score.answers,
        "value": result.value,
        "low": result.low,
        "high": result.high,
        "n": result.n,
        "sufficient": result.value is not None,
        "unit": "%",
        "unmatched": score.unmatched,
        "note": result.note,
    }


def _lines(records: Sequence[dict[str, Any]]) -> str:
    """A JSON list with one object a line."""
    return "[\n" + ",\n".join(json.dumps(each, ensure_ascii=False, allow_nan=False) for each in records) + "\n]"


def to_view(report: BiasReport, notes: Sequence[str] = ()) -> Group:
    """Gaps first, as they decide; then the groups that differ from the rest, and all values."""
    parts: list[Any] = [_gaps_table(report.gaps)]
    parts += [Text(f"alert: {gap.metric} by {gap.by}, {gap.reason}", style="bold red") for gap in report.alerts]
    shown = dict.fromkeys(
        f"{value.direction} ({value.by}, {value.metric}, q = {value.q_value:.2g})"
        for value in report.values
        if value.direction and not value.direction.startswith("no difference") and value.q_value is not None
    )
    parts += [Text(text) for text in shown]
    parts.append(_values_table(report.values))
    parts += [Text(note, style="dim") for note in notes]
    return Group(*parts)


def _gaps_table(gaps: Sequence[Gap]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title="gaps", title_justify="left")
    for header in ("by", "metric", "gap"):
        table.add_column(header)
    for header in ("value", "95 % interval", "corrected"):
        table.add_column(header, justify="right", no_wrap=True)
    for header in ("worst", "best", "verdict"):
        table.add_column(header)
    for gap in gaps:
        table.add_row(
            gap.by,
            gap.metric,
            gap.gap.replace("_", " "),
            _text(gap.value),
            _interval(gap.low, gap.high),
            _text(gap.corrected) if gap.corrected is not None else "",
            gap.worst,
            gap.best,
            Text(gap.verdict, style=_STYLES[gap.verdict]),
        )
    return table


def _values_table(values: Sequence[GroupValue]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title="groups", title_justify="left")
    for header in ("by", "metric", "group"):
        table.add_column(header)
    for header in ("value", "95 % interval", "shrunk", "to the rest", "q", "n"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("")
    for value in values:
        table.add_row(
            value.by,
            value.metric,
            value.group,
            _text(value.value),
            _interval(value.low, value.high),
            _text(value.shrunk),
            "-" if value.difference is None else f"{value.difference:+.4g}",
            "-" if value.q_value is None else f"{value.q_value:.2g}",
            f"{value.n:,}",
            Text(value.note, style="dim"),
        )
    return table


def bbq_to_view(scores: Sequence[BbqScore]) -> Table:
    """The scores as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold", title="BBQ, percent", title_justify="left")
    for header in ("category", "answers", "metric"):
        table.add_column(header, overflow="fold")
    for header in ("value", "95 % interval", "n"):
        table.add_column(header, justify="right", no_wrap=True)
    for score in scores:
        result = score.result
        value = "-" if result.value is None else f"{result.value:.1f}"
        ends = "-" if result.low is None or result.high is None else f"{result.low:.1f} to {result.high:.1f}"
        table.add_row(score.category, score.answers, score.metric, value, ends, f"{result.n:,}")
    return table


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None and high is None else f"{_text(low)} to {_text(high)}"
