"""All scheduled jobs, in the order in which one that needs another comes after it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from monitor.jobs import cost, rollup
from monitor.jobs.job import Job

JOBS: Final[Mapping[str, Job]] = MappingProxyType({job.name: job for job in (rollup.JOB, cost.JOB)})
