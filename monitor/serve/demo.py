"""`monitor demo`: the service on a folder of its own, filled over the wire with the packaged real trace and what was made of it."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from collectors.simulate.history import Demo, demo_world
from collectors.simulate.scenario import Episode, Scenario, incidents, told
from collectors.simulate.senders import Sent
from collectors.simulate.workload import NS
from monitor.errors import ConfigError, MonitorError
from monitor.jobs.job import Context, Job, Outcome
from monitor.serve import demo_story
from monitor.serve.all_jobs import ALL_JOBS
from monitor.serve.demo_alerts import AlertWatch
from monitor.serve.demo_past import look_back
from monitor.serve.jobs import run_job
from monitor.serve.up import run
from monitor.settings import Settings
from monitor.store import connect
from monitor.store.changes import record_change
from monitor.store.owner import Claim
from monitor.store.reader import open_reader

logger = logging.getLogger(__name__)

MARKER: Final = "this-is-demo-data"
SETTLE_S: Final = 60.0
# These run by themselves soon enough, once all others, of which they need the sums, have run over the history.
_NOT_AT_ONCE: Final = frozenset({"retention", "alerts", "notify", "report", "probes", "bbq"})
_JOB_TRIES: Final = 120

Say = Callable[[str], None]


def run_demo(
    settings: Settings,
    *,
    scenario: Scenario,
    dashboard: bool,
    say: Say,
    ready_line: Callable[[Mapping[str, str]], str],
) -> None:
    """Serve, load the demo's history, then keep live traffic flowing until stopped."""
    if not settings.embedded:
        raise ConfigError(
            "the demo brings a store of its own; remove store.url from the configuration, or use `monitor up`"
        )
    _clear(settings.data)
    stop, gate = threading.Event(), _Gate()
    story: list[_Story] = []

    def on_ready(addresses: Mapping[str, str]) -> None:
        say(ready_line(addresses))
        story.append(_Story(settings, scenario, dict(addresses), stop, gate, say))
        story[0].start()

    try:
        run(settings, dashboard=dashboard, on_ready=on_ready, jobs=gate.jobs())
    finally:
        stop.set()
        for each in story:
            each.join(timeout=15)
            each.say_summary()


def _clear(data: Path) -> None:
    """Begin with an empty folder, so that the totals shown are those of the trace."""
    if data.exists():
        if not (data / MARKER).exists() and any(data.iterdir()):
            raise ConfigError(
                f"the folder {data} holds something that is no demo's; give the demo another folder with --data"
            )
        Claim(data).release()  # refuses if a demo is running there
        shutil.rmtree(data)
    data.mkdir(parents=True, mode=0o700)
    (data / MARKER).touch()


class _Gate:
    """Holds jobs back: over a part of the history they would be wrong, and two at a time, without each other's sums, slow."""

    def __init__(self) -> None:
        self._open: set[str] = set()

    def open(self, *names: str) -> None:
        self._open.update(names)

    def jobs(self) -> Mapping[str, Job]:
        """All jobs, which do nothing until they are let through."""

        def held(job: Job) -> Job:
            def run_if_open(context: Context) -> Outcome:
                return (
                    job.run(context) if job.name in self._open else Outcome(note="the demo's history is not ready yet")
                )

            return dataclasses.replace(job, run=run_if_open)

        return {name: held(job) for name, job in ALL_JOBS.items()}


class _Story(threading.Thread):
    """Sends the traffic, and says what is in it."""

    def __init__(
        self,
        settings: Settings,
        scenario: Scenario,
        addresses: Mapping[str, str],
        stop: threading.Event,
        gate: _Gate,
        say: Say,
    ) -> None:
        super().__init__(name="demo", daemon=True)
        self._settings, self._scenario, self._addresses = settings, scenario, addresses
        self._stop_event, self._gate, self._say = stop, gate, say
        self._loaded = False
        self._began_ns = 0
        self._shown = -1
        self._demo: Demo | None = None
        self._watch = AlertWatch(settings, addresses.get("dashboard", ""), stop, say)

    def run(self) -> None:
        try:
            self._tell()
        except MonitorError as error:
            if not self._stop_event.is_set():
                logger.error("the demo's traffic ended: %s", error)

    def _tell(self) -> None:
        headers = {}
        if self._settings.collectors.tokens:
            headers = {"authorization": f"Bearer {self._settings.collectors.tokens[0].get_secret_value()}"}
        self._say(f"loading {self._scenario.days:g} days of history …")
        world = demo_world(self._scenario)
        self._began_ns = world.began_ns
        demo = Demo(world, endpoint=self._addresses["grpc"], headers=headers, stop=self._stop_event)
        self._demo = demo
        self._record_past(world.began_ns)
        sent = demo.load(on_progress=self._progress)
        self._say_loaded(sent)
        self._loaded = True
        jobs = threading.Thread(target=self._run_jobs, name="demo-jobs", daemon=True)
        jobs.start()
        self._watch.start()
        dashboard = self._addresses.get("dashboard", "")
        self._say("what is in it (all but arrivals and sizes is made up, and marked so):")
        for incident in demo.hour.incidents:
            for line in demo_story.incident_lines(incident, dashboard):
                self._say(line)
        if dashboard:
            self._say(f"open {dashboard} to see it; live traffic goes on until Ctrl-C")
        demo.run_live(on_incident=self._on_incident)
        jobs.join(timeout=5)

    def say_summary(self) -> None:
        """What happened while it ran, which alerts told of it, and where to look."""
        if self._demo is None or not self._loaded:
            return
        began_ns = self._began_ns
        ended_ns = time.time_ns()
        happened = [
            each
            for each in incidents(self._scenario, began_ns=began_ns, start_ns=began_ns, end_ns=ended_ns)
            if each.start_ns > began_ns  # what was so before is no news
        ]
        lines = demo_story.summary_lines(
            happened, list(self._watch.fired.values()), self._addresses.get("dashboard", ""), str(self._settings.data)
        )
        for line in lines:
            self._say(line)

    def _progress(self, answered: int, total: int) -> None:
        percent = 100 * answered // max(total, 1) // 20 * 20
        if percent > self._shown:
            self._shown = percent
            self._say(f"  {percent} % of {total:,} spans")

    def _say_loaded(self, sent: Sent) -> None:
        """What the store holds, once it holds all calls; acknowledged spans become readable about a second later."""
        hour = "emitter LIKE 'demo-history-%'"
        query = f"SELECT count(), countIf({hour}), sumIf(input_tokens, {hour}), sumIf(output_tokens, {hour}) FROM inferences FINAL"
        client = open_reader(self._settings)
        try:
            deadline = time.monotonic() + SETTLE_S
            while True:
                calls, requests, tokens_in, tokens_out = client.query(query).result_rows[0]
                if calls >= sent.spans.calls or self._stop_event.is_set() or time.monotonic() > deadline:
                    break
                self._stop_event.wait(0.2)
        finally:
            client.close()
        self._say(
            f"loaded: {requests:,} requests of the Azure LLM inference trace 2023, {int(tokens_in or 0):,} tokens in and"
            f" {int(tokens_out or 0):,} tokens out (latencies are simulated)"
        )
        self._say(
            f"        and {calls - requests:,} calls of the {self._scenario.days:g} days before, one of"
            f" {1 / self._scenario.keep:g} sampled, {sent.judgements.acknowledged:,} judgements,"
            f" {sent.readings.acknowledged:,} GPU readings, by OTLP/gRPC in {sent.spans.seconds:.0f} s"
        )

    def _run_jobs(self) -> None:
        """Each job once over the history, one after the other; from then on by itself."""
        began = time.monotonic()
        for name in ALL_JOBS:
            if name in _NOT_AT_ONCE or name in self._settings.jobs.off:
                continue
            self._gate.open(name)
            for _ in range(_JOB_TRIES):
                if self._stop_event.is_set():
                    return
                try:
                    job_began = time.monotonic()
                    run_job(self._settings, name)
                    logger.info("job %s took %.1f s over the history", name, time.monotonic() - job_began)
                    break
                except MonitorError as error:  # it runs just now by itself
                    logger.debug("job %s: %s", name, error)
                    self._stop_event.wait(0.5)
        look_back(self._settings, self._scenario, self._began_ns)
        self._gate.open(*ALL_JOBS)
        self._say(
            f"jobs have been over the history in {time.monotonic() - began:.0f} s: alerts are watched from now on"
        )

    def _record_past(self, began_ns: int) -> None:
        for episode in self._scenario.past:
            for at_s, begins in ((episode.start_s, True), (episode.end_s, False)):
                if -self._scenario.days * 86_400 < at_s < 0:
                    self._record(began_ns + round(at_s * NS), episode, begins)
        release_ns = began_ns + round(self._scenario.release_s * NS)
        self._change(release_ns, "deploy", f"release {self._scenario.releases[2]}", {})

    def _record(self, at_ns: int, episode: Episode, begins: bool) -> None:
        change = demo_story.change_of(episode, begins=begins)
        if change is not None:
            self._change(at_ns, *change)

    def _change(self, at_ns: int, kind: str, title: str, where: Mapping[str, list[str]]) -> None:
        client = connect(self._settings.store_url)
        try:
            moment = datetime.fromtimestamp(at_ns / NS, UTC)
            record_change(client, timestamp=moment, kind=kind, title=title, author="demo", where=where, source="demo")
        finally:
            client.close()

    def _on_incident(self, at_ns: int, episode: Episode, begins: bool) -> None:
        self._record(at_ns, episode, begins)
        clock = datetime.fromtimestamp(at_ns / NS, UTC).strftime("%H:%M:%S")
        what = told(self._scenario, episode) if begins else f"it is over: {episode.kind}"
        self._say(f"{clock} UTC  {what}")
