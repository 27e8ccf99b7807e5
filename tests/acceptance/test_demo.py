"""`monitor demo` as somebody starts it: what it says it loaded is there, each incident is in the numbers, and none without."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collectors.simulate.history import demo_world
from collectors.simulate.scenario import DAY, Scenario, incidents
from collectors.simulate.workload import NS
from collectors.simulate.world import place_of
from monitor.serve.all_jobs import ALL_JOBS
from monitor.store import connect
from tests.tools.inside import inside
from tests.tools.service import ROOT, command, environment

# What the numbers need; the rest runs in tests of its own.
JOBS = {"cost"}
SAID = re.compile(
    r"loaded: ([\d,]+) requests .*?, ([\d,]+) tokens in and ([\d,]+) tokens out.*?\n"
    r"\s+and ([\d,]+) calls of the .*?, ([\d,]+) judgements, ([\d,]+) GPU readings",
    re.DOTALL,
)


@dataclass
class Demo:
    """A running demo, and what it said until its history was there."""

    process: subprocess.Popen[str]
    data: Path
    said: str

    def ask(self, sql: str) -> list[dict[str, Any]]:
        found = re.search(r"clickhouse=(\S+)", self.said)
        assert found is not None, self.said
        client = connect(found.group(1))
        try:
            return list(client.query(sql).named_results())
        finally:
            client.close()

    def number(self, sql: str) -> float:
        return float(next(iter(self.ask(sql)[0].values())))

    def stop(self) -> tuple[int, str]:
        """Ctrl-C; the exit code, and what it said at last."""
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=60)
        return self.process.returncode, rest


@contextlib.contextmanager
def demo(data: Path, *options: str) -> Iterator[Demo]:
    off = json.dumps([name for name in ALL_JOBS if name not in JOBS])
    ports = [part for name in ("grpc", "http", "clickhouse", "dashboard") for part in (f"--{name}-port", "0")]
    with (data.parent / f"{data.name}.log").open("w") as log:
        process = subprocess.Popen(
            command("demo", "--data", str(data), "--no-dashboard", *ports, *options),
            cwd=ROOT, env=environment({"MONITOR_JOBS__OFF": off}), stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    assert process.stdout is not None
    watchdog = threading.Timer(150, process.kill)
    watchdog.start()
    try:
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("what is in it"):
                break
        else:
            raise AssertionError(f"it ended: {said}\n{(data.parent / f'{data.name}.log').read_text()[-3000:]}")
        watchdog.cancel()  # from here on each test has its own limit
        yield Demo(process, data, said)
    finally:
        watchdog.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()


GUIDES = (ROOT / "docs" / "guides.md").read_text(encoding="utf-8")
GUIDE_COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", GUIDES, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with demo(tmp_path_factory.mktemp("demo") / "data", "--days", "2.5") as running:
        yield running


HOUR = "emitter LIKE 'demo-history-%'"
DAYS = "emitter LIKE 'demo-days-%'"
# When the demo began, about: the last call of its hour.
BEGAN = f"(SELECT max(timestamp) FROM inferences WHERE {HOUR})"


def test_what_it_says_is_there(story: Demo) -> None:
    found = SAID.search(story.said)
    assert found is not None, story.said
    requests, tokens_in, tokens_out, before, judgements, readings = (
        int(text.replace(",", "")) for text in found.groups()
    )
    assert (requests, tokens_in, tokens_out) == (19_366, 22_361_870, 4_088_665)
    row = story.ask(
        f"SELECT countIf({HOUR}) AS hour, sumIf(input_tokens, {HOUR}) AS tokens_in, sumIf(output_tokens, {HOUR}) AS tokens_out,"
        f" countIf({DAYS}) AS days, uniqExactIf(user_id, {DAYS}) AS users, countIf(NOT simulated) AS real,"
        f" countIf({HOUR} AND prompt != '') / countIf({HOUR}) AS captured FROM inferences FINAL"
    )[0]
    counts = tuple(int(row[name]) for name in ("hour", "tokens_in", "tokens_out", "days"))
    assert counts == (requests, tokens_in, tokens_out, before)
    assert int(row["real"]) == 0
    assert int(row["users"]) > 1000
    assert 0.4 < float(row["captured"]) < 0.6
    # Events of spans come with the spans; judgements that come later are those that were counted.
    later = story.number(
        "SELECT (SELECT count() FROM otel_logs WHERE Timestamp <= (SELECT max(timestamp) FROM inferences WHERE"
        f" {HOUR})) AS later"
    )
    assert 0.97 * judgements < later <= judgements
    assert readings > 10 * story.number("SELECT count() FROM gpu_samples FINAL") * 0.5


def test_each_family_has_values(story: Demo) -> None:
    families = ("traffic", "latency", "objective", "accuracy", "cost", "engagement", "safety", "fleet")
    values = json.loads(inside("kpi", *families, "--since", "24h", "--json", "--data", str(story.data)))
    known = {each["name"] for each in values if each["value"] is not None}
    for family in families:
        assert any(name.startswith(f"{family}.") for name in known), f"{family} has no value"
    for name in (
        "traffic.completeness", "latency.ttft.p95", "latency.tpot.mean", "objective.goodput", "accuracy.correct",
        "accuracy.estimated", "accuracy.judge_agreement", "cost.total", "engagement.active_users", "engagement.thumbs_up",
        "engagement.abandon_rate", "safety.flagged_rate", "safety.refusal_rate", "safety.pii_rate", "fleet.gpu_utilization",
        "fleet.energy_per_token",
    ):  # fmt: skip
        assert name in known, name


def slow_ratio(running: Demo, condition: str) -> float:
    return running.number(
        "SELECT quantileIf(0.95)(ttft_s, node = 'gpu-2') / quantileIf(0.95)(ttft_s, node = 'gpu-1') FROM inferences FINAL"
        f" WHERE {condition}"
    )


def refused(running: Demo, language: str, since_h: int, until_h: int) -> float:
    return running.number(
        "SELECT avg(e.label = 'yes') FROM inferences AS i INNER JOIN evaluations AS e USING (trace_id)"
        f" WHERE e.name = 'refusal' AND i.cohorts['language'] = '{language}'"
        f" AND i.timestamp > {BEGAN} - INTERVAL {since_h} HOUR AND i.timestamp < {BEGAN} - INTERVAL {until_h} HOUR"
    )


def new_topic(running: Demo, since_h: int, until_h: int) -> float:
    return running.number(
        "SELECT avg(match(prompt, 'customs|import duty|tariff|commercial invoice|VAT refund|export licence')) FROM inferences FINAL"
        f" WHERE prompt != '' AND timestamp > {BEGAN} - INTERVAL {since_h} HOUR AND timestamp < {BEGAN} - INTERVAL {until_h} HOUR"
    )


def price_ratio(running: Demo) -> float:
    dollars = "sumIf(cost_usd, {0}) / sumIf(input_tokens * 1.2 + output_tokens * 4.8, {0})"
    after, before = f"timestamp > {BEGAN} - INTERVAL 47 HOUR", f"timestamp < {BEGAN} - INTERVAL 49 HOUR"
    return running.number(
        f"SELECT ({dollars.format(after)}) / ({dollars.format(before)}) FROM inferences FINAL WHERE deployment = 'api'"
        f" AND ({HOUR} OR {DAYS})"
    )


def test_each_incident_is_in_the_numbers(story: Demo) -> None:
    slow = f"timestamp > {BEGAN} - INTERVAL 20 MINUTE AND timestamp < {BEGAN} - INTERVAL 13 MINUTE"
    assert slow_ratio(story, f"{HOUR} AND {slow}") > 1.5
    assert slow_ratio(story, f"{HOUR} AND timestamp < {BEGAN} - INTERVAL 22 MINUTE") < 1.3
    assert 0.15 < refused(story, "de", 19, 13) < 0.25
    assert refused(story, "en", 19, 13) < 0.04
    assert refused(story, "de", 10, 1) < 0.04
    assert 0.3 < new_topic(story, 31, 27) < 0.5
    assert new_topic(story, 24, 1) == 0
    assert price_ratio(story) == pytest.approx(1.6, rel=0.01)
    variants = story.ask("SELECT DISTINCT variant FROM inferences WHERE node = 'gpu-3'")
    assert [row["variant"] for row in variants] == ["fp8"]
    changes = story.ask("SELECT kind, title FROM changes FINAL ORDER BY timestamp")
    # More follow live.
    assert [row["kind"] for row in changes][:4] == ["price", "config", "config", "deploy"], changes


@pytest.mark.parametrize("line", GUIDE_COMMANDS)
def test_commands_of_the_guides_work_on_the_demo(story: Demo, line: str) -> None:
    words = shlex.split(line.replace("--data demo-data", f"--data {shlex.quote(str(story.data))}"))
    assert words[0] == "monitor"
    # No alert has fired here: jobs are off.
    assert inside(*words[1:]).strip() or "alert_events" in line


def test_ctrl_c_ends_with_a_summary(story: Demo) -> None:
    code, rest = story.stop()
    assert code == 0
    assert "What happened while you watched:" in rest
    assert f"monitor up --data {story.data}" in rest
    assert "Traceback" not in (story.data.parent / "data.log").read_text()


def test_quiet_shows_none() -> None:
    """`--quiet`: what is sent then, without sending it."""
    scenario = Scenario.quiet()
    began_ns = round(datetime(2026, 6, 3, 12, tzinfo=UTC).timestamp() * NS)
    world = demo_world(scenario, began_ns=began_ns)
    calls = world.hour().calls
    place = place_of(calls, scenario)
    one, two = (np.quantile(calls.ttft_s[place == number], 0.95) for number in (0, 1))
    assert 0.8 < two / one < 1.25
    first_ns = began_ns - round(scenario.days * DAY * NS)
    told = incidents(scenario, began_ns=began_ns, start_ns=first_ns, end_ns=began_ns + round(DAY * NS))
    assert {each.name for each in told} == {"quantised variant"}
    assert all(each.start_ns == first_ns for each in told)
