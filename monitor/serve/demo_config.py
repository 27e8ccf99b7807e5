"""The demo's configuration: the packaged file, with what only the moment of its begin decides."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

import numpy as np

from collectors.simulate.dress import API_INPUT_USD, API_OUTPUT_USD
from collectors.simulate.scenario import DAY, Scenario
from collectors.simulate.workload import NS, azure_trace
from collectors.simulate.world import load
from monitor.settings.load import read_yaml

# The budget is what the month so far would have cost at the old price, and so much more.
ROOM: Final = 1.02
PROVIDER_BUDGET: Final = "provider"


def demo_values(scenario: Scenario, now: datetime) -> dict[str, Any]:
    """What the demo is configured with, as values that a file may be laid over.

    Parameters
    ----------
    scenario : Scenario
        What happens in the demo.
    now : datetime
        When it begins.
    """
    text = files("monitor.serve").joinpath("data/demo.yaml").read_text(encoding="utf-8")
    values: dict[str, Any] = read_yaml(text)
    for budget in values["budgets"]:
        if budget["name"] == PROVIDER_BUDGET:
            budget["amount"] = round(ROOM * month_so_far_usd(scenario, now), 2)
    return values


def month_so_far_usd(scenario: Scenario, now: datetime) -> float:
    """What the provider's calls of the demo's history in this calendar month would have cost at its old price."""
    trace = azure_trace()
    per_call = (
        (trace.input_tokens.sum() * API_INPUT_USD + trace.output_tokens.sum() * API_OUTPUT_USD) / 1e6 / len(trace)
    )
    hour_s = float(trace.arrival_ns[-1]) / NS
    month_s = (now - datetime(now.year, now.month, 1, tzinfo=UTC)).total_seconds()
    before_s = max(0.0, min(month_s, scenario.days * DAY) - hour_s)
    grid = np.arange(-hour_s - before_s, -hour_s, 60.0)
    busy_s = hour_s + float(load(grid).sum()) * 60.0
    return float(per_call * len(trace) / hour_s * busy_s * scenario.api_share)
