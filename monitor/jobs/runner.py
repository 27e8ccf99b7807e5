"""One run of one job: take its turn, run it with a client of its own, keep the turn alive, record what became of it."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from monitor.errors import MonitorError
from monitor.jobs.counters import Counters
from monitor.jobs.job import Context, Outcome
from monitor.jobs.lease import Decision, Lease, Turn, decide, utc_now
from monitor.jobs.plan import Planned
from monitor.jobs.runs import Run, abandon_others, write_run
from monitor.settings import Settings
from monitor.store import Client, connect
from monitor.store.broken import WriteWatch
from monitor.store.client import background_settings, error_code, is_embedded, reason

logger = logging.getLogger(__name__)

# Share of the lease after which a sign of life is due, and the share before whose end a holder without one gives up.
RENEW_SHARE: Final = 1 / 3
MARGIN_SHARE: Final = 0.1
# A store that does not take the record of a run is asked this often, a second apart.
_RECORD_TRIES: Final = 3


def worker_id() -> str:
    """Host, process, and something that a later process with the same number has not."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What came of asking for a job's turn: a run, or the reason why there was none."""

    decision: Decision
    run: Run | None = None


class _Active:
    """A run that is under way."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.stop = threading.Event()
        self.ended = threading.Event()
        self.lost = False

    @property
    def mark(self) -> str:
        """By which the store knows the run's queries."""
        return f"monitor job {self.turn.token} {self.turn.holder}"


class Runner:
    """Runs jobs for one process; one run of a job at a time, several jobs at a time.

    Parameters
    ----------
    settings : Settings
    lease : Lease
    worker : str
        Who this process is, as in `job_runs`.
    clock : callable
        The time, in UTC.
    """

    def __init__(
        self, settings: Settings, lease: Lease, *, worker: str, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.counters = Counters()
        self._settings = settings
        self._lease = lease
        self._worker = worker
        self._clock = clock
        self._active: dict[str, _Active] = {}
        self._asked: list[str] = []
        self._lock = threading.Condition()
        self._stopping = False

    def attempt(self, planned: Planned, *, forced: bool = False) -> Attempt:
        """Run the job if it is due, and no other process has it; `forced`: due or not."""
        with self._lock:
            if self._stopping:
                return Attempt(decision=Decision(run=False, why="stopping"))
            if planned.job.name in self._asked:
                return Attempt(decision=Decision(run=False, why="busy"))
            self._asked.append(planned.job.name)
        try:
            return self._attempt(planned, forced=forced)
        finally:
            with self._lock:
                self._asked.remove(planned.job.name)
                self._lock.notify_all()

    def _attempt(self, planned: Planned, *, forced: bool) -> Attempt:
        job = planned.job.name
        last = self._lease.last(job)
        now = self._clock()
        decision = decide(last, job=job, every_s=planned.every_s, lease_s=self._lease.lease_s, now=now)
        if not (decision.run or (forced and decision.why != "busy")):
            return Attempt(decision=decision)
        turn = self._lease.take(job, last)
        if turn is None:
            return Attempt(decision=Decision(run=False, why="busy", again_s=min(self._lease.lease_s, planned.every_s)))
        return Attempt(decision=decision, run=self._run(planned, turn, now))

    def stop(self) -> None:
        """Ask all runs to end between two steps, and begin no more."""
        with self._lock:
            self._stopping = True
            for active in self._active.values():
                active.stop.set()

    def wait(self, timeout_s: float) -> list[str]:
        """Names of the jobs that still run after this long."""
        with self._lock:
            self._lock.wait_for(lambda: not self._asked, timeout_s)
            return list(self._asked)

    def kill_queries(self) -> None:
        """End what runs still ask of the store; they fail then. Does not wait: a store that hangs takes no word of it."""
        with self._lock:
            marks = [active.mark for active in self._active.values()]
        for mark in marks:
            threading.Thread(target=self._kill, args=(mark,), name="kill-queries", daemon=True).start()

    def _run(self, planned: Planned, turn: Turn, now: datetime) -> Run:
        active = _Active(turn)
        with self._lock:
            self._active[turn.token] = active
            if self._stopping:
                active.stop.set()
        begun = time.monotonic()
        run = Run(job=turn.job, token=turn.token, worker=self._worker, state="running", started_at=now)
        keeper = threading.Thread(target=self._keep, args=(active,), name=f"lease-{turn.job}", daemon=True)
        keeper.start()
        client: Client | None = None
        try:
            client = self._connect(log_comment=active.mark)
            run = self._carry_out(planned, run, active, client)
        except Exception as error:
            run = _failed(run, error)
        finally:
            active.ended.set()
            keeper.join(self._lease.lease_s if self._lease.lease_s < threading.TIMEOUT_MAX else None)
            if run.state == "running":  # this thread is interrupted, by Ctrl-C
                run = replace(run, state="abandoned", error="interrupted; the next run makes it up")
            run = replace(run, ended_at=self._clock(), duration_s=time.monotonic() - begun)
            self.counters.ran(run)
            self._record(run, active, client)
            if client is not None:
                client.close()
            with self._lock:
                del self._active[turn.token]
        return run

    def _carry_out(self, planned: Planned, run: Run, active: _Active, client: Client) -> Run:
        """What became of the run, in words."""
        try:
            abandon_others(client, run)
            write_run(client, run)
            context = Context(client=client, settings=self._settings, now=run.started_at, stop=active.stop)
            writes = WriteWatch(client)
            outcome: Outcome = planned.job.run(context)
            writes.look()
        except Exception as error:
            if active.stop.is_set():
                return replace(run, state="abandoned", error=_stopped(active))
            return _failed(run, error)
        run = replace(run, rows=outcome.rows, note=outcome.note)
        # A job that saw the wish to stop left something to the next run.
        if active.stop.is_set():
            return replace(run, state="abandoned", error=_stopped(active))
        return replace(run, state="ok")

    def _keep(self, active: _Active) -> None:
        """Give signs of life until the run ends; when the turn is lost, or may be, stop the run."""
        lease_s = self._lease.lease_s
        if lease_s > threading.TIMEOUT_MAX:
            return
        while not active.ended.wait(lease_s * RENEW_SHARE):
            try:
                held = self._lease.renew(active.turn)
            except Exception as error:
                logger.warning("job %s: no sign of life could be given: %s", active.turn.job, reason(error))
                held = time.monotonic() < active.turn.valid_until - lease_s * (RENEW_SHARE + MARGIN_SHARE)
            if not held:
                logger.warning("job %s: another process may have taken over; the run here is stopped", active.turn.job)
                active.lost = True
                active.stop.set()
                self._kill(active.mark)
                return

    def _record(self, run: Run, active: _Active, client: Client | None) -> None:
        """Write the run's end, and give the turn back; a store that is away is tried again, shortly."""
        # Queries of a run that is stopped are ended by the mark that its client carries.
        fresh = client is None or active.stop.is_set()
        steps: list[Callable[[], None]] = [lambda: self._write(run, None if fresh else client)]
        if not active.lost:
            steps.append(lambda: self._lease.end(active.turn, run.state))
        for step in steps:
            for left in reversed(range(_RECORD_TRIES)):
                try:
                    step()
                    break
                except Exception as error:
                    if not left or self._stopping:
                        logger.warning("the end of a run of %s is not recorded: %s", run.job, reason(error))
                        break
                    threading.Event().wait(1.0)  # `time.sleep` fails where libfaketime sets the clock

    def _write(self, run: Run, client: Client | None) -> None:
        if client is not None:
            write_run(client, run)
            return
        fresh = self._connect()
        try:
            write_run(fresh, run)
        finally:
            fresh.close()

    def _kill(self, mark: str) -> None:
        try:
            client = self._connect()
            try:
                client.command(
                    "KILL QUERY WHERE Settings['log_comment'] = {mark:String} ASYNC", parameters={"mark": mark}
                )
            finally:
                client.close()
        except Exception as error:
            logger.debug("queries of %s go on: %s", mark, reason(error))

    def _connect(self, **settings: Any) -> Client:
        url = self._settings.store_url
        return connect(url, settings={**(background_settings() if is_embedded(url) else {}), **settings})


def _failed(run: Run, error: Exception) -> Run:
    unexpected = not isinstance(error, MonitorError) and error_code(error) is None
    words = f"{type(error).__name__}: {reason(error)}" if unexpected else reason(error)
    logger.warning("job %s failed: %s", run.job, words)
    logger.debug("job %s", run.job, exc_info=error)
    return replace(run, state="failed", error=words)


def _stopped(active: _Active) -> str:
    return "another process has taken over" if active.lost else "stopped with the process; the next run makes it up"
