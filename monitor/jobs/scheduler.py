"""When jobs run: APScheduler wakes up for each job in each of its intervals, and the lease says who runs it.

Nothing is kept by the scheduler itself: jobs are declared in code, and what became of their turns is in the store. Two
processes never share a job store of APScheduler, which cannot be shared. Its own jitter is not used: it would move a job
out of the interval that all processes agree on; `monitor.jobs.lease.offset_s` spreads jobs instead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from monitor.jobs.claims import ClaimLease
from monitor.jobs.job import Job
from monitor.jobs.lease import RETRY_S, Lease, LocalLease, utc_now
from monitor.jobs.plan import Planned, find, plan
from monitor.jobs.registry import JOBS
from monitor.jobs.runner import Attempt, Runner, worker_id
from monitor.jobs.workers import DaemonExecutor
from monitor.settings import Settings
from monitor.store import Client, connect
from monitor.store.client import reason

logger = logging.getLogger(__name__)

# What it says of each start is counted here, and a job's own failure is logged by the runner.
logging.getLogger("apscheduler").setLevel(logging.CRITICAL)

# A store that is away is asked again after this long, or in the next interval.
STORE_RETRY_S: Final = 15.0
# At the end a run may go on for this long by itself, and for this long after its queries were ended.
GRACE_S: Final = 2.0
KILLED_S: Final = 4.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOST: Final = {EVENT_JOB_ERROR: "error", EVENT_JOB_MISSED: "missed", EVENT_JOB_MAX_INSTANCES: "overlap"}


class Scheduler:
    """Runs jobs in the background, from `start` to `stop`.

    Parameters
    ----------
    settings : Settings
    jobs : mapping
        Name -> job.
    clock : callable
        The time of runs, in UTC.

    Raises
    ------
    ConfigError
        If the configuration names a job or an interval that is none.
    """

    def __init__(
        self, settings: Settings, *, jobs: Mapping[str, Job] = JOBS, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.worker = worker_id()
        self.planned = plan(settings, jobs)
        self._lease = make_lease(settings, self.worker)
        self._runner = Runner(settings, self._lease, worker=self.worker, clock=clock)
        self.counters = self._runner.counters
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": DaemonExecutor(settings.jobs.parallel)},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._scheduler.add_listener(self._count, EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
        self._stopped = False

    def start(self) -> None:
        """Begin: each job is looked at at once, so that a run that was missed is made up."""
        for planned in self.planned.values():
            if planned.off:
                continue
            begin = _EPOCH + timedelta(seconds=planned.offset_s)
            self._scheduler.add_job(
                self._fire,
                IntervalTrigger(seconds=planned.every_s, start_date=begin, timezone=UTC),
                args=[planned],
                id=planned.job.name,
                replace_existing=True,
            )
            self._again(planned, 0.0)
        self._scheduler.start()

    def stop(self) -> bool:
        """End within a few seconds, also in the middle of a job; whether none was left behind."""
        self._stopped = True
        self._runner.stop()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        left = self._runner.wait(GRACE_S)
        if left:
            self._runner.kill_queries()
            left = self._runner.wait(KILLED_S)
        for job in left:
            self.counters.event(job, "left behind")
            logger.warning("job %s does not stop; it ends with the process, and its next run makes it up", job)
        if isinstance(self._lease, ClaimLease) and not left:
            self._lease.close()
        return not left

    def run_now(self, name: str) -> Attempt:
        """Run one job now, due or not, unless a process runs it already.

        Raises
        ------
        BadInput
            If there is no such job.
        """
        return self._runner.attempt(find(self.planned, name), forced=True)

    def _fire(self, planned: Planned) -> None:
        try:
            attempt = self._runner.attempt(planned)
        except Exception as error:
            self.counters.event(planned.job.name, "store")
            logger.warning("job %s: the store cannot be asked whose turn it is: %s", planned.job.name, reason(error))
            self._again(planned, STORE_RETRY_S)
            return
        again_s = attempt.decision.again_s
        if attempt.run is not None:
            again_s = RETRY_S if attempt.run.state == "failed" else None
        if again_s is not None:
            self._again(planned, again_s)

    def _again(self, planned: Planned, after_s: float) -> None:
        """Look at the job once more before its next interval; a later look is that of the interval."""
        if after_s >= planned.every_s or self._stopped:
            return
        self._scheduler.add_job(
            self._fire,
            "date",
            run_date=datetime.now(UTC) + timedelta(seconds=after_s),
            args=[planned],
            id=f"{planned.job.name}/again",
            replace_existing=True,
        )

    def _count(self, event: Any) -> None:
        self.counters.event(str(event.job_id).removesuffix("/again"), _LOST[event.code])


def make_lease(settings: Settings, worker: str) -> Lease:
    """The lease of this kind of store."""
    if settings.embedded:
        return LocalLease(lambda: connect(settings.store_url), worker)
    lease_s = settings.jobs.lease_s

    def open_client() -> Client:
        # An answer that comes later than this is of no use to a holder.
        return connect(settings.store_url, timeout_s=max(1.0, lease_s / 3))

    return ClaimLease(open_client, holder=worker, lease_s=lease_s)
