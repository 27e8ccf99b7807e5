"""An APScheduler executor whose threads do not hold up the end of the process, and that keeps the order of its jobs."""

from __future__ import annotations

import queue
import sys
import threading
from typing import Any

from apscheduler.executors.base import BaseExecutor, run_job

# The library's own pool is joined when the interpreter ends, however long that takes.


class DaemonExecutor(BaseExecutor):  # type: ignore[misc]
    """A fixed number of daemon threads over one queue."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._threads = threads
        self._queue: queue.SimpleQueue[tuple[Any, Any] | None] = queue.SimpleQueue()

    def start(self, scheduler: Any, alias: str) -> None:
        super().start(scheduler, alias)
        for number in range(self._threads):
            threading.Thread(target=self._work, name=f"job-{number}", daemon=True).start()

    def shutdown(self, wait: bool = True) -> None:
        """Begin nothing more; what waits is left, what runs is not waited for here."""
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                break
        for _ in range(self._threads):
            self._queue.put(None)

    def _do_submit_job(self, job: Any, run_times: Any) -> None:
        self._queue.put((job, run_times))

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            job, run_times = item
            try:
                events = run_job(job, job._jobstore_alias, run_times, self._logger.name)
            except BaseException:
                self._run_job_error(job.id, *sys.exc_info()[1:])
            else:
                self._run_job_success(job.id, events)
