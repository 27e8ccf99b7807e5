"""Clients that hold connections open and send next to nothing, by the hundred, from one thread."""

from __future__ import annotations

import contextlib
import functools
import selectors
import socket
import sys
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_CHUNK: Final = bytes(16 * 2**20)
_DRIP_S: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class Habit:
    """What one kind of slow client does: says something, and then one byte of the rest now and then.

    Attributes
    ----------
    address : str
        host:port
    says : bytes
        At once, as soon as it is connected.
    drips : bytes
        One at a time afterwards.
    """

    address: str
    says: bytes = b""
    drips: bytes = b""


@dataclass(kw_only=True)
class Held:
    """One connection, and what became of it."""

    habit: Habit
    opened: float
    heard: bytearray = field(default_factory=bytearray)
    closed_after_s: float | None = None
    dripped: int = 0


class SlowClients:
    """So many connections of each habit, open until the other side closes them or `stop`."""

    def __init__(self, habits: Mapping[str, Habit], *, each: int) -> None:
        self.held: Mapping[str, Sequence[Held]] = {
            name: [Held(habit=habit, opened=0.0) for _ in range(each)] for name, habit in habits.items()
        }
        self._selector = selectors.DefaultSelector()
        self._stop = threading.Event()
        for clients in zip(*self.held.values(), strict=True):
            for client in clients:
                self._open(client)
        self._thread = threading.Thread(target=self._run, name="slow-clients")
        self._thread.start()

    def count_open(self, name: str | None = None) -> int:
        """Connections, of one habit or of all, that the other side has not closed."""
        return sum(
            client.closed_after_s is None
            for each, clients in self.held.items()
            if name in (None, each)
            for client in clients
        )

    def stop(self) -> None:
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            self._close(key)
        self._selector.close()

    def _open(self, client: Held) -> None:
        host, _, port = client.habit.address.rpartition(":")
        peer = socket.create_connection((host, int(port)), timeout=20)
        client.opened = time.monotonic()
        peer.sendall(client.habit.says)
        peer.setblocking(False)
        self._selector.register(peer, selectors.EVENT_READ, client)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.05):
                self._read(key)
            if time.monotonic() >= due:
                due += _DRIP_S
                self._drip()

    def _read(self, key: selectors.SelectorKey) -> None:
        client: Held = key.data
        try:
            part = key.fileobj.recv(65_536)  # type: ignore[union-attr]
        except ConnectionError:
            part = b""
        client.heard += part
        if not part:
            client.closed_after_s = time.monotonic() - client.opened
            self._close(key)

    def _drip(self) -> None:
        for key in list(self._selector.get_map().values()):
            client: Held = key.data
            byte = client.habit.drips[client.dripped : client.dripped + 1]
            if byte:
                client.dripped += 1
                # That it was closed is seen when it is read.
                with contextlib.suppress(OSError):
                    key.fileobj.send(byte)  # type: ignore[union-attr]

    def _close(self, key: selectors.SelectorKey) -> None:
        self._selector.unregister(key.fileobj)
        key.fileobj.close()  # type: ignore[union-attr]


@functools.cache
def zlib_bomb(size_mib: int, *, gzip: bool) -> bytes:
    """So many MiB of zeros (a multiple of 16) in one stream, a thousandth of its size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # What a full flush ends does not refer to what was before, so it may be said again.
    blocks = (packer.compress(_CHUNK) + packer.flush(zlib.Z_FULL_FLUSH)) * (size_mib // 16) + b"\x03\x00"
    # The checksum at the end is wrong: whoever gets that far has inflated it all.
    return (b"\x1f\x8b\x08" + bytes(6) + b"\xff" + blocks + bytes(8)) if gzip else (b"\x78\xda" + blocks + bytes(4))


@functools.cache
def zstd_bomb(size_mib: int) -> bytes:
    """The same in zstd frames of 16 MiB."""
    return zstd.compress(_CHUNK) * (size_mib // 16)
