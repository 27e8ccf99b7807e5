"""Just enough HTTP/2 by hand to speak gRPC badly: what no client library would send."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA: Final = 0
HEADERS: Final = 1
SETTINGS: Final = 4
WINDOW_UPDATE: Final = 8
INITIAL_WINDOW_SIZE: Final = 4  # among the settings
END_STREAM: Final = 1
ACK: Final = 1
END_HEADERS: Final = 4
FRAME_MAX: Final = 16_384


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def greeting() -> bytes:
    """What a client says first: the preface and its settings, which are the usual ones."""
    return PREFACE + frame(SETTINGS, 0, 0, b"")


def call(method: str, stream: int = 1, metadata: Mapping[str, str] | None = None) -> bytes:
    """The beginning of a gRPC call, without any of its message."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": "monitor",
        "te": "trailers",
        "content-type": "application/grpc",
        **(metadata or {}),
    }
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields.items())
    return frame(HEADERS, END_HEADERS, stream, block)


def message_head(size: int, *, compressed: bool = False) -> bytes:
    """What goes before a message of so many bytes in the data of a call."""
    return bytes([compressed]) + size.to_bytes(4, "big")


def _text(text: str) -> bytes:
    """A text as HPACK writes it, neither indexed nor compressed; up to 253 bytes."""
    raw = text.encode()
    length = bytes([len(raw)]) if len(raw) < 127 else bytes([127, len(raw) - 127])
    return length + raw


class Refused(Exception):
    """The other side ended the call with this gRPC status, or the connection (None)."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"gRPC status {status}")
        self.status = status


def send_call(address: str, method: str, message: bytes, *, encoding: str, timeout_s: float) -> None:
    """One call with a message that is compressed already, whatever it inflates to.

    Raises
    ------
    Refused
        If the call ended with another status than OK.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=timeout_s) as peer:
        status = _Call(peer).send(method, message_head(len(message), compressed=True) + message, encoding)
    if status != 0:
        raise Refused(status)


class _Call:
    """The only call on its connection: sends as much as the other side is ready for, and waits for the status."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        # What may be sent: on the connection, and on the stream.
        self._windows = {0: 65_535, 1: 65_535}
        self._heard = b""

    def send(self, method: str, data: bytes, encoding: str) -> int | None:
        self._peer.sendall(greeting() + call(method, metadata={"grpc-encoding": encoding}))
        try:
            while data:
                size = min(FRAME_MAX, len(data), *self._windows.values())
                if size > 0:
                    self._windows = {stream: window - size for stream, window in self._windows.items()}
                    self._peer.sendall(frame(DATA, END_STREAM if size == len(data) else 0, 1, data[:size]))
                    data = data[size:]
                elif (status := self._hear()) is not None:
                    return status
            while (status := self._hear()) is None:
                pass
        except (ConnectionError, EOFError):
            return None
        return status

    def _hear(self) -> int | None:
        """Take in one frame; the status, if it brings one."""
        head = self._read(9)
        kind, stream = head[3], int.from_bytes(head[5:], "big")
        payload = self._read(int.from_bytes(head[:3], "big"))
        if kind == WINDOW_UPDATE:
            self._windows[stream] += int.from_bytes(payload, "big")
        elif kind == SETTINGS and not head[4] & ACK:
            self._peer.sendall(frame(SETTINGS, ACK, 0, b""))
            for at in range(0, len(payload), 6):
                if int.from_bytes(payload[at : at + 2], "big") == INITIAL_WINDOW_SIZE:
                    self._windows[1] += int.from_bytes(payload[at + 2 : at + 6], "big") - 65_535
        elif kind == HEADERS and (found := re.search(rb"grpc-status.(\d+)", payload, re.DOTALL)):
            return int(found.group(1))
        return None

    def _read(self, size: int) -> bytes:
        while len(self._heard) < size:
            part = self._peer.recv(65_536)
            if not part:
                raise EOFError
            self._heard += part
        taken, self._heard = self._heard[:size], self._heard[size:]
        return taken
