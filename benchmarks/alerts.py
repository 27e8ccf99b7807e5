"""How long one evaluation of many alert rules takes: `python -m benchmarks.alerts`.

The store is embedded, and holds calls of 50 nodes at a steady rate. Rules ask for 25 KPIs by node, over four windows, of all calls
or of one of nine services. The fastest of a few rounds counts, as the machine has other work.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import UTC, datetime, timedelta
from itertools import islice, product
from pathlib import Path
from typing import Any

from alerts.evaluator import Evaluator
from monitor.jobs import rollup
from monitor.jobs.job import Context
from monitor.kpis import REGISTRY
from monitor.settings import Settings
from monitor.store import Client, connect
from monitor.store.migrate import migrate

END = datetime(2026, 3, 31, 12, tzinfo=UTC)
HOURS = 8
NODES = 50
WINDOWS = ("1m", "5m", "15m", "1h")
KPIS = (
    *(name for name in REGISTRY if name.startswith("latency.") and REGISTRY[name].unit == "s"),
    "traffic.error_rate", "traffic.requests", "traffic.request_rate", "traffic.token_rate", "traffic.cancelled_rate",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--calls", type=float, default=1e6, help="in eight hours")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-alerts-") as folder:
        client = connect(f"chdb://{Path(folder) / 'store'}")
        migrate(client)
        fill(client, int(options.calls))
        settings = Settings.model_validate({"alerts": rules(options.rules), "alerting": {"defaults": False}})
        context = Context(client=client, settings=settings, now=END + timedelta(minutes=5))
        rollup.run(context)
        evaluator = Evaluator(settings)
        times, cpu, statements = [], [], []
        for count in range(options.rounds):
            before, begun, used = evaluator.source.statements, time.perf_counter(), time.process_time()
            found = evaluator.evaluate(client, now=END + timedelta(seconds=15 * count))
            times.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - used)
            statements.append(evaluator.source.statements - before)
        instances = sum(health.instances for health in found.health.values())
        alarming = sum(kept.track.alarming for kept in found.kept.values())
        client.close()
    print(f"{options.rules} rules, {instances:,} groups looked at, {alarming:,} alarming")
    print(f"first evaluation {times[0]:.2f} s ({statements[0]} questions), the fastest after it {min(times[1:]):.2f} s")
    print(f"CPU time, over all cores: {cpu[0]:.2f} s and {min(cpu[1:]):.2f} s")


def rules(count: int) -> list[dict[str, Any]]:
    """Thresholds that few of the groups are beyond."""
    services = ("", *(f"s{index}" for index in range(9)))
    found = []
    for index, (service, window, kpi) in enumerate(islice(product(services, WINDOWS, KPIS), count)):
        high = {"s": 60.0, "1": 0.9}.get(REGISTRY[kpi].unit, 1e9)
        found.append(
            {
                "name": f"rule-{index}",
                "kpi": kpi,
                "by": ["node"],
                "window": window,
                "above": high,
                "min_samples": 1,
                **({"where": {"service": service}} if service else {}),
            }
        )
    return found


def fill(client: Client, calls: int) -> None:
    begin = int((END - timedelta(hours=HOURS)).timestamp())
    client.command(f"""
INSERT INTO inferences (timestamp, trace_id, span_id, role, service, node, model, input_tokens, output_tokens, ttft_s, queue_s,
    prefill_s, decode_s, duration_s, tpot_s, error_type, cancelled, sample_weight)
WITH cityHash64(number) AS h, exp(randNormal(-1.2, 0.5, number)) AS ttft, exp(randNormal(-4., 0.3, number + 1)) AS tpot,
    1 + (bitShiftRight(h, 8)) % 400 AS out
SELECT fromUnixTimestamp64Nano(toInt64(({begin} + number * {HOURS * 3600 + 60} / {calls}) * 1e9)), lower(hex(sipHash128(number))),
    lower(hex(h)), 'client', concat('s', toString(h % 9)), concat('gpu-', toString(intDiv(h, 9) % {NODES})), 'llama',
    1 + (bitShiftRight(h, 16)) % 3000, out, ttft, ttft / 10, ttft * 0.8, tpot * out, ttft + tpot * out, tpot,
    if(bitShiftRight(h, 24) % 100 = 0, 'timeout', ''), (bitShiftRight(h, 32)) % 50 = 0, 1
FROM numbers({calls})""")


if __name__ == "__main__":
    main()
