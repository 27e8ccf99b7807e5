"""The scheduler on both kinds of store: what runs, what is recorded, and how it stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from monitor.errors import StoreError
from monitor.jobs import scheduler as scheduler_module
from monitor.jobs.job import Context, Job, Outcome
from monitor.jobs.plan import plan
from monitor.jobs.runs import KILLED, Run, newest_run, newest_runs, write_run
from monitor.jobs.scheduler import Scheduler
from monitor.jobs.status import job_statuses
from monitor.settings import Settings
from monitor.store.client import Client, background_settings, connect, is_embedded

WAIT_S = 20.0


def job(name: str, run: Callable[[Context], Outcome], *, every_s: float = 86_400.0) -> Job:
    return Job(name=name, meaning=f"Does {name}.", every_s=every_s, run=run)


def registry(*jobs: Job) -> dict[str, Job]:
    return {each.name: each for each in jobs}


def settings(url: str, **jobs: object) -> Settings:
    return Settings.model_validate({"store": {"url": url}, "jobs": {"lease_s": 5.0, **jobs}})


@contextmanager
def running(scheduler: Scheduler) -> Iterator[Scheduler]:
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()


@pytest.fixture
def client(pipeline_url: str) -> Iterator[Client]:
    opened = connect(pipeline_url)
    yield opened
    opened.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def test_a_job_that_fails_is_recorded_and_stops_no_other(pipeline_url: str, client: Client) -> None:
    def fail(context: Context) -> Outcome:
        context.client.command("SELECT throwIf(1, 'no such luck')")
        return Outcome()

    def crash(context: Context) -> Outcome:
        raise KeyError("a bug")

    def work(context: Context) -> Outcome:
        assert context.now.tzinfo == UTC
        return Outcome(rows=3, note="three rows")

    jobs = registry(job("fail", fail), job("crash", crash), job("work", work, every_s=0.3))
    with running(Scheduler(settings(pipeline_url), jobs=jobs)) as scheduler:
        wait_until(lambda: scheduler.counters.runs("work", "ok") >= 3)
        wait_until(lambda: scheduler.counters.runs("crash", "failed") == 1)
    assert scheduler.counters.runs("fail", "failed") == 1
    runs = newest_runs(client)
    assert {name: run.state for name, run in runs.items()} == {"fail": "failed", "crash": "failed", "work": "ok"}
    assert "no such luck" in runs["fail"].error
    assert runs["crash"].error == "KeyError: 'a bug'"
    work_run = runs["work"]
    assert (work_run.rows, work_run.note, work_run.error, work_run.worker) == (3, "three rows", "", scheduler.worker)
    assert work_run.duration_s is not None
    assert work_run.ended_at is not None
    assert 0 <= work_run.duration_s < WAIT_S
    assert work_run.started_at <= work_run.ended_at
    count = client.command("SELECT count() FROM job_runs FINAL WHERE job = 'work' AND state = 'ok'")
    assert count == scheduler.counters.runs("work", "ok")
    page = scheduler.counters.render()
    assert f'monitor_job_runs_total{{job="work",state="ok"}} {count}\n' in page
    assert f'monitor_job_rows_total{{job="work"}} {3 * int(str(count))}\n' in page
    assert 'monitor_job_runs_total{job="fail",state="failed"} 1\n' in page
    assert 'monitor_job_last_success_timestamp_seconds{job="work"}' in page


def test_runs_of_one_job_do_not_overlap(pipeline_url: str) -> None:
    at_once, most = 0, 0
    lock = threading.Lock()

    def slow(context: Context) -> Outcome:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        context.stop.wait(0.5)
        with lock:
            at_once -= 1
        return Outcome()

    with running(Scheduler(settings(pipeline_url), jobs=registry(job("slow", slow, every_s=0.1)))) as scheduler:
        wait_until(lambda: scheduler.counters.runs("slow", "ok") >= 2)
        busy = scheduler.run_now("slow")
    assert busy.run is None or most == 1
    assert most == 1
    assert scheduler.counters.events("slow", "overlap") > 0


def age_newest_turn(client: Client, name: str, age: timedelta, *, state: str = "ok") -> None:
    """As if the newest run of this job had begun so long ago, in another process."""
    begun = datetime.now(UTC) - age
    ended = begun + timedelta(seconds=1) if state != "running" else None
    write_run(
        client,
        Run(job=name, token="before", worker="other", state=state, started_at=begun, ended_at=ended),  # type: ignore[arg-type]
    )
    milliseconds = round(begun.timestamp() * 1000)
    row = [name, 41, 1, 41_000_001, "other", state, milliseconds, milliseconds]
    client.insert(
        "job_claims",
        [row],
        column_names=["job", "round", "step", "version", "holder", "state", "claimed_ms", "seen_ms"],
    )


@pytest.mark.parametrize(
    ("age", "state", "runs"),
    [
        pytest.param(timedelta(days=3), "ok", True, id="missed"),
        pytest.param(timedelta(seconds=0), "ok", False, id="ran just now"),
        pytest.param(timedelta(seconds=20), "running", True, id="killed"),
    ],
)
def test_what_was_missed_while_nothing_ran_is_made_up_at_the_start(
    pipeline_url: str, client: Client, age: timedelta, state: str, runs: bool
) -> None:
    """The job runs once a day, and covers all since its watermark in one run."""
    age_newest_turn(client, "daily", age, state=state)
    covered: list[timedelta] = []

    def daily(context: Context) -> Outcome:
        watermark = datetime.now(UTC) - age
        covered.append(context.now - watermark)
        return Outcome()

    done = threading.Event()

    def other(context: Context) -> Outcome:
        done.set()
        return Outcome()

    config = settings(pipeline_url, parallel=1)  # so that `other` comes after it
    with running(Scheduler(config, jobs=registry(job("daily", daily), job("other", other)))):
        assert done.wait(WAIT_S)
    assert len(covered) == runs
    assert all(abs(each - age) < timedelta(seconds=WAIT_S) for each in covered)
    if state == "running":
        query = "SELECT state, error FROM job_runs FINAL WHERE job = 'daily' AND token = 'before'"
        assert client.query(query).result_rows == [("abandoned", KILLED)]
    # And the next process leaves it.
    done.clear()
    with running(Scheduler(config, jobs=registry(job("daily", daily), job("last", other)))):
        assert done.wait(WAIT_S)
    assert len(covered) == runs


def test_a_run_in_the_middle_is_stopped_and_made_up(pipeline_url: str, client: Client) -> None:
    begun = threading.Event()

    def patient(context: Context) -> Outcome:
        begun.set()
        assert context.stop.wait(WAIT_S)
        return Outcome(rows=1, note="half")

    scheduler = Scheduler(settings(pipeline_url), jobs=registry(job("patient", patient)))
    scheduler.start()
    assert begun.wait(WAIT_S)
    asked = time.monotonic()
    assert scheduler.stop()
    assert time.monotonic() - asked < 5
    run = newest_run(client, "patient")
    assert run is not None
    assert (run.state, run.note, run.rows) == ("abandoned", "half", 1)

    again = threading.Event()
    with running(Scheduler(settings(pipeline_url), jobs=registry(job("patient", lambda _: again.set() or Outcome())))):
        assert again.wait(WAIT_S)


def test_jobs_of_an_embedded_store_give_way(pipeline_url: str) -> None:
    """There they share the machine with those who look at pages; a server has profiles of its own."""
    found: list[dict[str, int]] = []

    def look(context: Context) -> Outcome:
        names = list(background_settings())
        columns = ", ".join(f"toInt64(getSetting('{name}'))" for name in names)
        found.append(dict(zip(names, context.client.query(f"SELECT {columns}").result_rows[0], strict=True)))
        return Outcome()

    with running(Scheduler(settings(pipeline_url), jobs=registry(job("look", look)))):
        wait_until(lambda: bool(found))
    assert (found[0] == background_settings()) is is_embedded(pipeline_url)


def test_a_query_in_the_middle_is_ended(pipeline_url: str, client: Client) -> None:
    begun = threading.Event()

    def ask(context: Context) -> Outcome:
        begun.set()
        context.client.query("SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1")
        return Outcome()

    scheduler = Scheduler(settings(pipeline_url), jobs=registry(job("ask", ask)))
    scheduler.start()
    assert begun.wait(WAIT_S)
    asked = time.monotonic()
    assert scheduler.stop()
    assert time.monotonic() - asked < scheduler_module.GRACE_S + scheduler_module.KILLED_S
    run = newest_run(client, "ask")
    assert run is not None
    assert run.state == "abandoned"
    assert (
        client.command(
            "SELECT count() FROM system.processes WHERE query LIKE '%sipHash64(number) = 1%' AND query NOT LIKE '%processes%'"
        )
        == 0
    )


def test_a_job_that_does_not_listen_is_left_behind(pipeline_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module, "GRACE_S", 0.2)
    monkeypatch.setattr(scheduler_module, "KILLED_S", 0.2)
    begun, free = threading.Event(), threading.Event()

    def deaf(context: Context) -> Outcome:
        begun.set()
        free.wait(WAIT_S)
        return Outcome()

    scheduler = Scheduler(settings(pipeline_url), jobs=registry(job("deaf", deaf)))
    scheduler.start()
    assert begun.wait(WAIT_S)
    asked = time.monotonic()
    assert not scheduler.stop()
    assert time.monotonic() - asked < 5
    assert scheduler.counters.events("deaf", "left behind") == 1
    assert [thread.daemon for thread in threading.enumerate() if thread.name.startswith("job-")] != []
    free.set()
    wait_until(lambda: scheduler.counters.runs("deaf", "abandoned") == 1)


def test_a_job_that_is_off_runs_only_when_it_is_asked_to(pipeline_url: str, client: Client) -> None:
    jobs = registry(job("quiet", lambda _: Outcome(rows=1), every_s=0.1), job("loud", lambda _: Outcome(), every_s=0.1))
    config = settings(pipeline_url, off=["quiet"])
    with running(Scheduler(config, jobs=jobs)) as scheduler:
        wait_until(lambda: scheduler.counters.runs("loud", "ok") >= 2)
        assert scheduler.counters.runs("quiet", "ok") == 0
        attempt = scheduler.run_now("quiet")
    assert attempt.run is not None
    assert (attempt.run.state, attempt.run.rows) == ("ok", 1)
    statuses = {each.planned.job.name: each for each in job_statuses(client, plan(config, jobs), now=datetime.now(UTC))}
    assert (statuses["quiet"].state, statuses["quiet"].due_at) == ("ok, off", None)
    assert statuses["loud"].state in ("ok", "abandoned")  # the last run may have been stopped
    late = job_statuses(client, plan(config, jobs), now=datetime.now(UTC) + timedelta(hours=1))
    assert [each.overdue for each in late] == [False, True]
    assert late[1].state.endswith(", overdue")


def test_a_store_that_is_away_is_counted_and_stops_nothing(chdb_url: str) -> None:
    config = settings("http://127.0.0.1:9/none")
    with running(Scheduler(config, jobs=registry(job("any", lambda _: Outcome(), every_s=0.2)))) as scheduler:
        wait_until(lambda: scheduler.counters.events("any", "store") >= 2)
        with pytest.raises(StoreError):
            scheduler.run_now("any")


def test_embedded_or_not_has_its_own_lease(pipeline_url: str) -> None:
    lease = Scheduler(settings(pipeline_url), jobs={})._lease
    assert type(lease).__name__ == ("LocalLease" if is_embedded(pipeline_url) else "ClaimLease")
