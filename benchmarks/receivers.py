"""Ingest beside another OTLP receiver into the same ClickHouse server: `python -m benchmarks.receivers`.

The other is Rotel, a collector written in Rust with an exporter for ClickHouse, from PyPI in a virtual environment of its own.
Each round starts a real ClickHouse server on an empty folder with our tables and views, the one receiver or the other in front
of it, and sends both the same OTLP/gRPC requests from another process, as fast as they are acknowledged, until every span
can be read. Rotel acknowledges what it holds in memory; ours what is synced to its log.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ingest import cpu_s, start_service, warm_up
from benchmarks.payload import SPANS_PER_REQUEST
from monitor.store.client import connect
from monitor.store.migrate import migrate
from tests.tools import clickhouse_server
from tests.tools.clickhouse_server import Server
from tests.tools.ports import free_port

ROTEL = "rotel==0.0.1a15"
DATABASE = "default"


@dataclass(frozen=True)
class Round:
    """Rates in spans a second; CPU of receiver and of server in seconds a million spans; latency in milliseconds."""

    acknowledged: float
    stored: float
    receiver_cpu: float
    server_cpu: float
    p99: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spans", type=int, default=600_000, help="spans a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=16, help="requests under way at once")
    options = parser.parse_args()
    requests = max(1, options.spans // SPANS_PER_REQUEST)
    with tempfile.TemporaryDirectory() as folder:
        agent = _install_rotel(Path(folder) / "rotel")
        rounds: dict[str, list[Round]] = {"ours": [], "rotel": []}
        for number in range(options.rounds):
            for name, results in rounds.items():
                place = Path(folder) / f"{name}-{number}"
                place.mkdir()
                results.append(_round(place, None if name == "ours" else agent, requests, options.in_flight))
                print(f"round {number + 1}, {name}: {results[-1]}", flush=True)
    print("\n| | acknowledged/s | stored/s | CPU of the receiver, s/M | of the server, s/M | ack p99 ms |")
    print("|---|---|---|---|---|---|")
    for name, results in rounds.items():
        columns = [
            f"{statistics.median(getattr(each, field) for each in results):,.{digits}f}"
            for field, digits in (
                ("acknowledged", 0),
                ("stored", 0),
                ("receiver_cpu", 1),
                ("server_cpu", 1),
                ("p99", 0),
            )
        ]
        print(f"| {name} | {' | '.join(columns)} |")
    ratios = [ours.stored / other.stored for ours, other in zip(*rounds.values(), strict=True)]
    print(f"\nstored, ours / Rotel: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def _install_rotel(folder: Path) -> Path:
    venv.create(folder, with_pip=True)
    subprocess.run(
        [folder / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", ROTEL], check=True
    )
    return next(folder.glob("lib/python*/site-packages/rotel/rotel-agent"))


def _round(folder: Path, agent: Path | None, requests: int, in_flight: int) -> Round:
    with clickhouse_server.running(folder / "server") as server:
        client = connect(server.url(DATABASE))
        migrate(client)
        with _ours(folder, server) if agent is None else _rotel(agent, server) as (process, address):
            warm_up(address, server.url(DATABASE), in_flight)
            processes = (process, server.process)
            before, begin = [cpu_s(each.pid) for each in processes], time.perf_counter()
            sender = subprocess.run(
                [sys.executable, "-m", "benchmarks.ingest", "--send", address, str(requests), "--in-flight", str(in_flight)],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            sent_s, _, p99, prepared_s = (float(word) for word in sender.stdout.split())
            spans = requests * SPANS_PER_REQUEST
            while int(client.command("SELECT count() FROM otel_traces")) < spans + SPANS_PER_REQUEST:
                time.sleep(0.05)
            stored_s = time.perf_counter() - begin - prepared_s
            receiver, store = (cpu_s(each.pid) - was for each, was in zip(processes, before, strict=True))
        client.close()
    return Round(spans / sent_s, spans / stored_s, receiver / spans * 1e6, store / spans * 1e6, p99)


@contextlib.contextmanager
def _ours(folder: Path, server: Server) -> Iterator[tuple[subprocess.Popen[str], str]]:
    (folder / "monitor.yaml").write_text(f"store:\n  url: {server.url(DATABASE)}\n", encoding="utf-8")
    options = ["--config", str(folder / "monitor.yaml"), "--grpc-port", "0", "--http-port", "0"]
    process, addresses = start_service(folder / "data", "collect", options)
    try:
        yield process, addresses["grpc"]
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _rotel(agent: Path, server: Server) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    grpc_port, http_port = free_port(), free_port()
    environment = {
        **os.environ,
        "ROTEL_OTLP_GRPC_ENDPOINT": f"127.0.0.1:{grpc_port}",
        "ROTEL_OTLP_HTTP_ENDPOINT": f"127.0.0.1:{http_port}",
        "ROTEL_EXPORTER": "clickhouse",
        "ROTEL_CLICKHOUSE_EXPORTER_ENDPOINT": f"http://127.0.0.1:{server.port}",
        "ROTEL_CLICKHOUSE_EXPORTER_DATABASE": DATABASE,
        "ROTEL_CLICKHOUSE_EXPORTER_USER": "monitor",
        "ROTEL_CLICKHOUSE_EXPORTER_PASSWORD": clickhouse_server.PASSWORD,
    }
    process = subprocess.Popen([agent, "start"], env=environment)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", grpc_port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield process, f"127.0.0.1:{grpc_port}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
