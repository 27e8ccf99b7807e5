"""A real `monitor up` in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from monitor.serve.all_jobs import ALL_JOBS

ROOT = Path(__file__).parents[2]
# For tests that count what a service has open, or how long it takes: its scheduled jobs open files and take time, too.
NO_JOBS: Mapping[str, str] = {"MONITOR_JOBS__OFF": json.dumps(list(ALL_JOBS))}
READY_S = 60.0


@dataclass(frozen=True)
class Service:
    """One running service and its addresses."""

    process: subprocess.Popen[str]
    addresses: Mapping[str, str]
    data: Path

    def metric(self, name: str) -> int:
        with urllib.request.urlopen(f"{self.addresses['http']}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.search(rf"^monitor_collector_{name} (\d+)$", text, re.MULTILINE)
        assert found is not None, f"no metric {name} in:\n{text}"
        return int(found.group(1))

    def ready(self) -> str | None:
        """Why it is not ready; None if it is."""
        try:
            with urllib.request.urlopen(f"{self.addresses['http']}/readyz", timeout=10) as answer:
                return str(json.load(answer)["trouble"] or "") or None
        except urllib.error.HTTPError as error:
            return str(json.load(error)["trouble"])

    def wait_until_stored(self, timeout_s: float = 60.0) -> None:
        """Block until nothing waits in the write-ahead log."""
        deadline = time.monotonic() + timeout_s
        while self.metric("spans_waiting"):
            assert time.monotonic() < deadline, f"{self.metric('spans_waiting')} spans still wait: {self.ready()}"
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=40)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "monitor.cli", *arguments]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without settings of ours, with these."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MONITOR_", "OTEL_"))}
    return {**kept, **(extra or {})}


def run(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """One command, run to its end."""
    return subprocess.run(
        command(*arguments), cwd=ROOT, env=environment(env), capture_output=True, text=True, timeout=60
    )


def spawn(data: Path, *options: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `monitor up` on free ports, without waiting for it; stderr goes to a file beside the data folder."""
    return _spawn("up", ("grpc", "http", "clickhouse", "dashboard"), data, options, env)


def spawn_collect(data: Path, *options: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """The same for `monitor collect`."""
    return _spawn("collect", ("grpc", "http"), data, options, env)


def _spawn(
    name: str, listens: tuple[str, ...], data: Path, options: tuple[str, ...], env: Mapping[str, str] | None
) -> subprocess.Popen[str]:
    ports = [argument for each in listens for argument in (f"--{each}-port", "0")]
    with (data.parent / f"{data.name}.log").open("a") as log:
        return subprocess.Popen(
            command(name, "--data", str(data), *ports, *options),
            cwd=ROOT,
            env=environment(env),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def wait_until_ready(process: subprocess.Popen[str], data: Path) -> Service:
    """Read its `ready` line."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("ready "):
        process.kill()
        log = (data.parent / f"{data.name}.log").read_text()[-3000:]
        raise AssertionError(f"no ready line but {line!r}; code {process.wait()}; log:\n{log}")
    addresses = dict(pair.split("=", 1) for pair in line.split()[1:])
    return Service(process, addresses, data)


@contextlib.contextmanager
def running(data: Path, *options: str, env: Mapping[str, str] | None = None) -> Iterator[Service]:
    """A service, stopped at the end; without a dashboard unless `dashboard` is among the options."""
    wanted = [option for option in options if option != "dashboard"]
    if "dashboard" not in options:
        wanted.append("--no-dashboard")
    service = wait_until_ready(spawn(data, *wanted, env=env), data)
    try:
        yield service
    finally:
        service.stop()
