"""KPIs and the questions of pages over stores of growing size: `python -m benchmarks.kpis --sizes 1e6 1e7 1e8`.

Each store is embedded, in a folder of its own, and holds 30 days of calls that ClickHouse itself makes up (`benchmarks.calls`).
With `--shifted` only one day of them is made up, and the others are that day again. Then the jobs `rollup`, `hours` and
`objectives` run, and each question is asked three times; the fastest counts, as the machine has other work. With `--folder`
the stores are kept there, and a store that is there already is asked as it is.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from benchmarks.calls import DAYS, END, START, fill
from benchmarks.shifted import fill_shifted
from monitor.jobs import hours, objectives, rollup
from monitor.jobs.job import Context
from monitor.kpis import REGISTRY, Window, evaluate, series
from monitor.settings import ObjectiveSettings, Settings
from monitor.store import Client, connect
from monitor.store.migrate import migrate
from monitor.store.objectives import write_objectives

ROUNDS = 3
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
    parser.add_argument(
        "--shifted", action="store_true", help="make one day, and the others of it (`benchmarks.shifted`)"
    )
    parser.add_argument(
        "--days", type=int, default=1, help="with --shifted: how many of the last days keep their calls"
    )
    parser.add_argument("--fill", action="store_true", help="fill and add up only")
    parser.add_argument("--folder", type=Path, help="keep the stores here, by their size")
    options = parser.parse_args()
    found: dict[str, list[float]] = {}
    for size in (int(size) for size in options.sizes):
        with tempfile.TemporaryDirectory(prefix="benchmark-kpis-") as scratch:
            folder = (options.folder or Path(scratch)) / f"{size}"
            made = folder.exists()
            client = connect(f"chdb://{folder}")
            migrate(client)
            if not made and options.shifted:
                fill_shifted(client, size, OBJECTIVES, days=options.days)
            elif not made:
                fill(client, size)
                write_objectives(client, OBJECTIVES, now=START)
            _roll(client, size)
            for asked in () if options.fill else questions(each=options.each):
                found.setdefault(asked.name, []).append(_fastest(client, asked))
            client.close()
    if found:
        _print(found, [int(size) for size in options.sizes])


def questions(*, each: bool) -> Iterator[Asked]:
    """What is timed: sets of KPIs as pages ask for them, over closed days."""
    whole, day = Window(START, END), Window(END - timedelta(days=1), END)
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
    for family in ("engagement", "fleet", "cost", "accuracy", "safety"):
        yield Asked(name=f"family `{family}`, 30 days", ask=partial(evaluate, names=[family], window=whole))
    yield Asked(
        name="family `engagement`, the last whole day", ask=lambda client: evaluate(client, ["engagement"], window=day)
    )
    dollars = [f"objective.goodput_per_{what}" for what in ("gpu_hour", "dollar")]
    yield Asked(
        name="goodput per GPU-hour and dollar, 30 days", ask=lambda client: evaluate(client, dollars, window=whole)
    )
    for name in REGISTRY if each else ():
        yield Asked(name=f"`{name}`", ask=lambda client, name=name: evaluate(client, [name], window=whole))  # type: ignore[misc]


def _roll(client: Client, size: int) -> None:
    context = Context(client=client, settings=Settings(), now=END + timedelta(minutes=10))
    for job in (rollup.ROLLUP, hours.HOURS, objectives.OBJECTIVES):
        before, began, rows = _cpu_s(), time.perf_counter(), 0
        # History of objectives is added up over several runs.
        for _ in range(1 + DAYS // objectives.BACK_DAYS if job is objectives.OBJECTIVES else 1):
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
