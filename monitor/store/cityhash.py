"""CityHash128, version 1.0.2: the checksum of ClickHouse's compressed blocks (later versions differ).

The algorithm is Google's (G. Pike, J. Alakuijala, MIT licence); ClickHouse stays with this old version for
its block format. Plain integers: about 10 MB/s, which is enough for what a person reads through a JDBC tool.
"""

from __future__ import annotations

import struct

__all__ = ["cityhash128"]

_MASK = (1 << 64) - 1
_K0 = 0xC3A5C85C97CB3127
_K1 = 0xB492B66FBE98F273
_K2 = 0x9AE16A3B2F90404F
_K3 = 0xC949D7C7509E6557
_MUL = 0x9DDFEA08EB382D69

_Pair = tuple[int, int]
_word = struct.Struct("<Q").unpack_from
_half = struct.Struct("<I").unpack_from
_four = struct.Struct("<4Q").unpack_from
_eight = struct.Struct("<8Q").unpack_from


def cityhash128(data: bytes) -> bytes:
    """The 16 bytes that stand before a compressed block.

    Examples
    --------
    >>> cityhash128(bytes.fromhex("820c000000020000002031" + "0a")).hex()
    'de79cf087fb635049db816df195b016b'
    """
    size = len(data)
    if size >= 16:
        low, high = _hash_seeded(data, 16, size - 16, _word(data, 0)[0] ^ _K3, _word(data, 8)[0])
    elif size >= 8:
        low, high = _hash_seeded(b"", 0, 0, _word(data, 0)[0] ^ (size * _K0 & _MASK), _word(data, size - 8)[0] ^ _K1)
    else:
        low, high = _hash_seeded(data, 0, size, _K0, _K1)
    return struct.pack("<2Q", low, high)


def _hash_seeded(data: bytes, at: int, size: int, low: int, high: int) -> _Pair:
    if size < 128:
        return _hash_short(data, at, size, low, high)
    x, y, z = low, high, size * _K1 & _MASK
    v0 = (_rotated(y ^ _K1, 49) * _K1 + _word(data, at)[0]) & _MASK
    v1 = (_rotated(v0, 42) * _K1 + _word(data, at + 8)[0]) & _MASK
    w0 = (_rotated((y + z) & _MASK, 35) * _K1 + x) & _MASK
    w1 = _rotated((x + _word(data, at + 88)[0]) & _MASK, 53) * _K1 & _MASK
    # Pairs of 64 bytes; what is left (under 128 bytes) is taken from the end, 32 bytes at a time.
    left = size % 128
    end = at + size - left
    while at < end:
        d0, d1, d2, d3, d4, d5, d6, d7 = _eight(data, at)
        x = _rotated((x + y + v0 + d2) & _MASK, 37) * _K1 & _MASK ^ w1
        y = _rotated((y + v1 + d6) & _MASK, 42) * _K1 & _MASK ^ v0
        z = _rotated(z ^ w0, 33)
        v0, v1 = _mixed(d0, d1, d2, d3, v1 * _K1 & _MASK, (x + w0) & _MASK)
        w0, w1 = _mixed(d4, d5, d6, d7, (z + w1) & _MASK, y)
        z, x = x, z
        at += 64
    y = (y + _rotated(w0, 37) * _K0 + z) & _MASK
    x = (x + _rotated((v0 + z) & _MASK, 49) * _K0) & _MASK
    for done in range(32, left + 32, 32):
        d0, d1, d2, d3 = _four(data, end + left - done)
        y = (_rotated((y - x) & _MASK, 42) * _K0 + v1) & _MASK
        w0 = (w0 + d2) & _MASK
        x = (_rotated(x, 49) * _K0 + w0) & _MASK
        w0 = (w0 + v0) & _MASK
        v0, v1 = _mixed(d0, d1, d2, d3, v0, v1)
    x, y = _folded(x, v0), _folded(y, w0)
    return (_folded((x + v1) & _MASK, w1) + y) & _MASK, _folded((x + w1) & _MASK, (y + v1) & _MASK)


def _hash_short(data: bytes, at: int, size: int, a: int, b: int) -> _Pair:
    if size <= 16:
        a = _shifted(a * _K1 & _MASK) * _K1 & _MASK
        c = (b * _K1 + _hash_tiny(data, at, size)) & _MASK
        d = _shifted((a + (_word(data, at)[0] if size >= 8 else c)) & _MASK)
    else:
        c = _folded((_word(data, at + size - 8)[0] + _K1) & _MASK, a)
        d = _folded((b + size) & _MASK, (c + _word(data, at + size - 16)[0]) & _MASK)
        a = (a + d) & _MASK
        for place in range(at, at + size - 16, 16):
            a = (a ^ _shifted(_word(data, place)[0] * _K1 & _MASK) * _K1 & _MASK) * _K1 & _MASK
            b ^= a
            c = (c ^ _shifted(_word(data, place + 8)[0] * _K1 & _MASK) * _K1 & _MASK) * _K1 & _MASK
            d ^= c
    a, b = _folded(a, c), _folded(d, b)
    return a ^ b, _folded(b, a)


def _hash_tiny(data: bytes, at: int, size: int) -> int:
    """64 bits of at most 16 bytes."""
    if size > 8:
        a, b = int(_word(data, at)[0]), int(_word(data, at + size - 8)[0])
        return _folded(a, _rotated((b + size) & _MASK, size)) ^ b
    if size >= 4:
        return _folded((size + (_half(data, at)[0] << 3)) & _MASK, _half(data, at + size - 4)[0])
    if size > 0:
        y = data[at] + (data[at + (size >> 1)] << 8)
        z = size + (data[at + size - 1] << 2)
        return _shifted((y * _K2 ^ z * _K3) & _MASK) * _K2 & _MASK
    return _K2


def _mixed(d0: int, d1: int, d2: int, d3: int, a: int, b: int) -> _Pair:
    """32 bytes and two seeds to 16 bytes."""
    a = (a + d0) & _MASK
    b = _rotated((b + a + d3) & _MASK, 21)
    first = a
    a = (a + d1 + d2) & _MASK
    return (a + d3) & _MASK, (b + _rotated(a, 44) + first) & _MASK


def _folded(low: int, high: int) -> int:
    """128 bits to 64."""
    a = _shifted((low ^ high) * _MUL & _MASK)
    return _shifted((high ^ a) * _MUL & _MASK) * _MUL & _MASK


def _shifted(value: int) -> int:
    return value ^ value >> 47


def _rotated(value: int, by: int) -> int:
    return (value >> by | value << 64 - by) & _MASK
