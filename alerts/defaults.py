"""Rules that are there without any configuration. A rule of the file or the dashboard with the same name changes or switches one off.

None of them fires in a new store or on quiet traffic: each asks for enough calls, or for something that has gone wrong.
"""

from __future__ import annotations

from typing import Any, Final

from monitor.settings import Settings
from monitor.settings.alerts import CONDITIONS

DEFAULTS: Final[tuple[dict[str, Any], ...]] = (
    {
        "name": "error-rate",
        "kpi": "traffic.error_rate",
        "by": ["service", "model"],
        "window": "5m",
        "above": "5 %",
        "recover": "3 %",
        "confident": True,
        "for": "1m",
        "keep_firing_for": "2m",
        "min_samples": 50,
        "severity": "page",
    },
    {
        "name": "first-token-slower",
        "kpi": "latency.ttft.p95",
        "by": ["service", "model"],
        "window": "15m",
        "change": {"against": "last_week", "relative": "50 %", "absolute": 0.1, "apart": True},
        "for": "5m",
        "keep_firing_for": "5m",
        "min_samples": 200,
    },
    {"name": "burn", "objective": "*"},
    {
        "name": "calls-lost",
        "kpi": "traffic.completeness",
        "window": "30m",
        "below": 1,
        "for": "10m",
        "min_samples": 100,
    },
    {
        "name": "node-silent",
        "kpi": "traffic.requests",
        "by": ["node"],
        "window": "10m",
        # By chance a node that should have had 30 calls gets none once in 10^13 times.
        "absent": {"within": "24h", "expected": 30},
        "for": "1m",
    },
    {"name": "drift", "kpi": "drift.drifted_features", "window": "2h", "above": 0},
    {"name": "unfair", "kpi": "bias.unfair_gaps", "window": "2h", "above": 0},
    {"name": "budget-used", "kpi": "cost.budget_used", "window": "24h", "above": "90 %"},
    {"name": "unpriced-calls", "kpi": "cost.unpriced", "window": "24h", "above": 0, "for": "1h"},
    {"name": "job-failing", "health": "jobs", "for": "2m"},
    {"name": "rule-failing", "health": "rules", "for": "2m"},
    {"name": "watchdog", "always": True, "severity": "info", "enabled": False},
)
BY_NAME: Final = {rule["name"]: rule for rule in DEFAULTS}


def laid_over_default(given: dict[str, Any]) -> dict[str, Any]:
    """A rule that has the name of a default: what it says counts, the rest is the default's."""
    default = BY_NAME.get(str(given.get("name")))
    if default is None:
        return given
    kept = dict(default)
    if any(key in given for key in CONDITIONS):
        # Another condition has another way to be over.
        for key in (*CONDITIONS, "recover"):
            kept.pop(key, None)
    if given.get("kpi", kept.get("kpi")) != kept.get("kpi"):
        kept.pop("by", None)
    return kept | given


def makes_sense(name: str, settings: Settings) -> bool:
    """Whether a default is of use as things are configured."""
    if name == "unpriced-calls":  # where nobody gave a price, no call has one
        return bool(settings.fleet or settings.budgets or settings.prices.own)
    return True
