"""Compare, Plan, Datasets and the report over the demo's hour: in a browser, and against the commands."""

from __future__ import annotations

import asyncio
import email
import json
import re
import time
import urllib.request
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiosmtpd.controller import Controller
from playwright.sync_api import Browser, expect

from dashboards.report import gather
from monitor.jobs.job import Context
from monitor.kpis import Window, evaluate
from monitor.serve import report as reports
from monitor.serve.ports import free_port
from monitor.settings import Settings
from monitor.store.client import connect
from tests.dashboards.browsing import Visit, painted_share
from tests.tools.inside import inside, refusal
from tests.tools.service import Service

CHART = "[data-testid=stVegaLiteChart]"


@pytest.fixture(scope="module")
def judged(service: Service) -> list[tuple[str, str]]:
    """600 calls with a verdict of people: fp8 is wrong more often, twenty have thumbs down."""
    client = connect(service.addresses["clickhouse"])
    rows = client.query(
        "SELECT trace_id, span_id, variant FROM inferences WHERE variant != '' ORDER BY cityHash64(span_id) LIMIT 600"
    ).result_rows
    said = [
        {"trace_id": t, "span_id": s, "name": "correct", "source": "human", "label": "no" if i % (3 if v == "fp8" else 10) == 0 else "yes"}
        for i, (t, s, v) in enumerate(rows)
    ]  # fmt: skip
    for path, body in (("/api/evaluations", said), ("/api/feedback", [{"trace_id": t, "thumbs": "down"} for t, *_ in rows[:20]])):  # fmt: skip
        request = urllib.request.Request(service.addresses["http"] + path, json.dumps(body).encode(), {"Content-Type": "application/json"})  # fmt: skip
        urllib.request.urlopen(request, timeout=30).close()
    deadline = time.monotonic() + 30
    while (
        client.command("SELECT count() FROM evaluations FINAL WHERE source = 'human'") < 600
        and time.monotonic() < deadline
    ):
        time.sleep(0.2)
    client.close()
    return [(t, s) for t, s, _ in rows]


def run(service: Service, *arguments: str) -> str:
    return inside(*arguments, "--data", str(service.data))


def test_compare_says_what_the_command_says(browser: Browser, service: Service, judged: list[tuple[str, str]]) -> None:
    told = json.loads(run(service, "compare", "variant", "fp16", "fp8", "--since", "24h", "--json"))
    assert told["verdict"].startswith("inferior by"), told
    visit = Visit(browser)
    address = f"{service.addresses['dashboard']}/compare?range=24h&live=false&a=fp16&b=fp8"
    page = visit.open(address)
    text = page.locator("[data-testid=stMain]").inner_text()
    assert told["verdict"].lower() in text.lower()
    assert told["always"]["verdict"].lower() in text.lower()
    assert painted_share(page.locator(CHART).last) > 0.01
    page.get_by_text("Two times", exact=True).click()
    visit.settle()
    assert parse_qs(urlsplit(page.url).query)["mode"] == ["times"]
    expect(page.locator("[data-testid=stMain] h4")).to_contain_text("this time", timeout=60_000)
    copied, shown = page.url, page.locator("[data-testid=stMain] h4").inner_text()
    assert visit.close() == []
    # The link shows somebody else the same, on a telephone in the dark too.
    second = Visit(browser, scheme="dark", width=420)
    page = second.open(copied)
    assert page.locator("[data-testid=stMain] h4").inner_text() == shown
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 420
    assert second.close() == []


def test_plan_says_what_the_command_says(browser: Browser, service: Service) -> None:
    usage = ["--requests-per-day", "100000", "--input-tokens", "1000", "--output-tokens", "250", "--model", "llama-3.1-8b-instruct"]  # fmt: skip
    told = json.loads(inside("plan", *usage, "--growth", "3", "--json"))
    visit = Visit(browser)
    page = visit.open(
        f"{service.addresses['dashboard']}/plan?usage=stated&growth=3.0&for=llama-3.1-8b-instruct&live=false"
    )
    page.wait_for_selector("text=Download the table", timeout=60_000)
    assert page.locator("[data-testid=stMain] h4").inner_text().lower() == told["verdict"].lower()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download the table (CSV)").click()
    lines = Path(saved.value.path()).read_text().splitlines()
    assert len(lines) == 1 + len(told["plans"])
    assert visit.close() == []


def test_datasets_by_page_and_command(
    browser: Browser, service: Service, judged: list[tuple[str, str]], tmp_path: Path
) -> None:
    said = run(service, "dataset", "add", "rated", "--from", "rating", "--since", "24h", "--author", "ann")
    rated = int(said.split()[1])
    assert rated >= 20
    visit = Visit(browser)
    page = visit.open(f"{service.addresses['dashboard']}/datasets?range=24h&live=false&source=rating&dataset=rated")
    text = page.locator("[data-testid=stMain]").inner_text()
    assert "monitor export rated.jsonl --dataset rated" in text
    page.get_by_label("Dataset", exact=True).fill("again")
    page.get_by_label("Dataset", exact=True).press("Enter")
    visit.settle()
    page.get_by_role("button", name="Add all ").click()
    page.wait_for_selector(f"text=Added {rated} to", timeout=30_000)
    assert visit.close() == []
    assert {each["name"]: each["items"] for each in json.loads(run(service, "dataset", "list", "--json"))}.items() >= {"rated": rated, "again": rated}.items()  # fmt: skip
    out = tmp_path / "rated.jsonl"
    assert run(service, "export", str(out), "--dataset", "rated").startswith(f"wrote {rated} calls")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(row["feedback"] and row["author"] == "ann" for row in rows)
    refused = refusal("export", str(out), "--dataset", "rated", "--as", "chat", "--data", str(service.data))
    assert "content was not captured" in refused
    assert run(service, "dataset", "remove", "again", "--all").startswith(f"removed {rated} calls")


def test_the_report_holds_the_registrys_figures_and_needs_nothing_else(
    browser: Browser, service: Service, judged: list[tuple[str, str]], tmp_path: Path
) -> None:
    out = tmp_path / "report.html"
    run(service, "report", "--since", "24h", "--out", str(out))
    visit = Visit(browser)
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    visit.page.goto(out.as_uri())
    text = visit.page.locator("main").inner_text()
    assert asked == [out.as_uri()]
    assert visit.page.locator("svg").count() >= 4
    client = connect(service.addresses["clickhouse"])
    now = datetime.now(UTC)
    (p95,) = evaluate(client, ["latency.ttft.p95"], window=Window.last("24h", now=now))
    assert f"{1000 * (p95.value or 0):.0f} ms" in text
    # Texts from the store are no markup.
    made = gather(client, Window.last("24h", now=now), now=now)
    (requests,) = evaluate(client, ["traffic.requests"], window=Window.last("24h", now=now))
    client.close()
    assert made.requests == requests.value
    (budget,) = made.budgets
    assert budget.amount == 300
    assert budget.forecast is None or budget.forecast >= budget.spent > 0
    assert re.search(rf"Requests\s+{made.requests:,.0f}\s", text)
    visit.close()


class Mailbox:
    """Keeps what is sent to it."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        found = email.message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(found, EmailMessage)
        self.mails.append(found)
        await asyncio.sleep(0)
        return "250 OK"


def test_the_weekly_job_saves_and_mails_once(service: Service, tmp_path: Path) -> None:
    box = Mailbox()
    port = free_port("127.0.0.1", 0, "mail", "none")
    server = Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    try:
        receiver = {
            "email": {
                "host": "127.0.0.1",
                "port": port,
                "security": "plain",
                "from": "m@example.com",
                "to": ["t@example.com"],
            }
        }
        settings = Settings(data=tmp_path, receivers={"team": receiver}, report={"receivers": ["team"]})  # type: ignore[arg-type]
        client = connect(service.addresses["clickhouse"])
        context = Context(client=client, settings=settings, now=datetime.now(UTC))
        assert "mailed to team" in reports.run(context).note
        assert "mailed" not in reports.run(context).note, "again on the same day"
        client.close()
    finally:
        server.stop()
    (mail,) = box.mails
    assert mail["Subject"].startswith("Inference report ")
    plain, page = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert page is not None
    assert re.search(r"- Requests: [\d.,]+", plain.get_content())
    (saved,) = (tmp_path / "reports").glob("report-*.html")
    assert saved.stat().st_mode & 0o077 == 0
    assert [part.get_filename() for part in mail.iter_attachments()] == [f"inference-{saved.name}"]
