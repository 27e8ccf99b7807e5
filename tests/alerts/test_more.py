"""Conditions over a real store, health, marks, replay, statement counts, two evaluators, the API."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from alerts.backtest import backtest, read_shift
from alerts.evaluator import Evaluator
from alerts.job import ALERTS
from alerts.listing import listed
from alerts.marks import precision, write_mark
from alerts.model import State
from monitor.errors import BadInput
from monitor.jobs.job import Context, Job
from monitor.jobs.runs import Run, write_run
from monitor.jobs.scheduler import Scheduler
from monitor.settings import Settings
from monitor.store import Client
from monitor.store.objectives import write_objectives
from tests.alerts.scene import Clock, at, calls, settings
from tests.tools.service import NO_JOBS, run, running

DAY = 86400.0
RATE = {"name": "errors", "kpi": "traffic.error_rate", "above": 0.2, "window": "1m", "min_samples": 10}


def test_nothing_fires_by_default_in_a_new_store_or_on_quiet_traffic(store_client: Client) -> None:
    clock = Clock(store_client, settings(defaults=True))
    assert clock.states(0) == {}
    found = clock.evaluate(15)
    assert not found.events
    assert {health.health for health in found.health.values()} == {"ok"}
    # A few calls, all of them bad, and a node that stops.
    calls(store_client, 15, 400, every_s=60, ttft_s=30, error_share=1.0)
    calls(store_client, 15, 100, every_s=10, node="gpu-2")
    for seconds in range(30, 1500, 150):
        assert clock.states(seconds) == {}, seconds


def test_defaults_fire_where_something_is_wrong(store_client: Client) -> None:
    calls(store_client, -3600, 900, every_s=0.5, node="gpu-1", error_share=0.3)
    calls(store_client, -3600, 0, every_s=0.5, node="gpu-2")
    clock = Clock(store_client, settings(defaults=True))
    for seconds in range(0, 801, 200):
        states = clock.states(seconds)
    assert states == {("error-rate", "chat", "llama"): "firing", ("node-silent", "gpu-2"): "firing"}


def test_objectives_burn(store_client: Client) -> None:
    given = settings({"name": "burn", "objective": "*"}, objectives=[{"name": "up", "kind": "error", "target": 0.99}])
    write_objectives(store_client, given.objectives, now=at(-7 * DAY))
    calls(store_client, -3600, 0, every_s=2)
    calls(store_client, 0, 1500, every_s=2, error_share=0.5, node="gpu-2")
    clock = Clock(store_client, given)
    assert clock.states(0) == {}
    # 6 times over the data of six hours: from 3600 · 0.06 / (0.5 - 0.06) = 491 s on; 14.4 times over one hour: from 1037 s on.
    assert ("burn-up-fast",) not in clock.states(450)
    # Of six hours the window moves by 6 minutes: what crosses at 491 s is in the one that ends at 720 s.
    assert clock.evaluate(725).kept
    states = clock.states(1155)
    assert states["burn-up-fast",] == "firing"
    # Of a day by 24 minutes.
    assert ("burn-up-slow",) not in states
    assert clock.states(1445)["burn-up-slow",] == "firing"
    kept = {each.kept.instance.rule: each.kept.instance for each in listed(store_client)}["burn-up-fast"]
    assert (kept.severity, kept.labels["objective"], kept.threshold) == ("page", "up", pytest.approx(14.4))


def test_change_and_anomaly_over_calls(store_client: Client) -> None:
    for day in range(1, 8):
        calls(store_client, -day * DAY - 60, -day * DAY + 60, ttft_s=0.2)
    calls(store_client, -60, 0, ttft_s=0.2)
    calls(store_client, 0, 60, ttft_s=0.9)
    ttft = {"kpi": "latency.ttft.mean", "window": "1m", "min_samples": 10}
    clock = Clock(
        store_client,
        settings(
            {"name": "week", "change": {"relative": "50 %"}, **ttft},
            {"name": "before", "change": {"against": "previous", "relative": "50 %"}, **ttft},
            {"name": "odd", "anomaly": {"history": 7}, **ttft},
        ),
    )
    assert clock.states(0) == {}
    assert clock.states(60) == {("week",): "firing", ("before",): "firing", ("odd",): "firing"}


def test_rules_that_ask_the_same_are_one_question(store_client: Client) -> None:
    calls(store_client, 0, 120)
    kpis = ("latency.ttft.p95", "latency.e2e.p95", "traffic.error_rate", "latency.ttft.mean")
    units = {"traffic.error_rate": 0.5}
    given = [
        {
            "name": f"r{index}-{service}",
            "kpi": kpi,
            "by": ["node"],
            "above": units.get(kpi, 99),
            "where": {"service": service},
        }
        for index, kpi in enumerate(kpis)
        for service in ("chat", "search", "agent", "code")
    ]
    clock = Clock(store_client, settings(*given))
    found = clock.evaluate(120)
    assert clock.evaluator.source.statements == 1
    assert found.health["r0-chat"].instances == 1
    assert found.health["r0-search"].instances == 0
    # What a filter gives is what the group gives.
    alone = Clock(store_client, settings({**given[0], "above": 0.1, "min_samples": 1}))
    (single,) = alone.evaluate(120).told
    together = Clock(store_client, settings(*({**each, "above": 0.1, "min_samples": 1} for each in given)))
    told = next(each for each in together.evaluate(120).told if each.rule == "r0-chat")
    assert (told.value, told.n, told.group, told.low, told.high) == (
        single.value,
        single.n,
        single.group,
        single.low,
        single.high,
    )


def test_a_failing_job_and_a_dead_mans_switch(store_client: Client) -> None:
    for count in range(3):
        write_run(
            store_client,
            Run(
                job="cost",
                token=f"cost:{count}",
                worker="w",
                state="failed",
                started_at=at(count * 60),
                error="no prices",
            ),
        )
    clock = Clock(store_client, settings({"name": "jobs", "health": "jobs"}, {"name": "watchdog", "enabled": True}))
    assert clock.states(200) == {("jobs", "cost"): "firing", ("watchdog",): "firing"}
    assert any("no prices" in told.summary for told in clock.evaluate(215).told)
    write_run(store_client, Run(job="cost", token="cost:9", worker="w", state="ok", started_at=at(220)))
    assert clock.states(230) == {("jobs", "cost"): "inactive", ("watchdog",): "firing"}


def test_marks_and_precision(store_client: Client) -> None:
    calls(store_client, 0, 60, error_share=0.5)
    Clock(store_client, settings(RATE)).evaluate(60)
    (one,) = listed(store_client)
    fingerprint = one.kept.instance.fingerprint
    write_mark(store_client, fingerprint[:6], kind="ack", mark="", author="ann", comment="looking", now=at(70))
    (one,) = listed(store_client)
    assert one.ack is not None
    assert one.as_json()["acknowledged_by"] == "ann"
    for verdict in ("true", "false"):
        write_mark(
            store_client, fingerprint, kind="verdict", mark=verdict, author="ann", comment="", now=at(80 + len(verdict))
        )
    (said,) = precision(store_client, since=timedelta(days=1), now=at(100))
    assert (said.rule, said.fired, said.right, said.wrong, said.share) == ("errors", 1, 0, 1, 0.0)
    with pytest.raises(BadInput, match="`maybe` is no verdict"):
        write_mark(store_client, fingerprint, kind="verdict", mark="maybe", author="a", comment="", now=at(90))
    with pytest.raises(BadInput, match="there is no alert with the fingerprint `ffff`"):
        write_mark(store_client, "ffff", kind="ack", mark="", author="a", comment="", now=at(90))


def test_replay_says_how_often_a_rule_would_have_fired(store_client: Client) -> None:
    calls(store_client, 0, 6 * 3600, every_s=5, error_share=0.1)
    for hour in (1, 3):
        calls(store_client, hour * 3600, hour * 3600 + 600, every_s=2.5, error_share=0.6, node="bad")
    (rule,) = Evaluator(settings({**RATE, "window": "5m"})).book(store_client).rules
    found = backtest(store_client, rule, since=timedelta(hours=6), now=at(6 * 3600), shift=read_shift("3x"))
    assert (found.fired, found.seconds, found.longest_s) == (2, 1200, 600)
    assert found.a_week == pytest.approx(2 * 7 * 4)
    assert found.seen_share == 1.0
    assert found.delay_s == 300
    unseen = backtest(store_client, rule, since=timedelta(hours=6), now=at(6 * 3600), shift=read_shift("1.5x"))
    assert unseen.delay_s is None
    with pytest.raises(BadInput, match="`half` is no shift"):
        read_shift("half")


def test_replay_does_what_evaluation_does(store_client: Client) -> None:
    """The same rule, evaluated at the end of each of its windows."""
    calls(store_client, 0, 3600, every_s=2, error_share=0.1)
    calls(store_client, 1200, 1800, every_s=1, error_share=0.9, node="bad")
    given = settings({**RATE, "window": "5m", "by": ["node"], "for": "5m", "keep_firing_for": "5m"})
    clock = Clock(store_client, given)
    fired = [
        (kept.instance.group["node"], seconds)
        for seconds in range(300, 3601, 300)
        for kept in clock.evaluate(seconds).kept.values()
        if kept.track.alarming
    ]
    (rule,) = clock.evaluator.book(store_client).rules
    found = backtest(store_client, rule, since=timedelta(hours=1), now=at(3600))
    assert fired
    assert (found.fired, found.seconds, dict(found.groups)) == (1, 300.0 * len(fired), {"bad": 1})


def test_two_processes_evaluate_once(store_client: Client, pipeline_url: str) -> None:
    evaluated: list[str] = []

    def counted(context: Context) -> Any:
        evaluated.append("once")
        return ALERTS.run(context)

    jobs = {"alerts": Job(name="alerts", meaning="Counted.", every_s=3600, run=counted)}
    given = Settings.model_validate({"store": {"url": pipeline_url}, "alerts": [{"name": "watchdog", "enabled": True}]})
    first, second = Scheduler(given, jobs=jobs), Scheduler(given, jobs=jobs)
    try:
        attempts = [scheduler._runner.attempt(scheduler.planned["alerts"]) for scheduler in (first, second)]
    finally:
        first.stop()
        second.stop()
    if not given.embedded:  # of the embedded store, one process has it all
        assert [attempt.run is not None for attempt in attempts] == [True, False]
    assert attempts[0].run is not None
    assert attempts[0].run.state == "ok", attempts[0].run.error
    assert "alarming" in attempts[0].run.note


def ask(url: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if data is not None else {}
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_service_from_rule_to_mark(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data, env=NO_JOBS) as service:
        api = f"{service.addresses['http']}/api/alerts"
        rule = {"always": True, "severity": "info"}
        assert ask(f"{api}/rules/here", "PUT", {"rule": rule, "author": "ann"})[1]["version"] == 1
        status, answer = ask(
            f"{api}/rules/bad", "PUT", {"rule": {"kpi": "latency.ttft.p59", "above": 1}, "author": "ann"}
        )
        assert (status, "did you mean `latency.ttft.p" in answer["error"]) == (400, True)
        assert ask(f"{api}/rules/bad", "PUT", {"rule": {"always": True}})[1]["error"].startswith(
            "`author` is not given"
        )
        ran = run("jobs", "run", "alerts", "--data", str(data))
        assert ran.returncode == 0, ran.stderr
        _, found = ask(api)
        (alert,) = found["alerts"]
        assert (alert["rule"], alert["state"]) == ("here", "firing")
        shown = run("alerts", "--data", str(data))
        assert alert["fingerprint"][:8] in shown.stdout
        said = run("alerts", "ack", alert["fingerprint"][:8], "--author", "bob", "--data", str(data))
        assert said.stdout.startswith(f"here ({alert['fingerprint']})"), said.stderr
        assert (
            ask(f"{api}/mark", "POST", {"fingerprint": alert["fingerprint"], "mark": "false", "author": "b"})[0] == 200
        )
        assert ask(f"{api}/ack", "POST", {"fingerprint": "0000", "author": "b"})[0] == 404
        assert ask(api)[1]["alerts"][0]["acknowledged_by"] == "bob"
        assert ask(f"{api}/rules/here", "DELETE", {"author": "ann", "comment": "noise"})[0] == 200
        _, history = ask(f"{api}/rules/here")
        assert [(each["version"], each["removed"], each["author"]) for each in history["versions"]] == [
            (1, False, "ann"),
            (2, True, "ann"),
        ]
        _, rules = ask(f"{api}/rules")
        assert {each["origin"] for each in rules["rules"]} == {"default"}
        assert "fired 1 times; 0% of 1 marked were right" in run("alerts", "precision", "--data", str(data)).stdout
    assert State.FIRING == "firing"
