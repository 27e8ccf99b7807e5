"""What `monitor check` looks at, one small function each."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from alerts.book import refuse_wrong_rules
from monitor.errors import MonitorError
from monitor.jobs.lease import RETRY_S
from monitor.jobs.plan import Planned, plan
from monitor.jobs.status import job_statuses
from monitor.serve.all_jobs import ALL_JOBS
from monitor.serve.ports import bind
from monitor.serve.trust import trust
from monitor.settings import Settings, load_settings
from monitor.store.adopt import unfinished
from monitor.store.client import Client, connect, explained, server_address
from monitor.store.migrate import applied_versions, pending
from monitor.store.owner import Owner, find_owner
from monitor.store.reader import reader_url

LEAST_FREE_BYTES: Final = 2 * 1024**3
MOST_CLOCK_DIFFERENCE_S: Final = 2.0
STORE_ANSWER_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    name: str
    state: Literal["ok", "warning", "failed"]
    text: str


def run_checks(config: Path | None, data: Path | None) -> Iterator[CheckResult]:
    """All checks, in the order in which one explains the next."""
    try:
        settings = load_settings(config, data)
    except MonitorError as error:
        yield CheckResult(name="configuration", state="failed", text=str(error))
        return
    try:
        planned = plan(settings, ALL_JOBS)
        refuse_wrong_rules(settings)
    except MonitorError as error:
        yield CheckResult(name="configuration", state="failed", text=str(error))
        return
    yield CheckResult(name="configuration", state="ok", text="every key is known, every value possible")
    yield _disk(settings)
    owner = find_owner(settings.data)
    yield from _service(settings, owner)
    # Of the embedded store, the service itself runs the jobs; without one there is nobody who could be late.
    runs = owner is not None or not settings.embedded
    yield from _store(settings, lambda client: _jobs(client, planned, someone_runs_them=runs))


def _disk(settings: Settings) -> CheckResult:
    folder = settings.data
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / 1024**3:.1f} GiB free for {settings.data}"
    if free < LEAST_FREE_BYTES:
        return CheckResult(
            name="disk", state="failed", text=f"{text}; at least {LEAST_FREE_BYTES / 1024**3:.0f} GiB are wanted"
        )
    return CheckResult(name="disk", state="ok", text=text)


def _service(settings: Settings, owner: Owner | None) -> Iterator[CheckResult]:
    if owner is None:
        yield CheckResult(
            name="service", state="warning", text=f"none runs on {settings.data}; start one with `monitor up`"
        )
        yield from _ports(settings)
        return
    where = " ".join(f"{name}={address}" for name, address in owner.addresses.items())
    yield CheckResult(name="service", state="ok", text=f"process {owner.pid}: {where}")
    trouble = _readiness(f"{owner.addresses['http']}/readyz", settings.collectors.tls_cert)
    yield CheckResult(name="ingest", state="failed" if trouble else "ok", text=trouble or "spans are taken and stored")


def _ports(settings: Settings) -> Iterator[CheckResult]:
    section = settings.collectors
    wanted = [
        (section.grpc_port, "OTLP/gRPC", "--grpc-port"),
        (section.http_port, "OTLP/HTTP", "--http-port"),
        (section.dashboard_port, "the dashboard", "--dashboard-port"),
    ]
    if settings.embedded:
        wanted.append((section.clickhouse_port, "the ClickHouse endpoint", "--clickhouse-port"))
    for port, purpose, option in wanted:
        try:
            bind(section.host, port, purpose, option).close()
        except MonitorError as error:
            yield CheckResult(name="port", state="failed", text=str(error))


def _readiness(url: str, certificate: Path | None) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=10, context=trust(url, certificate)) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        try:
            return str(json.loads(error.read())["trouble"])
        except (ValueError, KeyError, TypeError):
            return f"{url} answers {error.code}"
    except (OSError, ValueError) as error:
        return f"{url} does not answer: {error}"
    return None


def _store(settings: Settings, more: Callable[[Client], Iterator[CheckResult]]) -> Iterator[CheckResult]:
    address = str(settings.data) if settings.embedded else server_address(settings.store_url)
    if settings.embedded and not (settings.data / "store").exists() and not settings.store.url:
        yield CheckResult(name="store", state="warning", text=f"{address} has none yet; `monitor up` makes it")
        return
    client: Client | None = None
    try:
        with explained(address):
            client = connect(reader_url(settings), timeout_s=STORE_ANSWER_S)
            yield CheckResult(name="store", state="ok", text=f"ClickHouse {client.server_version} at {address}")
            yield _schema(client)
            yield from _history(client)
            yield _clock(client)
            yield from more(client)
    except MonitorError as error:  # also in the middle: it may go away at any moment
        yield CheckResult(name="store", state="failed", text=str(error))
    finally:
        if client is not None:
            client.close()


def _schema(client: Client) -> CheckResult:
    try:
        missing = pending(client)
    except MonitorError as error:
        return CheckResult(name="schema", state="failed", text=str(error))
    if missing:
        names = ", ".join(f"{migration.version:04d} {migration.name}" for migration in missing)
        return CheckResult(name="schema", state="failed", text=f"lacks {names}; run `monitor migrate`")
    newest = max(applied_versions(client), default=0)
    return CheckResult(name="schema", state="ok", text=f"version {newest}, up to date")


def _history(client: Client) -> Iterator[CheckResult]:
    if missing := unfinished(client):
        text = f"rows from before are not yet in the facts of {', '.join(missing)}; run `monitor migrate`"
        yield CheckResult(name="history", state="warning", text=text)


def _jobs(client: Client, planned: Mapping[str, Planned], *, someone_runs_them: bool) -> Iterator[CheckResult]:
    if not client.command("EXISTS TABLE job_runs"):
        return  # the schema says more
    good = 0
    for status in job_statuses(client, planned, now=datetime.now(UTC)):
        name, run = status.planned.job.name, status.run
        if run is not None and run.state == "failed":
            text = f"{name} failed at {run.started_at:%Y-%m-%d %H:%M:%S} UTC: {run.error}"
            # A store that was away makes a run fail, and the next one, a minute later, make it up.
            late = status.now - run.started_at > timedelta(seconds=2 * RETRY_S) or not someone_runs_them
            more = "" if late else "; it is tried again within a minute"
            yield CheckResult(
                name="job", state="failed" if late or _again(client, name) else "warning", text=text + more
            )
        elif status.overdue and someone_runs_them and run is not None:
            text = f"{name} is overdue: its last run began at {run.started_at:%Y-%m-%d %H:%M:%S} UTC"
            yield CheckResult(name="job", state="failed", text=f"{text}; is `monitor up` or `monitor work` running?")
        elif run is None and not status.planned.off and someone_runs_them:
            text = f"{name} never ran; `monitor up` and `monitor work` run it"
            yield CheckResult(name="job", state="warning", text=text)
        else:
            good += 1
    if good:
        yield CheckResult(name="jobs", state="ok", text=f"{good} of {len(planned)} ran as they should, or are off")


def _again(client: Client, job: str) -> bool:
    """Whether the run before the last one failed, too."""
    states = client.query(
        "SELECT state FROM job_runs FINAL WHERE job = {job:String} ORDER BY started_at DESC LIMIT 2",
        parameters={"job": job},
    ).result_rows
    return len(states) == 2 and states[1][0] == "failed"


def _clock(client: Client) -> CheckResult:
    asked = time.time()
    theirs = float(str(client.command("SELECT toUnixTimestamp64Milli(now64(3))"))) / 1000
    difference = theirs - (asked + time.time()) / 2
    text = f"ClickHouse's clock is {difference:+.2f} s from this one"
    state: Literal["ok", "failed"] = "ok" if abs(difference) <= MOST_CLOCK_DIFFERENCE_S else "failed"
    return CheckResult(name="clock", state=state, text=text if state == "ok" else f"{text}; set both by NTP")
