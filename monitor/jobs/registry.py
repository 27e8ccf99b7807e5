"""All scheduled jobs, in the order in which one that needs another comes after it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from monitor.jobs.bias import BIAS
from monitor.jobs.cost import COST
from monitor.jobs.drift import DRIFT
from monitor.jobs.hours import HOURS
from monitor.jobs.job import Job
from monitor.jobs.kpis import ACCURACY, KPIS
from monitor.jobs.minutes import MINUTES
from monitor.jobs.objectives import OBJECTIVES
from monitor.jobs.probes import BBQ, PROBES
from monitor.jobs.retention import RETENTION
from monitor.jobs.rollup import ROLLUP
from monitor.jobs.safety import SAFETY

JOBS: Final[Mapping[str, Job]] = MappingProxyType(
    {
        job.name: job
        for job in (
            ROLLUP,
            HOURS,
            MINUTES,
            OBJECTIVES,
            COST,
            SAFETY,
            PROBES,
            BBQ,
            KPIS,
            ACCURACY,
            DRIFT,
            BIAS,
            RETENTION,
        )
    }
)
