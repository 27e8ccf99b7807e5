"""The jobs' own numbers, as a Prometheus page: what this process did, and nothing of what others did."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

from monitor.jobs.runs import Run

PREFIX: Final = "monitor_job"


class Counters:
    """Counts from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: Counter[tuple[str, str]] = Counter()
        self._rows: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._last_s: dict[str, float] = {}
        self._success: dict[str, float] = {}
        self._events: Counter[tuple[str, str]] = Counter()

    def ran(self, run: Run) -> None:
        with self._lock:
            self._runs[run.job, run.state] += 1
            self._rows[run.job] += run.rows
            if run.duration_s is not None:
                self._seconds[run.job] += run.duration_s
                self._last_s[run.job] = run.duration_s
            if run.state == "ok" and run.ended_at is not None:
                self._success[run.job] = run.ended_at.timestamp()

    def event(self, job: str, kind: str) -> None:
        """A start that came to nothing: `error`, `missed`, `overlap`, `store`, `left behind` (at the end)."""
        with self._lock:
            self._events[job, kind] += 1

    def runs(self, job: str, state: str) -> int:
        with self._lock:
            return self._runs[job, state]

    def events(self, job: str, kind: str) -> int:
        with self._lock:
            return self._events[job, kind]

    def render(self) -> str:
        """Text exposition format 0.0.4; empty before the first run."""
        with self._lock:
            lines = [*self._lines()]
        return "\n".join(lines) + "\n" if lines else ""

    def _lines(self) -> Iterator[str]:
        runs = {f'job="{job}",state="{state}"': count for (job, state), count in self._runs.items()}
        yield from _family("runs_total", "counter", "Runs that this process made, by what became of them.", runs)
        rows = {f'job="{job}"': count for job, count in self._rows.items()}
        yield from _family("rows_total", "counter", "Rows that these runs wrote.", rows)
        seconds = {f'job="{job}"': value for job, value in self._seconds.items()}
        yield from _family("duration_seconds_total", "counter", "Time that these runs took.", seconds)
        last = {f'job="{job}"': value for job, value in self._last_s.items()}
        yield from _family("last_duration_seconds", "gauge", "Time that the newest of them took.", last)
        success = {f'job="{job}"': value for job, value in self._success.items()}
        yield from _family("last_success_timestamp_seconds", "gauge", "End of the newest that was good.", success)
        events = {f'job="{job}",reason="{kind}"': count for (job, kind), count in self._events.items()}
        yield from _family("starts_lost_total", "counter", "Starts that came to nothing, by why.", events)


def _family(name: str, kind: str, meaning: str, values: dict[str, int] | dict[str, float]) -> Iterator[str]:
    if not values:
        return
    yield f"# HELP {PREFIX}_{name} {meaning}"
    yield f"# TYPE {PREFIX}_{name} {kind}"
    for labels, value in sorted(values.items()):
        yield f"{PREFIX}_{name}{{{labels}}} {value:.17g}"
