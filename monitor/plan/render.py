"""A plan for people and for programs."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from monitor.stats.plan import BreakEven, Load, Plan, PlanReport


def to_view(report: PlanReport, *, all_plans: bool = False) -> RenderableType:
    """Load, plans, hours of the chosen one, break-even loads, notes; for rich's console."""
    shown = report.plans if all_plans else tuple(plan for plan in report.plans if plan.meets) or report.plans
    parts: list[RenderableType] = [Text(_load_text(report.load)), "", _plans_table(shown)]
    left_out = len(report.plans) - len(shown)
    if left_out:
        parts.append(Text(f"{left_out} more miss the objectives (--all shows them)", style="dim"))
    parts += ["", Text(report.verdict, style="bold")]
    if report.chosen is not None and report.chosen.engine:
        parts += ["", _hours_table(report.chosen)]
    if report.break_even:
        parts += ["", _break_even_table(report.break_even)]
    parts += [Text(f"note: {note}", style="dim") for note in report.notes]
    return Group(*parts)


def to_json(report: PlanReport) -> str:
    """Everything, as JSON; what is not known is null."""
    return json.dumps(to_record(report), indent=2, ensure_ascii=False, allow_nan=False)


def to_record(report: PlanReport) -> dict[str, Any]:
    """Everything as plain data, the load as its key figures and its slots."""
    load = report.load
    return {
        "verdict": report.verdict,
        "chosen": report.chosen.name if report.chosen else None,
        "objectives": dataclasses.asdict(report.objectives),
        "load": {
            "source": load.source,
            "calls": load.calls,
            "requests_per_day": load.requests_per_day,
            "input_tokens": load.mean_input_tokens,
            "output_tokens": load.mean_output_tokens,
            "peak_factor": load.peak_factor,
            "tokens_per_month": load.tokens_per_month,
            "level_error": load.level_error,
            "slot_s": load.slot_s,
            "start_hour": load.start_hour,
            "requests_per_s": load.calls_rps.mean(axis=1).tolist(),
        },
        "plans": [_plain(dataclasses.asdict(plan)) for plan in report.plans],
        "break_even": [dataclasses.asdict(each) for each in report.break_even],
        "notes": list(report.notes),
        "catalogue_as_of": report.as_of,
    }


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _load_text(load: Load) -> str:
    origin = f"measured from {load.calls:,} calls" if load.source == "measured" else "stated"
    return (
        f"load ({origin}): {load.requests_per_day:,.0f} requests a day, {load.mean_input_tokens:,.0f} tokens in and"
        f" {load.mean_output_tokens:,.0f} out, busiest {load.slot_s / 60:g} minutes {load.peak_factor:.1f} times the mean"
    )


def _plans_table(plans: tuple[Plan, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("plan")
    table.add_column("replica")
    table.add_column("where")
    for header in ("$ a month", "95 % interval", "$/M tokens", "in time", "worst", "busy", "dearer by"):
        table.add_column(header, justify="right", no_wrap=True)
    for plan in plans:
        table.add_row(
            plan.name,
            plan.engine or "–",
            plan.deployment.replace("_", " "),
            f"{plan.usd.value:,.0f}",
            f"{plan.usd.low:,.0f} to {plan.usd.high:,.0f}",
            f"{plan.usd_per_million_tokens:.2f}",
            f"{plan.attainment:.1%}",
            f"{plan.attainment_worst:.1%}",
            "–" if math.isnan(plan.utilisation) else f"{plan.utilisation:.0%}",
            _dearer_text(plan),
        )
    return table


def _dearer_text(plan: Plan) -> str:
    if not plan.meets:
        return "misses the objective"
    if plan.dearer is None:
        return "cheapest"
    return f"{plan.dearer.value:,.0f} ({plan.dearer.low:,.0f} to {plan.dearer.high:,.0f})"


def _hours_table(plan: Plan) -> Table:
    api = any(row.api_share for row in plan.by_hour)
    table = Table(
        box=None, pad_edge=False, header_style="bold", title=f"{plan.name} by hour (UTC)", title_justify="left"
    )
    table.add_column("hour", justify="right")
    for header in ("requests/s", "replicas fixed", "added, mean", "added, most", *(["to the API"] if api else [])):
        table.add_column(header, justify="right", no_wrap=True)
    for row in plan.by_hour:
        cells = [f"{row.requests_per_s:.2f}", f"{row.replicas_fixed}", f"{row.replicas_added_mean:.1f}"]
        cells += [f"{row.replicas_added_max}", *([f"{row.api_share:.0%}"] if api else [])]
        table.add_row(f"{row.hour:02d}", *cells)
    return table


def _break_even_table(rows: tuple[BreakEven, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title="break-even", title_justify="left")
    table.add_column("between")
    table.add_column("requests a day", justify="right")
    table.add_column("cheaper below / above")
    for row in rows:
        if row.requests_per_day:
            loads = ", ".join(f"{load:,.0f}" for load in row.requests_per_day)
            sides = f"{row.cheaper_below} / {row.cheaper_above}"
        else:
            loads = f"none from {row.low:,.0f} to {row.high:,.0f}"
            sides = f"{row.cheaper_below} throughout"
        table.add_row(f"{row.first} and {row.second}", loads, sides)
    return table
