"""How each job does, for people: `monitor jobs`, `monitor check`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from monitor.jobs.plan import Planned
from monitor.jobs.runs import Run, last_success, newest_runs
from monitor.store import Client

# A run may wait for a process that died, and for other jobs, before it is called late.
_PATIENCE: Final = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True)
class Status:
    """One job, its newest run (None: it never ran) and when its last good one began."""

    planned: Planned
    run: Run | None
    succeeded_at: datetime | None
    now: datetime

    @property
    def due_at(self) -> datetime | None:
        """When its next run is due, now at the earliest; None if it is off."""
        if self.planned.off:
            return None
        if self.run is None or self.run.state == "abandoned":
            return self.now
        return max(self.now, self.planned.next_after(self.run.started_at))

    @property
    def overdue(self) -> bool:
        """Whether two intervals went by without a run that began."""
        if self.planned.off or self.run is None:
            return False
        return self.now - self.run.started_at > timedelta(seconds=2 * self.planned.every_s) + _PATIENCE

    @property
    def state(self) -> str:
        if self.run is None:
            return "off" if self.planned.off else "never ran"
        words = [self.run.state, "off" if self.planned.off else "overdue" if self.overdue else ""]
        return ", ".join(word for word in words if word)

    def as_json(self) -> dict[str, Any]:
        job = self.planned.job
        return {
            "job": job.name,
            "meaning": job.meaning,
            "every_s": self.planned.every_s,
            "off": self.planned.off,
            "state": self.state,
            "overdue": self.overdue,
            "due_at": self.due_at.isoformat() if self.due_at is not None else None,
            "succeeded_at": self.succeeded_at.isoformat() if self.succeeded_at is not None else None,
            "last_run": self.run.as_json() if self.run is not None else None,
        }


def job_statuses(client: Client, planned: Mapping[str, Planned], *, now: datetime) -> list[Status]:
    """All jobs, in the order of the registry."""
    runs, succeeded = newest_runs(client), last_success(client)
    return [
        Status(planned=each, run=runs.get(name), succeeded_at=succeeded.get(name), now=now)
        for name, each in planned.items()
    ]
