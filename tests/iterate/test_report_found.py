"""What a report tells of alerts, drift and gaps, over both engines, against rows of which everything is known."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from dashboards.report import gather, render
from dashboards.report.found import find
from dashboards.report.page import plain
from monitor.kpis import Window
from monitor.store import Client
from tests.kpis.rows import START

WINDOW = Window(START, START + timedelta(days=7))
HOUR = timedelta(hours=1)


def put(client: Client, table: str, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    client.insert(table, [[row[name] for name in names] for row in rows], column_names=names)


def test_alerts_are_counted_by_episode(store_client: Client) -> None:
    assert find(store_client, WINDOW).alerts == ()

    def event(rule: str, finger: str, active_h: float, at_h: float, state: str, severity: str = "warning") -> dict[str, Any]:  # fmt: skip
        at = START + at_h * HOUR
        return {
            "at": at, "rule": rule, "fingerprint": finger, "before": "", "state": state, "active_at": START + active_h * HOUR,
            "severity": severity, "summary": f"{rule} <b>at</b> {at_h}",
        }  # fmt: skip

    put(
        store_client,
        "alert_events",
        [
            # Began two hours before the week, and ends three hours into it.
            *(event("slow", "a", -3, h, s) for h, s in ((-3, "pending"), (-2, "firing"), (3, "resolved"))),
            # Fires, seems to recover, fires on: one episode of two hours.
            *(event("slow", "b", 10, h, s) for h, s in ((10, "pending"), (11, "firing"), (12, "recovering"), (12.5, "firing"), (13, "resolved"))),
            # Fires until the end and beyond.
            *(event("down", "c", 160, h, s, "critical") for h, s in ((160, "firing"), (170, "resolved"))),
            # Never fired, was over before, begins after.
            event("quiet", "d", 20, 20, "pending"), event("quiet", "d", 20, 21, "inactive"),
            event("old", "e", -9, -9, "firing"), event("old", "e", -9, -8, "resolved"), event("late", "f", 200, 200, "firing"),
        ],
    )  # fmt: skip
    put(store_client, "alert_marks", [{
        "rule": "slow", "fingerprint": "b", "active_at": START + 10 * HOUR, "kind": "verdict", "mark": "false",
        "author": "ann", "comment": "", "at": START,
    }])  # fmt: skip
    down, slow = find(store_client, WINDOW).alerts
    assert (down.rule, down.severity, down.fired, down.firing_s, down.goes_on, down.wrong) == ("down", "critical", 1, 8 * 3600, True, 0)  # fmt: skip
    assert (slow.rule, slow.fired, slow.groups, slow.firing_s, slow.goes_on, slow.wrong) == ("slow", 2, 2, 5 * 3600, False, 1)  # fmt: skip
    assert (slow.last, slow.summary) == (START + 11 * HOUR, "slow <b>at</b> 12.5")
    report = gather(store_client, WINDOW, now=WINDOW.end)
    page = render(report)
    assert "slow &lt;b&gt;at&lt;/b&gt; 12.5" in page
    assert "- Alert down (critical): fired once, goes on" in plain(report)
    assert "- Alert slow (warning): fired 2 times\n" in plain(report)


def test_drift_and_gaps_are_counted_by_look(store_client: Client) -> None:
    assert "the job <code>drift</code> made no look" in render(gather(store_client, WINDOW, now=WINDOW.end))

    def look(h: float, feature: str, value: float | None, drifted: bool) -> dict[str, Any]:
        return {
            "window_end": START + h * HOUR, "window_s": 3600, "service": "chat", "model": "", "feature": feature, "method": "psi",
            "value": value, "threshold": 0.2, "drifted": drifted, "verdict": f"at {h}", "rank": 1, "version": 1,
        }  # fmt: skip

    def gap(h: float, metric: str, verdict: str, value: float | None, low: float | None) -> dict[str, Any]:
        return {
            "window_end": START + h * HOUR, "window_s": 3600, "cohort": "language", "metric": metric, "gap": "difference",
            "worst": "de", "best": "en", "value": value, "low": low, "high": None if low is None else low + 0.2, "n": 90,
            "verdict": verdict, "version": 1,
        }  # fmt: skip

    put(
        store_client,
        "drift_results",
        [look(-1, "a", 0.9, True), look(1, "a", 0.3, True), look(2, "a", 0.5, True), look(3, "a", 0.1, False),
         look(1, "b", None, False), look(3, "c", 0.25, True), look(200, "b", 0.9, True)],
    )  # fmt: skip
    put(
        store_client,
        "bias_results",
        [gap(1, "error", "alert", 0.4, 0.3), gap(2, "error", "alert", 0.3, None), gap(3, "error", "ok", 0.01, -0.1),
         gap(1, "refusal", "ok", 0.0, -0.1)],
    )  # fmt: skip
    found = find(store_client, WINDOW)
    assert (found.features, found.compared) == (3, 2)
    goes_on, over = found.drift
    assert (goes_on.feature, goes_on.goes_on, goes_on.drifted, goes_on.looks) == ("c", True, 1, 1)
    assert (over.feature, over.goes_on, over.drifted, over.looks, over.place) == ("a", False, 2, 3, "chat")
    assert (over.first, over.value, over.verdict) == (START + HOUR, 0.5, "at 2")
    (unfair,) = found.gaps
    assert (unfair.metric, unfair.unfair, unfair.looks, unfair.goes_on) == ("error", 2, 3, False)
    assert (unfair.value, unfair.low, unfair.worst, unfair.best, unfair.n) == (0.3, None, "de", "en", 90)
    report = gather(store_client, WINDOW, now=WINDOW.end)
    assert "2 of 3" in render(report)
    assert "- Drifted: c, a\n" in plain(report)
    assert "- Unfair gaps: error by language\n" in plain(report)
