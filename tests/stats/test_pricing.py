"""Prices of single requests, in whole numbers, against fractions."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.stats.pricing import NANO, Tier, Tokens, cost_nano, femto_per_token

PRICE = st.integers(0, 10**11)
TIER = st.builds(
    Tier, input=PRICE, output=PRICE, cached=PRICE, cache_write=PRICE, reasoning=PRICE, request=st.integers(0, 10**12)
)
COUNT = st.integers(0, 2_000_000)
TOKENS = st.builds(
    lambda plain, cached, write, spoken, thought: Tokens(
        input=plain + cached + write, cached=cached, cache_write=write, output=spoken + thought, reasoning=thought
    ),
    COUNT, COUNT, COUNT, COUNT, COUNT,
)  # fmt: skip


def exact(tokens: Tokens, tier: Tier) -> Fraction:
    assert tokens.input is not None
    assert tokens.output is not None
    plain, spoken = tokens.input - tokens.cached - tokens.cache_write, tokens.output - tokens.reasoning
    femto = plain * tier.input + tokens.cached * tier.cached + tokens.cache_write * tier.cache_write
    femto += spoken * tier.output + tokens.reasoning * tier.reasoning + tier.request
    return Fraction(femto, 10**6)


@given(TOKENS, TIER)
def test_one_price(tokens: Tokens, tier: Tier) -> None:
    found = cost_nano(tokens, [tier])
    assert found is not None
    assert -Fraction(1, 2) < found - exact(tokens, tier) <= Fraction(1, 2)


@given(TOKENS, TIER, TIER, st.integers(1, 3_000_000))
def test_tiers(tokens: Tokens, lower: Tier, upper: Tier, above: int) -> None:
    upper = Tier(**{**vars(upper), "above": above})
    read = tokens.input or 0
    cliff = cost_nano(tokens, [lower, upper])
    assert cliff == cost_nano(tokens, [upper if read > above else lower])
    marginal = cost_nano(tokens, [lower, upper], marginal=True)
    part = Fraction(max(read - above, 0), read) if read else Fraction(0)
    assert marginal is not None
    assert abs(marginal - exact(tokens, lower) * (1 - part) - exact(tokens, upper) * part) <= Fraction(1, 2)


def test_a_marginal_tier_that_costs_the_same_changes_nothing() -> None:
    tier = Tier(input=3 * NANO, output=9 * NANO, cached=NANO, cache_write=4 * NANO, reasoning=9 * NANO)
    tokens = Tokens(input=12345, cached=45, output=67)
    assert cost_nano(tokens, [tier, Tier(**{**vars(tier), "above": 1000})], marginal=True) == cost_nano(tokens, [tier])


def test_unknown_tokens_are_no_zero() -> None:
    tier = Tier(input=NANO, output=0, cached=NANO, cache_write=NANO, reasoning=0)
    assert cost_nano(Tokens(input=None, output=4), [tier]) is None
    assert cost_nano(Tokens(input=4, output=None), [tier]) == 4000  # an embedding model: its output has no price


@pytest.mark.parametrize(
    ("per_million", "rate", "femto"),
    [("3", "1", 3 * NANO), ("0.0375", "1", 37_500_000), ("0.0375", "1.0825", 40_593_750), ("0.000000001", "1", 1)],
)
def test_femto_units(per_million: str, rate: str, femto: int) -> None:
    assert femto_per_token(Decimal(per_million), rate=Decimal(rate)) == femto
