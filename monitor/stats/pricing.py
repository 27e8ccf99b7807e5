"""What one request costs by the token: whole numbers only, so that the same prices give the same cents everywhere.

Prices are held in femto-units (10⁻¹⁵ of the currency) per token, which is exact for prices per million tokens with up to
nine decimals; costs come out in nano-units (10⁻⁹), of which a call of ten tokens still has hundreds. The store computes
the same in SQL (`monitor.jobs.cost_sql`); this module is what it is tested against, and what prices a single request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

NANO: Final = 10**9
FEMTO_PER_NANO: Final = 10**6


def femto_per_token(per_million: Decimal, *, rate: Decimal = Decimal(1)) -> int:
    """Price of one token in femto-units, from one per million tokens and a rate of conversion."""
    return int((per_million * rate * NANO).to_integral_value(rounding=ROUND_HALF_EVEN))


@dataclass(frozen=True, kw_only=True)
class Tier:
    """Prices in femto-units per token, of requests with more than `above` input tokens; `request` is per request."""

    above: int = 0
    input: int
    output: int
    cached: int
    cache_write: int
    reasoning: int
    request: int = 0


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Tokens of one request: `input` holds the cached and the written ones, `output` those of reasoning. None: unknown."""

    input: int | None
    output: int | None
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


def cost_nano(tokens: Tokens, tiers: Sequence[Tier], *, marginal: bool = False) -> int | None:
    """Cost of one request.

    Parameters
    ----------
    tokens : Tokens
    tiers : sequence of Tier
        Ascending by `above`; the first begins at 0.
    marginal : bool
        False, as providers do (a cliff): the highest tier that the input tokens exceed prices the whole request. True:
        each tier prices the share of the request that the input tokens within it are of all input tokens; output and
        cached tokens are shared in the same proportion, since nobody can say which tier they lie in.

    Returns
    -------
    int or None
        Nano-units, halves rounded up; None if tokens that have a price are unknown.

    References
    ----------
    genai-prices 0.2.3, `TieredPrices`: "crossing a tier applies that rate to ALL tokens".

    Examples
    --------
    >>> price = Tier(input=3_000_000_000, output=15_000_000_000, cached=300_000_000, cache_write=3_750_000_000, reasoning=15_000_000_000)
    >>> cost_nano(Tokens(input=1000, cached=500, output=100), [price])
    3150000
    """
    reached = [tier for tier in tiers if tier.above == 0 or (tokens.input or 0) > tier.above]
    if not marginal or len(reached) == 1:
        femto = _femto(tokens, reached[-1])
        return None if femto is None else _nano(femto, 1)
    total = 0
    held = tokens.input or 0
    ends = [tier.above for tier in reached[1:]] + [held]
    for tier, end in zip(reached, ends, strict=True):
        femto = _femto(tokens, tier)
        if femto is None:
            return None
        total += femto * (end - tier.above)
    return _nano(total, held)


def _femto(tokens: Tokens, tier: Tier) -> int | None:
    if (tokens.input is None and tier.input) or (tokens.output is None and tier.output):
        return None
    read, written = tokens.input or 0, tokens.output or 0
    plain = max(read - tokens.cached - tokens.cache_write, 0)
    spoken = max(written - tokens.reasoning, 0)
    return (
        plain * tier.input
        + tokens.cached * tier.cached
        + tokens.cache_write * tier.cache_write
        + spoken * tier.output
        + tokens.reasoning * tier.reasoning
        + tier.request
    )


def _nano(femto: int, parts: int) -> int:
    return (2 * femto + parts * FEMTO_PER_NANO) // (2 * parts * FEMTO_PER_NANO)
