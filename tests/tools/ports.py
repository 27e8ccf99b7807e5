"""Ports for servers that are told which one to take."""

from __future__ import annotations

import random
import socket
from typing import Final

# Below those that systems give to outgoing connections: one of these may take a port between this look and the server's start.
_RANGE: Final = range(20_000, 32_000)


def free_port() -> int:
    """A port of loopback where nobody listens, and that no outgoing connection will get."""
    # A seed that a test sets must not give two workers the same ports.
    for port in random.SystemRandom().sample(_RANGE, 200):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port of 200 tried from {_RANGE.start} to {_RANGE.stop}")
