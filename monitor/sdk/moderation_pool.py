"""A few threads for filters. They never keep the process alive, and a filter that hangs keeps at most one of them."""

from __future__ import annotations

import contextvars
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

T = TypeVar("T")

THREADS_MAX: Final = 16
WAITING_MAX: Final = 256

_Job = Callable[[], None]


class Busy(Exception):
    """So many filters wait that one more would only be late."""


class Pool:
    """Bounded threads, bounded queue. `concurrent.futures` would wait for a hung filter when the process ends."""

    def __init__(self, *, threads: int = THREADS_MAX, waiting: int = WAITING_MAX) -> None:
        self._threads_max = threads
        self._waiting_max = waiting
        self.reset()

    def reset(self) -> None:
        """Begin anew, as in a forked child, where the threads are gone."""
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._threads = self._idle = 0

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run it in a thread, with the caller's context variables.

        Raises
        ------
        Busy
            If the queue is full.
        """
        future: Future[T] = Future()
        context = contextvars.copy_context()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(context.run(work))
            except BaseException as error:
                future.set_exception(error)

        with self._lock:
            waiting = self._jobs.qsize()
            if waiting >= self._waiting_max:
                raise Busy(f"{waiting} filters wait for one of {self._threads} threads")
            self._jobs.put(job)
            if self._idle <= waiting and self._threads < self._threads_max:
                self._threads += 1
                threading.Thread(target=self._run, name="monitor-moderation", daemon=True).start()
        return future

    def _run(self) -> None:
        jobs = self._jobs
        while True:
            with self._lock:
                self._idle += 1
            job = jobs.get()
            with self._lock:
                self._idle -= 1
            job()


pool: Final = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.reset)
