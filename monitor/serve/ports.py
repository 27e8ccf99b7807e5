"""Listening sockets, bound before anything is started, so that a busy port is said at once."""

from __future__ import annotations

import errno
import socket

from monitor.errors import PortBusy


def bind(host: str, port: int, purpose: str, option: str) -> socket.socket:
    """A bound socket; port 0 picks a free one.

    Raises
    ------
    PortBusy
        Naming the port, what it was for and the option that changes it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns off Nagle's algorithm only where it is: a short answer would wait 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        # Listening at once keeps a second process from taking the port between now and the start of the server.
        sock.listen(1024)
    except OSError as error:
        sock.close()
        why = "it is taken" if error.errno == errno.EADDRINUSE else error.strerror
        raise PortBusy(
            f"port {port} on {host} cannot be listened on for {purpose}: {why}; choose another with {option}, or 0 for a free one"
        ) from None
    sock.setblocking(False)
    return sock


def free_port(host: str, port: int, purpose: str, option: str) -> int:
    """A port that is free now, for a child process that binds it itself."""
    sock = bind(host, port, purpose, option)
    chosen = port_of(sock)
    sock.close()
    return chosen


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def address(host: str, port: int) -> str:
    """`host:port` as a client on this machine would write it."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{reachable}]:{port}" if ":" in reachable else f"{reachable}:{port}"
