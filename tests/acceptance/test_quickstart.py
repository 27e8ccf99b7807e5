"""docs/quickstart.md, step by step as a reader does it, on free ports: from its configuration to the alert and its end."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from monitor.serve.all_jobs import ALL_JOBS
from tests.tools.ports import free_port
from tests.tools.service import ROOT, environment, running

PAGE = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]


class Running:
    """A command that goes on in the background; its lines are kept."""

    def __init__(self, words: list[str], folder: Path, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            words, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def wait_for(self, wanted: Callable[[str], bool], timeout_s: float) -> str:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if wanted(line):
                    return line
            time.sleep(0.1)
        raise AssertionError(f"it did not come; what came: {self.lines[-5:]}")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()


@contextlib.contextmanager
def background(command: str, folder: Path, env: dict[str, str]) -> Iterator[Running]:
    started = Running(shlex.split(command), folder, env)
    try:
        yield started
    finally:
        started.stop()


def listens(port: str, started: Running) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and started.process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), timeout=1):
            return
        time.sleep(0.1)
    raise AssertionError(f"nothing listens on {port}: {started.lines}")


def test_each_step_leads_to_the_next(tmp_path: Path) -> None:
    receiver_port, server_port = str(free_port()), str(free_port())
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    config = tmp_path / "monitor.yaml"
    # A shorter window is over sooner.
    config.write_text(
        blocks("yaml")[0]
        .replace("9009", receiver_port)
        .replace("window: 1m", "window: 30s")
        .replace("group_interval: 30s", "group_interval: 5s"),
        encoding="utf-8",
    )
    assert set(yaml.safe_load(config.read_text())) == {"receivers", "routing", "alerts"}
    base = {**environment(), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "160"}
    off = [name for name in ALL_JOBS if name not in ("alerts", "notify")]

    def addressed(command: str) -> str:
        return command.replace("--port 8000", f"--port {server_port}").replace(
            "localhost:8000", f"localhost:{server_port}"
        )

    def one(start: str, *, last: bool = False) -> str:
        found = [command for command in COMMANDS if command.startswith(start)]
        return addressed(found[-1 if last else 0])

    receiver = f"{one('python examples/alert_receiver.py')} --port {receiver_port}"
    with (
        background(receiver, tmp_path, base) as told,
        running(
            tmp_path / "monitor-data", "--config", str(config), env={"MONITOR_JOBS__OFF": str(off).replace("'", '"')}
        ) as service,
    ):
        env = {**base, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{service.addresses['grpc']}"}
        client = one("python examples/openai_client.py")

        def run(command: str) -> str:
            done = subprocess.run(
                shlex.split(command), cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            return done.stdout

        with background(one("python examples/server.py"), tmp_path, env) as server:
            listens(server_port, server)
            assert "calls sent" in run(client)
        service.wait_until_stored()
        assert "llama-3.1-8b" in run(one("monitor kpi"))
        assert not any("slow-answers" in line for line in told.lines), told.lines
        with background(one("python examples/server.py", last=True), tmp_path, env) as server:
            listens(server_port, server)
            run(client)
        alert = told.wait_for(lambda line: "slow-answers" in line, 60)
        assert "llama-3.1-8b" in alert
        assert "firing" in alert
        assert "slow-answers" in run(one("monitor query"))
        told.wait_for(lambda line: "slow-answers" in line and "resolved" in line, 150)


def test_what_it_names_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGE):
        assert (ROOT / "docs" / target).exists(), f"the quickstart links to {target}, which is not there"
