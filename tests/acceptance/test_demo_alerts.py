"""The demo's incidents reach a real mail server and a real HTTP receiver in time, say where, end by themselves; nothing else does.

The incidents, the configuration and the rules are those of `monitor demo`, its traffic comes over the wire, and jobs run as
often as there; only the clock is the test's. So it takes a minute, and no moment depends on how busy the machine is.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alerts.backtest import backtest
from alerts.evaluator import Evaluator
from collectors.simulate.scenario import Scenario
from collectors.simulate.texts import CHOICES, LANGUAGES, NEW_TOPIC, SUBJECTS, prompt
from collectors.simulate.workload import NS
from monitor.jobs.job import Context
from monitor.serve.all_jobs import ALL_JOBS
from monitor.serve.demo_config import demo_values
from monitor.settings import Settings, load_settings
from monitor.store import Client, connect
from monitor.store.objectives import write_objectives
from tests.collectors.receiving import receiving
from tests.tools.story import load_story
from tests.tools.told import HttpReceiver, MailServer, Posted, http_receiver, mail_server

EVERY_S = 15
LATE_S = 5.0
LOOKS_EVERY_S = 30
# The month's budget is spent at the demo's begin, by its story: the provider's price was raised two days before.
BEFORE = {"budget-used"}
# After the last incident is over, windows have to go by.
UNTIL_S = 915
# Rule -> what the first of what explains its alert must name.
WANTED = {
    "slow-node": "node gpu-2: ",
    "budget-overrun": "model nimbus-large: ",
    "drifting-topic": "prompt of chat-api: ",
    "refusal-gap": "language de: ",
}
EMBEDDED = pytest.mark.parametrize("backend_url", ["chdb"], indirect=True)


@dataclass(frozen=True)
class Came:
    """A message: the clock's time, how long it took from the begin of that evaluation, and what it says."""

    at_s: float
    took_s: float
    told: dict[str, Any]


class Watch:
    """Notes what comes, at which time of the clock."""

    def __init__(self, hook: HttpReceiver, mails: MailServer) -> None:
        self.at_s, self.begun = 0.0, 0.0
        self.posts: list[Came] = []
        self.mails: list[Came] = []
        self._mails = mails
        hook.answer = self._take

    def begin(self, at_s: float) -> None:
        self.at_s, self.begun = at_s, time.monotonic()

    def end(self) -> None:
        """The evaluation is over: mails that came since."""
        for mail in self._mails.mails[len(self.mails) :]:
            self.mails.append(Came(self.at_s, time.monotonic() - self.begun, {"subject": str(mail["Subject"])}))

    def _take(self, posted: Posted) -> tuple[int, str, dict[str, str]]:
        self.posts.append(Came(self.at_s, time.monotonic() - self.begun, posted.json))
        return 200, "ok", {}

    def of(self, rule: str, status: str) -> Came:
        found = [each for each in self.posts if each.told["status"] == status and rule in json.dumps(each.told)]
        assert found, f"{rule} was never {status}: {[(each.at_s, each.told['subject']) for each in self.posts]}"
        return found[0]


def settings_of(folder: Path, scenario: Scenario, now: datetime, mails: MailServer, hook: HttpReceiver) -> Settings:
    """The demo's, and receivers."""
    email = {
        "host": "localhost", "port": mails.port, "ca_file": str(mails.ca_file), "from": "demo@example.com", "to": ["oncall@example.com"],
    }  # fmt: skip
    at_once = {"group_by": ["..."], "group_wait": "0s", "group_interval": "1s"}
    receivers = {
        "oncall": {"email": email, **at_once},
        "chat": {"webhook": {"url": hook.url, "secret": "s3cret", "allow": ["127.0.0.1/32"]}, **at_once},
    }
    values = demo_values(scenario, now) | {"receivers": receivers, "routing": {"receivers": ["oncall", "chat"]}}
    return load_settings(None, folder, under=values)


@pytest.fixture
def client(pipeline_url: str) -> Iterator[Client]:
    opened = connect(pipeline_url)
    yield opened
    opened.close()


@EMBEDDED
@pytest.mark.timeout(400)
def test_each_incident_is_told_in_time_says_where_and_ends(pipeline_url: str, client: Client, tmp_path: Path) -> None:
    loading = time.monotonic()
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=UNTIL_S + 30)
    scenario = Scenario(days=0)
    with mail_server(tmp_path / "mail") as mails, http_receiver() as hook:
        watch = Watch(hook, mails)
        settings = settings_of(tmp_path / "data", scenario, began, mails, hook)
        whole = {"capture_content": True}
        with receiving(tmp_path / "wal", pipeline_url, privacy=whole, segment_age_s=2.0) as target:
            calls = load_story(target.grpc, scenario, began_ns=round(began.timestamp() * NS), until_s=UNTIL_S)
            while target.snapshot().waiting:  # as long as the test's own limit
                time.sleep(0.1)
        assert client.command("SELECT uniqExact(trace_id, span_id) FROM inferences") == calls

        def run(name: str, at_s: float) -> None:
            ALL_JOBS[name].run(
                Context(client=client, settings=settings, now=began + timedelta(seconds=at_s))
            )  # fmt: skip

        print(f"{calls} calls loaded in {time.monotonic() - loading:.0f} s")
        write_objectives(client, settings.objectives, now=began)
        run("cost", UNTIL_S)
        for at_s in range(120, UNTIL_S + 1, EVERY_S):
            if at_s % LOOKS_EVERY_S == 0:
                run("drift", at_s)
                run("bias", at_s)
            watch.begin(at_s)
            run("alerts", at_s)
            watch.end()
    seen = {**visible(client, began, settings), **looks_that_tell(client, began)}
    late_s = LATE_S * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    for rule, wanted in WANTED.items():
        firing, resolved = watch.of(rule, "firing"), watch.of(rule, "resolved")
        first = firing.told["alerts"][0]
        delay_s = firing.at_s - seen[rule] + firing.took_s
        print(
            f"{rule}: visible at {seen[rule]:g} s, evaluated at {firing.at_s:g} s, posted {firing.took_s:.1f} s later, over at"
            f" {resolved.at_s:g} s; {first['labels']} {first['summary']}; first of {first['slices'][:1]}"
        )
        assert 0 <= firing.at_s - seen[rule] <= EVERY_S, rule
        assert delay_s <= EVERY_S + late_s, rule
        assert first["slices"][0].startswith(wanted), first["slices"]
        if rule == "drifting-topic":
            moved = set(re.findall(r"\+(\w+)", first["slices"][0]))
            asked = set(" ".join(SUBJECTS[NEW_TOPIC]).lower().split())
            # One of the four words may be of the sentence around the subjects, and none of anything else.
            assert len(moved & asked) >= max(2, len(moved) - 1), first
            said = {
                word
                for language in LANGUAGES
                for choice in range(CHOICES)
                for word in re.findall(r"\w+", prompt(NEW_TOPIC, language, choice).lower())
            }
            assert moved <= said, first
        subjects = [(each.at_s, each.told["subject"]) for each in watch.mails if rule in each.told["subject"]]
        assert [at_s for at_s, _ in subjects][:1] == [firing.at_s], subjects
        assert resolved.at_s in [at_s for at_s, _ in subjects], subjects
    fired = client.query("SELECT DISTINCT rule FROM alert_events FINAL WHERE state = 'firing'").result_rows
    assert {rule for (rule,) in fired} - BEFORE == set(WANTED)


def visible(client: Client, began: datetime, settings: Settings) -> dict[str, float]:
    """When each threshold was first crossed over a window of calls that had arrived, from the calls themselves, second by second."""
    rows = client.query(
        f"SELECT (toUnixTimestamp64Milli(timestamp) - {round(began.timestamp() * 1000)}) / 1000, toString(node),"
        " toString(deployment), ttft_s, cost_usd FROM inferences FINAL WHERE timestamp > {began:DateTime64(3)} - INTERVAL 5 MINUTE",
        parameters={"began": began},
    ).result_rows
    at, node, deployment, ttft, cost = (np.array(column) for column in zip(*rows, strict=True))
    ttft, cost = ttft.astype(float), cost.astype(float)
    late_s = float(settings.alerting.lateness.removesuffix("s"))

    def first(window_s: float, is_beyond: Any) -> float:
        for second in range(UNTIL_S):
            end = second - late_s
            if is_beyond((at >= end - window_s) & (at < end)):
                return float(second)
        raise AssertionError("never visible")

    def slow(inside: Any) -> bool:
        values = ttft[inside & (node == "gpu-2")]
        return len(values) >= 30 and float(np.nanquantile(values, 0.95)) > 1.7

    # `slow-node` waits for 30 s more, which is its `for`.
    return {
        "slow-node": first(120, slow) + 30,
        "budget-overrun": first(180, lambda inside: np.nansum(cost[inside & (deployment == "api")]) > 0.9),
    }


def looks_that_tell(client: Client, began: datetime) -> dict[str, float]:
    """When the job ran that saw it: its first run after the end of the first window with a verdict, and 20 s for the last calls."""
    drifted, unfair = (
        client.command(f"SELECT toUnixTimestamp(min(window_end)) FROM {table} FINAL WHERE {condition}")
        for table, condition in (
            ("drift_results", "drifted AND feature = 'prompt'"),
            ("bias_results", "verdict = 'alert' AND metric = 'refusal'"),
        )
    )
    return {
        rule: float(np.ceil((float(str(end)) + 20 - began.timestamp()) / LOOKS_EVERY_S) * LOOKS_EVERY_S)
        for rule, end in (("drifting-topic", drifted), ("refusal-gap", unfair))
    }


DAYS = 30
# So many hours of the month are as busy together as one of the demo; what is minutes there is hours here.
THIN = 60


@EMBEDDED
@pytest.mark.timeout(300)
def test_nothing_fires_in_a_quiet_month(pipeline_url: str, client: Client, tmp_path: Path) -> None:
    """All rules of the demo, back-tested on a month that is drawn from its hour without incidents, a sixtieth of its calls in each."""
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    scenario = Scenario.quiet(days=0)
    with receiving(tmp_path / "wal", pipeline_url, segment_age_s=2.0) as target:
        load_story(target.grpc, scenario, began_ns=round(end.timestamp() * NS), until_s=0)
        while target.snapshot().waiting:
            time.sleep(0.1)
    client.command(
        "INSERT INTO inferences SELECT * REPLACE (timestamp - toIntervalHour(hour) AS timestamp,"
        " lower(hex(MD5(concat(trace_id, toString(hour))))) AS trace_id)"
        f" FROM inferences ARRAY JOIN range(1, {24 * DAYS}) AS hour WHERE cityHash64(trace_id, hour) % {THIN} = 0"
    )
    client.command(
        f"ALTER TABLE inferences DELETE WHERE timestamp > toDateTime64({end.timestamp() - 3600}, 9)"
        f" AND cityHash64(trace_id) % {THIN} != 0 SETTINGS mutations_sync = 2"
    )
    # With the budget of a month, of which a sixtieth is spent: what it costs is what `budget-overrun` looks at.
    values = demo_values(Scenario.quiet(days=DAYS), end)
    for rule in values["alerts"]:
        for key in ("window", "for", "keep_firing_for"):
            if str(rule.get(key, "")).endswith("m") and rule["kpi"].startswith(("latency", "cost")):
                rule[key] = f"{int(rule[key][:-1]) * THIN // 60}h"
            elif str(rule.get(key, "")).endswith("s"):
                rule[key] = f"{int(rule[key][:-1]) * THIN // 60}m"
    settings = load_settings(None, tmp_path / "data", under=values)
    write_objectives(client, settings.objectives, now=end - timedelta(days=DAYS))
    for name in ("cost", "objectives"):
        ALL_JOBS[name].run(Context(client=client, settings=settings, now=end))
    rules = Evaluator(settings).book(client).rules
    replays = [backtest(client, rule, since=timedelta(days=DAYS), now=end) for rule in rules]
    calls = client.command("SELECT count() FROM inferences")
    looked = [each for each in replays if not each.skipped]
    print(f"\n{calls} calls in {DAYS} quiet days; rules replayed: {', '.join(each.rule for each in looked)}")
    print(f"fired: { ({each.rule: each.fired for each in looked if each.fired}) } (nominal: 0)")
    assert {
        "slow-node",
        "budget-overrun",
        "error-rate",
        "first-token-slower",
        "burn-first-token-fast",
        "node-silent",
    } <= {each.rule for each in looked}
    assert sum(each.fired for each in looked) == 0
