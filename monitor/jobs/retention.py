"""The job `retention`: how long tables keep their rows is what the configuration says, whoever changed it since."""

from __future__ import annotations

from typing import Final

from monitor.jobs.job import Context, Job, Outcome
from monitor.store.prepare import keep_retention


def apply(context: Context) -> Outcome:
    """Set the time to keep on each table again. It drops no row itself: ClickHouse drops parts that are all out of it."""
    changed = keep_retention(context.settings)
    return Outcome(note=f"corrected {', '.join(changed)}" if changed else "")


RETENTION: Final = Job(
    name="retention",
    meaning="Sets how long each table keeps its rows, as `retention` in the configuration says.",
    every_s=86_400.0,
    run=apply,
)
