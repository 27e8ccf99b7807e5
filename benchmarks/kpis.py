"""KPIs and the questions of pages over stores of growing size: `python -m benchmarks.kpis --sizes 1e6 1e7 1e8`.

Each store is embedded, in a folder of its own, and holds 30 days of calls that ClickHouse itself makes up. Then the job
`rollup` runs, and each question is asked three times; the fastest counts, as the machine has other work.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitor.jobs import objectives, rollup
from monitor.jobs.job import Context
from monitor.kpis import REGISTRY, Window, evaluate, series
from monitor.settings import ObjectiveSettings, Settings
from monitor.store import Client, connect
from monitor.store.migrate import migrate
from monitor.store.objectives import write_objectives

DAYS = 30
ROUNDS = 3
END = datetime(2026, 3, 31, tzinfo=UTC)
START = END - timedelta(days=DAYS)
OBJECTIVES = (
    ObjectiveSettings(name="first-token", kind="latency", latency="ttft", threshold_s=0.5, target=0.9),
    ObjectiveSettings(
        name="speed", kind="latency", latency="tpot", threshold_s=0.03, target=0.9, where={"model": ["llama"]}
    ),
    ObjectiveSettings(name="up", kind="error", target=0.985, period="28d"),
    ObjectiveSettings(name="right", kind="accuracy", evaluation="correct", labels=["yes"], target=0.8),
)
DIMENSIONS = ("service", "model", "node", "region", "variant", "release")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question, or what a page asks for."""

    name: str
    ask: Callable[[Client], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", nargs="+", type=float, default=[1e6, 1e7], help="calls in each store")
    parser.add_argument("--each", action="store_true", help="each KPI by itself, too")
    options = parser.parse_args()
    found: dict[str, list[float]] = {}
    for size in (int(size) for size in options.sizes):
        with tempfile.TemporaryDirectory(prefix="benchmark-kpis-") as folder:
            client = connect(f"chdb://{Path(folder) / 'store'}")
            migrate(client)
            fill(client, size)
            write_objectives(client, OBJECTIVES, now=START)
            _roll(client, size)
            for asked in questions(each=options.each):
                found.setdefault(asked.name, []).append(_fastest(client, asked))
            client.close()
    _print(found, [int(size) for size in options.sizes])


def fill(client: Client, calls: int) -> None:
    """Calls spread evenly over the days: 3 services, 16 nodes of 3 regions, 4 models, 2 variants, a release every 6 days."""
    each = calls // DAYS
    for day in range(DAYS):
        begin = int((START + timedelta(days=day)).timestamp())
        client.command(f"""
INSERT INTO inferences (timestamp, trace_id, span_id, role, service, environment, node, region, deployment, provider, model,
    variant, release, input_tokens, output_tokens, ttft_s, queue_s, prefill_s, decode_s, duration_s, tpot_s, error_type,
    cancelled, session_id, user_id, sample_weight)
WITH cityHash64(number, {day}) AS h, h % 16 AS n, exp(randNormal(-1.2, 0.5, number)) AS ttft,
    exp(randNormal(-4., 0.3, number + 1)) AS tpot, 1 + (bitShiftRight(h, 8)) % 400 AS out
SELECT fromUnixTimestamp64Nano(toInt64(({begin} + number * 86400 / {each}) * 1e9)), lower(hex(sipHash128(number, {day}))),
    lower(hex(h)), 'client', ['chat', 'search', 'agent'][1 + h % 3], 'prod', concat('gpu-', toString(n)),
    ['eu', 'us', 'asia'][1 + n % 3], 'on_premises', 'vllm', ['llama', 'qwen', 'mistral', 'gemma'][1 + n % 4],
    ['fp16', 'fp8'][1 + intDiv(n, 8)], concat('r', toString(intDiv({day}, 6))), 1 + (bitShiftRight(h, 16)) % 3000, out, ttft, ttft / 10,
    ttft * 0.8, tpot * out, ttft + tpot * out, tpot, if(bitShiftRight(h, 24) % 100 = 0, 'timeout', ''), (bitShiftRight(h, 32)) % 50 = 0,
    concat('s', toString((bitShiftRight(h, 20)) % greatest(1, intDiv({calls}, 8)))),
    concat('u', toString((bitShiftRight(h, 22)) % greatest(1, intDiv({calls}, 50)))), 1
FROM numbers({each})""")


def questions(*, each: bool) -> Iterator[Asked]:
    """What is timed: sets of KPIs as pages ask for them, over closed days."""
    whole = Window(START, END)
    headlines = (
        "traffic.requests",
        "traffic.error_rate",
        "traffic.token_rate",
        "latency.ttft.p95",
        "latency.tpot.p95",
        "latency.e2e.p95",
    )
    yield Asked(name="one p95, 30 days", ask=lambda client: evaluate(client, ["latency.ttft.p95"], window=whole))
    yield Asked(name="headlines, 30 days", ask=lambda client: evaluate(client, headlines, window=whole))
    yield Asked(
        name="p50, p95, p99 of TTFT by model and node, 30 days",
        ask=lambda client: evaluate(
            client, [f"latency.ttft.{p}" for p in ("p50", "p95", "p99")], window=whole, by=("model", "node")
        ),
    )
    yield Asked(
        name="headlines of one model, 30 days",
        ask=lambda client: evaluate(client, headlines, window=whole, where={"model": "llama"}),
    )
    yield Asked(
        name="lines of 60 steps, three KPIs, 30 days",
        ask=lambda client: series(
            client, ("traffic.request_rate", "latency.ttft.p95", "traffic.error_rate"), window=whole, step_s=43200
        ),
    )
    yield Asked(
        name="lines of 72 steps by node, p95, 3 days",
        ask=lambda client: series(
            client, "latency.ttft.p95", window=Window(END - timedelta(days=3), END), step_s=3600, by=("node",)
        ),
    )
    ragged = Window(START + timedelta(minutes=1234), END - timedelta(minutes=17))
    for words, window in (("30 days", whole), ("29 days with ragged ends", ragged)):
        for name in ("objective.first-token.attainment", "objective.right.attainment", "objective.goodput"):
            yield Asked(name=f"`{name}`, {words}", ask=lambda client, n=name, w=window: evaluate(client, [n], window=w))  # type: ignore[misc]
    four = [f"objective.{objective.name}" for objective in OBJECTIVES]
    yield Asked(
        name="attainment, budget and burn rate of four objectives, 30 days",
        ask=lambda client: evaluate(client, four, window=whole),
    )
    calls = [name for name, kpi in REGISTRY.items() if kpi.source == "calls"]
    yield Asked(name="all KPIs over calls, 30 days", ask=lambda client: evaluate(client, calls, window=whole))
    yield Asked(
        name="all KPIs over calls, the last hour",
        ask=lambda client: evaluate(client, calls, window=Window(END - timedelta(hours=1), END)),
    )
    for name in REGISTRY if each else ():
        yield Asked(name=f"`{name}`", ask=lambda client, name=name: evaluate(client, [name], window=whole))  # type: ignore[misc]


def _roll(client: Client, size: int) -> None:
    context = Context(client=client, settings=Settings(), now=END + timedelta(minutes=10))
    for job in (rollup.ROLLUP, objectives.OBJECTIVES):
        before, began, rows = _cpu_s(), time.perf_counter(), 0
        # History of objectives is added up over several runs.
        for _ in range(1 if job is rollup.ROLLUP else 1 + DAYS // objectives.BACK_DAYS):
            rows += job.run(context).rows
        cpu = (_cpu_s() - before) / size * 1e6
        print(
            f"{size:,} calls, {job.name}: {time.perf_counter() - began:.1f} s, {cpu:.2f} CPU s a million, {rows:,} rows",
            flush=True,
        )


def _fastest(client: Client, asked: Asked) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        asked.ask(client)
        times.append(time.perf_counter() - began)
    print(f"  {asked.name}: {min(times) * 1e3:.0f} ms (median {statistics.median(times) * 1e3:.0f})", flush=True)
    return min(times)


def _print(found: dict[str, list[float]], sizes: list[int]) -> None:
    print()
    print("| question | " + " | ".join(f"{size:,} calls, ms" for size in sizes) + " | last / first |")
    print("|---|" + "---|" * (len(sizes) + 1))
    for name, times in found.items():
        cells = " | ".join(f"{each * 1e3:.0f}" for each in times)
        print(f"| {name} | {cells} | {times[-1] / times[0]:.1f} |")


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
