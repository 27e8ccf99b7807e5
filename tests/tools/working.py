"""A real `monitor work` whose only job writes down when it runs: `python -m tests.tools.working LOG HOLD_S` + environment.

The job covers the time since its watermark, and writes what it covered into the table `covered` when it ends. It also
appends to the file LOG when it begins and ends, by the monotonic clock, which is the same for all processes of a machine.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from monitor.jobs.job import Context, Job, Outcome
from monitor.serve.work import run_work
from monitor.settings import load_settings

COVERED = """
CREATE TABLE IF NOT EXISTS covered (since DateTime64(6), until DateTime64(6), pid UInt64)
ENGINE = MergeTree ORDER BY since
"""


def watermark_job(log: Path, hold_s: float) -> Job:
    def say(event: str, context: Context) -> None:
        line = json.dumps({"event": event, "pid": os.getpid(), "at": time.monotonic()})
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def run(context: Context) -> Outcome:
        say("begin", context)
        since = context.client.query("SELECT max(until) FROM covered").result_rows[0][0].replace(tzinfo=UTC)
        if context.stop.wait(hold_s):
            say("end", context)
            return Outcome(note="stopped")
        until = datetime.now(UTC)
        context.client.insert("covered", [[since, until, os.getpid()]], column_names=["since", "until", "pid"])
        say("end", context)
        return Outcome(rows=1)

    return Job(name="watermark", meaning="Covers the time since its watermark.", every_s=1.0, run=run)


def main() -> None:
    job = watermark_job(Path(sys.argv[1]), float(sys.argv[2]))

    def ready(addresses: Mapping[str, str]) -> None:
        print("ready", *(f"{key}={value}" for key, value in addresses.items()), flush=True)

    run_work(load_settings(), on_ready=ready, jobs={job.name: job})


if __name__ == "__main__":
    main()
