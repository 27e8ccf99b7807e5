"""Two real workers on a real server: one job at a time, one run an interval, and one takes over when the other is killed."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from monitor.jobs.lease import slot
from monitor.jobs.runs import Run, write_run
from monitor.serve.check import run_checks
from monitor.store.client import Client, connect
from monitor.store.migrate import migrate
from tests.conftest import drop_database, make_database, with_database
from tests.tools.service import ROOT, environment, run
from tests.tools.working import COVERED

EVERY_S = 1.0  # of the job in tests.tools.working
LEASE_S = 2.0
HOLD_S = 0.7


class Workers:
    """Processes of `monitor work` with the watermark job, and what they wrote."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.log = folder / "runs.jsonl"
        self.processes: list[subprocess.Popen[str]] = []
        self._errors = folder / "errors.log"

    def start(self) -> subprocess.Popen[str]:
        settings = {"MONITOR_STORE__URL": self.url, "MONITOR_JOBS__LEASE_S": str(LEASE_S)}
        with self._errors.open("a") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.tools.working", "work", str(self.log), str(HOLD_S)],
                cwd=ROOT,
                env=environment(settings),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.processes.append(process)
        return process

    def ready(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready worker="), self._errors.read_text()[-2000:]

    def events(self) -> list[dict[str, Any]]:
        text = self.log.read_text() if self.log.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def count(self, event: str, pid: int) -> int:
        return sum(each["event"] == event and each["pid"] == pid for each in self.events())

    def wait_for(self, count: int, *, by: int | None = None, event: str = "end") -> dict[str, Any]:
        """The last of so many events of this kind."""
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            found = [each for each in self.events() if each["event"] == event and by in (None, each["pid"])]
            if len(found) >= count:
                return found[count - 1]
            time.sleep(0.005)
        raise AssertionError(f"no {count} runs: {self.events()} {self._errors.read_text()[-2000:]}")

    def runs(self, killed: dict[int, float]) -> list[tuple[float, float, int]]:
        """Begin, end and process of each run; one that was killed ended when it was."""
        found, begun = [], {}
        for each in self.events():
            if each["event"] == "begin":
                assert each["pid"] not in begun, "a process ran the job twice at once"
                begun[each["pid"]] = each["at"]
            else:
                found.append((begun.pop(each["pid"]), each["at"], each["pid"]))
        found += [(at, killed[pid], pid) for pid, at in begun.items()]
        return sorted(found)


@pytest.fixture
def workers(clickhouse_url: str, tmp_path: Path) -> Iterator[Workers]:
    name = make_database(clickhouse_url)
    url = with_database(clickhouse_url, name)
    client = connect(url)
    migrate(client)
    client.command(COVERED)
    client.command("INSERT INTO covered VALUES (now64(6), now64(6), 0)")
    client.close()
    started = Workers(url, tmp_path)
    yield started
    for process in started.processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
    drop_database(clickhouse_url, name)


def test_a_killed_worker_is_followed_after_its_lease(workers: Workers) -> None:
    killed: dict[int, float] = {}
    first, second = workers.start(), workers.start()
    workers.ready(first)
    workers.ready(second)
    both = len(workers.events()) // 2
    workers.wait_for(both + 8)

    waits = []
    for victim, survivor in ((first, second), (second, workers.start())):
        if survivor is not second:
            workers.ready(survivor)
        ran = workers.count("begin", victim.pid)
        begun = workers.wait_for(ran + 1, by=victim.pid, event="begin")
        victim.kill()
        killed[victim.pid] = time.monotonic()
        assert victim.wait() == -signal.SIGKILL
        assert killed[victim.pid] - begun["at"] < HOLD_S, "it was to be killed in the middle"
        done = workers.count("begin", survivor.pid)
        taken = workers.wait_for(done + 1, by=survivor.pid, event="begin")
        waits.append(taken["at"] - killed[victim.pid])
        workers.wait_for(done + 3, by=survivor.pid, event="begin")

    survivor = workers.processes[-1]
    survivor.send_signal(signal.SIGINT)
    assert survivor.wait(timeout=15) == 0
    runs = workers.runs(killed)
    gaps = [after[0] - before[1] for before, after in itertools.pairwise(runs)]
    print(f"{len(runs)} runs, least gap {min(gaps):.3f} s, taken over after {waits}")
    assert min(gaps) > 0, gaps  # never two at once
    assert all(LEASE_S * 0.3 < wait < LEASE_S + 2 * EVERY_S + 8 for wait in waits), waits
    check_account(workers, kills=len(killed))


def check_account(workers: Workers, *, kills: int) -> None:
    """All of the time is covered once, and each run has its row."""
    client: Client = connect(workers.url)
    covered = client.query("SELECT since, until FROM covered ORDER BY until").result_rows
    assert len(covered) > 10
    assert all(before[1] == after[0] for before, after in itertools.pairwise(covered))
    states = dict(client.query("SELECT state, count() FROM job_runs FINAL GROUP BY state").result_rows)
    assert states["ok"] == len(covered) - 1
    assert kills <= states.pop("abandoned") <= kills + 1  # the last one may have been stopped in the middle
    assert set(states) == {"ok"}
    # No interval had two.
    query = "SELECT toFloat64(started_at) FROM job_runs FINAL WHERE state = 'ok' ORDER BY started_at"
    slots = [slot("watermark", EVERY_S, at) for (at,) in client.query(query).result_rows]
    assert slots == sorted(set(slots))
    client.close()


def test_workers_need_a_server(tmp_path: Path) -> None:
    result = run("work", "--data", str(tmp_path / "data"))
    assert (result.returncode, result.stdout) == (1, "")
    assert "workers of their own need a ClickHouse server" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("state", "age_s", "seen", "words"),
    [
        pytest.param(
            "failed", 10, "warning", r"retention failed at .* UTC: out of luck; it is tried again", id="just failed"
        ),
        pytest.param("failed", 300, "failed", r"retention failed at .* UTC: out of luck$", id="failed"),
        pytest.param("ok", 3 * 86_400, "failed", r"retention is overdue: its last run began at", id="overdue"),
        pytest.param("ok", 10, "ok", r"\d+ of \d+ ran as they should", id="fine"),
    ],
)
def test_check_says_what_is_wrong_with_jobs(
    workers: Workers, tmp_path: Path, state: Literal["ok", "failed"], age_s: float, seen: str, words: str
) -> None:
    begun = datetime.now(UTC) - timedelta(seconds=age_s)
    client = connect(workers.url)
    error = "out of luck" if state == "failed" else ""
    write_run(client, Run(job="retention", token="1", worker="w", state=state, started_at=begun, error=error))
    client.close()
    (tmp_path / "monitor.yaml").write_text(f"store: {{url: '{workers.url}'}}\n")
    found = [each for each in run_checks(tmp_path / "monitor.yaml", tmp_path / "data") if each.name in ("job", "jobs")]
    assert any(each.state == seen and re.search(words, each.text) for each in found), found
    if state == "ok" and age_s < 86_400:
        assert not any(each.state == "failed" for each in found)
