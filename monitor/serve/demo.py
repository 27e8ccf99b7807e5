"""`monitor demo`: the service on a folder of its own, filled over the wire with the packaged real trace."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from collectors.simulate.history import DemoHour, demo_traffic
from collectors.simulate.send import ReplayResult
from monitor.errors import ConfigError, MonitorError
from monitor.serve.up import run
from monitor.settings import Settings
from monitor.store.owner import Claim
from monitor.store.reader import open_reader

logger = logging.getLogger(__name__)

MARKER: Final = "this-is-demo-data"
SETTLE_S: Final = 30.0


def run_demo(
    settings: Settings, *, dashboard: bool, say: Callable[[str], None], ready_line: Callable[[Mapping[str, str]], str]
) -> None:
    """Serve, load the demo's hour, then keep live traffic flowing until stopped."""
    if not settings.embedded:
        raise ConfigError(
            "the demo brings a store of its own; remove store.url from the configuration, or use `monitor up`"
        )
    _clear(settings.data)
    stop = threading.Event()
    traffic: list[threading.Thread] = []

    def on_ready(addresses: Mapping[str, str]) -> None:
        say(ready_line(addresses))
        thread = threading.Thread(
            target=_traffic, args=(settings, dict(addresses), stop, say), name="demo", daemon=True
        )
        traffic.append(thread)
        thread.start()

    try:
        run(settings, dashboard=dashboard, on_ready=on_ready)
    finally:
        stop.set()
        for thread in traffic:
            thread.join(timeout=10)


def _clear(data: Path) -> None:
    """Begin with an empty folder, so that the totals shown are those of the trace."""
    if data.exists():
        if not (data / MARKER).exists() and any(data.iterdir()):
            raise ConfigError(
                f"the folder {data} holds something that is no demo's; give the demo another folder with --data"
            )
        Claim(data).release()  # refuses if a demo is running there
        shutil.rmtree(data)
    data.mkdir(parents=True, mode=0o700)
    (data / MARKER).touch()


def _traffic(
    settings: Settings, addresses: Mapping[str, str], stop: threading.Event, say: Callable[[str], None]
) -> None:
    def on_loaded(result: ReplayResult, hour: DemoHour) -> None:
        requests, tokens_in, tokens_out = _settled(settings, result.calls, stop)
        say(
            f"loaded: {requests:,} requests of the Azure LLM inference trace 2023, {tokens_in:,} tokens in and"
            f" {tokens_out:,} tokens out, by OTLP/gRPC in {result.seconds:.1f} s (latencies are simulated)"
        )
        for incident in hour.incidents:
            say(f"  {_clock(incident.start_ns)} to {_clock(incident.end_ns)} UTC: {incident.text}")
        if "dashboard" in addresses:
            say(f"open {addresses['dashboard']} to see it; live traffic goes on until Ctrl-C")

    headers = {}
    if settings.collectors.tokens:
        headers = {"authorization": f"Bearer {settings.collectors.tokens[0].get_secret_value()}"}
    try:
        demo_traffic(endpoint=addresses["grpc"], headers=headers, stop=stop, on_loaded=on_loaded)
    except MonitorError as error:
        if not stop.is_set():
            logger.error("the demo's traffic ended: %s", error)


def _settled(settings: Settings, calls: int, stop: threading.Event) -> tuple[int, int, int]:
    """What the store holds, once it holds all calls; acknowledged spans become readable about a second later."""
    client = open_reader(settings)
    try:
        deadline = time.monotonic() + SETTLE_S
        while True:
            requests, tokens_in, tokens_out = client.query(
                "SELECT count(), sum(input_tokens), sum(output_tokens) FROM inferences FINAL"
            ).result_rows[0]
            if requests >= calls or stop.is_set() or time.monotonic() > deadline:
                return int(requests), int(tokens_in or 0), int(tokens_out or 0)
            time.sleep(0.1)
    finally:
        client.close()


def _clock(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%H:%M")
