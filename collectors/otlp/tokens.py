"""Bearer tokens."""

from __future__ import annotations

import hmac
from collections.abc import Sequence


def is_allowed(authorization: str | None, tokens: Sequence[str]) -> bool:
    """Whether the header carries one of the tokens; anything goes where none is set."""
    if not tokens:
        return True
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        return False
    # All are compared, each in full, so that the time taken tells nothing.
    allowed = False
    for token in tokens:
        allowed |= hmac.compare_digest(given.strip().encode(), token.encode())
    return allowed
