"""The job `bias`: holds the groups of users against each other, hour by hour, and keeps what it saw in `bias_results`.

It asks every ten minutes whether an hour is over, so that a look is not an hour late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from monitor.jobs.job import Context, Job, Outcome
from monitor.settings import CohortSettings
from monitor.settings.drift import seconds_of
from monitor.store.calls import any_calls

if TYPE_CHECKING:  # what it takes is imported once there is something to look at
    from monitor.bias.watching import Plan


def run(context: Context) -> Outcome:
    """Make the look that is due."""
    if not any_calls(context.client):
        return Outcome(note="no calls yet")
    from monitor.bias.watching import run_looks

    return Outcome(rows=run_looks(context.client, plan_of(context.settings.cohorts), now=context.now))


def plan_of(settings: CohortSettings) -> Plan:
    """What is compared, by the configuration."""
    from monitor.bias.watching import Plan

    return Plan(
        keys=tuple(settings.keys),
        together=tuple(map(tuple, settings.together)),
        off=tuple(settings.off),
        outcomes=tuple(settings.outcomes),
        windows_s=tuple(map(seconds_of, settings.windows)),
        every_s=seconds_of(settings.every),
        grace_s=seconds_of(settings.lateness),
        tolerance=settings.tolerance,
        tolerances=settings.tolerances,
        ratio_tolerance=settings.ratio_tolerance,
        min_n=settings.min_n,
        split=tuple(settings.split),
        groups_max=settings.groups_max,
        alpha=settings.false_discovery_rate,
    )


BIAS: Final = Job(
    name="bias",
    meaning="Holds the groups of users against each other: errors, refusals, latency, accuracy.",
    every_s=600,
    run=run,
)
