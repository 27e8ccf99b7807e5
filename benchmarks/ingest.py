"""Ingest, end to end, beside what ClickHouse takes of the same rows as Arrow: `python -m benchmarks.ingest`.

Each round starts a real `monitor up` on an empty folder, sends prepared OTLP/gRPC requests to it from another process as
fast as they are acknowledged, and waits until every span can be read, as a raw row and as a fact. Then the same rows, read
back as Arrow, are inserted into the same tables of another store by the same number of threads. The ratio is taken within
the round, so that a slow minute of the machine hits both. Everything shares the machine, the load generator too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import pyarrow as pa

from benchmarks.payload import SPANS_PER_REQUEST, make_request
from monitor.store.client import connect
from monitor.store.migrate import migrate

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
THREADS = 2
ARROW_ROWS = 131_072  # as many as a segment of the log holds
DISTINCT = 200  # requests prepared; sent again and again under a new time, which ClickHouse cannot tell from new ones


@dataclass(frozen=True)
class Round:
    """Rates in spans a second; CPU in seconds a million spans; latency in milliseconds."""

    acknowledged: float
    stored: float
    cpu: float
    p50: float
    p99: float
    arrow: float
    arrow_raw: float

    @property
    def ratio(self) -> float:
        return self.stored / self.arrow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spans", type=int, default=600_000, help="spans a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=16, help="requests under way at once")
    parser.add_argument("--send", nargs=2, metavar=("ADDRESS", "REQUESTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        asyncio.run(_send(options.send[0], int(options.send[1]), options.in_flight))
        return
    requests = max(1, options.spans // SPANS_PER_REQUEST)
    rounds = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(_round(Path(folder), requests, options.in_flight))
        print(f"round {number + 1}: {_line(rounds[-1])}", flush=True)
    print(
        f"\n{requests * SPANS_PER_REQUEST:,} spans a round, requests of {SPANS_PER_REQUEST}, {options.in_flight} under way"
    )
    for label, values in {
        "acknowledged, spans/s": [r.acknowledged for r in rounds],
        "stored and readable, spans/s": [r.stored for r in rounds],
        "CPU of the service, s per million spans": [r.cpu for r in rounds],
        "acknowledgement p50, ms": [r.p50 for r in rounds],
        "acknowledgement p99, ms": [r.p99 for r in rounds],
        "same rows as Arrow into the same tables, rows/s": [r.arrow for r in rounds],
        "same rows as Arrow into otel_traces alone, rows/s": [r.arrow_raw for r in rounds],
        "ratio stored / Arrow into the same tables": [r.ratio for r in rounds],
        "ratio stored / Arrow into otel_traces alone": [r.stored / r.arrow_raw for r in rounds],
    }.items():
        print(f"{label:<52} {statistics.median(values):>12,.2f}   ({min(values):,.2f} to {max(values):,.2f})")


def _line(r: Round) -> str:
    return f"stored {r.stored:,.0f}/s, Arrow {r.arrow:,.0f}/s, ratio {r.ratio:.2f}, CPU {r.cpu:.1f} s/M, p99 {r.p99:.0f} ms"


def _round(folder: Path, requests: int, in_flight: int) -> Round:
    process, addresses = _start_service(folder / "data")
    try:
        _warm_up(addresses, in_flight)
        before = _cpu_s(process.pid)
        begin = time.perf_counter()
        sender = subprocess.run(
            [sys.executable, "-m", "benchmarks.ingest", "--send", addresses["grpc"], str(requests), "--in-flight", str(in_flight)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        sent_s, p50, p99, prepared_s = (float(word) for word in sender.stdout.split())
        spans = requests * SPANS_PER_REQUEST
        client = connect(addresses["clickhouse"])
        while int(client.command("SELECT count() FROM otel_traces")) < spans + SPANS_PER_REQUEST:
            time.sleep(0.02)
        # The generator prepares its requests before it starts its clock; that time is not the service's.
        stored_s = time.perf_counter() - begin - prepared_s
        cpu = _cpu_s(process.pid) - before
        client.close()
    finally:
        process.terminate()
        process.wait()
    rows = _read_back(folder / "data" / "store")
    arrow = _arrow_rate(folder / "arrow", rows, views=True)
    arrow_raw = _arrow_rate(folder / "arrow-raw", rows, views=False)
    return Round(spans / sent_s, spans / stored_s, cpu / spans * 1e6, p50, p99, arrow, arrow_raw)


def _start_service(data: Path) -> tuple[subprocess.Popen[str], dict[str, str]]:
    ports = [word for name in ("grpc", "http", "clickhouse") for word in (f"--{name}-port", "0")]
    process = subprocess.Popen(
        [sys.executable, "-m", "monitor.cli", "up", "--data", str(data), "--no-dashboard", *ports],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("ready "), f"the service did not start: {line}"
    return process, dict(pair.split("=", 1) for pair in line.split()[1:])


def _read_back(path: Path) -> pa.Table:
    client = connect(f"chdb://{path}")
    try:
        return client.query_arrow("SELECT * FROM otel_traces")
    finally:
        client.close()


def _warm_up(addresses: dict[str, str], in_flight: int) -> None:
    # First inserts and first compilation of the statement are several times slower.
    asyncio.run(_send(addresses["grpc"], 1, in_flight, quiet=True))
    client = connect(addresses["clickhouse"])
    while int(client.command("SELECT count() FROM inferences")) == 0:
        time.sleep(0.02)
    client.close()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _send(address: str, requests: int, in_flight: int, quiet: bool = False) -> None:
    """Send prepared requests; prints seconds, p50 and p99 in ms, and seconds of preparation since the process began."""
    now = time.time_ns()
    bodies = [make_request(seed, now) for seed in range(min(requests, DISTINCT))]
    latencies: list[float] = []
    left = iter(range(requests))
    async with grpc.aio.insecure_channel(address) as channel:
        export = channel.unary_unary(EXPORT)
        await channel.channel_ready()

        async def one_by_one() -> None:
            for number in left:
                begin = time.perf_counter()
                await export(bodies[number % len(bodies)])
                latencies.append(time.perf_counter() - begin)

        began = time.perf_counter()
        await asyncio.gather(*(one_by_one() for _ in range(in_flight)))
        seconds = time.perf_counter() - began
    prepared = began - _PROCESS_BEGAN
    latencies.sort()
    if not quiet:
        p50, p99 = (latencies[int(share * (len(latencies) - 1))] * 1000 for share in (0.5, 0.99))
        print(seconds, p50, p99, prepared)


_PROCESS_BEGAN = time.perf_counter()


def _arrow_rate(path: Path, rows: pa.Table, *, views: bool) -> float:
    """Rows a second that ClickHouse takes of an Arrow table, by as many threads as the service has inserters."""
    url = f"chdb://{path}"
    keeper = connect(url)
    migrate(keeper)
    if not views:
        keeper.command("DROP VIEW inferences_mv")
        keeper.command("DROP VIEW otel_traces_trace_id_ts_mv")
    batches = [rows.slice(begin, ARROW_ROWS) for begin in range(0, rows.num_rows, ARROW_ROWS)]
    clients = [connect(url) for _ in range(THREADS)]
    settings = {"async_insert": 0, "insert_deduplicate": 0, "max_insert_threads": 1}
    clients[0].insert_arrow("otel_traces", batches[0].slice(0, SPANS_PER_REQUEST), settings=settings)

    def insert(index: int) -> None:
        for batch in batches[index::THREADS]:
            clients[index].insert_arrow("otel_traces", batch, settings=settings)

    threads = [threading.Thread(target=insert, args=(index,)) for index in range(THREADS)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    for client in (*clients, keeper):
        client.close()
    shutil.rmtree(path)
    return rows.num_rows / seconds


if __name__ == "__main__":
    main()
