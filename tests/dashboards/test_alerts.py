"""The page Alerts in a browser over a real service: a rule from its draft to its end, and what other pages show of it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page

from dashboards.alerting.draft import draft_of
from dashboards.charts import Firing
from dashboards.watch import concerns, merged, thresholds
from monitor.kpis import Window
from monitor.store.client import connect
from tests.dashboards.browsing import Visit, painted_share
from tests.tools.service import Service, run

CHART = "[data-testid=stVegaLiteChart]"
NAME = "slow-first-token"
DRAFT = "show=draft&range=6h&live=false&kpi=latency.ttft.p95&split=node&window=1h&severity=page"


def ask(service: Service, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if data is not None else {}
    request = urllib.request.Request(service.addresses["http"] + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def evaluate(service: Service) -> None:
    done = run("jobs", "run", "alerts", "--data", str(service.data))
    assert done.returncode == 0, done.stderr


@pytest.fixture
def ended(service: Service) -> Iterator[None]:
    """Leaves no rule, silence or alert behind."""
    yield
    ask(service, f"/api/alerts/rules/{NAME}", "DELETE", {"author": "tests"})
    for silence in ask(service, "/api/silences")[1]:
        if silence["status"] != "expired":
            ask(service, f"/api/silences/{silence['id']}", "DELETE", {})
    evaluate(service)


def test_a_rule_from_its_draft_to_its_end(browser: Browser, service: Service, ended: None) -> None:
    visit = Visit(browser)
    home = service.addresses["dashboard"]
    page = visit.open(f"{home}/alerts?{DRAFT}")

    # What cannot be is said at the field, in the words of the server.
    fill(visit, page, "Threshold", "3 apples")
    page.wait_for_selector("text=does not fit", timeout=20_000)
    assert "Threshold: 3 apples does not fit" in words(page).replace("`", "")
    fill(visit, page, "Threshold", "100 ms")
    rule = {"kpi": "latency.ttft.p95", "by": ["node"], "window": "1h", "above": "100 ms", "severity": "page"}
    _, told = ask(service, "/api/alerts/backtest", "POST", {"rule": rule, "since": "6h"})
    (replay,) = told["replays"]
    assert replay["fired"] >= 3
    assert replay["fired"] == len(replay["spells"])
    page.wait_for_selector(f"text={replay['fired']:,} ×", timeout=30_000)
    visit.settle()
    assert f"{replay['a_week']:.3g}" in words(page)
    assert painted_share(page.locator(CHART).first) > 0.05
    copied = page.url
    assert parse_qs(urlsplit(copied).query)["limit"] == ["100 ms"]

    page.get_by_role("button", name="Save").click()
    page.wait_for_selector("text=Say who you are", timeout=20_000)
    fill(visit, page, "Your name", "ann")
    fill(visit, page, "Name", NAME)
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector("text=is saved, and evaluated", timeout=20_000)
    visit.settle()
    saved = {each["rule"]["name"]: each for each in ask(service, "/api/alerts/rules")[1]["rules"]}[NAME]
    assert (saved["origin"], saved["author"], saved["rule"]) == ("dashboard", "ann", {"name": NAME, **rule})

    # It fires: somebody takes it, keeps it quiet, and says that it was wrong.
    evaluate(service)
    card = page.locator("[class*=st-key-alert-]").filter(has_text=f"{NAME}").filter(has_text="node gpu-1").first
    deadline = time.monotonic() + 40  # answers of the store are kept for 10 s
    while not card.count() and time.monotonic() < deadline:
        visit.open(f"{home}/alerts?range=6h&live=false")
    fill(visit, page, "Your name", "ann")
    card.get_by_role("button", name="Acknowledge").click()
    page.wait_for_selector("text=ann is on it", timeout=20_000)
    visit.settle()
    card.get_by_role("button", name="Silence").click()
    page.get_by_role("button", name="1 hour").click()
    page.wait_for_selector("text=silenced until", timeout=20_000)
    visit.settle()
    card.get_by_role("button", name="Right or not?").click()
    page.get_by_role("button", name="False alarm").click()
    page.wait_for_selector("text=false alarm, says ann", timeout=20_000)
    visit.settle()
    alerts = {each["group"]["node"]: each for each in ask(service, "/api/alerts")[1]["alerts"] if each["rule"] == NAME}
    assert [alerts[node]["acknowledged_by"] for node in ("gpu-1", "gpu-2")] == ["ann", None]
    (silence,) = [each for each in ask(service, "/api/silences")[1] if each["status"] == "active"]
    assert silence["created_by"] == "ann"
    assert sorted(silence["matchers"]) == [f'alertname="{NAME}"', 'node="gpu-1"']
    (right,) = [each for each in ask(service, "/api/alerts/precision")[1]["rules"] if each["rule"] == NAME]
    assert (right["fired"], right["right"], right["wrong"]) == (len(alerts), 0, 1)

    # It is changed, and its versions stand beside it.
    show(visit, page, "Rules")
    page.goto(page.url + f"&rule={NAME}")
    page.wait_for_selector("text=Edit and back-test", timeout=30_000)
    visit.settle()
    page.get_by_role("button", name="Edit and back-test").click()
    page.wait_for_selector(f"text=Save over {NAME}", timeout=20_000)
    visit.settle()
    fill(visit, page, "Your name", "bob")
    fill(visit, page, "Threshold", "110 ms")
    page.get_by_role("button", name=f"Save over {NAME}").click()
    page.wait_for_selector("text=is saved, and evaluated", timeout=20_000)
    versions = ask(service, f"/api/alerts/rules/{NAME}")[1]["versions"]
    assert [(each["author"], each["rule"]["above"]) for each in versions] == [("ann", "100 ms"), ("bob", "110 ms")]
    visit.settle()
    show(visit, page, "Silences")
    page.get_by_role("button", name="End now").first.click()
    page.wait_for_selector("text=The silence is over", timeout=20_000)
    assert not [each for each in ask(service, "/api/silences")[1] if each["status"] == "active"]
    show(visit, page, "History")
    assert painted_share(page.locator(CHART).first) > 0.0
    assert visit.close() == []

    # A copied link shows somebody else the same draft, on a telephone in the dark; other pages show the rule.
    second = Visit(browser, scheme="dark", width=420)
    page = second.open(copied)
    assert page.get_by_label("Threshold", exact=True).input_value() == "100 ms"
    assert f"{replay['fired']:,} ×" in words(page)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 420
    page = second.open(f"{home}/?range=6h&live=false")
    described = " ".join(
        page.locator("[aria-label]").evaluate_all("all => all.map(each => each.getAttribute('aria-label'))")
    )
    assert f"threshold of {NAME}: 110 ms" in described
    assert "firing: " in described
    assert f"{NAME} (gpu-1)" in described
    assert page.get_by_role("link", name=f"Alert {NAME}").count() >= 1
    assert second.close() == []


def words(page: Page) -> str:
    return str(page.locator("[data-testid=stMain]").inner_text())


def fill(visit: Visit, page: Page, label: str, text: str) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(text)
    field.press("Enter")
    page.wait_for_timeout(300)  # until the page knows that it is to be worked out anew
    visit.settle()


def show(visit: Visit, page: Page, section: str) -> None:
    page.get_by_role("radio", name=section, exact=True).or_(
        page.get_by_role("button", name=section, exact=True)
    ).first.click()
    page.wait_for_timeout(300)
    visit.settle()


def test_what_is_wrong_is_named_by_its_key(service: Service) -> None:
    wrong = [
        ({"kpi": "latency.ttft.p59", "above": 1}, "kpi", "did you mean `latency.ttft.p"),
        ({"kpi": "traffic.error_rate", "above": 5}, "above", "can never be exceeded"),
        ({"kpi": "traffic.error_rate", "above": "5 %", "by": ["nod"]}, "by", "node"),
        ({"kpi": "traffic.error_rate", "above": "5 %", "severity": "loud"}, "severity", "page"),
        ({"kpi": "traffic.error_rate", "above": "5 %", "receivers": ["nobody"]}, "receivers", "there is no receiver"),
        ({"kpi": "traffic.error_rate", "abov": "5 %"}, "abov", "did you mean `above`?"),
    ]
    for rule, key, said in wrong:
        for path, method in (("/api/alerts/backtest", "POST"), ("/api/alerts/rules/x", "PUT")):
            status, answer = ask(service, path, method, {"rule": rule, "author": "ann"})
            assert (status, answer.get("key")) == (400, key), answer
            assert said in answer["error"]
    long = {"rule": {"kpi": "traffic.requests", "above": 1, "window": "1m"}, "since": "80d"}
    assert "look at a shorter time" in ask(service, "/api/alerts/backtest", "POST", long)[1]["error"]
    assert ask(service, "/api/alerts/backtest", "POST", {**long, "since": "200d"})[0] == 400
    off = {"rule": {"enabled": False}, "author": "ann"}
    assert ask(service, "/api/alerts/rules/drift", "PUT", off)[0] == 200, "what cannot be evaluated can be switched off"
    assert ask(service, "/api/alerts/rules/drift", "DELETE", {"author": "ann"})[0] == 200


def test_the_replay_is_that_of_the_stored_calls(service: Service) -> None:
    """Held against a replay by hand: a threshold, one group, once in each window."""
    client = connect(service.addresses["clickhouse"])
    end_s = int(datetime.now(UTC).timestamp()) // 300 * 300
    rows = client.query(
        "SELECT intDiv(toUnixTimestamp64Nano(timestamp), 300000000000) AS step, uniqExact(trace_id, span_id) FROM inferences"
        " WHERE timestamp >= {since:DateTime('UTC')} AND timestamp < {until:DateTime('UTC')} AND role = 'client'"
        " GROUP BY step ORDER BY step",
        parameters={"since": datetime.fromtimestamp(end_s - 7200, UTC), "until": datetime.fromtimestamp(end_s, UTC)},
    ).result_rows
    client.close()
    counts = {int(step): int(n) for step, n in rows}
    if not counts:
        pytest.fail("the demo's hour has calls of clients")
    limit = sorted(counts.values())[len(counts) // 2]
    beyond = [counts.get(step, 0) > limit for step in range(end_s // 300 - 24, end_s // 300)]
    runs = sum(now and not before for before, now in zip([False, *beyond], beyond, strict=False))
    rule = {"kpi": "traffic.requests", "above": limit, "window": "5m"}
    end = datetime.fromtimestamp(end_s, UTC).isoformat()
    (replay,) = ask(service, "/api/alerts/backtest", "POST", {"rule": rule, "since": "2h", "end": end})[1]["replays"]
    assert replay["fired"] == runs
    assert replay["seconds"] == sum(
        (datetime.fromisoformat(each["end"]) - datetime.fromisoformat(each["start"])).total_seconds()
        for each in replay["spells"]
    )
    assert replay["a_week"] == pytest.approx(runs * 7 * 24 / 2)


def test_drafts_and_shades() -> None:
    rule = {
        "name": "x", "kpi": "latency.ttft.p95", "by": ["node"], "where": {"service": ["chat"], "operation": ["chat"]},
        "window": "5m", "above": "500 ms", "for": "1m", "recover": "400 ms",
    }  # fmt: skip
    parts = draft_of(rule)
    assert (parts["limit"], parts["split"], parts["hold"]) == (["500 ms"], ["node"], ["1m"])
    assert parts["more"] == ["recover: 400 ms\nwhere:\n  operation:\n  - chat"]
    assert draft_of({"name": "y", "objective": "*"})["when"] == ["other"]

    start = datetime(2026, 1, 1, tzinfo=UTC)
    minute = timedelta(minutes=1)
    window = Window(start, start + 60 * minute)
    times = [(-5, 5, "a"), (3, 10, "b"), (20, 30, "c"), (55, 90, "d"), (95, 99, "e")]
    firing = [Firing(start=start + a * minute, end=start + b * minute, rule=rule) for a, b, rule in times]
    assert [((each.start - start) / minute, (each.end - start) / minute, each.rule) for each in merged(firing, window)] == [
        (0, 10, "a, b"), (20, 30, "c"), (55, 60, "d"),
    ]  # fmt: skip
    assert concerns({"node": ["gpu-1"]}, (("node", ("gpu-1", "gpu-2")), ("model", ("m",))))
    assert not concerns({"node": ["gpu-1"]}, (("node", ("gpu-2",)),))
    rules = [
        {"name": "r", "kpi": "k", "where": {"service": ["a"]}, "thresholds": [1.0, 2.0]},
        {"name": "other", "kpi": "l", "where": {}, "thresholds": [3.0]},
    ]
    assert [each.value for each in thresholds(["k"], (), rules)] == [1.0, 2.0]
    assert thresholds(["k"], (("service", ("b",)),), rules) == []
