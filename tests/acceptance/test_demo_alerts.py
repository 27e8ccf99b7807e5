"""The demo's incidents reach a real mail server and a real HTTP receiver in time, say where, end by themselves; nothing else does.

The incidents are those of the demo, one after the other within minutes; rules and windows are as short.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tools.service import ROOT, command, environment
from tests.tools.told import HttpReceiver, MailServer, Posted, http_receiver, mail_server

EVERY_S = 15.0
LATE_S = 5.0
# Rule -> what the message must name, first among what explains it or as the alert's own group.
WANTED = {
    "slow-node": "gpu-2",
    "budget-overrun": "nimbus-large",
    "drifting-topic": "chat-api",
    "refusal-gap": "language",
}
# The month's budget is spent for good; it is the same incident.
ALSO = {"budget-used"}
ENDS_S = 420.0

RULES = [
    {
        "name": "slow-node", "kpi": "latency.ttft.p95", "by": ["node"], "where": {"pricing": ["owned", "on_demand"]},
        "window": "1m", "above": 2.2, "recover": 1.8, "for": "15s", "keep_firing_for": "15s", "min_samples": 40, "severity": "page",
    },
    {
        "name": "budget-overrun", "kpi": "cost.total", "by": ["model"], "where": {"deployment": ["api"]}, "window": "1m",
        "above": 0.25, "recover": 0.2, "keep_firing_for": "15s", "severity": "page",
    },
    {
        "name": "drifting-topic", "kpi": "drift.drifted_features", "by": ["service"],
        "where": {"feature": ["prompt"], "service": ["chat-api"]}, "window": "10m", "above": 0,
    },
    {
        "name": "refusal-gap", "kpi": "bias.unfair_gaps", "by": ["cohort"], "where": {"metric": ["refusal"]}, "window": "10m",
        "above": 0, "severity": "page",
    },
    {"name": "drift", "enabled": False},
    {"name": "unfair", "enabled": False},
]  # fmt: skip


def config(folder: Path, mails: MailServer, hook: HttpReceiver) -> Path:
    email = {
        "host": "localhost", "port": mails.port, "ca_file": str(mails.ca_file), "from": "demo@example.com", "to": ["oncall@example.com"],
    }  # fmt: skip
    webhook = {"url": hook.url, "secret": "s3cret", "allow": ["127.0.0.1/32"]}
    values = {
        "receivers": {
            "oncall": {"email": email, "group_by": ["..."], "group_interval": "1s"},
            "chat": {"webhook": webhook, "group_by": ["..."], "group_interval": "1s"},
        },
        "routing": {"receivers": ["oncall", "chat"]},
        "alerts": RULES,
        "drift": {"window": "1m", "lateness": "10s", "history": "1h", "features": ["prompt"]},
        "cohorts": {"windows": ["1m"], "every": "1m", "lateness": "10s", "keys": ["language"], "outcomes": ["refusal"]},
        "jobs": {
            "intervals": {"cost": "10s", "drift": "10s", "bias": "10s"},
            "off": ["rollup", "kpis", "accuracy", "retention"],
        },
    }
    path = folder / "monitor.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def told(hook: HttpReceiver, rule: str, status: str) -> Posted | None:
    return next((each for each in hook.taken if each.json["status"] == status and rule in json.dumps(each.json)), None)


def events(data: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        command("query", "SELECT at, rule, state FROM alert_events FINAL ORDER BY at", "--format", "JSON", "--data", str(data)),
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout)["data"])


@pytest.mark.timeout(600)
def test_incidents_are_told_in_time_and_nothing_else(tmp_path: Path) -> None:
    with mail_server(tmp_path / "mail") as mails, http_receiver() as hook:
        arrived: list[tuple[float, Posted]] = []

        def take(posted: Posted) -> tuple[int, str, dict[str, str]]:
            arrived.append((time.time(), posted))
            return 200, "ok", {}

        hook.answer = take
        data = tmp_path / "data"
        with (tmp_path / "demo.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.tools.story", str(data), str(config(tmp_path, mails, hook))],
                cwd=ROOT, env=environment(), stdout=log, stderr=log, text=True,
            )  # fmt: skip
        try:
            deadline = time.monotonic() + ENDS_S
            while time.monotonic() < deadline and process.poll() is None:
                if all(told(hook, rule, "resolved") for rule in WANTED):
                    break
                time.sleep(0.5)
            log_text = (tmp_path / "demo.log").read_text()[-4000:]
            assert process.poll() is None, log_text
            seen = events(data)
            # Where many processes wait for each core, an evaluation takes as many times as long.
            late_s = LATE_S * max(1.0, os.getloadavg()[1] / (os.cpu_count() or 1))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
        for rule, wanted in WANTED.items():
            firing, resolved = told(hook, rule, "firing"), told(hook, rule, "resolved")
            assert firing is not None, f"{rule} was not told; {seen}\n{log_text}"
            assert resolved is not None, f"{rule} did not end; {seen}\n{log_text}"
            assert wanted in json.dumps(firing.json["alerts"][0]), firing.json
            at = next(each["at"] for each in seen if each["rule"] == rule and each["state"] == "firing")
            came = next(moment for moment, posted in arrived if posted is firing)
            delay_s = came - datetime.fromisoformat(f"{at}+00:00").timestamp()
            assert delay_s <= EVERY_S + late_s, f"{rule} came {delay_s:.1f} s after it was seen"
            mail = [each for each in mails.mails if rule in str(each["Subject"])]
            assert len(mail) >= 2, f"mails of its begin and its end; {[str(each['Subject']) for each in mails.mails]}"
        fired = {each["rule"] for each in seen if each["state"] == "firing"}
        assert fired - ALSO == set(WANTED), seen
        assert "Traceback" not in (tmp_path / "demo.log").read_text()
