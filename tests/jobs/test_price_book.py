"""The price book against genai-prices itself, published check values, and prices worked by hand."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price, data

from monitor.errors import ConfigError
from monitor.jobs.price_book import ALWAYS, FOREVER, PriceBook, PriceRow
from monitor.settings import OwnPrice, PriceSettings, PriceTier
from monitor.stats.pricing import NANO, Tokens, cost_nano

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
BUNDLED = PriceBook(PriceSettings())


def price(
    book: PriceBook, provider: str, model: str, moment: datetime = NOW, *, batch: bool = False
) -> PriceRow | None:
    rows = [
        row for row in book.rows(provider, model, moment, moment.replace(minute=59)) if row.batch == batch
        and row.valid_from <= moment < row.valid_until
    ]  # fmt: skip
    assert len(rows) <= 1
    return rows[0] if rows else None


def cost(row: PriceRow | None, tokens: Tokens) -> int | None:
    assert row is not None
    return cost_nano(tokens, row.tiers, marginal=row.marginal)


def test_the_check_value_of_genai_prices() -> None:
    row = price(BUNDLED, "anthropic", "claude-sonnet-4-5")
    assert cost(row, Tokens(input=1000, cached=500, output=100)) == 3_150_000  # 0.00315 USD


@pytest.mark.parametrize("batch", [False, True])
def test_every_bundled_model_costs_what_genai_prices_says(batch: bool) -> None:
    g = random.Random(7)
    context = {"processing": "batch"} if batch else None
    compared = 0
    for provider in data.providers:
        for model in provider.models:
            moment = datetime(
                2026, g.randint(1, 11), g.randint(1, 28), g.randint(0, 23), g.choice([0, 29, 31]), tzinfo=UTC
            )
            row = price(BUNDLED, provider.id, model.id, moment, batch=batch)
            if row is None:
                continue
            read = g.choice([0, 1, 900, 128_000, 200_000, 200_001, 272_001, 1_000_000])
            cached = g.randint(0, read // 2)
            written = g.randint(0, read - cached)
            out = g.randint(0, 5000)
            thought = g.randint(0, out)
            usage = Usage(
                input_tokens=read, cache_read_tokens=cached, cache_write_tokens=written, output_tokens=out,
                output_reasoning_tokens=thought,
            )  # fmt: skip
            try:
                wanted = calc_price(
                    usage, model.id, provider_id=provider.id, genai_request_timestamp=moment, price_context=context
                ).total_price
            except ValueError:  # it also has prices by modality, and demands to know how the tokens divide
                continue
            tokens = Tokens(input=read, cached=cached, cache_write=written, output=out, reasoning=thought)
            found = cost(row, tokens)
            assert found is not None
            # Half a nano-unit, and half a femto-unit for each token where a price has more than nine decimals.
            assert abs(found - wanted * NANO) <= Decimal("0.5") + Decimal("0.0000005") * (read + out), (
                provider.id,
                model.id,
                row,
                usage,
                moment,
            )
            compared += 1
    assert compared > 1500


def test_unknown_is_no_price() -> None:
    assert BUNDLED.rows("openai", "no-such-model", NOW, NOW) == []
    assert BUNDLED.rows("vllm", "gpt-4o", NOW, NOW) == []
    assert BUNDLED.rows("", "gpt-4o", NOW, NOW) == []
    row = price(BUNDLED, "anthropic", "claude-sonnet-4-5")
    assert cost(row, Tokens(input=None, output=5)) is None
    assert cost(row, Tokens(input=5, output=None)) is None


def test_hours_of_the_day_and_start_dates_change_prices() -> None:
    day, night = (price(BUNDLED, "deepseek", "deepseek-chat", datetime(2026, 11, 20, h, tzinfo=UTC)) for h in (12, 20))
    assert day is not None
    assert night is not None
    assert day.tiers[0].input == 2 * night.tiers[0].input == 270_000_000
    assert (day.valid_from.hour, day.valid_from.minute, day.valid_until.hour) == (0, 30, 16)
    # The same row, whatever stretch was asked for.
    again = BUNDLED.rows(
        "deepseek", "deepseek-chat", datetime(2026, 11, 18, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC)
    )
    assert day in again
    assert night in again


def own(**keys: object) -> PriceBook:
    entry = OwnPrice.model_validate({"model": "llama*", "input": "2", "output": "8", **keys})
    return PriceBook(PriceSettings(own=[entry], rates={"EUR": Decimal("1.1")}))


def test_own_prices_win_and_have_their_days() -> None:
    book = PriceBook(
        PriceSettings(
            own=[
                OwnPrice(provider="openai", model="GPT-4o*", input=Decimal(9), valid_from=date(2026, 3, 1), valid_until=date(2026, 4, 1)),
                OwnPrice(model="gpt-4o", input=Decimal(1), output=Decimal(1), valid_until=date(2026, 3, 10)),
            ]
        )
    )  # fmt: skip
    at = {
        day: price(book, "openai", "gpt-4o", datetime(2026, *day, tzinfo=UTC))
        for day in [(2, 28), (3, 1), (3, 31), (4, 1)]
    }
    assert [row and (row.source, row.tiers[0].input // NANO) for row in at.values()] == [
        ("own", 1), ("own", 9), ("own", 9), ("genai-prices", 2),
    ]  # fmt: skip
    rows = [row for row in book.rows("openai", "gpt-4o", ALWAYS, FOREVER) if not row.batch]
    assert all(a.valid_until == b.valid_from for a, b in itertools.pairwise(rows))
    assert (rows[0].valid_from, rows[-1].valid_until) == (ALWAYS, FOREVER)


@pytest.mark.parametrize(
    ("keys", "tokens", "nano"),
    [
        ({}, Tokens(input=1000, output=100), 2_800_000),
        ({}, Tokens(input=1000, cached=400, output=100), 2_800_000),
        ({"cached": "0.5"}, Tokens(input=1000, cached=400, output=100), 1_200_000 + 200_000 + 800_000),
        ({"cache_write": "3"}, Tokens(input=1000, cache_write=400, output=0), 1_200_000 + 1_200_000),
        ({"reasoning": "20"}, Tokens(input=0, output=100, reasoning=60), 320_000 + 1_200_000),
        ({"request": "0.01"}, Tokens(input=0, output=0), 10_000_000),
        ({"currency": "EUR"}, Tokens(input=1000, output=0), 2_200_000),
        ({"input": "0.0375"}, Tokens(input=3, output=0), 113),  # 112.5 is rounded up
        ({"tiers": [{"above": 1000, "input": "4"}]}, Tokens(input=1000, output=100), 2_800_000),
        ({"tiers": [{"above": 1000, "input": "4"}]}, Tokens(input=1001, output=100), 4_004_000 + 800_000),
        (
            {"tiers": [{"above": 1000, "input": "4", "output": "16"}], "tier_mode": "marginal"},
            Tokens(input=4000, output=100),
            # A quarter of the request at the lower prices, three quarters at the higher ones.
            2_000_000 + 12_000_000 + 200_000 + 1_200_000,
        ),
    ],
    ids=["plain", "cached as input", "cached", "cache write", "reasoning", "request", "currency", "halves", "at", "cliff", "marginal"],
)  # fmt: skip
def test_worked_by_hand(keys: dict[str, object], tokens: Tokens, nano: int) -> None:
    assert cost(price(own(**keys), "any", "Llama-3"), tokens) == nano


def test_batches_are_cheaper() -> None:
    book = own(batch_discount="0.5", request="0.01")
    assert cost(price(book, "", "llama", batch=True), Tokens(input=1000, output=100)) == 1_400_000 + 5_000_000
    row = price(BUNDLED, "anthropic", "claude-haiku-4-5", batch=True)
    assert cost(row, Tokens(input=1_000_000, output=0)) == NANO // 2


def test_the_version_names_all_that_counts() -> None:
    one, other = (
        PriceSettings(),
        PriceSettings(own=[OwnPrice(model="x", input=Decimal(1), tiers=[PriceTier(above=5, input=Decimal(2))])]),
    )
    assert PriceBook(one).version == PriceBook(PriceSettings()).version
    assert PriceBook(one).version != PriceBook(other).version
    assert "genai-prices 0." in PriceBook(one).version
    with pytest.raises(ConfigError, match="rate of USD"):
        PriceBook(PriceSettings(currency="EUR"))
