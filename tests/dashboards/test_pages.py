"""The pages in a real browser, over a real service with the demo's hour in it; empty and lost stores: test_scripts."""

from __future__ import annotations

import json
import re
import subprocess
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser

from monitor.store.client import connect
from tests.dashboards.browsing import Visit, painted_rows, painted_share
from tests.tools.service import Service, command, environment

# Those that begin with a verdict in the words of all pages; Overview's may be long, and is tested by itself.
ANSWERED = ("latency", "accuracy", "cost", "engagement", "safety", "drift", "fleet", "health")
CHART = "[data-testid=stVegaLiteChart]"
# Page -> charts at least, and the least share of each chart's width that has colour: some have facts in a part of the time alone.
PAGES = {
    "": (4, 0.5),
    "latency": (5, 0.4),
    "accuracy": (3, 0.05),
    "cost": (6, 0.01),
    "engagement": (6, 0.05),
    "safety": (6, 0.05),
    "drift": (1, 0.01),
    "compare": (1, 0.0),
    "plan": (0, 0.0),
    "datasets": (0, 0.0),
    "fleet": (6, 0.3),
    "health": (2, 0.01),
    "traces": (0, 0.0),
}


@pytest.mark.parametrize("path", list(PAGES))
def test_every_page_shows_something_and_nothing_goes_wrong(browser: Browser, service: Service, path: str) -> None:
    visit = Visit(browser)
    page = visit.open(f"{service.addresses['dashboard']}/{path}?live=false")
    visit.whole()
    charts = page.locator(CHART)
    least, painted = PAGES[path]
    assert charts.count() >= least
    for index in range(charts.count()):
        assert painted_share(charts.nth(index)) > painted, (
            f"chart {index} of /{path} is empty or squeezed into a corner"
        )
        assert charts.nth(index).get_attribute("aria-label") or charts.nth(index).locator("[aria-label]").count()
    if path in ANSWERED:
        answer = page.locator(".st-key-answer").inner_text()
        assert re.match(r"\W*\w*\s*(All right|Needs a look|Not all right|Not known)", answer), answer
    assert page.locator("[data-testid=stAlert]").count() == 0
    # In the dark, and narrow as on a telephone: everything moves below each other, and nothing is cut off.
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 420, "height": 900})
    visit.settle()
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 420
    ground = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert max(int(part) for part in re.findall(r"\d+", ground)[:3]) < 60, "dark ground"
    assert visit.close() == []


def test_a_click_takes_a_moment_apart_and_leads_to_its_calls(browser: Browser, service: Service) -> None:
    first = Visit(browser)
    page = first.open(f"{service.addresses['dashboard']}/?live=false")
    chart = page.locator(f".st-key-chart-traffic-request_rate {CHART}")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector(".st-key-looked-at", timeout=20_000)
    first.settle()
    query = parse_qs(urlsplit(page.url).query)
    assert query["look"] == ["traffic.request_rate"]
    told = page.locator(".st-key-looked-at p").first.inner_text()
    assert "Request rate, " in told
    address = page.url
    page.get_by_role("link", name="All calls of this moment").click()
    page.wait_for_url(re.compile(r"/traces\?.*start="))
    first.settle()
    assert "model calls" in page.locator("[data-testid=stMain]").inner_text()
    assert first.close() == []
    second = Visit(browser)
    assert (
        second.open(address).locator(".st-key-looked-at p").first.inner_text().partition(":")[0]
        == told.partition(":")[0]
    )
    assert second.close() == []


def test_figures_are_those_of_the_command(browser: Browser, service: Service) -> None:
    """The overview's requests and error count come out of the same registry that `monitor kpi` prints."""
    visit = Visit(browser)
    page = visit.open(f"{service.addresses['dashboard']}/?range=6h&live=false")
    shown = dict(
        zip(
            page.locator("[data-testid=stMetricLabel]").all_inner_texts(),
            page.locator("[data-testid=stMetricValue]").all_inner_texts(),
            strict=True,
        )
    )
    assert visit.close() == []
    done = subprocess.run(
        command("kpi", "traffic.requests", "latency.ttft.p95", "--since", "6h", "--json", "--data", str(service.data)),
        capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    values = {value["name"]: value["value"] for value in json.loads(done.stdout)}
    assert values["traffic.requests"] > 19_366
    by_label = {label.strip().splitlines()[0]: text.strip() for label, text in shown.items()}
    assert by_label["Requests"] == f"{values['traffic.requests']:,.0f}"
    assert float(re.sub(r"[^0-9.]", "", by_label["TTFT p95"])) == pytest.approx(
        values["latency.ttft.p95"] * 1000, abs=0.5
    )


def test_a_copied_link_shows_the_same_view_to_somebody_else(browser: Browser, service: Service) -> None:
    base = service.addresses["dashboard"]
    first = Visit(browser)
    page = first.open(f"{base}/latency?range=6h&node=gpu-3&latency=tpot&by=variant")
    assert "TPOT by variant" in page.locator("[data-testid=stMain]").inner_text()
    rows = page.locator("[data-testid=stMetricValue]").all_inner_texts()
    address = page.url
    assert parse_qs(urlsplit(address).query)["node"] == ["gpu-3"]
    # The filter goes along to another page.
    page.get_by_role("link", name="Overview").click()
    page.wait_for_url(re.compile(r"/\?.*node=gpu-3"))
    first.settle()
    assert first.close() == []
    second = Visit(browser)
    assert second.open(address).locator("[data-testid=stMetricValue]").all_inner_texts() == rows
    everything = (
        second.open(f"{base}/latency?range=6h&latency=tpot").locator("[data-testid=stMetricValue]").all_inner_texts()
    )
    assert everything != rows, "the premise: the filter changes the figures"
    assert second.close() == []


def test_a_trace_has_a_waterfall(browser: Browser, service: Service) -> None:
    client = connect(service.addresses["clickhouse"])
    trace = client.command("SELECT TraceId FROM otel_traces GROUP BY TraceId HAVING count() = 3 LIMIT 1")
    client.close()
    visit = Visit(browser)
    page = visit.open(f"{service.addresses['dashboard']}/traces?trace={trace}")
    visit.whole()
    assert painted_share(page.locator(CHART).first) > 0.3
    assert painted_rows(page.locator(CHART).first) >= 3, "each span has a row of its own"
    assert page.get_by_label("Trace id").input_value() == trace
    assert "All 3 spans as a table" in page.locator("[data-testid=stMain]").inner_text()
    assert visit.close() == []


def test_an_unknown_trace_is_said(browser: Browser, service: Service) -> None:
    visit = Visit(browser)
    page = visit.open(f"{service.addresses['dashboard']}/traces?trace={'0' * 31}1")
    assert "0" * 31 + "1" in page.locator("[data-testid=stMain]").inner_text()
    assert page.locator(CHART).count() == 0
    assert visit.close() == []
