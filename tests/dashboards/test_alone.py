"""`monitor dashboard` by itself: beside a running `up`, and over a ClickHouse server with collectors elsewhere."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
from playwright.sync_api import Browser

from monitor.store.client import connect
from tests.conftest import drop_database, make_database, with_database
from tests.dashboards.browsing import Visit
from tests.tools.service import ROOT, Service, command, environment, run, spawn_collect, wait_until_ready

TOKEN, PASSWORD = "a long token", "a good password"


@contextlib.contextmanager
def alone(log: Path, *options: str, **env: str) -> Iterator[tuple[dict[str, str], subprocess.Popen[str]]]:
    """The addresses on its `ready` line, and the process."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            command("dashboard", "--dashboard-port", "0", *options),
            cwd=ROOT, env=environment(env), stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("ready "), log.read_text()
        yield dict(pair.split("=", 1) for pair in line.split()[1:]), process
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0, log.read_text()


def test_beside_a_running_service(browser: Browser, service: Service, tmp_path: Path) -> None:
    with alone(tmp_path / "log", "--data", str(service.data)) as (addresses, _):
        assert addresses["store"] == service.addresses["clickhouse"]
        assert addresses["api"] == service.addresses["http"]
        tiles = []
        for url in (addresses["dashboard"], service.addresses["dashboard"]):
            visit = Visit(browser)
            page = visit.open(f"{url}/cost?range=7d&live=false")
            tiles.append(page.locator("[data-testid=stMetricValue]").all_inner_texts())
            assert visit.close() == []
        assert tiles[0] == tiles[1]


def test_over_a_server_with_collectors_elsewhere(browser: Browser, clickhouse_url: str, tmp_path: Path) -> None:
    url = with_database(clickhouse_url, name := make_database(clickhouse_url))
    collector = spawn_collect(
        tmp_path / "c", env={"MONITOR_STORE__URL": url, "MONITOR_COLLECTORS__TOKENS": f'["{TOKEN}"]'}
    )
    try:
        http = wait_until_ready(collector, tmp_path / "c").addresses["http"]
        trace, now_ns = "ab" * 16, time.time_ns()
        span = {
            "traceId": trace, "spanId": "cd" * 8, "name": "chat", "startTimeUnixNano": str(now_ns - 60 * 10**9),
            "endTimeUnixNano": str(now_ns - 58 * 10**9),
            "attributes": [{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}, {"key": "gen_ai.request.model", "value": {"stringValue": "m"}}],
        }  # fmt: skip
        headers = {"Authorization": f"Bearer {TOKEN}"}
        sent = httpx2.post(
            f"{http}/v1/traces", json={"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}, headers=headers
        )
        assert sent.status_code == 200, sent.text
        # The address of the store, with its password, is what no command line has to show.
        env = {"MONITOR_STORE__URL": url, "MONITOR_DASHBOARD__PASSWORD": PASSWORD}
        options = ("--data", str(tmp_path / "d"), "--api-url", http, "--api-token", TOKEN)
        with alone(tmp_path / "log", *options, **env) as (addresses, _):
            visit = Visit(browser)
            page = visit.page
            page.goto(f"{addresses['dashboard']}/traces?range=1h&trace={trace}")
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Log in").click()
            page.wait_for_selector("[data-testid=stMain] h2", timeout=30_000)
            visit.settle()
            page.get_by_label("Dataset").fill("far")
            page.get_by_role("button", name="Add to the dataset").click()
            page.wait_for_selector("text=Added 1 to", timeout=20_000)
            assert TOKEN not in page.content()
            assert visit.close() == []
        client = connect(url)
        assert client.query("SELECT dataset, trace_id FROM dataset_items FINAL").result_rows == [("far", trace)]
        client.close()
    finally:
        collector.terminate()
        collector.wait(timeout=40)
        drop_database(clickhouse_url, name)


def test_what_it_refuses_is_said_in_a_sentence(tmp_path: Path) -> None:
    done = run("dashboard", "--data", str(tmp_path / "none"))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert "no service has the data folder" in done.stderr
    done = run("dashboard", "--store-url", "http://127.0.0.1:1/x", "--host", "0.0.0.0", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "would show the dashboard to everybody" in done.stderr


def test_it_ends_when_its_pages_do(tmp_path: Path) -> None:
    """So that whoever supervises it starts it again. The store is away: that is no reason not to start."""
    process = subprocess.Popen(
        command("dashboard", "--dashboard-port", "0", "--store-url", "http://127.0.0.1:1/x", "--data", str(tmp_path)),
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("ready ")
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    subprocess.run(["kill", "-9", child], check=True)
    assert process.wait(timeout=20) == 1
    assert "ended with code -9" in process.stderr.read()
