"""Ingest, end to end, beside what ClickHouse takes of the same rows as Arrow: `python -m benchmarks.ingest`.

With `--table`: each transport, size of request and number of connections, without the comparison.

Each round starts a real `monitor up` on an empty folder, sends prepared OTLP/gRPC requests to it from another process as
fast as they are acknowledged, and waits until every span can be read, as a raw row and as a fact. Then the same rows, read
back as Arrow, are inserted into the same tables of another store by the same number of threads. The ratio is taken within
the round, so that a slow minute of the machine hits both. Everything shares the machine, the load generator too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
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
STEADY_S = 20
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
    parser.add_argument("--spans", type=int, default=1_000_000, help="spans a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=16, help="requests under way at once")
    parser.add_argument("--table", action="store_true", help="transports, sizes and connections")
    parser.add_argument("--send", nargs=2, metavar=("ADDRESS", "REQUESTS"), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=SPANS_PER_REQUEST, help=argparse.SUPPRESS)
    parser.add_argument("--connections", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        address, requests = options.send
        asyncio.run(
            _send(address, int(requests), options.in_flight, options.size, options.connections, rate=options.rate)
        )
        return
    if options.table:
        _print_table(options.spans)
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
    rate = statistics.median(r.stored for r in rounds) / 2
    with tempfile.TemporaryDirectory() as folder:
        p50, p99 = _at_rate(Path(folder), rate, options.in_flight)
    print(
        f"acknowledgement at half of that load ({rate:,.0f} spans/s for {STEADY_S} s): p50 {p50:.1f}, p99 {p99:.1f} ms"
    )


@dataclass(frozen=True)
class Case:
    """One line of the table; latency in milliseconds, CPU in seconds a million spans, size in bytes a span on disk."""

    transport: str
    size: int
    connections: int
    acknowledged: float
    stored: float
    cpu: float
    p50: float
    p99: float
    disk: float


def _print_table(spans: int) -> None:
    print(
        "| transport | spans a request | connections | acknowledged/s | stored/s | CPU s/M | ack p50 / p99 ms | B/span |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for transport in ("grpc", "http"):
        for size in (SPANS_PER_REQUEST, 1):
            for connections in (1, 8, 64):
                with tempfile.TemporaryDirectory() as folder:
                    case = _case(Path(folder), transport, size, connections, spans if size > 1 else spans // 15)
                print(
                    f"| {transport} | {size} | {connections} | {case.acknowledged:,.0f} | {case.stored:,.0f} |"
                    f" {case.cpu:,.1f} | {case.p50:.1f} / {case.p99:.1f} | {case.disk:.0f} |",
                    flush=True,
                )


def _case(folder: Path, transport: str, size: int, connections: int, spans: int) -> Case:
    process, addresses = start_service(folder / "data")
    try:
        warm_up(addresses["grpc"], addresses["clickhouse"], 1)
        before, begin = cpu_s(process.pid), time.perf_counter()
        requests = spans // size
        # One connection has one request under way: what a single exporter does.
        sender = subprocess.run(
            [sys.executable, "-m", "benchmarks.ingest", "--send", addresses[transport], str(requests),
             "--size", str(size), "--connections", str(connections), "--in-flight", str(connections)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        sent_s, p50, p99, prepared_s = (float(word) for word in sender.stdout.split())
        client = connect(addresses["clickhouse"])
        wanted = requests * size + SPANS_PER_REQUEST
        while int(client.command("SELECT count() FROM otel_traces")) < wanted:
            time.sleep(0.02)
        stored_s = time.perf_counter() - begin - prepared_s
        cpu = cpu_s(process.pid) - before
        query = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()"
        disk = int(client.command(query)) / wanted
        client.close()
    finally:
        process.terminate()
        process.wait()
    count = requests * size
    return Case(transport, size, connections, count / sent_s, count / stored_s, cpu / count * 1e6, p50, p99, disk)


def _line(r: Round) -> str:
    return f"stored {r.stored:,.0f}/s, Arrow {r.arrow:,.0f}/s, ratio {r.ratio:.2f}, CPU {r.cpu:.1f} s/M, p99 {r.p99:.0f} ms"


def _round(folder: Path, requests: int, in_flight: int) -> Round:
    process, addresses = start_service(folder / "data")
    try:
        warm_up(addresses["grpc"], addresses["clickhouse"], in_flight)
        before = cpu_s(process.pid)
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
        cpu = cpu_s(process.pid) - before
        client.close()
    finally:
        process.terminate()
        process.wait()
    rows = _read_back(folder / "data" / "store")
    arrow = _arrow_rate(folder / "arrow", rows, views=True)
    arrow_raw = _arrow_rate(folder / "arrow-raw", rows, views=False)
    return Round(spans / sent_s, spans / stored_s, cpu / spans * 1e6, p50, p99, arrow, arrow_raw)


EVERYTHING = ("--no-dashboard", *(word for name in ("grpc", "http", "clickhouse") for word in (f"--{name}-port", "0")))


def _at_rate(folder: Path, rate: float, in_flight: int) -> tuple[float, float]:
    """Acknowledgement p50 and p99, in ms, at a steady rate of spans a second."""
    process, addresses = start_service(folder / "data")
    try:
        warm_up(addresses["grpc"], addresses["clickhouse"], in_flight)
        requests = int(rate * STEADY_S / SPANS_PER_REQUEST)
        sender = subprocess.run(
            [sys.executable, "-m", "benchmarks.ingest", "--send", addresses["grpc"], str(requests),
             "--in-flight", str(in_flight), "--rate", str(rate)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    finally:
        process.terminate()
        process.wait()
    _, p50, p99, _ = (float(word) for word in sender.stdout.split())
    return p50, p99


def start_service(
    data: Path, command: str = "up", options: Sequence[str] = EVERYTHING
) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """A `monitor` command that serves, on ports that are free, and its addresses once it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "monitor.cli", command, "--data", str(data), *options],
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


def warm_up(grpc_address: str, store: str, in_flight: int) -> None:
    """One request, until it is stored: first inserts and the first compilation of the statement are several times slower."""
    asyncio.run(_send(grpc_address, 1, in_flight, quiet=True))
    client = connect(store)
    while int(client.command("SELECT count() FROM inferences")) == 0:
        time.sleep(0.02)
    client.close()


def cpu_s(pid: int) -> float:
    """CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


Exporter = Callable[[bytes], Awaitable[object]]


async def _send(
    address: str,
    requests: int,
    in_flight: int,
    size: int = SPANS_PER_REQUEST,
    connections: int = 1,
    quiet: bool = False,
    rate: float = 0.0,
) -> None:
    """Send prepared requests over so many connections; address as HTTP if it has a scheme, else gRPC.

    With a rate, in spans a second, each request has its time, and latency counts from then: a late one hides nothing.
    Prints seconds, p50 and p99 in ms, and seconds of preparation since the process began.
    """
    now = time.time_ns()
    bodies = [make_request(seed, now, size) for seed in range(min(requests, DISTINCT if size > 1 else 5000))]
    latencies: list[float] = []
    left = iter(range(requests))
    opener = _open_http if "//" in address else _open_grpc
    async with contextlib.AsyncExitStack() as stack:
        # Over HTTP one request at a time is under way on a connection.
        opened = max(connections, in_flight) if opener is _open_http and connections == 1 else connections
        exporters = [await opener(address, stack) for _ in range(opened)]

        async def one_by_one(export: Exporter) -> None:
            for number in left:
                begin = time.perf_counter()
                if rate:
                    due = began + number * size / rate
                    await asyncio.sleep(max(0.0, due - begin))
                    begin = due
                await export(bodies[number % len(bodies)])
                latencies.append(time.perf_counter() - begin)

        began = time.perf_counter()
        workers = max(in_flight, connections)
        await asyncio.gather(*(one_by_one(exporters[index % opened]) for index in range(workers)))
        seconds = time.perf_counter() - began
    prepared = began - _PROCESS_BEGAN
    latencies.sort()
    if not quiet:
        p50, p99 = (latencies[int(share * (len(latencies) - 1))] * 1000 for share in (0.5, 0.99))
        print(seconds, p50, p99, prepared)


async def _open_grpc(address: str, stack: contextlib.AsyncExitStack) -> Exporter:
    # A pool of its own for each channel, or they would share one connection.
    channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
    await stack.enter_async_context(channel)
    await channel.channel_ready()
    export: Exporter = channel.unary_unary(EXPORT)
    return export


async def _open_http(address: str, stack: contextlib.AsyncExitStack) -> Exporter:
    """A keep-alive connection written by hand: a client library would take more time than the service."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    stack.callback(writer.close)

    async def export(body: bytes) -> None:
        head = f"POST /v1/traces HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-protobuf\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert b"content-length: 0" in answer, answer

    return export


_PROCESS_BEGAN = time.perf_counter()


def _arrow_rate(path: Path, rows: pa.Table, *, views: bool) -> float:
    """Rows a second that ClickHouse takes of an Arrow table, by as many threads as the service has inserters."""
    url = f"chdb://{path}"
    keeper = connect(url)
    migrate(keeper)
    if not views:
        for (view,) in keeper.query("SELECT name FROM system.tables WHERE engine = 'MaterializedView'").result_rows:
            keeper.command(f"DROP VIEW {view}")
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
