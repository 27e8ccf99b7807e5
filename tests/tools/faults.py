"""Ways to break things for real: a proxy in front of ClickHouse, a disk that fills, a clock that jumps."""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import re
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.tools import system


class Mode(enum.Enum):
    """How the proxy harms what passes through it.

    DROP_ANSWERS: an INSERT is answered in full by the server, and the client's connection is closed instead of passing
    that on: it is done, and the client cannot know. CUT_REQUESTS: the connection ends in the middle of an INSERT's body.
    Other statements pass.
    """

    PASS = enum.auto()
    DELAY = enum.auto()
    THROTTLE = enum.auto()
    DROP_ANSWERS = enum.auto()
    CUT_REQUESTS = enum.auto()


DELAY_S: Final = 0.7
THROTTLE_BYTES: Final = 2048  # each 50 ms


class Proxy:
    """Forwards TCP connections of HTTP clients to one port, and harms them as `mode` says.

    Attributes
    ----------
    harmed : int
        Answers of inserts that were done and not passed on, or requests that were cut, since the start.
    """

    def __init__(self, target_port: int) -> None:
        self.mode = Mode.PASS
        self.harmed = 0
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="proxy-connection", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One connection, a request and its answer at a time, as HTTP/1.1 without pipelining is."""
        with client, contextlib.suppress(OSError):
            server = socket.create_connection(("127.0.0.1", self._target_port), timeout=60)
            with server:
                while head := _read_head(client):
                    server.sendall(head)
                    insert = self._pass_body(client, server, head)
                    answer = _read_answer(server)
                    if self.mode == Mode.DELAY:
                        time.sleep(DELAY_S)
                    if insert and self.mode == Mode.DROP_ANSWERS:
                        self.harmed += answer.startswith(b"HTTP/1.1 200")
                        return
                    client.sendall(answer)

    def _pass_body(self, client: socket.socket, server: socket.socket, head: bytes) -> bool:
        """Pass on, or harm, what follows the head; whether it is an INSERT, which stands in the address or the body."""
        insert = b"INSERT" in head.split(b"\r\n", 1)[0]
        for number, piece in enumerate(_body(client, head)):
            insert = insert or (number == 0 and b"INSERT INTO" in piece[:100])
            if insert and self.mode == Mode.CUT_REQUESTS:
                server.sendall(piece[: len(piece) // 2])
                self.harmed += number == 0
                raise OSError(errno.ECONNRESET, "cut")
            if insert and self.mode == Mode.THROTTLE:
                for at in range(0, len(piece), THROTTLE_BYTES):
                    server.sendall(piece[at : at + THROTTLE_BYTES])
                    time.sleep(0.05)
            else:
                server.sendall(piece)
        return insert


def _read_head(sock: socket.socket) -> bytes:
    """Up to and with the empty line; empty if the peer has nothing more to say."""
    data = bytearray()
    while not data.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            return b""
        data += byte
    return bytes(data)


def _body(sock: socket.socket, head: bytes) -> Iterator[bytes]:
    """The body that follows this head, as it comes."""
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if length is not None:
        left = int(length.group(1))
        while left:
            piece = sock.recv(min(left, 65536))
            if not piece:
                raise OSError(errno.ECONNRESET, "the peer left")
            left -= len(piece)
            yield piece
    elif re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
        while True:
            line = _read_line(sock)
            size = int(line.split(b";")[0], 16)
            piece = line + _read_exactly(sock, size + 2)
            yield piece
            if size == 0:
                return


def _read_answer(server: socket.socket) -> bytes:
    """A whole answer, so that the statement is done when it is here."""
    head = _read_head(server)
    if not head:
        raise OSError(errno.ECONNRESET, "the server left")
    return head + b"".join(_body(server, head))


def _read_line(sock: socket.socket) -> bytes:
    data = bytearray()
    while not data.endswith(b"\r\n"):
        byte = sock.recv(1)
        if not byte:
            raise OSError(errno.ECONNRESET, "the peer left")
        data += byte
    return bytes(data)


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise OSError(errno.ECONNRESET, "the peer left")
        data += piece
    return bytes(data)


@contextlib.contextmanager
def refused_writes(pid: int) -> Iterator[None]:
    """The system refuses all that this process writes to files, as a full disk does, but at no chance moment."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))  # Python ignores the signal that comes with it
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


class SmallDisk:
    """A file system of its own in memory, that `fill` fills to the last byte."""

    def __init__(self, folder: Path, size_mib: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        options = f"size={size_mib}m,uid={os.getuid()},gid={os.getgid()},mode=700"
        _as_root("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
        self._filler = folder / "filler"
        self._full = threading.Event()
        self._thread: threading.Thread | None = None

    def fill(self) -> None:
        """To the last byte, and so again as something is deleted, until `free`."""
        self._full.set()
        self._write()
        self._thread = threading.Thread(target=self._keep_full)
        self._thread.start()

    def free(self) -> None:
        self._full.clear()
        if self._thread is not None:
            self._thread.join()
        self._filler.unlink(missing_ok=True)

    def _keep_full(self) -> None:
        while self._full.is_set():
            self._write()
            time.sleep(0.005)

    def _write(self) -> None:
        with self._filler.open("ab", buffering=0) as file:
            for size in (1024 * 1024, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def close(self) -> None:
        self.free()
        _as_root("umount", "--lazy", str(self.folder))


def _as_root(*arguments: str) -> None:
    command = list(arguments) if os.getuid() == 0 else ["sudo", "-n", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(
            f"this test makes a small disk with `{' '.join(arguments)}`, which needs root or sudo without a password:"
            f" {done.stderr.strip()}"
        )


@contextlib.contextmanager
def small_disk(folder: Path, size_mib: int) -> Iterator[SmallDisk]:
    disk = SmallDisk(folder, size_mib)
    try:
        yield disk
    finally:
        disk.close()


class Clock:
    """The wall clock of processes that are started with `environment`; `jump` sets it while they run.

    libfaketime bends the clock of the whole process, C libraries and all; the monotonic clock stays as it is, as it does
    when an operator or NTP sets a real clock.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.jump(0)
        found = system.find_clock()
        assert found is not None, "this test needs libfaketime: apt-get install libfaketime"
        self.environment = {
            "LD_PRELOAD": str(found),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def jump(self, seconds: int) -> None:
        """Be so many seconds ahead of the real clock; a running process notices within a second."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)
