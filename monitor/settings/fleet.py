"""What machines cost by the hour, and what may be spent by the month."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Literal

from pydantic import Field, model_validator

from monitor.settings.prices import Amount
from monitor.settings.section import Section

HOURS_A_YEAR = Decimal("8766")  # 365.25 days
WILD = frozenset("*?[")


class NodeRate(Section):
    nodes: list[str] = Field(["*"], min_length=1, description="Names of nodes, or patterns of names.")
    deployment: str = Field("", description="Only nodes whose calls say this deployment; empty: any.")
    pricing: str = Field("", description="Only nodes whose calls say this pricing; empty: any.")
    gpu: str = Field("", description="Only nodes whose calls or samples name such a GPU (pattern); empty: any.")
    kind: Literal["owned", "reserved", "on_demand", "spot", "serverless"] = Field(
        "on_demand", description="How the nodes are paid for."
    )
    rate: Amount | None = Field(None, description="Price of one node for one hour.")
    rate_per_gpu: Amount | None = Field(None, description="Price of one GPU for one hour, instead of `rate`.")
    gpus: int | None = Field(None, ge=1, description="GPUs of one node; empty: as many as report, else 1.")
    purchase: Amount = Field(Decimal(0), description="What one node cost to buy, spread over `lifetime_years`.")
    lifetime_years: Amount = Field(Decimal(4), gt=0, description="Years over which the purchase is written off.")
    power_kw: Amount = Field(Decimal(0), description="Power that one node draws on average, in kW.")
    power_price: Amount = Field(Decimal(0), description="Price of one kWh.")
    pue: Amount = Field(Decimal(1), ge=1, description="Power of the whole site for one kW of the machines.")
    billed: Literal["always", "up"] | None = Field(
        None,
        description="`always`: each hour from `valid_from` until `valid_until`; `up`: minutes in which the node reported a GPU"
        " sample or had a call. Empty: `always` for owned and reserved nodes that are named in full, else `up`.",
    )
    valid_from: date | None = Field(None, description="First day (UTC) of this rate; empty: always was.")
    valid_until: date | None = Field(
        None, description="First day (UTC) on which it no longer holds; empty: still does."
    )
    currency: str = Field("", pattern=r"^([A-Z]{3})?$", description="Currency of the amounts; empty: that of `prices`.")

    @model_validator(mode="after")
    def _complete(self) -> NodeRate:
        given = [self.rate is not None, self.rate_per_gpu is not None, bool(self.purchase), bool(self.power_kw)]
        if not any(given):
            raise ValueError("gives no price; set `rate`, `rate_per_gpu`, `purchase` or `power_kw`")
        if self.rate is not None and self.rate_per_gpu is not None:
            raise ValueError("gives `rate` and `rate_per_gpu`; give one of the two")
        if self.billed == "always" and not self.named:
            raise ValueError("is billed `always`, so `nodes` must name each node: what is never seen costs too")
        if self.valid_from and self.valid_until and self.valid_until <= self.valid_from:
            raise ValueError("ends (`valid_until`) before it begins (`valid_from`)")
        return self

    @property
    def named(self) -> bool:
        return not any(WILD & set(node) for node in self.nodes)

    @property
    def always(self) -> bool:
        return self.billed == "always" or (self.billed is None and self.kind in ("owned", "reserved") and self.named)

    def hourly(self, gpus: int) -> Decimal:
        """Price of one node with so many GPUs for one hour, in the entry's currency: rent, write-off and power."""
        rent = (self.rate or Decimal(0)) + (self.rate_per_gpu or Decimal(0)) * gpus
        return rent + self.purchase / (self.lifetime_years * HOURS_A_YEAR) + self.power_kw * self.pue * self.power_price


class Budget(Section):
    name: str = Field(min_length=1, description="Name, as in `cost.budget_used`.")
    where: dict[str, str] = Field({}, description="What it is for: dimension: value; empty: everything.")
    amount: Amount = Field(gt=0, description="What may be spent in a calendar month (UTC), in `prices.currency`.")
