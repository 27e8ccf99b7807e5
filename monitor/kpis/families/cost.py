"""What serving costs, in the currency of `prices.currency`."""

from __future__ import annotations

from typing import Final

from monitor.kpis.cost_estimators import (
    BudgetUsed,
    CostPer,
    CostPerGood,
    CostPerSession,
    CostTotal,
    MonthEnd,
    OfLedger,
    Unpriced,
)  # fmt: skip
from monitor.kpis.kpi import Kpi

KPIS: Final = (
    Kpi(
        name="cost.total",
        unit="currency",
        meaning=(
            "What the window cost: API calls by their tokens, machines by the hour, used or not. Unpriced calls are not in it."
        ),
        formula="Σ tokens · price + Σ node-hours · rate = Σ cost over calls + Σ idle",
        better="lower",
        source="costs",
        estimator=CostTotal(),
        window="24h",
    ),
    Kpi(
        name="cost.per_request",
        unit="currency/call",
        meaning="Cost of a request, idle machines included; the note says how much of it those are.",
        formula="cost.total / Σ sample_weight of the calls that have a cost",
        better="lower",
        source="costs",
        estimator=CostPer(of="weight", linear="wwc", square="ww", scale=1.0, what="call"),
        window="24h",
    ),
    Kpi(
        name="cost.per_million_tokens",
        unit="currency/Mtoken",
        meaning="Cost of a million tokens, read and written ones together, idle machines included.",
        formula="cost.total / Σ sample_weight · (input_tokens + output_tokens) of the calls that have a cost · 10⁶",
        better="lower",
        source="costs",
        estimator=CostPer(of="tokens", linear="wwct", square="wwtt", scale=1e6, what="token"),
        window="24h",
    ),
    Kpi(
        name="cost.per_session",
        unit="currency/session",
        meaning="Cost of the calls of a session; idle machines are not in it, as they belong to no session.",
        formula="Σ cost of calls with a session_id / number of different session_id",
        better="lower",
        source="session_costs",
        estimator=CostPerSession(),
        window="24h",
    ),
    Kpi(
        name="cost.per_goodput_request",
        unit="currency/call",
        meaning=(
            "What is paid for one request that was good, the others and idle machines included. Good is what `objective.goodput`"
            " counts; without an objective on latency, a call without an error that was not broken off."
        ),
        formula="cost.total / Σ sample_weight of good calls",
        better="lower",
        source="good_costs",
        estimator=CostPerGood(),
        window="24h",
    ),
    Kpi(
        name="cost.gpu_hour",
        unit="currency/h",
        meaning="Price of one hour of one GPU, over the hours that were billed.",
        formula="Σ cost of node-hours / Σ minutes billed · GPUs of the node / 60",
        better="lower",
        source="node_hours",
        estimator=OfLedger(name="gpu_hour", top="cost / 1e9", bottom="gpus * minutes / 60"),
        window="24h",
    ),
    Kpi(
        name="cost.idle_share",
        unit="1",
        meaning="Share of what machines cost during which no request was on them.",
        formula="Σ idle / Σ cost, over node-hours",
        better="lower",
        source="node_hours",
        estimator=OfLedger(name="idle", top="idle / 1e9", bottom="cost / 1e9", share=True),
        window="24h",
    ),
    Kpi(
        name="cost.unpriced",
        unit="call",
        meaning=(
            "Calls whose cost nobody knows: no price of the model, no rate of the node, or no tokens reported; `call_costs.reason`"
            " says which."
        ),
        formula="Σ sample_weight where cost is unknown",
        better="lower",
        source="costs",
        estimator=Unpriced(),
        window="24h",
        empty=0.0,
    ),
    Kpi(
        name="cost.forecast_month",
        unit="currency",
        meaning="What the calendar month (UTC) that the window ends in will have cost at its end.",
        formula="Σ cost of its hours so far + expected cost of the hours left",
        better="lower",
        source="month_costs",
        estimator=MonthEnd(),
        window="24h",
    ),
    Kpi(
        name="cost.budget_used",
        unit="1",
        meaning="Share of a month's budget that is spent; of several budgets, the one that is used most.",
        formula="max over budgets of Σ cost of the month so far / amount",
        better="lower",
        source="budgets",
        estimator=BudgetUsed(),
        window="24h",
    ),
)
