"""Every page over a store of a million calls in thirty days, added up by the jobs: what a small store cannot show."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser

from dashboards.navigation import ENTRIES
from tests.dashboards.browsing import Visit, painted_share
from tests.dashboards.test_pages import CHART
from tests.tools.service import NO_JOBS, ROOT, Service, running

CALLS = 1_000_000
CONFIG = """
objectives:
  - {name: first-token, kind: latency, latency: ttft, threshold_s: 0.5, target: 0.9}
  - {name: up, kind: error, target: 0.985}
budgets:
  - {name: all, amount: 300000}
"""
# What they draw are results of jobs that did not run here, or tables.
WITHOUT = ("drift", "alerts", "plan", "traces", "datasets")


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("million")
    (folder / "monitor.yaml").write_text(CONFIG, encoding="utf-8")
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.kpis", "--sizes", str(CALLS), "--shifted", "--days", "2", "--fill",
         "--folder", str(folder)],
        cwd=ROOT, env={**os.environ, "BENCHMARK_END": tomorrow}, check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    (folder / "data").mkdir()
    (folder / str(CALLS)).rename(folder / "data" / "store")
    options = ("dashboard", "--config", str(folder / "monitor.yaml"))
    with running(folder / "data", *options, env=NO_JOBS) as started:
        yield started


@pytest.mark.parametrize("path", [entry.path for entry in ENTRIES])
def test_every_page_over_a_million_calls(browser: Browser, million: Service, path: str) -> None:
    visit = Visit(browser)
    page = visit.open(f"{million.addresses['dashboard']}/{path}?range=24h&live=false")
    visit.whole()
    charts = page.locator(CHART)
    assert path in WITHOUT or charts.count() >= 1
    assert [index for index in range(charts.count()) if painted_share(charts.nth(index)) == 0] == []
    assert page.locator("[data-testid=stAlert]").count() == 0
    assert visit.close() == []


def test_a_week_of_it_shows_what_is_in_the_store(browser: Browser, million: Service) -> None:
    visit = Visit(browser)
    page = visit.open(f"{million.addresses['dashboard']}/?range=7d&live=false")
    requests = page.locator("[data-testid=stMetric]", has_text="Requests").first
    shown = int(requests.locator("[data-testid=stMetricValue]").inner_text().replace(",", ""))
    # A week and the part of an hour that the range may be longer by; of 2,000 calls one is lost.
    a_week = CALLS * 7 / 30 * 0.9995
    assert a_week * 0.999 < shown < a_week * (1 + 1 / (7 * 24)) * 1.001
    assert visit.close() == []
