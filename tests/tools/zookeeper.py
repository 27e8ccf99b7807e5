"""A real ZooKeeper on loopback, for tests of tables that meet in one: Debian's package, run as one process."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.tools.ports import free_port
from tests.tools.system import find_java, find_zookeeper


@contextlib.contextmanager
def running(folder: Path) -> Iterator[int]:
    """Start one with its data in this folder; its port, once it answers."""
    java, library = find_java(), find_zookeeper()
    if java is None or library is None:
        raise RuntimeError("no ZooKeeper; `python -m tests.tools.system` installs it")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "zoo.cfg"
    config.write_text(
        f"dataDir={folder}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\ntickTime=500\nmaxClientCnxns=0\n"
        "admin.enableServer=false\n4lw.commands.whitelist=ruok\n",
        encoding="utf-8",
    )
    path = f"{library}:{library.with_name('slf4j-simple.jar')}"
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    command = [java, "-Xmx64m", quiet, "-cp", path, "org.apache.zookeeper.server.ZooKeeperServerMain", str(config)]
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no ZooKeeper: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"ruok")
            return connection.recv(4) == b"imok"
    except OSError:
        return False
