"""A collector under load for minutes, with ClickHouse and the collector killed at random: `python -m tests.endurance.soak`.

Requests are sent again until they are acknowledged, as OTLP wants it. At the end the sums of what was acknowledged and of
what is stored must be equal: spans, and their tokens. Memory of the collector is watched all the while.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Final

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.payload import make_request
from collectors.otlp.signals import TRACES
from monitor.store.client import connect
from tests.endurance.memory import resident_bytes
from tests.tools import clickhouse_server
from tests.tools.collecting import collecting

EXPORT: Final = f"/{TRACES.service}/Export"
SPANS: Final = 512
UNDER_WAY: Final = 16


@dataclass
class Sent:
    """What one sender had acknowledged."""

    requests: int = 0
    spans: int = 0
    tokens: int = 0
    refused: int = 0
    seconds: float = 0.0


@dataclass
class Watched:
    """What was seen of the collector."""

    memory: list[int] = field(default_factory=list)
    unbalanced: list[dict[str, int]] = field(default_factory=list)
    kills: dict[str, int] = field(default_factory=lambda: {"ClickHouse": 0, "collector": 0})


async def send(address: str, seconds: float, rate: float) -> Sent:
    """Send at `rate` spans a second (0: as fast as they are acknowledged), each request until it is acknowledged."""
    sent = Sent()
    began = time.monotonic()
    numbers = iter(range(1 << 40))
    stopped = False

    async def one_by_one(channel: grpc.aio.Channel) -> None:
        nonlocal stopped
        export = channel.unary_unary(EXPORT)
        for number in numbers:
            due = began + (number * SPANS / rate if rate else 0.0)
            if max(due, time.monotonic()) - began >= seconds:
                return
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            body, tokens = _request(number)
            while True:
                try:
                    await export(body, timeout=10)
                    break
                except grpc.aio.AioRpcError as error:
                    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                        raise
                    sent.refused += 1
                    await asyncio.sleep(0.2)
            sent.requests += 1
            sent.spans += SPANS
            sent.tokens += tokens

    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        await asyncio.gather(*(one_by_one(channel) for _ in range(UNDER_WAY)))
    sent.seconds = time.monotonic() - began
    return sent


def _request(number: int) -> tuple[bytes, int]:
    """A request like no other, and the input tokens in it: prepared ones get new ids, which costs far less."""
    template, tokens = _template(number % 50)
    stamp = (number + 1).to_bytes(6, "big")  # an id of zeros alone is none
    return template.replace(_MARK, stamp), tokens


_MARK: Final = b"\x7a\x7b\x7c\x7d\x7e\x7f"
_templates: dict[int, tuple[bytes, int]] = {}


def _template(seed: int) -> tuple[bytes, int]:
    if seed not in _templates:
        message = ExportTraceServiceRequest.FromString(make_request(seed, time.time_ns(), SPANS))
        tokens = 0
        for index, span in enumerate(message.resource_spans[0].scope_spans[0].spans):
            unique = bytes([1, seed, index >> 8, index & 0xFF])
            span.trace_id, span.span_id = (
                _MARK + unique + bytes(5) + b"\x01",
                _MARK[:6] + bytes([index >> 8, index & 0xFF]),
            )
            tokens += _tokens({a.key: a.value.int_value for a in span.attributes})
        _templates[seed] = (message.SerializeToString(), tokens)
    return _templates[seed]


def _tokens(attributes: dict[str, int]) -> int:
    """As the store counts: what says less than what it had from the cache does not include it."""
    given = attributes.get("gen_ai.usage.input_tokens", 0)
    cached = attributes.get("gen_ai.usage.cache_read.input_tokens", 0)
    return given + cached if cached > given else given


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--rate", type=float, default=20_000.0, help="spans a second; 0: as fast as they are acknowledged"
    )
    parser.add_argument("--no-kills", action="store_true")
    parser.add_argument("--max-wal-mib", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--send", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        print(json.dumps(asdict(asyncio.run(send(options.send, options.minutes * 60, options.rate)))))
        return
    with tempfile.TemporaryDirectory() as folder:
        sent, watched, stored = soak(
            Path(folder),
            minutes=options.minutes,
            rate=options.rate,
            kills=not options.no_kills,
            max_wal_bytes=options.max_wal_mib << 20,
            seed=options.seed,
        )
    print(
        f"{sent.spans:,} spans acknowledged in {sent.seconds:.0f} s ({sent.spans / sent.seconds:,.0f}/s), {sent.tokens:,} tokens;"
        f" {sent.refused:,} requests were refused or unanswered and sent again; killed: {watched.kills}"
    )
    print(f"stored: {stored[0]:,} spans, {stored[1]:,} tokens (facts), {stored[2]:,} raw rows")
    early = max(watched.memory[: len(watched.memory) // 4])
    late = max(watched.memory[-len(watched.memory) // 4 :])
    print(
        f"memory of the collector: {early / 2**20:.0f} MiB at most in the first quarter, {late / 2**20:.0f} MiB in the last"
        f" ({late / early:.2f} times), {max(watched.memory) / 2**20:.0f} MiB at most"
    )
    print(f"numbers that did not add up: {len(watched.unbalanced)}")
    if (stored[0], stored[1]) != (sent.spans, sent.tokens) or watched.unbalanced:
        sys.exit("the sums differ")


def soak(
    folder: Path, *, minutes: float, rate: float, kills: bool, max_wal_bytes: int, seed: int
) -> tuple[Sent, Watched, tuple[int, int, int]]:
    """What was sent, what was seen, and (spans, tokens of calls, raw rows) that are stored."""
    server = clickhouse_server.start(folder / "clickhouse")
    watched, stop = Watched(), threading.Event()
    try:
        with collecting(folder / "data", server.url(), database="soak", max_wal_bytes=str(max_wal_bytes)) as running:
            arguments = ["--send", running.service.addresses["grpc"], "--minutes", str(minutes), "--rate", str(rate)]
            sender = subprocess.Popen(
                [sys.executable, "-m", "tests.endurance.soak", *arguments], stdout=subprocess.PIPE, text=True
            )

            def watch() -> None:
                while not stop.wait(0.5):
                    try:
                        watched.memory.append(resident_bytes(running.service.process.pid))
                        page = running.numbers()
                    except (OSError, AssertionError, HTTPException):  # it is down
                        continue
                    known = page["spans_stored_total"] + page.get("spans_rejected_total", 0) + page["spans_waiting"]
                    if page["spans_received_total"] != known:
                        watched.unbalanced.append(page)

            watcher = threading.Thread(target=watch)
            watcher.start()
            chance = random.Random(seed)
            while sender.poll() is None:
                time.sleep(chance.uniform(10, 30) if kills else 1)
                if not kills or sender.poll() is not None:
                    continue
                if chance.random() < 0.5:
                    server.kill()
                    watched.kills["ClickHouse"] += 1
                    time.sleep(chance.uniform(0, 8))
                    server = server.restarted()
                else:
                    running.service.kill()
                    watched.kills["collector"] += 1
                    time.sleep(chance.uniform(0, 3))
                    running.restart()
            assert sender.stdout is not None
            sent = Sent(**json.loads(sender.stdout.read()))
            running.wait_until_stored(600)
            stop.set()
            watcher.join()
            client = connect(running.url)
            raw = int(str(client.command("SELECT count() FROM otel_traces")))
            spans = int(str(client.command("SELECT uniqExact(TraceId, SpanId) FROM otel_traces")))
            tokens = int(str(client.command("SELECT sum(input_tokens) FROM inferences FINAL")))
            client.close()
    finally:
        stop.set()
        server.stop()
    return sent, watched, (spans, tokens, raw)


if __name__ == "__main__":
    main()
