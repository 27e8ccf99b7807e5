"""Which jobs run, how often, by the configuration; the one place where names in it are held against the registry."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from monitor.errors import BadInput, ConfigError
from monitor.jobs.job import Job
from monitor.jobs.lease import offset_s, slot
from monitor.kpis.window import parse_duration
from monitor.settings import Settings

LEAST_INTERVAL_S: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A job as it is configured here."""

    job: Job
    every_s: float
    off: bool

    @property
    def offset_s(self) -> float:
        return offset_s(self.job.name, self.every_s)

    def next_after(self, begun: datetime) -> datetime:
        """Begin of the next interval after the one in which this run began."""
        number = slot(self.job.name, self.every_s, begun.timestamp()) + 1
        return datetime.fromtimestamp(number * self.every_s + self.offset_s, UTC)


def plan(settings: Settings, jobs: Mapping[str, Job]) -> dict[str, Planned]:
    """All jobs, in the order of the registry.

    Raises
    ------
    ConfigError
        If the section `jobs` names a job that is not there, or an interval that is none.
    """
    section = settings.jobs
    for key, names in (("intervals", section.intervals), ("off", section.off)):
        for name in names:
            if name not in jobs:
                raise ConfigError(f"the configuration: `jobs.{key}` names no job with `{name}`{_nearest(name, jobs)}")
    return {
        name: Planned(job=job, every_s=_every_s(section.intervals.get(name), job), off=name in section.off)
        for name, job in jobs.items()
    }


def find(planned: Mapping[str, Planned], name: str) -> Planned:
    """One job by its name.

    Raises
    ------
    BadInput
        With the nearest right name.
    """
    if name not in planned:
        raise BadInput(f"there is no job `{name}`{_nearest(name, planned)}")
    return planned[name]


def _every_s(given: str | None, job: Job) -> float:
    if given is None:
        return job.every_s
    try:
        seconds = parse_duration(given).total_seconds()
    except BadInput as error:
        raise ConfigError(f"the configuration: `jobs.intervals.{job.name}`: {error}") from None
    if seconds < LEAST_INTERVAL_S:
        raise ConfigError(f"the configuration: `jobs.intervals.{job.name}` is `{given}`; at least 100ms are wanted")
    return seconds


def _nearest(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known: {', '.join(known) or 'none'}"
