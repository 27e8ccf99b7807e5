"""A mixed workload: API calls and own nodes, what is known and what is not, and what it costs, computed row by row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from genai_prices import Usage, calc_price

from monitor.settings import Budget, NodeRate, OwnPrice, PriceSettings, PriceTier, Settings
from monitor.store import Client

START = datetime(2026, 3, 2, 10, tzinfo=UTC)
HOURS = 3
END = START + timedelta(hours=HOURS)
NOW = END + timedelta(minutes=20)

OWN = OwnPrice(
    model="house-*",
    input=Decimal("0.35"),
    output=Decimal("1.4"),
    cached=Decimal("0.07"),
    tiers=[PriceTier(above=2000, input=Decimal("0.7"), output=Decimal("2.1"))],
    tier_mode="marginal",
    batch_discount=Decimal("0.5"),
    currency="EUR",
)
RATES: Mapping[str, Decimal] = {"timed": Decimal("3.21"), "counted": Decimal("1.07"), "spare": Decimal("0.9")}
SETTINGS = Settings(
    prices=PriceSettings(own=[OWN], rates={"EUR": Decimal("1.0825")}),
    fleet=[
        NodeRate(nodes=["timed-*"], rate=Decimal("3.21"), kind="on_demand", gpus=2),
        NodeRate(nodes=["counted"], rate_per_gpu=RATES["counted"], kind="reserved", valid_from=START.date()),
        NodeRate(nodes=["spare"], purchase=Decimal("31557.6"), lifetime_years=Decimal(4), kind="owned", valid_from=START.date()),
    ],
    budgets=[Budget(name="all", amount=Decimal(100)), Budget(name="chat", where={"service": "chat"}, amount=Decimal("0.01"))],
)  # fmt: skip


def calls(n: int = 900, *, seed: int = 5, weights: tuple[float, ...] = (1.0,)) -> pd.DataFrame:
    """Random calls; `kind` says how each is paid for."""
    g = np.random.default_rng(seed)
    kind = g.choice(["house", "claude", "nowhere", "told", "timed-1", "timed-2", "counted", "strange"], n)
    node = np.where(np.isin(kind, ["timed-1", "timed-2", "counted", "strange"]), kind, "")
    on_node = node != ""
    read, out = g.integers(1, 6000, n), g.integers(0, 800, n)
    timed = np.char.startswith(kind.astype(str), "timed")
    failed = g.random(n) < 0.06
    frame = pd.DataFrame(
        {
            "timestamp": [START + timedelta(microseconds=int(us)) for us in g.integers(0, HOURS * 3_600_000_000, n)],
            "trace_id": [f"{i:032x}" for i in range(1, n + 1)],
            "span_id": [f"{i:016x}" for i in range(1, n + 1)],
            "role": "client",
            "service": g.choice(["chat", "search"], n),
            "provider": np.select([kind == "claude", on_node], ["anthropic", "vllm"], "somebody"),
            "model": np.select([kind == "claude", kind == "house", on_node], ["claude-sonnet-4-5", "House-7B", "llama"], "no-such-model"),
            "node": node,
            "pricing": np.select([kind == "timed-2", kind == "strange", on_node], ["on_demand", "spot", ""], "per_token"),
            "input_tokens": np.where(g.random(n) < 0.05, np.nan, read),
            "cached_tokens": np.where(g.random(n) < 0.5, np.nan, read // 3),
            "output_tokens": np.where((g.random(n) < 0.05) & (kind != "counted"), np.nan, out),
            "prefill_s": np.where(timed & ~failed, g.exponential(0.2, n).round(6), np.nan),
            "decode_s": np.where(timed & ~failed, g.exponential(3, n).round(6), np.nan),
            "duration_s": g.exponential(12, n).round(6),
            "error_type": np.where(failed, "timeout", ""),
            "sample_weight": g.choice(weights, n),
            "cost_usd": np.where(kind == "told", g.random(n).round(6), np.nan),
            "cohorts": [{"processing": "batch"} if batch else {} for batch in g.random(n) < 0.2],
            "session_id": [f"s{i}" if i else "" for i in g.integers(0, 40, n)],
            "user_id": "u",
            "kind": kind,
        }
    )  # fmt: skip
    frame.loc[frame["kind"] == "counted", "input_tokens"] = read[frame["kind"] == "counted"]
    return frame


def store(client: Client, frame: pd.DataFrame) -> None:
    """Write them as facts."""
    rows = frame.drop(columns=["kind"])
    whole = ("input_tokens", "cached_tokens", "output_tokens")

    def value(name: str, given: Any) -> Any:
        if not isinstance(given, dict) and pd.isna(given):
            return None
        return int(given) if name in whole else given

    names = list(rows.columns)
    data = [[value(name, each) for name, each in zip(names, row, strict=True)] for row in rows.itertuples(index=False)]
    client.insert("inferences", data, column_names=names)


def token_cost(row: Any) -> Fraction | None:
    """Cost of one call of an API in USD, without its weight; by Decimal and Fraction, from the prices as they are written above."""
    known = not (pd.isna(row.input_tokens) or pd.isna(row.output_tokens))
    batch = row.cohorts.get("processing") == "batch"
    if row.kind == "told":
        return Fraction(str(row.cost_usd))
    if row.kind == "nowhere" or not (known or row.error_type):
        return None
    read = 0 if pd.isna(row.input_tokens) else int(row.input_tokens)
    out = 0 if pd.isna(row.output_tokens) else int(row.output_tokens)
    cached = 0 if pd.isna(row.cached_tokens) else int(row.cached_tokens)
    if row.kind == "claude":
        usage = Usage(input_tokens=max(read, cached), cache_read_tokens=cached, output_tokens=out)
        context = {"processing": "batch"} if batch else None
        found = calc_price(
            usage, row.model, provider_id="anthropic", genai_request_timestamp=row.timestamp, price_context=context
        )
        return Fraction(found.total_price)
    plain = max(read - cached, 0)
    lower = plain * Fraction("0.35") + cached * Fraction("0.07") + out * Fraction("1.4")
    upper = plain * Fraction("0.7") + cached * Fraction("0.07") + out * Fraction("2.1")
    above = Fraction(max(read - 2000, 0), read) if read else Fraction(0)
    return (lower * (1 - above) + upper * above) / 10**6 * Fraction("1.0825") * (Fraction(1, 2) if batch else 1)


def occupied(starts: list[int], ends: list[int]) -> int:
    """Length of the union, by sweeping over all edges."""
    edges = sorted([(s, 1) for s in starts] + [(e, -1) for e in ends])
    total = depth = last = 0
    for at, change in edges:
        total += at - last if depth else 0
        depth, last = depth + change, at
    return total


def work(rows: pd.DataFrame) -> pd.Series:
    """What each call on a node took of it: seconds where it is timed, else tokens; times the calls that it stands for."""
    if rows["kind"].iloc[0].startswith("timed"):
        taken = (rows["prefill_s"] + rows["decode_s"]).fillna(0)
    else:
        taken = (rows["input_tokens"] - rows["cached_tokens"].fillna(0)).clip(lower=0) + 4 * rows["output_tokens"]
    return taken * rows["sample_weight"]
