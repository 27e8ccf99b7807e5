"""Passwords, kept as scrypt hashes: `scrypt$N$r$p$salt$key`, salt and key in base64."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

N, R, P = 2**15, 8, 1  # 32 MiB and a tenth of a second for each try
_MEMORY_BYTES: Final = 128 * 2**17 * 16
FRONT: Final = "scrypt$"


def hashed(password: str) -> str:
    """The hash of a password, with a salt of its own."""
    salt = secrets.token_bytes(16)
    return f"{FRONT}{N}${R}${P}${_text(salt)}${_text(_key(password, salt, N, R, P))}"


def is_hash(text: str) -> bool:
    """Whether a text is such a hash."""
    try:
        _parts(text)
    except ValueError:
        return False
    return True


def matches(password: str, stored: str) -> bool:
    """Whether it is the password; takes the same time for all wrong ones."""
    n, r, p, salt, key = _parts(stored)
    return hmac.compare_digest(_key(password, salt, n, r, p), key)


def _parts(text: str) -> tuple[int, int, int, bytes, bytes]:
    name, n, r, p, salt, key = text.split("$")
    if name != "scrypt" or not (1024 <= int(n) <= 2**17 and 1 <= int(r) <= 16 and 1 <= int(p) <= 8):
        raise ValueError("not a hash of ours")
    return int(n), int(r), int(p), base64.b64decode(salt, validate=True), base64.b64decode(key, validate=True)


def _key(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, dklen=32, maxmem=_MEMORY_BYTES + 2**20)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
