"""`monitor demo` with incidents that follow each other quickly: `python -m tests.tools.story DATA CONFIG`."""

from __future__ import annotations

import dataclasses
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from collectors.simulate.scenario import Episode, Scenario
from monitor.serve.demo import run_demo
from monitor.serve.demo_config import demo_values
from monitor.settings import load_settings

# Seconds after the demo began; it takes some to load the hour.
EPISODES: Final = (
    Episode(kind="slow node", start_s=60.0, end_s=150.0, strength=3.5),
    Episode(kind="price", start_s=60.0, end_s=150.0, strength=6.0),
    Episode(kind="biased refusals", start_s=60.0, end_s=180.0, strength=0.7),
    Episode(kind="drifting topic", start_s=60.0, end_s=240.0, strength=0.8),
)


def scenario() -> Scenario:
    return dataclasses.replace(
        Scenario.quiet(), days=0.0, live=EPISODES, cycle_s=100_000.0, topic_length=1.2, captured_share=0.95
    )


def main(data: str, config: str) -> None:
    now = datetime.now(UTC)
    settings = load_settings(
        Path(config), Path(data), under=demo_values(scenario(), now), grpc_port=0, http_port=0, clickhouse_port=0
    )

    def ready(addresses: object) -> str:
        return f"ready {addresses}"

    run_demo(settings, scenario=scenario(), dashboard=False, say=lambda line: print(line, flush=True), ready_line=ready)


if __name__ == "__main__":
    main(*sys.argv[1:])
