"""A real ClickHouse server on loopback: `python -m tests.tools.clickhouse_server --http-port N --path DIR`.

The library's entry point is `clickhouse local` with its full command line, which can listen. Users: `monitor`, who may do
all, and `reader` (readonly = 2), both with the password; `default`, without one, is what the engine itself uses.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.tools.clickhouse_library import library

PASSWORD = "a-real-pass:word@1"


class _Result(ctypes.Structure):
    """`local_result_v2` of chdb.h."""

    _fields_ = (
        ("buffer", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("vector", ctypes.c_void_p),
        ("elapsed", ctypes.c_double),
        ("rows_read", ctypes.c_uint64),
        ("bytes_read", ctypes.c_uint64),
        ("error", ctypes.c_char_p),
    )


@dataclass(frozen=True)
class Server:
    """One running server."""

    process: subprocess.Popen[bytes]
    port: int
    path: Path

    def kill(self) -> None:
        """SIGKILL, also to one that is suspended; `start` on the same path and port brings it back."""
        self.process.kill()
        self.process.wait()

    def suspend(self) -> None:
        """It hangs: connections are taken by the system, and nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def url(self, database: str = "default", user: str = "monitor", password: str = PASSWORD) -> str:
        from urllib.parse import quote

        return f"http://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def start(path: Path, port: int | None = None, *, password: str = PASSWORD, read_only: bool = False) -> Server:
    """Start a server on this data folder and wait until it answers; `read_only` forbids `monitor` to write, too."""
    port = port or free_port()
    path.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.tools.clickhouse_server", "--http-port", str(port), "--path", str(path)]
    command += ["--password", password, *(["--read-only"] if read_only else [])]
    with (path.parent / f"{path.name}.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1).read()
            return Server(process, port, path)
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(
                    f"no ClickHouse server: {(path.parent / f'{path.name}.log').read_text()[-2000:]}"
                ) from None
            time.sleep(0.05)


@contextlib.contextmanager
def running(path: Path) -> Iterator[Server]:
    server = start(path)
    try:
        yield server
    finally:
        server.process.terminate()
        try:
            server.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()


def _write_config(folder: Path, password: str, *, read_only: bool) -> Path:
    secret = f"<password>{password}</password>"
    profile = "reading" if read_only else "default"
    networks = "<networks><ip>::1</ip><ip>127.0.0.1</ip></networks><quota>default</quota>"
    (folder / "users.xml").write_text(
        "<clickhouse><profiles><default/><reading><readonly>2</readonly></reading></profiles><users>"
        f"<default><password></password><profile>default</profile>{networks}</default>"
        f"<monitor>{secret}<profile>{profile}</profile>{networks}<access_management>1</access_management></monitor>"
        f"<reader>{secret}<profile>reading</profile>{networks}</reader>"
        "</users><quotas><default/></quotas></clickhouse>",
        encoding="utf-8",
    )
    config = folder / "config.xml"
    config.write_text(f"<clickhouse><users_config>{folder}/users.xml</users_config></clickhouse>", encoding="utf-8")
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--password", default=PASSWORD)
    parser.add_argument("--read-only", action="store_true", help="`monitor` may not write either")
    parser.add_argument("--seconds", type=int, default=3600, help="stop by itself after this long")
    options = parser.parse_args()
    config = _write_config(options.path.parent, options.password, read_only=options.read_only)
    # `clickhouse local` ends with its queries, so the last one takes as long as the server shall run.
    stay = f"SELECT sleepEachRow(1) FROM numbers({options.seconds}) SETTINGS max_block_size = 1 FORMAT Null"
    arguments = [
        "clickhouse",
        f"--config-file={config}",
        f"--path={options.path}",
        f"--http_port={options.http_port}",
        "--listen_host=127.0.0.1",
        f"--query=SYSTEM START LISTEN HTTP; {stay}",
    ]
    engine = ctypes.CDLL(str(library()))
    engine.query_stable_v2.restype = ctypes.POINTER(_Result)
    array = (ctypes.c_char_p * len(arguments))(*[argument.encode() for argument in arguments])
    result = engine.query_stable_v2(len(arguments), array)
    if result and result.contents.error:
        sys.exit(result.contents.error.decode())


if __name__ == "__main__":
    main()
