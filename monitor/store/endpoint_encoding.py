"""Compression of requests and answers: Content-Encoding, and ClickHouse's own blocks (`compress=1`)."""

from __future__ import annotations

import sys
import zlib
from typing import Any, Protocol

import lz4.block  # type: ignore[import-untyped]
import lz4.frame  # type: ignore[import-untyped]

from monitor.store.cityhash import cityhash128
from monitor.store.endpoint_errors import EndpointError, request_too_large

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["Encoder", "chosen_encoding", "decompressed", "encoder"]

# Best first. clickhouse-connect brings the packages for zstd and lz4 along.
_ANSWERS = ("zstd", "lz4", "gzip", "deflate")
_BLOCK_BYTES = 1 << 20
_LZ4_METHOD = b"\x82"
# Method byte, size with this header, size without compression.
_BLOCK_HEADER_BYTES = 9


class Encoder(Protocol):
    """Turns pieces of an answer into pieces of its compressed form."""

    def add(self, piece: bytes) -> bytes: ...

    def end(self) -> bytes: ...


def chosen_encoding(accept: str) -> str:
    """The best encoding that the client takes, or "" for none."""
    taken = set()
    for part in accept.lower().split(","):
        name, _, quality = part.strip().partition(";")
        if quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            taken.add(name.strip().removeprefix("x-"))
    return next((name for name in _ANSWERS if name in taken), "")


def encoder(encoding: str, *, native_blocks: bool) -> Encoder:
    if native_blocks:
        return _NativeBlocks()
    match encoding:
        case "zstd":
            return _Zstd()
        case "lz4":
            return _Lz4()
        case "gzip":
            return _Zlib(wbits=31)
        case "deflate":
            return _Zlib(wbits=15)
    return _Plain()


class _Plain:
    def add(self, piece: bytes) -> bytes:
        return piece

    def end(self) -> bytes:
        return b""


class _Zlib:
    def __init__(self, wbits: int) -> None:
        self._compressor = zlib.compressobj(level=3, wbits=wbits)

    def add(self, piece: bytes) -> bytes:
        return self._compressor.compress(piece)

    def end(self) -> bytes:
        return self._compressor.flush()


class _Zstd:
    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor(level=1)

    def add(self, piece: bytes) -> bytes:
        return self._compressor.compress(piece)

    def end(self) -> bytes:
        return self._compressor.flush()


class _Lz4:
    def __init__(self) -> None:
        self._compressor = lz4.frame.LZ4FrameCompressor()
        self._head: bytes = self._compressor.begin()

    def add(self, piece: bytes) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._compressor.compress(piece))

    def end(self) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._compressor.flush())


class _NativeBlocks:
    """Blocks of: CityHash128 of the rest, method, packed size, plain size, data. JDBC drivers want them."""

    def add(self, piece: bytes) -> bytes:
        return b"".join(
            _native_block(piece[start : start + _BLOCK_BYTES]) for start in range(0, len(piece), _BLOCK_BYTES)
        )

    def end(self) -> bytes:
        return b""


def _native_block(plain: bytes) -> bytes:
    data: bytes = lz4.block.compress(plain, store_size=False)
    sizes = (len(data) + _BLOCK_HEADER_BYTES).to_bytes(4, "little") + len(plain).to_bytes(4, "little")
    block = _LZ4_METHOD + sizes + data
    return cityhash128(block) + block


def decompressed(body: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """A request's body without its Content-Encoding.

    Raises
    ------
    EndpointError
        For an unknown encoding, broken data, or more than `max_bytes` (checked while it is unpacked).
    """
    name = encoding.strip().lower().removeprefix("x-")
    if name in ("", "identity"):
        return body
    try:
        plain = _unpacked(name, body, max_bytes + 1)
    except (zlib.error, zstd.ZstdError, RuntimeError, EOFError) as error:
        raise EndpointError(36, f"The body is not {name}: {error}") from None
    if len(plain) > max_bytes:
        raise request_too_large(f"The request's body is longer than {max_bytes} bytes.")
    return plain


def _unpacked(name: str, body: bytes, size: int) -> bytes:
    """At most `size` bytes of what is packed; clients may send several packed parts one after another."""
    plain, rest = b"", body
    while rest and len(plain) < size:
        unpacker = _unpacker(name)
        plain += unpacker.decompress(rest, size - len(plain))
        if not unpacker.eof and len(plain) < size:
            raise EOFError("it ends too early")
        rest = unpacker.unused_data if unpacker.eof else b""
    return plain


def _unpacker(name: str) -> Any:
    match name:
        case "gzip" | "deflate":
            # 47: gzip or zlib, whichever the header says.
            return zlib.decompressobj(wbits=47)
        case "zstd":
            return zstd.ZstdDecompressor()
        case "lz4":
            return lz4.frame.LZ4FrameDecompressor()
    raise EndpointError(460, f"Unknown Content-Encoding '{name}'; known are gzip, deflate, zstd, lz4.")
