"""Tokens: as a bearer token, or as the password of basic authentication."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence


def is_allowed(authorization: str | None, tokens: Sequence[str]) -> bool:
    """Whether the header carries one of the tokens; anything goes where none is set."""
    if not tokens:
        return True
    given = _given(authorization or "").encode()
    # All are compared, each in full, so that the time taken tells nothing.
    allowed = False
    for token in tokens:
        allowed |= hmac.compare_digest(given, token.encode())
    return allowed


def _given(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip()
        case "basic":
            # What senders know as a pair of keys, such as Langfuse's SDKs: the user's name says nothing.
            try:
                return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return ""
    return ""
