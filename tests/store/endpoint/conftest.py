"""One endpoint for all tests of this folder, in a process of its own: chDB opens one folder a process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import clickhouse_connect
import httpx2
import pytest
from clickhouse_connect.driver.client import Client

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running service: `open` to everybody, `guarded` by a password, `narrow` with tight limits."""

    ports: dict[str, int]
    folder: Path
    process: subprocess.Popen[str]
    http: httpx2.Client

    @property
    def pid(self) -> int:
        return self.process.pid

    @contextlib.contextmanager
    def ingesting(self) -> Iterator[None]:
        """Rows come into `shop.ticks` until the `with` is left."""
        self._say("ingest")
        try:
            yield
        finally:
            self._say("rest")

    def _say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def url(self, name: str = "open") -> str:
        return f"http://127.0.0.1:{self.ports[name]}/"

    def ask(self, sql: str, *, on: str = "open", **params: str) -> httpx2.Response:
        """POST one query, without anything between us and the wire."""
        return self.http.post(self.url(on), params=params, content=sql.encode())

    def value(self, sql: str, **params: str) -> str:
        answer = self.ask(sql, **params)
        assert answer.status_code == 200, answer.text
        return answer.text.rstrip("\n")


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("endpoint")
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with (folder / "service.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("serve.py")), str(folder / "store")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": paths},
        )
    assert process.stdout is not None
    word, _, ports = process.stdout.readline().partition(" ")
    assert word == "ready", (folder / "service.log").read_text()
    with httpx2.Client(timeout=60) as http:
        yield Served(ports=json.loads(ports), folder=folder, process=process, http=http)
    # End of input asks it to stop; a clean stop closes all handles and so leaves no lock and no error.
    output, _ = process.communicate(timeout=30)
    assert output.strip() == "closed"
    assert process.returncode == 0
    assert "Traceback" not in (folder / "service.log").read_text()


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    """The unmodified clickhouse-connect client with its defaults."""
    with clickhouse_connect.get_client(host="127.0.0.1", port=served.ports["open"]) as connected:
        yield connected
