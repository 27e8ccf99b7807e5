"""The body of an HTTP request, decompressed; every limit holds while it is read and inflated, not after."""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

from starlette.requests import Request

from collectors.inflight import Held
from monitor.errors import BadInput, Retryable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENCODINGS: Final = ("gzip", "deflate", "zstd")
_SLICE_BYTES: Final = 256 * 1024
_MEMBERS_MAX: Final = 1024  # a body of nothing but empty members would take for ever
_ASIDE_BYTES: Final = 64 * 1024  # a body this big takes long enough to inflate that other senders would feel it
_ZSTD_WINDOW_LOG_MAX: Final = 25  # memory that a frame may ask for: 32 MiB


class TooLarge(BadInput):
    """The body is over the limit, before or after decompression."""

    reason = "too_large"


class BadEncoding(BadInput):
    """The body is not what its Content-Encoding says."""

    reason = "encoding"


class UnknownEncoding(BadInput):
    """A Content-Encoding that is not read here."""

    reason = "encoding"


class TooSlow(Retryable):
    """The body did not come in time; the network may do better next time."""

    reason = "too_slow"


def content_type(request: Request) -> str:
    """The media type without its parameters, in lower case; empty if none is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, limit: int, timeout_s: float, held: Held) -> bytes:
    """The body of one request.

    Raises
    ------
    TooLarge, UnknownEncoding, BadEncoding, TooSlow
    Busy
        If all requests together are over their limit.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if int(request.headers.get("content-length") or 0) > limit:
        raise TooLarge(f"the body is over the limit of {limit} bytes; send smaller batches")
    if encoding not in ("", "identity", *ENCODINGS):
        raise UnknownEncoding(f"Content-Encoding `{encoding}` is not read here; send {', '.join(ENCODINGS)} or none")
    try:
        async with asyncio.timeout(timeout_s):
            data = await _collect(request.stream(), limit, held)
    except TimeoutError:
        raise TooSlow(f"the body did not come within {timeout_s:g} s") from None
    if encoding in ("", "identity"):
        return data
    if len(data) > _ASIDE_BYTES:
        return await asyncio.to_thread(inflate, data, limit, encoding, held)
    return inflate(data, limit, encoding, held)


async def _collect(chunks: AsyncIterator[bytes], limit: int, held: Held) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"the body is over the limit of {limit} bytes; send smaller batches")
        held.grow(len(chunk))
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def inflate(data: bytes, limit: int, encoding: str, held: Held) -> bytes:
    """The decompressed body; what it holds grows with it."""
    parts: list[bytes] = []
    size = 0
    for part in _zstd(data) if encoding == "zstd" else _zlib(data, encoding):
        size += len(part)
        if size > limit:
            raise TooLarge(f"the body is over the limit of {limit} bytes once decompressed; send smaller batches")
        held.grow(len(part))
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _zstd(data: bytes) -> Iterator[bytes]:
    """The body out of its zstd frames, in slices."""
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG_MAX}
    frames = 0
    while data or not frames:
        if frames == _MEMBERS_MAX:
            raise BadEncoding(f"the zstd body has more than {_MEMBERS_MAX} frames")
        frames += 1
        inflater = zstd.ZstdDecompressor(options=options)
        given = data
        while not inflater.eof:
            if inflater.needs_input and not given:
                raise BadEncoding("the zstd body is cut off")
            try:
                part = inflater.decompress(given, _SLICE_BYTES)
            except zstd.ZstdError as error:
                raise BadEncoding(f"the body is not zstd: {error}") from None
            given = b""
            if part:
                yield part
        data = inflater.unused_data


def _zlib(data: bytes, encoding: str) -> Iterator[bytes]:
    """The body out of its gzip members, of which there may be several, or its one zlib stream; in slices."""
    at = members = 0
    while at < len(data) or not members:
        if members == _MEMBERS_MAX:
            raise BadEncoding(f"the {encoding} body has more than {_MEMBERS_MAX} members")
        members += 1
        # 32 + window bits: a zlib or gzip header, whichever is there.
        inflater = zlib.decompressobj(32 + zlib.MAX_WBITS)
        while not inflater.eof:
            # In slices of both sides, because what is left over of the input is copied each time.
            given = inflater.unconsumed_tail or data[at : at + _SLICE_BYTES]
            if not inflater.unconsumed_tail:
                at += len(given)
            if not given:
                raise BadEncoding(f"the {encoding} body is cut off")
            try:
                part = inflater.decompress(given, _SLICE_BYTES)
            except zlib.error as error:
                raise BadEncoding(f"the body is not {encoding}: {error}") from None
            if part:
                yield part
        at -= len(inflater.unused_data)
