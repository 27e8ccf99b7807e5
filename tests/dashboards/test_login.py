"""The door of the dashboard in a real browser: by password, and by a provider that runs here; what a viewer may not."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Browser

from dashboards.door import COOKIE, TRIES, Login, make_session, read_session, role_of
from dashboards.passwords import hashed, matches
from monitor.errors import ConfigError
from monitor.serve.dashboard import log_of, start_dashboard, stop_dashboard, wait_until_ready
from monitor.serve.login import refuse_open
from monitor.serve.ports import free_port
from monitor.settings import Settings
from monitor.store.client import connect
from tests.dashboards.browsing import Visit
from tests.tools import oidc_provider
from tests.tools.service import Service

PASSWORD, VIEWING = "a good password", "only looking"


@contextlib.contextmanager
def dashboard(service: Service, folder: Path, port: int = 0, **section: Any) -> Iterator[str]:
    """A dashboard of its own over the service's store."""
    settings = Settings(data=folder, dashboard=section)  # type: ignore[arg-type]
    port = port or free_port("127.0.0.1", 0, "the dashboard", "")
    child = start_dashboard(
        service.addresses["clickhouse"],
        api_url=service.addresses["http"],
        settings=settings,
        host="127.0.0.1",
        port=port,
    )
    url = f"http://localhost:{port}"
    try:
        wait_until_ready(child, f"http://127.0.0.1:{port}", log_of(settings))
        yield url
    finally:
        stop_dashboard(child)


def status(url: str, path: str, *, cookie: str = "", data: bytes | None = None, **headers: str) -> tuple[int, str]:
    """One request without following where it leads."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=20)
    more = {"Cookie": cookie} if cookie else {}
    form = {"Content-Type": "application/x-www-form-urlencoded"} if data is not None else {}
    connection.request("GET" if data is None else "POST", path, data, {**more, **form, **headers})
    answer = connection.getresponse()
    answer.read()
    found = answer.getheader("Set-Cookie") or answer.getheader("Location") or answer.getheader("Retry-After") or ""
    connection.close()
    return answer.status, found


def test_by_password(browser: Browser, service: Service, tmp_path: Path) -> None:
    client = connect(service.addresses["clickhouse"])
    trace = client.command("SELECT trace_id FROM inferences LIMIT 1")
    client.close()
    with dashboard(service, tmp_path / "d", password=hashed(PASSWORD), viewer_password=VIEWING) as url:
        # Nothing without a session: pages lead to the login, all else is refused, connections too.
        assert status(url, "/latency?range=6h", Accept="text/html") == (303, "/login?next=%2Flatency%3Frange%3D6h")
        for path in ("/static/index.html", "/_stcore/host-config", "/media/x", "/index.html"):
            assert status(url, path)[0] == 401, path
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x" * 22 + "=="}  # fmt: skip
        assert status(url, "/_stcore/stream", **upgrade)[0] == 403
        assert status(url, "/_stcore/stream", cookie=f"{COOKIE}=operator.9999999999.00", **upgrade)[0] == 403
        assert status(url, "/login?next=//evil.example", data=urlencode({"password": PASSWORD}).encode(), Origin="http://evil.example")[0] == 403  # fmt: skip

        visit = Visit(browser)
        page = visit.page
        page.goto(f"{url}/traces?range=24h&trace={trace}")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        assert "That is not the password." in page.locator("[role=alert]").inner_text()
        page.get_by_label("Password").fill(VIEWING)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_selector("[data-testid=stMain] h2", timeout=30_000)
        visit.settle()
        assert f"trace={trace}" in page.url, "where one wanted to go"
        text = page.locator("body").inner_text()
        assert "labelling is for operators" in text
        assert "Logged in · viewer" in text
        assert page.get_by_role("button", name="Label it").count() == 0
        # Drafting and replaying a rule is looking; saving it is not, nor is silencing.
        page.goto(f"{url}/alerts?show=draft&kpi=latency.ttft.p95&limit=100+ms&range=6h&live=false")
        page.wait_for_selector("text=Would have fired", timeout=30_000)
        page.wait_for_selector("text=Saving a rule is for operators", timeout=30_000)
        page.goto(f"{url}/alerts?show=silences&live=false")
        # Other tests of this service may have silenced something, and ended it.
        listed = page.locator("[class*='st-key-silence-']").or_(page.get_by_text("No silence holds"))
        listed.first.wait_for(timeout=30_000)
        assert page.get_by_role("button", name="Silence").or_(page.get_by_label("Your name")).count() == 0
        cookie = next(each for each in page.context.cookies() if each["name"] == COOKIE)
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Lax"
        page.get_by_role("link", name="Log out").click()
        page.wait_for_selector("#password")
        # As an operator, one labels; it arrives.
        page.goto(f"{url}/traces?range=24h&trace={trace}")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_selector("[data-testid=stMain] h2", timeout=30_000)
        visit.settle()
        page.get_by_label("Your name").fill("ann")
        page.get_by_label("Your name").press("Enter")
        visit.settle()
        page.get_by_role("radiogroup").get_by_text("No", exact=True).or_(
            page.get_by_role("button", name="No", exact=True)
        ).first.click()
        page.get_by_label("Comment").fill("wrong city")
        page.get_by_role("button", name="Label it").click()
        page.wait_for_selector("text=Labelled", timeout=20_000)
        page.get_by_label("Dataset").fill("hard")
        page.get_by_role("button", name="Add to the dataset").click()
        page.wait_for_selector("text=Added 1 to", timeout=20_000)
        # What was refused on purpose is the only thing that went wrong.
        assert [each for each in visit.close() if "403" not in each] == []
        # Too many tries have to wait, the right password too.
        wrong = urlencode({"password": "no"}).encode()
        codes = [status(url, "/login", data=wrong)[0] for _ in range(TRIES)]
        assert codes[0] == 403
        assert codes[-1] == 429 or status(url, "/login", data=wrong)[0] == 429
        code, wait_s = status(url, "/login", data=urlencode({"password": PASSWORD}).encode())
        assert code == 429
        assert int(wait_s) > 0
    client = connect(service.addresses["clickhouse"])
    deadline = time.monotonic() + 20
    query = (
        "SELECT label, evaluator, explanation, source FROM evaluations WHERE trace_id = {t:String} AND source = 'human'"
    )
    while not (rows := client.query(query, parameters={"t": trace}).result_rows) and time.monotonic() < deadline:
        time.sleep(0.2)
    items = client.query("SELECT dataset, reason, author FROM dataset_items FINAL WHERE trace_id = {t:String}", parameters={"t": trace}).result_rows  # fmt: skip
    client.close()
    assert rows == [("no", "ann", "wrong city", "human")]
    assert items == [("hard", "manual", "ann")]


def test_by_a_provider(browser: Browser, service: Service, tmp_path: Path) -> None:
    port = free_port("127.0.0.1", 0, "the dashboard", "")
    with oidc_provider.running() as provider:
        section = {
            "oidc_metadata_url": provider.metadata_url,
            "oidc_client_id": oidc_provider.CLIENT_ID,
            "oidc_client_secret": oidc_provider.CLIENT_SECRET,
            "operators": ["ann@example.com"],
            "viewers": ["@example.org"],
        }
        with dashboard(service, tmp_path / "d", port, **section) as url:
            for user, seen in (
                ({"email": "ann@example.com", "email_verified": True}, "ann@example.com · operator"),
                ({"email": "bob@example.org"}, "bob@example.org · viewer"),
                ({"email": "ann@example.com", "email_verified": False}, "neither an operator nor a viewer"),
            ):
                provider.user = user
                visit = Visit(browser)
                visit.page.goto(f"{url}/latency?range=6h")
                visit.page.get_by_role("button", name="Log in").click(timeout=30_000)
                visit.page.wait_for_selector(f"text={seen}", timeout=30_000)
                content = visit.page.content()
                assert oidc_provider.CLIENT_SECRET not in content
                if "·" not in seen:
                    assert visit.page.locator("[data-testid=stVegaLiteChart], [data-testid=stDataFrame]").count() == 0
                visit.close()
            assert provider.tokens == 3


def test_sessions_are_signed_and_end() -> None:
    login = Login(kind="password", key="k", session_s=60, hashes={"operator": "h1", "viewer": "h2"})
    session = make_session(login, "viewer", now=1000.0)
    assert read_session(login, session, now=1059.0) == "viewer"
    assert read_session(login, session, now=1061.0) is None
    assert read_session(login, session.replace("viewer", "operator"), now=1001.0) is None
    assert read_session(login, "", now=1001.0) is None
    changed = Login(kind="password", key="k", session_s=60, hashes={"operator": "h1", "viewer": "h3"})
    assert read_session(changed, session, now=1001.0) is None, "another password ends all sessions"
    stored = hashed("pässword")
    assert matches("pässword", stored)
    assert not matches("password", stored)
    assert hashed("pässword") != stored


@pytest.mark.parametrize(
    ("email", "role"),
    [("ann@example.com", "operator"), ("ANN@Example.com", "operator"), ("x@example.org", "viewer"), ("x@evil-example.org", None), ("", None), ("@example.org.evil", None)],
)  # fmt: skip
def test_roles_by_address(email: str, role: str | None) -> None:
    login = Login(kind="oidc", operators=("ann@example.com",), viewers=("@example.org",))
    assert role_of(login, email) == role


def test_an_open_dashboard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="would show the dashboard to everybody"):
        refuse_open(Settings(data=tmp_path), "0.0.0.0")
    refuse_open(Settings(data=tmp_path), "127.0.0.1")
    refuse_open(Settings(data=tmp_path, dashboard={"login": "none"}), "0.0.0.0")  # type: ignore[arg-type]
    refuse_open(Settings(data=tmp_path, dashboard={"password": "x"}), "0.0.0.0")  # type: ignore[arg-type]
