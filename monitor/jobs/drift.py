"""The job `drift`: looks at each feature, hour by hour, and keeps what it saw in `drift_results`.

It asks every ten minutes whether an hour is over, so that a look is not an hour late. What was missed is made up, as far
back as `drift.history`; texts are looked at in the newest hours alone. All that a look leaves to later ones (bins,
counts, the games against chance) is in the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from monitor.jobs.job import Context, Job, Outcome
from monitor.kpis import Window
from monitor.settings import DriftSettings
from monitor.settings.drift import seconds_of
from monitor.store.calls import any_calls

if TYPE_CHECKING:  # what it takes is imported once there is something to look at
    from monitor.drift.plan import Plan


def run(context: Context) -> Outcome:
    """Make all looks that are due."""
    if not any_calls(context.client):
        return Outcome(note="no calls yet")
    from monitor.drift.performance import run_performance
    from monitor.drift.watching import run_looks

    plan = plan_of(context.settings.drift)
    rows, note = run_looks(context.client, plan, now=context.now, stop=context.stop)
    rows += run_performance(context.client, plan, now=context.now, stop=context.stop)
    return Outcome(rows=rows, note=note)


def plan_of(settings: DriftSettings) -> Plan:
    """What is watched, by the configuration."""
    from monitor.drift.plan import Plan

    pinned = None
    if settings.pinned_start is not None and settings.pinned_end is not None:
        pinned = Window(settings.pinned_start, settings.pinned_end)
    return Plan(
        features=tuple(settings.features),
        off=tuple(settings.off),
        reference=settings.reference,
        pinned=pinned,
        rolling_s=seconds_of(settings.rolling),
        window_s=seconds_of(settings.window),
        history_s=seconds_of(settings.history),
        grace_s=seconds_of(settings.lateness),
        performance_s=seconds_of(settings.performance_window),
        rows_min=settings.min_n,
        groups_max=settings.groups_max,
        split=tuple(settings.split),
        method=settings.method,
        threshold=settings.threshold,
        text_threshold=settings.text_threshold,
        performance_tolerance=settings.performance_tolerance,
        alpha=settings.false_discovery_rate,
    )


DRIFT: Final = Job(
    name="drift",
    meaning="Looks for drift of what is asked, what is answered and how right it is.",
    every_s=600,
    run=run,
)
