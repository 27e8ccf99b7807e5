"""Numbers as people read them: three digits that count, and a unit that keeps them short."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from monitor.kpis import REGISTRY, KpiValue

NOTHING: Final = "—"
# Whole numbers of what the KPI's name says already.
COUNTED: Final = ("call", "token", "user", "session", "node", "label", "feature", "gap")
# Numbers that their name says all of.
BARE: Final = (*COUNTED, "score", "kappa", "turn")

LABELS: Final = {
    "traffic.requests": "Requests",
    "traffic.request_rate": "Request rate",
    "traffic.input_tokens": "Input tokens",
    "traffic.output_tokens": "Output tokens",
    "traffic.token_rate": "Output token rate",
    "traffic.errors": "Errors",
    "traffic.error_rate": "Error rate",
    "traffic.cancelled_rate": "Cancelled",
    "traffic.completeness": "Completeness",
    "accuracy.correct": "Correct, labels alone",
    "accuracy.estimated": "Correct, estimated",
    "accuracy.judged": "Correct, judge alone",
    "accuracy.expected": "Correct, expected",
    "accuracy.labels_needed": "Labels for ±1 point",
    "accuracy.judge_agreement": "Judge agrees",
    "accuracy.judge_agreement_change": "Judge drift",
    "accuracy.judge_kappa": "Judge kappa",
    "accuracy.f1": "F1",
    "cost.total": "Spent",
    "cost.per_request": "Per request",
    "cost.per_million_tokens": "Per million tokens",
    "cost.per_session": "Per session",
    "cost.per_goodput_request": "Per good request",
    "cost.gpu_hour": "Per GPU hour",
    "cost.unpriced": "Unpriced calls",
    "cost.forecast_month": "This month, forecast",
    "safety.flagged_rate": "Flagged",
    "safety.blocked_rate": "Blocked",
    "safety.refusal_rate": "Refused",
    "safety.pii_rate": "Personal data",
    "engagement.return_rate_d1": "Back next day",
    "engagement.return_rate_d7": "Back on day 7",
    "engagement.thumbs_up": "Thumbs up, as given",
    "engagement.thumbs_up_corrected": "Thumbs up, corrected",
    "engagement.feedback_rate": "Gave feedback",
    "engagement.regenerate_rate": "Regenerated",
    "engagement.copy_rate": "Copied",
    "engagement.abandon_rate": "Abandoned",
    "fleet.gpu_utilization": "GPU busy",
    "fleet.gpu_memory": "GPU memory",
    "fleet.power": "Power of a GPU",
    "fleet.hot_node": "Hot nodes",
    "drift.drifted_features": "Drifted features",
    "bias.unfair_gaps": "Unfair gaps",
}
MEASURES: Final = {
    "ttft": "TTFT",
    "tpot": "TPOT",
    "e2e": "End to end",
    "queue": "Queue",
    "prefill": "Prefill",
    "decode": "Decode",
}
DIMENSION_LABELS: Final = {
    "service": "Service", "model": "Model", "node": "Node", "variant": "Variant", "release": "Release",
    "region": "Region", "environment": "Environment", "provider": "Provider", "deployment": "Deployment",
    "pricing": "Pricing", "gpu": "GPU", "experiment": "Experiment", "arm": "Arm", "operation": "Operation",
    "finish_reason": "Finish reason", "error_type": "Error type", "dialect": "Dialect", "category": "Category",
    "role": "Role", "stream": "Stream", "cancelled": "Cancelled", "simulated": "Simulated", "feature": "Feature",
    "metric": "Metric", "cohort": "Cohort",
}  # fmt: skip
UNKNOWN: Final = "(unknown)"


@dataclass(frozen=True)
class Scale:
    """How a unit is written: values are multiplied by `factor` and followed by `suffix`."""

    factor: float
    suffix: str
    axis: str  # d3 format


def scale_of(unit: str, values: Iterable[float | None]) -> Scale:
    """The scale that suits the largest of these values."""
    known = [abs(value) for value in values if value is not None and math.isfinite(value)]
    largest = max(known, default=0.0)
    if unit == "1":
        return Scale(100.0, "%", "~r")
    if unit == "s":
        if 0 < largest < 0.001:
            return Scale(1e6, "µs", "~r")
        return Scale(1e3, "ms", "~r") if largest < 1 else Scale(1.0, "s", "~r")
    suffix = {**dict.fromkeys(BARE, ""), "call/s": "/s", "token/s": "/s"}.get(unit, unit)
    for limit, factor, prefix in ((1e9, 1e-9, "G"), (1e6, 1e-6, "M"), (1e5, 1e-3, "k")):
        if largest >= limit:
            return Scale(factor, f"{prefix}{suffix}", "~r")
    return Scale(1.0, suffix, "~r")


def label(name: str) -> str:
    """A KPI's name for people: `latency.ttft.p95` is "TTFT p95"."""
    if name in LABELS:
        return LABELS[name]
    family, _, rest = name.partition(".")
    if family == "latency":
        measure, _, statistic = rest.partition(".")
        return f"{MEASURES[measure]} {statistic}"
    if family == "objective" and "." in rest:
        objective, _, what = rest.rpartition(".")
        return f"{objective}: {what.replace('_', ' ')}"
    words = rest.replace("_", " ").replace(".", " ")
    return words[:1].upper() + words[1:]


def dimension_label(name: str) -> str:
    """A dimension's name for people: `cohort.language` is "Language"."""
    words = name.removeprefix("cohort.")
    return DIMENSION_LABELS.get(name) or words[:1].upper() + words[1:]


def value_text(value: float | None, unit: str) -> str:
    """`155 ms`, `0.36 %`, `19,366`, `22.4 M`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if unit in COUNTED and abs(value) < 1e6 and value == round(value):
        return f"{value:,.0f}"
    scale = scale_of(unit, [value])
    return _with_suffix(digits(value * scale.factor), scale.suffix)


def interval_text(low: float | None, high: float | None, unit: str) -> str:
    """`153–156 ms`; an open end is said: `≥ 639 ms`. Empty if both ends are open."""
    if low is None and high is None:
        return ""
    if low is None:
        return f"≤ {value_text(high, unit)}"
    if high is None:
        return f"≥ {value_text(low, unit)}"
    scale = scale_of(unit, [low, high])
    return _with_suffix(f"{digits(low * scale.factor)}–{digits(high * scale.factor)}", scale.suffix)


def evidence(value: KpiValue) -> tuple[str, str]:
    """What a number rests on: its interval (or why there is none), and n. Either may be empty."""
    if value.value is None:
        return value.note or "no data", ""
    interval = interval_text(value.low, value.high, value.unit)
    without = "counted, not estimated" if counted(value.method) else "too few for an interval"
    if (
        value.name in REGISTRY
        and REGISTRY[value.name].estimator.interval.startswith("none")
        and not counted(value.method)
    ):
        without = "has no interval"
    return f"95 %: {interval}" if interval else without, f"n = {value.n:,}"


def counted(method: str) -> bool:
    """Whether a number is a count of all, which has no interval."""
    return method in ("exact", "census")


def change_text(value: KpiValue, before: KpiValue) -> str:
    """Change since the period before: relative, or in percentage points for shares; empty where there is none."""
    if value.value is None or before.value is None:
        return ""
    if value.unit == "1":
        points = 100 * (value.value - before.value)
        return f"{points:+.2f} pp" if abs(points) >= 0.005 else "0 pp"
    if before.value == 0:
        return ""
    ratio = value.value / before.value - 1
    if abs(ratio) >= 10:
        return f"{value.value / before.value:+.3g}×"
    return f"{100 * ratio:+.1f} %" if abs(ratio) >= 0.0005 else "0 %"


def differs(value: KpiValue, before: KpiValue) -> bool:
    """Whether the two intervals lie apart; without intervals, whether the values differ at all."""
    if value.value is None or before.value is None:
        return False
    value_low, value_high = _ends(value)
    before_low, before_high = _ends(before)
    return value_low > before_high or value_high < before_low


def help_text(name: str) -> str:
    """What a KPI is, for a tooltip; empty for one that the store's content makes, which only the store can explain."""
    kpi = REGISTRY.get(name)
    if kpi is None:
        return ""
    return f"{kpi.meaning}\n\n`{kpi.name}` = {kpi.formula}\n\nInterval: {kpi.estimator.interval}."


def better(name: str) -> str | None:
    """Whether "lower" or "higher" is better; None where neither is."""
    if name.startswith("objective."):
        return "lower" if name.endswith(".burn_rate") else "higher"
    kpi = REGISTRY.get(name)
    return kpi.better if kpi is not None else None


def count_text(count: int, one: str, several: str = "") -> str:
    """`1 node`, `3 nodes`, `no node`."""
    return f"{f'{count:,}' if count else 'no'} {one if count < 2 else several or one + 's'}"


def moment_text(moment: datetime, zone: tzinfo, *, now: datetime) -> str:
    """`14:05`, or `22 Nov 14:05` on another day, in the viewer's zone."""
    there = moment.astimezone(zone)
    return f"{there:%H:%M}" if there.date() == now.astimezone(zone).date() else f"{there:%-d %b %H:%M}"


def escaped(text: str) -> str:
    """The text with whatever Markdown would take for its own made harmless."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]()<>#+-.!|$:~" else sign for sign in text)


def short_unit(value: KpiValue) -> str:
    """Its unit without what its label says: "Per request" is so many USD."""
    per = label(value.name).startswith("Per ") or " per " in label(value.name)
    return value.unit.partition("/")[0] if per else value.unit


def group_text(value: str) -> str:
    return value or UNKNOWN


def finite(value: float | None) -> float | None:
    """A number of a table, with None where it has none."""
    return None if value is None or math.isnan(value) else float(value)


def age_text(seconds: float) -> str:
    """`3 s`, `4 min`, `2 h`, `5 days`."""
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{max(0.0, seconds) / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def digits(value: float) -> str:
    """Three digits that count; whole numbers in full."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.1e}"


def _with_suffix(text: str, suffix: str) -> str:
    return f"{text} {suffix}" if suffix and not suffix.startswith("/") else f"{text}{suffix}"


def _ends(value: KpiValue) -> tuple[float, float]:
    assert value.value is not None, "only called with a value"
    if value.low is None and value.high is None:
        return (value.value, value.value) if counted(value.method) else (-math.inf, math.inf)
    return (-math.inf if value.low is None else value.low, math.inf if value.high is None else value.high)
