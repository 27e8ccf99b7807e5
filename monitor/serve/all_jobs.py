"""All scheduled jobs: those of `monitor.jobs`, and those that live in packages which jobs may not import."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from alerts.job import ALERTS
from alerts.notify_job import NOTIFY
from monitor.jobs.job import Job
from monitor.jobs.registry import JOBS
from monitor.serve.report import REPORT

# In the order in which one that needs another comes after it.
ALL_JOBS: Final[Mapping[str, Job]] = MappingProxyType(dict(JOBS) | {job.name: job for job in (ALERTS, NOTIFY, REPORT)})
