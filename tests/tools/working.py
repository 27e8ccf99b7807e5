"""Real services with a job of the tests: `python -m tests.tools.working work|up LOG HOLD_S`, configured by the environment.

The job of `work` covers the time since its watermark, and writes what it covered into the table `covered` when it ends. It also
appends to the file LOG when it begins and ends, by the monotonic clock, which is the same for all processes of a machine.
The job of `up` asks the store something that takes for ever, and does not look at the wish to stop.
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
from monitor.serve.up import run
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


def endless_job(log: Path) -> Job:
    def run(context: Context) -> Outcome:
        log.write_text("begun", encoding="utf-8")
        context.client.query("SELECT count() FROM numbers(100000000000000) WHERE sipHash64(number) = 1")
        return Outcome()

    return Job(name="endless", meaning="Never ends.", every_s=3600.0, run=run)


def main() -> None:
    mode, log = sys.argv[1], Path(sys.argv[2])

    def ready(addresses: Mapping[str, str]) -> None:
        print("ready", *(f"{key}={value}" for key, value in addresses.items()), flush=True)

    if mode == "work":
        run_work(load_settings(), on_ready=ready, jobs={"watermark": watermark_job(log, float(sys.argv[3]))})
    else:
        run(load_settings(), dashboard=False, on_ready=ready, jobs={"endless": endless_job(log)})


if __name__ == "__main__":
    main()
