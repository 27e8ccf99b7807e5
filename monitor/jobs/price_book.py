"""The price book: which price a model of a provider had when, from own entries first and genai-prices after them.

Prices are dated data, not code: own entries have their days, the bundled book its start dates and hours of the day. A book
answers with rows of whole validity, `[valid_from, valid_until)`, so that the store can join calls to them by time. Its
version names all that an answer depends on; the same version gives the same cents.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from importlib.metadata import version
from typing import Final

from genai_prices import data
from genai_prices.data_snapshot import DataSnapshot
from genai_prices.types import (
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)  # fmt: skip

from monitor.errors import ConfigError
from monitor.settings import OwnPrice, PriceSettings, TokenPrices
from monitor.stats.pricing import Tier, femto_per_token

ALWAYS: Final = datetime(1970, 1, 1, tzinfo=UTC)
FOREVER: Final = datetime(2100, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
_BATCH: Final = {"processing": "batch"}
# OpenTelemetry's names of providers that the bundled book knows by another, or would take for another.
_RENAMED: Final = {"azure.ai.openai": "azure", "azure.ai.inference": "azure", "aws.bedrock": "aws"}
_PARTS: Final = ("input", "output", "cached", "cache_write", "reasoning")
_BUNDLED_PARTS: Final = {
    "input": "input_mtok", "output": "output_mtok", "cached": "cache_read_mtok", "cache_write": "cache_write_mtok",
    "reasoning": "output_reasoning_mtok",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PriceRow:
    """The price of one model over a stretch of time; `batch` says whether of calls in a batch."""

    provider: str
    model: str
    batch: bool
    valid_from: datetime
    valid_until: datetime
    marginal: bool
    tiers: tuple[Tier, ...]
    source: str


@dataclass(frozen=True, kw_only=True)
class _Price:
    tiers: tuple[Tier, ...]
    marginal: bool
    source: str


class PriceBook:
    """Answers what models cost.

    Parameters
    ----------
    settings : PriceSettings

    Raises
    ------
    ConfigError
        If the bundled book is to be used and its currency cannot be converted.
    """

    def __init__(self, settings: PriceSettings) -> None:
        self._settings = settings
        # A snapshot of its own: what a process may have set or fetched elsewhere changes nothing here.
        self._snapshot = DataSnapshot(providers=data.providers, from_auto_update=False)
        if settings.bundled:
            try:
                self._usd = settings.rate("USD")
            except ValueError:
                raise ConfigError(
                    f"`prices.currency` is {settings.currency}, and the bundled price book is in USD; add the rate of USD to"
                    " `prices.rates`, or set `prices.bundled` to false"
                ) from None

    @property
    def version(self) -> str:
        """Name of all that prices depend on."""
        own = json.dumps(self._settings.model_dump(mode="json"), sort_keys=True)
        digest = hashlib.sha256(own.encode()).hexdigest()[:12]
        return f"genai-prices {version('genai-prices')}, own {digest}" if self._settings.bundled else f"own {digest}"

    def rows(self, provider: str, model: str, start: datetime, end: datetime) -> list[PriceRow]:
        """Prices of a model within [start, end), each with its whole validity; nothing where it has none.

        Prices that change with the hour of the day are cut at each change.
        """
        found = []
        for batch in (False, True):
            moments = self._moments(provider, model, start, end)
            for valid_from, valid_until in itertools.pairwise(moments):
                price = self._price(provider, model, valid_from if valid_from > ALWAYS else valid_until - _DAY, batch)
                if price is None or valid_until <= start or valid_from >= end:
                    continue
                found.append(
                    PriceRow(
                        provider=provider,
                        model=model,
                        batch=batch,
                        valid_from=valid_from,
                        valid_until=valid_until,
                        marginal=price.marginal,
                        tiers=price.tiers,
                        source=price.source,
                    )
                )
        return found

    def _moments(self, provider: str, model: str, start: datetime, end: datetime) -> list[datetime]:
        """Times at which the price may change, ascending, from always to forever."""
        moments = {ALWAYS, FOREVER}
        for entry in self._fitting(provider, model):
            moments |= {_midnight(day) for day in (entry.valid_from, entry.valid_until) if day is not None}
        known = self._bundled(provider, model)
        for constraint in _constraints(known[1]) if known else ():
            if isinstance(constraint, StartDateConstraint):
                moments.add(_midnight(constraint.start_date))
            else:
                moments |= set(_daily(constraint, start, end))
        return sorted(moments)

    def _price(self, provider: str, model: str, moment: datetime, batch: bool) -> _Price | None:
        for entry in self._fitting(provider, model):
            begins, ends = entry.valid_from or date.min, entry.valid_until or date.max
            if begins <= moment.date() < ends:
                return self._own_price(entry, batch)
        known = self._bundled(provider, model)
        return None if known is None else self._bundled_price(*known, moment, batch)

    def _fitting(self, provider: str, model: str) -> Iterator[OwnPrice]:
        for entry in self._settings.own:
            if _fits(entry.provider, provider) and _fits(entry.model, model):
                yield entry

    def _own_price(self, entry: OwnPrice, batch: bool) -> _Price:
        rate = self._settings.rate(entry.currency)
        factor = rate * (1 - entry.batch_discount) if batch else rate
        request = femto_per_token(entry.request * 1_000_000, rate=factor)
        tiers: list[Tier] = []
        lower: TokenPrices = entry
        for above, prices in [(0, entry), *((tier.above, tier) for tier in entry.tiers)]:
            # What a tier does not say is as in the tier below it.
            lower = lower.model_copy(
                update={part: value for part in _PARTS if (value := getattr(prices, part)) is not None}
            )
            values = {part: getattr(lower, part) for part in _PARTS}
            tiers.append(_tier(above, {k: v and femto_per_token(v, rate=factor) for k, v in values.items()}, request))
        return _Price(tiers=tuple(tiers), marginal=entry.tier_mode == "marginal", source="own")

    def _bundled(self, provider: str, model: str) -> tuple[Provider, ModelInfo] | None:
        # Without a provider nobody knows whether a model of that name was rented or runs on the user's own machines.
        if not self._settings.bundled or not provider or not model:
            return None
        try:
            return self._snapshot.find_provider_model(model, None, _RENAMED.get(provider, provider), None)
        except LookupError:
            return None

    def _bundled_price(self, provider: Provider, model: ModelInfo, moment: datetime, batch: bool) -> _Price | None:
        varies = batch and any(model is each for each in provider.models)
        prices = model.get_prices(moment, _BATCH if varies else None)
        if prices.input_mtok is None and prices.output_mtok is None:
            return None  # by the second, the page or the picture: nothing that is known of a call
        request = prices.requests_kcount
        each = 0 if request is None else femto_per_token(_base(request) * 1000, rate=self._usd)
        tiers = []
        for above in _starts(prices):
            values = {part: _at(getattr(prices, name), above) for part, name in _BUNDLED_PARTS.items()}
            converted = {k: None if v is None else femto_per_token(v, rate=self._usd) for k, v in values.items()}
            tiers.append(_tier(above, converted, each))
        return _Price(tiers=tuple(tiers), marginal=False, source="genai-prices")


def _tier(above: int, femto: dict[str, int | None], request: int) -> Tier:
    read, written = femto["input"] or 0, femto["output"] or 0
    cached, cache_write, reasoning = femto["cached"], femto["cache_write"], femto["reasoning"]
    return Tier(
        above=above,
        input=read,
        output=written,
        cached=read if cached is None else cached,
        cache_write=read if cache_write is None else cache_write,
        reasoning=written if reasoning is None else reasoning,
        request=request,
    )


def _base(price: Decimal | TieredPrices) -> Decimal:
    return price.base if isinstance(price, TieredPrices) else price


def _at(price: Decimal | TieredPrices | None, above: int) -> Decimal | None:
    """Price of a request with one input token more than `above`."""
    if not isinstance(price, TieredPrices):
        return price
    reached = [tier.price for tier in price.tiers if above + 1 > tier.start] if above else []
    return reached[-1] if reached else price.base


def _starts(prices: ModelPrice) -> list[int]:
    values = [getattr(prices, name) for name in _BUNDLED_PARTS.values()]
    return sorted({0, *(tier.start for value in values if isinstance(value, TieredPrices) for tier in value.tiers)})


def _constraints(model: ModelInfo) -> Iterator[StartDateConstraint | TimeOfDateConstraint]:
    priced = model.prices if isinstance(model.prices, list) else []
    for each in (*priced, *(model.price_variants or ())):
        if each.constraint is not None:
            yield each.constraint


def _daily(constraint: TimeOfDateConstraint, start: datetime, end: datetime) -> Iterator[datetime]:
    # From a day before to a day after: each answer holds from one change to the next, whatever was asked.
    day = start.astimezone(UTC).date() - _DAY
    while day <= end.astimezone(UTC).date() + _DAY:
        for moment in (constraint.start_time, constraint.end_time):
            yield datetime.combine(day, moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        day += _DAY


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _fits(pattern: str, name: str) -> bool:
    return fnmatchcase(name.lower(), pattern.lower())


def row_values(book: str, row: PriceRow, inserted: int) -> list[Sequence[object]]:
    """Rows of the table `prices`, one per tier, in the order of `PRICE_COLUMNS`."""
    return [
        (
            book, row.provider, row.model, row.batch, row.valid_from, row.valid_until, tier.above, row.marginal, tier.input,
            tier.cached, tier.cache_write, tier.output, tier.reasoning, tier.request, row.source, inserted,
        )
        for tier in row.tiers
    ]  # fmt: skip


PRICE_COLUMNS: Final = (
    "book", "provider", "model", "batch", "valid_from", "valid_until", "above", "marginal", "input", "cached",
    "cache_write", "output", "reasoning", "request", "source", "version",
)  # fmt: skip
