"""Damaged messages by the thousand at a real collector, good ones among them: `python -m tests.endurance.fuzz`.

Every answer must be one that OTLP knows for such a message, every good span must be stored once, the numbers must add up,
the log must be free of tracebacks, and memory must not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
import httpx2

from collectors.otlp.signals import SIGNALS, TRACES, Signal
from monitor.store.client import connect
from tests.collectors.payloads import request
from tests.endurance.memory import resident_bytes
from tests.endurance.mutations import bad_json, bad_protobuf
from tests.tools import clickhouse_server
from tests.tools.collecting import collecting

PROTOCOLS: Final = ("grpc", "protobuf", "json")
GOOD_EVERY: Final = 20
GOOD_SPANS: Final = 3
UNDER_WAY: Final = 8
# What a bad message may be answered. It may also still be a message, or have become one of no spans.
ALLOWED: Final = {
    "grpc": {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"},
    "protobuf": {"200", "400", "413"},
    "json": {"200", "400", "413"},
}


@dataclass(kw_only=True)
class Run:
    """What was sent over one protocol, and how it was answered."""

    protocol: str
    answers: Counter[str] = field(default_factory=Counter)
    good: int = 0
    memory: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def growth(self) -> float:
        """Resident memory at the end over that after the first quarter."""
        early = self.memory[: max(1, len(self.memory) // 4)]
        late = self.memory[-max(1, len(self.memory) // 10) :]
        return max(late) / max(early)


class Sender:
    """One client of one protocol."""

    def __init__(self, protocol: str, addresses: dict[str, str]) -> None:
        self.protocol = protocol
        self._channel = grpc.aio.insecure_channel(addresses["grpc"])
        self._http = httpx2.AsyncClient(timeout=30, base_url=addresses["http"])

    async def send(self, signal: Signal, body: bytes, *, packed: bytes | None = None) -> str:
        """The code of the answer."""
        if self.protocol == "grpc":
            try:
                await self._channel.unary_unary(f"/{signal.service}/Export")(body, timeout=30)
            except grpc.aio.AioRpcError as error:
                return str(error.code().name)
            return "OK"
        kind = "application/json" if self.protocol == "json" else "application/x-protobuf"
        headers = {"content-type": kind}
        if packed is not None:
            headers["content-encoding"] = "gzip"
        answer = await self._http.post(signal.path, content=packed if packed is not None else body, headers=headers)
        return str(answer.status_code)

    async def close(self) -> None:
        await self._channel.close()
        await self._http.aclose()


async def fuzz(protocol: str, addresses: dict[str, str], pid: int, *, messages: int, seed: int) -> Run:
    """Send so many bad messages, and a good one now and then."""
    run = Run(protocol=protocol)
    sender, polite = Sender(protocol, addresses), Sender("grpc", addresses)
    numbers = iter(range(messages))
    began = time.monotonic()

    async def one_by_one() -> None:
        for number in numbers:
            chance = random.Random(seed * 10**9 + number)
            signal = chance.choice(SIGNALS)
            body = bad_json(chance, signal) if protocol == "json" else bad_protobuf(chance, signal)
            packed = None
            if protocol != "grpc" and chance.random() < 0.1:
                damaged = bytearray(gzip.compress(body, 1))
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
                packed = bytes(damaged)
            run.answers[await sender.send(signal, body, packed=packed)] += 1
            if number % GOOD_EVERY == 0:
                good = request(first_of(protocol, number), GOOD_SPANS).SerializeToString()
                assert await polite.send(TRACES, good) == "OK", "a good request was refused"
                run.good += GOOD_SPANS
            if number % max(1, messages // 200) == 0:
                run.memory.append(resident_bytes(pid))

    await asyncio.gather(*(one_by_one() for _ in range(UNDER_WAY)))
    await sender.close()
    await polite.close()
    run.seconds = time.monotonic() - began
    return run


def first_of(protocol: str, number: int) -> int:
    """Span numbers of the good request that goes with a message: no other has them, and bad ones are far above."""
    return (PROTOCOLS.index(protocol) * 10**8 + number) * 10 + 1 + 2**60


def verify(run: Run, page: dict[str, int], log: str) -> None:
    """Hold what is known at the end against the promises.

    Raises
    ------
    AssertionError
        If one is broken.
    """
    strange = set(run.answers) - ALLOWED[run.protocol]
    assert not strange, f"{run.protocol}: answered {strange}: {run.answers}"
    for items in ("spans", "log_records", "data_points"):
        known = page[f"{items}_stored_total"] + page.get(f"{items}_rejected_total", 0) + page[f"{items}_waiting"]
        assert page[f"{items}_received_total"] == known, f"{items} do not add up: {page}"
        assert page[f"{items}_waiting"] == 0
    assert "Traceback" not in log, log[log.find("Traceback") - 300 :][:2000]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000, help="bad messages over each protocol")
    parser.add_argument("--protocol", choices=PROTOCOLS, action="append", help="only this one")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, clickhouse_server.running(Path(folder) / "clickhouse") as server:
        for protocol in options.protocol or PROTOCOLS:
            run = fuzz_collector(Path(folder) / protocol, server.url(), protocol, options.messages, options.seed)
            answers = ", ".join(f"{code} {count:,}" for code, count in run.answers.most_common())
            print(
                f"{protocol}: {options.messages:,} bad messages in {run.seconds:.0f} s: {answers}; {run.good:,} good spans,"
                f" each stored once; memory {run.memory[0] / 2**20:.0f} MiB at first, {run.memory[-1] / 2**20:.0f} at last,"
                f" {run.growth:.2f} times that of the first quarter",
                flush=True,
            )
            if run.growth > 1.25:
                sys.exit(f"{protocol}: memory grew")


def fuzz_collector(folder: Path, url: str, protocol: str, messages: int, seed: int) -> Run:
    """One protocol at a collector of its own; returns what happened if all promises were kept."""
    with collecting(folder / "data", url, database=f"fuzz_{protocol}_{time.time_ns()}") as running:
        run = asyncio.run(
            fuzz(protocol, dict(running.service.addresses), running.service.process.pid, messages=messages, seed=seed)
        )
        running.wait_until_stored()
        verify(run, running.numbers(), running.log())
        client = connect(running.url)
        wanted = {
            f"{first_of(protocol, number) + offset:032x}"
            for number in range(0, messages, GOOD_EVERY)
            for offset in range(GOOD_SPANS)
        }
        for table, column in (("otel_traces", "TraceId"), ("inferences FINAL", "trace_id")):
            ours = f"{column} >= '{2**60:032x}' AND {column} < '{2**61:032x}'"
            found = client.query(f"SELECT {column}, count() FROM {table} WHERE {ours} GROUP BY {column}").result_rows
            counts = {str(trace): int(count) for trace, count in found}
            missing = [trace for trace in wanted if counts.get(trace) != 1]
            assert not missing, f"{len(missing)} good spans are not there once in {table}, such as {missing[:3]}"
        client.close()
    return run


if __name__ == "__main__":
    main()
