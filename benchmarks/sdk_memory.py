"""Memory of a serving process while spans go nowhere: the endpoint is dead, and the queue must not grow.

    python -m benchmarks.sdk_memory [--spans 1000000] [--protocol grpc]

Resident memory is read at 40 points of the run, after a warm-up that fills the queue. Grown is the highest reading of the
last quarter less the highest of the first, so a queue (or anything else) that keeps a span costs kilobytes for each.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import time
from dataclasses import asdict, dataclass

from monitor import sdk

GROWN_MIB_BAR = 8.0
WARM_UP = 20_000
POINTS = 40


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What was read: resident MiB, spans that waited at most, CPU seconds, and whether every span is accounted for."""

    spans: int
    first_mib: float
    last_mib: float
    grown_mib: float
    waiting_max: int
    dropped: int
    failed: int
    exported: int
    cpu_s: float
    balanced: bool


def main() -> None:
    """Run and print; exit code 1 if memory has grown."""
    parser = argparse.ArgumentParser(description="Memory over many spans with the endpoint dead.")
    parser.add_argument("--spans", type=int, default=1_000_000, help="spans after the warm-up")
    parser.add_argument("--protocol", default="grpc", choices=["grpc", "http/protobuf"])
    options = parser.parse_args()
    found = run(options.spans, options.protocol)
    print(json.dumps(asdict(found)))
    if found.grown_mib > GROWN_MIB_BAR or not found.balanced:
        raise SystemExit("memory has grown, or spans are unaccounted for")


def run(spans: int, protocol: str) -> Memory:
    """Make the spans and read the memory on the way."""
    sdk.init("bench", endpoint=f"http://127.0.0.1:{_dead_port()}", protocol=protocol)
    _calls(WARM_UP)
    started = time.process_time()
    readings, waiting_max = [], 0
    for _ in range(POINTS):
        _calls(spans // POINTS)
        readings.append(_resident_mib())
        waiting_max = max(waiting_max, sdk.stats().waiting)
    cpu_s = time.process_time() - started
    stats = sdk.stats()
    sdk.shutdown(timeout_s=0.1)
    quarter = POINTS // 4
    first, last = max(readings[:quarter]), max(readings[-quarter:])
    return Memory(
        spans=spans,
        first_mib=round(first, 1),
        last_mib=round(last, 1),
        grown_mib=round(last - first, 1),
        waiting_max=waiting_max,
        dropped=stats.dropped,
        failed=stats.failed,
        exported=stats.exported,
        cpu_s=round(cpu_s, 1),
        balanced=stats.offered == stats.dropped + stats.exported + stats.failed + stats.waiting == stats.ended,
    )


def _calls(count: int) -> None:
    for number in range(count):
        with sdk.inference("llama-3.1-8b", user=f"user-{number}", session=f"session-{number}") as call:
            call.first_token()
            call.finish(input_tokens=312, output_tokens=128, finish_reason="stop")


def _resident_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _dead_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
