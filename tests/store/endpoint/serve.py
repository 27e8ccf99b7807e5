"""A service process in small: one embedded store, an ingest of its own, and the endpoint three times over it.

    python serve.py FOLDER

prints one line `ready {"open": port, "guarded": port, "narrow": port}` and serves until SIGTERM or end of input. Of the
lines that it reads, `ingest` lets the ingest run and any other lets it rest: fifty inserts a second take half a core.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import uvicorn

from monitor.store.client import connect
from monitor.store.endpoint import QueryLimits, build_app

# chDB's Python() table function looks for objects of this process by name.
secret_frame = pd.DataFrame({"secret": ["in memory"]})

NARROW = QueryLimits(
    max_execution_time_s=2.0,
    max_memory_bytes=200 << 20,
    max_threads=1,
    max_result_bytes=4 << 20,
    max_request_bytes=200_000,
    queue_max=1,
    queue_wait_s=0.5,
)


def fill(url: str) -> None:
    client = connect(url)
    client.command("CREATE DATABASE shop")
    client.command(
        "CREATE TABLE shop.calls (id UInt64, at DateTime64(3, 'UTC'), model LowCardinality(String), ttft Nullable(Float64),"
        " tags Map(String, String)) ENGINE = MergeTree ORDER BY id"
    )
    client.command(
        "INSERT INTO shop.calls SELECT number, toDateTime64('2026-01-01 00:00:00', 3, 'UTC') + number,"
        " ['llama', 'qwen'][number % 2 + 1], if(number % 10 = 0, NULL, number / 1000), map('k', toString(number))"
        " FROM numbers(1000)"
    )
    client.command("CREATE TABLE shop.ticks (at_ns UInt64) ENGINE = MergeTree ORDER BY at_ns")
    client.command("CREATE TABLE shop.file (file String) ENGINE = MergeTree ORDER BY file")
    client.close()


def ingest(url: str, running: threading.Event, stop: threading.Event) -> None:
    """While it runs, a row every 20 ms, each with its time, so that a pause can be seen afterwards."""
    client = connect(url)
    while running.wait() and not stop.is_set():
        client.insert("shop.ticks", [[time.time_ns()]], column_names=["at_ns"])
        stop.wait(0.02)
    client.close()


def obey(running: threading.Event) -> None:
    """Read lines until there are no more."""
    for line in sys.stdin:
        if line.strip() == "ingest":
            running.set()
        else:
            running.clear()


async def serve(url: str, running: threading.Event) -> None:
    apps = {
        "open": build_app(url),
        "guarded": build_app(url, user="reader", password="pass:wörd", pool_size=1),
        "narrow": build_app(url, limits=NARROW, pool_size=2),
    }
    servers = {}
    for name, app in apps.items():
        servers[name] = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=5))
        servers[name].capture_signals = lambda: _nothing()
    tasks = [asyncio.create_task(server.serve()) for server in servers.values()]
    while not all(server.started for server in servers.values()):
        await asyncio.sleep(0.01)
    ports = {name: server.servers[0].sockets[0].getsockname()[1] for name, server in servers.items()}
    print("ready", json.dumps(ports), flush=True)
    await asyncio.to_thread(obey, running)
    for server in servers.values():
        server.should_exit = True
    await asyncio.gather(*tasks)


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def main() -> None:
    folder = Path(sys.argv[1])
    url = f"chdb://{folder.absolute()}"
    fill(url)
    running, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=ingest, args=(url, running, stop))
    thread.start()
    try:
        asyncio.run(serve(url, running))
    finally:
        stop.set()
        running.set()
        thread.join()
    print("closed", flush=True)


if __name__ == "__main__":
    main()
