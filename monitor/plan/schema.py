"""What may stand in a catalogue file."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from monitor.stats.plan import Engine, Offer, owned_usd_per_hour

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Text
    as_of: date


class EngineEntry(Entry):
    """What one replica of a model does on some GPUs; see `monitor.stats.plan.Engine`."""

    model: Text
    gpu: Text
    gpus: int = Field(1, ge=1)
    prefill_tokens_per_s: Positive
    overhead_s: Price = 0.0
    tpot_s: Positive
    decode_tokens_per_s: Positive
    concurrency: int = Field(ge=1)

    def made(self) -> Engine:
        return Engine(**{**self.model_dump(exclude={"as_of"}), "as_of": self.as_of.isoformat()})


class OfferEntry(Entry):
    name: Text
    region: str = ""
    note: str = ""

    def common(self) -> dict[str, Any]:
        return {
            "name": self.name, "region": self.region, "note": self.note, "source": self.source,
            "as_of": self.as_of.isoformat(),
        }  # fmt: skip


class GpuEntry(OfferEntry):
    gpu: Text
    gpus: int = Field(1, ge=1, description="GPUs of an instance; only whole instances can be had")
    units_max: int | None = Field(None, ge=1, description="most instances that can be had")


class OwnedEntry(GpuEntry):
    kind: Literal["owned"]
    capex_usd: Price
    years: Positive
    residual_usd: Price = 0.0
    power_kw: Price = 0.0
    pue: float = Field(1.0, ge=1)
    usd_per_kwh: Price = 0.0
    staff_usd_per_month: Price = 0.0
    other_usd_per_month: Price = 0.0

    def made(self) -> Offer:
        costs = ("capex_usd", "years", "residual_usd", "power_kw", "pue", "usd_per_kwh", "staff_usd_per_month")
        hourly = owned_usd_per_hour(**{name: getattr(self, name) for name in (*costs, "other_usd_per_month")})
        return Offer(
            kind=self.kind, gpu=self.gpu, gpus=self.gpus, units_max=self.units_max, usd_per_hour=hourly,
            **self.common(),
        )  # fmt: skip


class RentedEntry(GpuEntry):
    kind: Literal["reserved", "on_demand", "spot", "serverless"]
    price: Price
    unit: Literal["gpu_hour", "instance_hour", "gpu_second", "instance_second"]
    start_s: Price = 0.0

    def made(self) -> Offer:
        hours = 3600 if self.unit.endswith("second") else 1
        gpus = self.gpus if self.unit.startswith("gpu") else 1
        details = {
            name: getattr(self, name)
            for name in ("interruptions_per_hour", "notice_s", "idle_s")
            if hasattr(self, name)
        }
        return Offer(
            kind=self.kind, gpu=self.gpu, gpus=self.gpus, units_max=self.units_max, start_s=self.start_s,
            usd_per_hour=self.price * hours * gpus, **details, **self.common(),
        )  # fmt: skip


class ReservedEntry(RentedEntry):
    kind: Literal["reserved"]


class OnDemandEntry(RentedEntry):
    kind: Literal["on_demand"]


class SpotEntry(RentedEntry):
    kind: Literal["spot"]
    interruptions_per_hour: Price
    notice_s: Price = 0.0


class ServerlessEntry(RentedEntry):
    kind: Literal["serverless"]
    idle_s: Price = 0.0


class PerTokenEntry(OfferEntry):
    kind: Literal["per_token"]
    model: Text
    input: Price
    output: Price
    unit: Literal["million_tokens"]
    ttft_p50_s: Positive
    ttft_p95_s: Positive
    tpot_s: Price = 0.0

    def made(self) -> Offer:
        return Offer(
            kind=self.kind, model=self.model, usd_per_million_input=self.input, usd_per_million_output=self.output,
            ttft_p50_s=self.ttft_p50_s, ttft_p95_s=self.ttft_p95_s, tpot_s=self.tpot_s, **self.common(),
        )  # fmt: skip


AnyOffer = Annotated[
    OwnedEntry | ReservedEntry | OnDemandEntry | SpotEntry | ServerlessEntry | PerTokenEntry,
    Field(discriminator="kind"),
]


class CatalogueFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_of: date
    currency: Literal["USD"] = "USD"
    engines: list[EngineEntry] = Field(default_factory=list)
    offers: list[AnyOffer] = Field(min_length=1)
