"""Alerts by a scripted clock over real stores: at 0 s this, at 15 s that; with a new process at every step, too."""

from __future__ import annotations

import pytest

from alerts.model import State
from alerts.stored_rules import write_rule
from monitor.store import Client
from tests.alerts.scene import Clock, at, calls, events, settings

SLOW = {
    "name": "slow",
    "kpi": "latency.ttft.p95",
    "by": ["node"],
    "above": "500 ms",
    "recover": 0.3,
    "window": "1m",
    "for": "30s",
    "keep_firing_for": "30s",
    "min_samples": 10,
    "labels": {"team": "of {{ node }}"},
    "annotations": {"summary": "{{ node }} takes {{ value }} (limit {{ threshold }}), n = {{ n }}"},
    "severity": "page",
    "receivers": ["oncall"],
    "runbook": "https://wiki.example.com/slow",
}


@pytest.mark.parametrize("restart", [False, True], ids=["one process", "a new process at every step"])
def test_a_slow_node_from_the_first_second_to_the_last(store_client: Client, restart: bool) -> None:
    calls(store_client, -120, 600, node="gpu-1", ttft_s=0.2)
    calls(store_client, -120, 0, node="gpu-2", ttft_s=0.2)
    calls(store_client, 0, 180, node="gpu-2", ttft_s=0.9)
    calls(store_client, 180, 240, node="gpu-2", ttft_s=0.4)  # between the thresholds
    calls(store_client, 240, 600, node="gpu-2", ttft_s=0.2)
    clock = Clock(store_client, settings(SLOW), restart=restart)
    key = ("slow", "gpu-2")
    assert clock.states(0) == {}
    assert clock.states(15) == {key: "pending"}
    assert clock.states(30) == {key: "pending"}
    found = clock.evaluate(45)
    (told,) = found.told
    assert (told.state, told.active_at, told.fired_at) == (State.FIRING, at(15), at(45))
    assert (told.window_start, told.window_end, told.value, told.n, told.threshold) == (at(-15), at(45), 0.9, 60, 0.5)
    assert told.labels == {"alertname": "slow", "severity": "page", "team": "of gpu-2", "node": "gpu-2"}
    assert told.summary == "gpu-2 takes 900 ms (limit 500 ms), n = 60"
    assert told.condition == "above 500 ms for 30s"
    assert (told.receivers, told.runbook, told.group) == (
        ("oncall",),
        "https://wiki.example.com/slow",
        {"node": "gpu-2"},
    )
    for seconds in range(60, 241, 15):
        assert clock.states(seconds) == {key: "firing"}, seconds
    assert clock.states(255) == {key: "firing"}, "0.4 s is neither"
    assert clock.states(300) == {key: "recovering"}
    assert clock.states(315) == {key: "recovering"}
    (told,) = clock.evaluate(330).told
    assert (told.state, told.fired_at, told.resolved_at) == (State.INACTIVE, at(45), at(330))
    assert len(clock.evaluate(330 + 885).told) == 1
    assert clock.states(330 + 900) == {}, "a quarter of an hour later nothing is kept"
    assert events(store_client) == [
        (15, "slow", "gpu-2", "inactive", "pending", ""),
        (45, "slow", "gpu-2", "pending", "firing", ""),
        (300, "slow", "gpu-2", "firing", "recovering", ""),
        (330, "slow", "gpu-2", "recovering", "inactive", ""),
    ]


def test_a_node_that_vanishes_and_one_with_few_calls(store_client: Client) -> None:
    calls(store_client, 0, 60, node="gone", ttft_s=0.9)
    calls(store_client, 0, 60, node="quiet", ttft_s=0.9)
    calls(store_client, 60, 600, every_s=15, node="quiet", ttft_s=0.9)
    clock = Clock(store_client, settings(SLOW | {"for": "", "keep_firing_for": ""}))
    assert clock.states(60) == {("slow", "gone"): "firing", ("slow", "quiet"): "firing"}
    assert clock.states(120) == {("slow", "gone"): "firing", ("slow", "quiet"): "firing"}
    assert clock.states(135)["slow", "gone"] == "inactive"
    assert clock.states(165)["slow", "quiet"] == "firing"
    assert clock.states(180)["slow", "quiet"] == "inactive", "too few for as long as the window"
    assert [event[5] for event in events(store_client) if event[4] == "inactive"] == [
        "missing_series",
        "too_few_samples",
    ]


def test_a_rule_that_cannot_be_evaluated_leaves_states_alone(store_client: Client) -> None:
    calls(store_client, 0, 60, ttft_s=0.9)
    given = settings(SLOW | {"for": ""}, {"name": "broken", "health": "rules"})
    clock = Clock(store_client, given)
    assert clock.states(60) == {("slow", "gpu-1"): "firing"}
    store_client.command("RENAME TABLE inferences TO inferences_away")
    try:
        found = clock.evaluate(75)
    finally:
        store_client.command("RENAME TABLE inferences_away TO inferences")
    assert [kept.track.state for kept in found.kept.values()] == [State.FIRING]
    assert found.health["slow"].health == "error"
    assert "inferences" in found.health["slow"].reason
    # The rule that watches over rules sees it in the next evaluation.
    assert clock.states(90)["broken", "slow"] == "firing"
    assert clock.states(105)["broken", "slow"] == "inactive"


def test_a_text_that_fails_for_one_group_leaves_the_others(store_client: Client) -> None:
    given = SLOW | {"for": "", "annotations": {"summary": "{{ 1 // (n - 40) }}"}}
    for node in ("gpu-1", "gpu-2", "gpu-3"):
        calls(store_client, 0, 60, node=node, ttft_s=0.9)
    calls(store_client, 60, 80, node="gpu-2", ttft_s=0.9)  # from 20 to 80 s: 60; the others have 40
    clock = Clock(store_client, settings(given))
    firing = {("slow", f"gpu-{number}"): "firing" for number in (1, 2, 3)}
    assert clock.states(60) == firing
    found = clock.evaluate(80)
    assert "cannot be rendered" in found.health["slow"].reason
    assert clock.states(80) == firing


def test_no_data_is_told_where_it_is_wanted(store_client: Client) -> None:
    base = {"kpi": "traffic.error_rate", "above": 0.5, "window": "1m", "for": "15s"}
    given = settings(
        {"name": "alert", "no_data": "alert", **base},
        {"name": "ok", **base},
        {"name": "keep", "no_data": "keep", **base},
    )
    clock = Clock(store_client, given)
    calls(store_client, 0, 60, error_share=0.9)
    assert set(clock.states(45).values()) == {"pending"}
    assert clock.states(60) == {("alert",): "firing", ("ok",): "firing", ("keep",): "firing"}
    assert clock.states(135) == {("alert",): "no_data", ("ok",): "firing", ("keep",): "firing"}
    assert clock.states(150) == {("alert",): "no_data", ("ok",): "inactive", ("keep",): "firing"}
    calls(store_client, 150, 200)
    assert clock.states(200) == {("alert",): "inactive", ("ok",): "inactive", ("keep",): "inactive"}


def test_a_rule_that_is_removed_ends_its_alerts(store_client: Client) -> None:
    calls(store_client, 0, 120, ttft_s=0.9)
    assert Clock(store_client, settings(SLOW | {"for": ""})).states(60) == {("slow", "gpu-1"): "firing"}
    (told,) = Clock(store_client, settings()).evaluate(75).told
    assert (told.state, told.reason, told.resolved_at) == (State.INACTIVE, "rule_removed", at(75))


def test_raising_for_at_a_restart(store_client: Client) -> None:
    calls(store_client, 0, 200, ttft_s=0.9)
    assert Clock(store_client, settings(SLOW)).states(30)["slow", "gpu-1"] == "pending"
    assert Clock(store_client, settings(SLOW)).states(60)["slow", "gpu-1"] == "firing"
    assert Clock(store_client, settings(SLOW | {"for": "2m"})).states(75)["slow", "gpu-1"] == "pending"
    assert Clock(store_client, settings(SLOW | {"for": "2m"})).states(150)["slow", "gpu-1"] == "firing"


def test_calls_that_have_not_arrived_are_not_judged(store_client: Client) -> None:
    calls(store_client, 0, 60, ttft_s=0.2)
    calls(store_client, 60, 80, ttft_s=0.9)
    given = settings(SLOW | {"for": "", "window": "15s"}, alerting={"lateness": "20s"})
    assert Clock(store_client, given).states(80) == {}
    assert Clock(store_client, given).states(95) == {("slow", "gpu-1"): "firing"}


def test_rules_of_the_dashboard(store_client: Client) -> None:
    calls(store_client, 0, 120, ttft_s=0.9)
    write_rule(store_client, "mine", SLOW | {"name": "mine", "for": ""}, author="ann", comment="", now=at(0))
    write_rule(store_client, "slow", SLOW | {"above": 5}, author="ann", comment="", now=at(0))
    clock = Clock(store_client, settings(SLOW | {"for": ""}))
    assert clock.states(60) == {("mine", "gpu-1"): "firing", ("slow", "gpu-1"): "firing"}
    (problem,) = clock.evaluator.book(store_client).problems
    assert (
        problem.text == "alert rule `slow` of the dashboard is not used: the configuration file has a rule of that name"
    )
    write_rule(store_client, "mine", {}, author="bob", comment="noisy", now=at(61), removed=True)
    assert clock.states(75)["mine", "gpu-1"] == "inactive"
