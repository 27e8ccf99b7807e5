"""What tokens cost: the user's own prices, and the currency that all costs are told in."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from monitor.settings.section import Section

Amount = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class TokenPrices(Section):
    """Prices per million tokens; what is not said falls back: `cached` and `cache_write` to `input`, `reasoning` to `output`."""

    input: Amount | None = Field(None, description="Price of a million input tokens.")
    output: Amount | None = Field(None, description="Price of a million output tokens.")
    cached: Amount | None = Field(None, description="Price of a million input tokens that were read from a cache.")
    cache_write: Amount | None = Field(
        None, description="Price of a million input tokens that were written to a cache."
    )
    reasoning: Amount | None = Field(None, description="Price of a million output tokens of reasoning.")


class PriceTier(TokenPrices):
    above: int = Field(gt=0, description="The tier begins with the input token after this many of one request.")


class OwnPrice(TokenPrices):
    provider: str = Field("*", description="Pattern of the provider's name (`*` stands for anything); no case.")
    model: str = Field(description="Pattern of the model's name; no case.")
    valid_from: date | None = Field(None, description="First day (UTC) of this price; empty: always was.")
    valid_until: date | None = Field(
        None, description="First day (UTC) on which it no longer holds; empty: still does."
    )
    request: Amount = Field(Decimal(0), description="Price of one request, beside that of its tokens.")
    tiers: list[PriceTier] = Field([], description="Other prices of requests with more input tokens, ascending.")
    tier_mode: Literal["cliff", "marginal"] = Field(
        "cliff",
        description="`cliff`: the tier that is reached prices the whole request; `marginal`: its share above only.",
    )
    batch_discount: Amount = Field(Decimal(0), le=1, description="Share that is taken off calls of a batch.")
    currency: str = Field(
        "", pattern=r"^([A-Z]{3})?$", description="Currency of these prices; empty: that of `prices`."
    )

    @model_validator(mode="after")
    def _complete(self) -> OwnPrice:
        if self.input is None and self.output is None and not self.request:
            raise ValueError("gives no price; set `input`, `output` or `request`")
        if self.valid_from and self.valid_until and self.valid_until <= self.valid_from:
            raise ValueError("ends (`valid_until`) before it begins (`valid_from`)")
        if [tier.above for tier in self.tiers] != sorted({tier.above for tier in self.tiers}):
            raise ValueError("has `tiers` whose `above` do not ascend; sort them")
        return self


class PriceSettings(Section):
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$", description="Currency that all costs are told in.")
    rates: dict[str, Amount] = Field(
        {},
        description="Fixed rates of conversion: units of `currency` for one of another; prices of the bundled book are in USD.",
    )
    bundled: bool = Field(
        True,
        description="Whether the price book of genai-prices, as it was installed, is asked where `own` says nothing.",
    )
    own: list[OwnPrice] = Field(
        [], description="Own dated prices; the first that fits a call counts, before any other price."
    )

    @field_validator("rates")
    @classmethod
    def _codes(cls, rates: dict[str, Decimal]) -> dict[str, Decimal]:
        for code, rate in rates.items():
            if len(code) != 3 or not code.isalpha() or not code.isupper():
                raise ValueError(f"`{code}` is no currency code such as EUR")
            if not rate:
                raise ValueError(f"the rate of {code} must be above 0")
        return rates

    @model_validator(mode="after")
    def _convertible(self) -> PriceSettings:
        for entry in self.own:
            if entry.currency:
                self.rate(entry.currency)
        return self

    def rate(self, currency: str) -> Decimal:
        """Units of our currency for one of `currency`.

        Raises
        ------
        ValueError
            If no rate is configured.
        """
        if currency in ("", self.currency):
            return Decimal(1)
        if currency not in self.rates:
            raise ValueError(f"has no rate from {currency} to {self.currency}; add it to `prices.rates`")
        return self.rates[currency]
