"""The job `alerts`: evaluates all rules, keeps their states, and hands what alarms to notification."""

from __future__ import annotations

from typing import Final

from monitor.jobs.job import Context, Job, Outcome


def run(context: Context) -> Outcome:
    """Evaluate all rules once, as of the run's time."""
    return Outcome()


ALERTS: Final = Job(
    name="alerts", meaning="Evaluates the alert rules, and hands what alarms to notification.", every_s=15, run=run
)
