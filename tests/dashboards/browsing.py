"""A real Chromium over a real dashboard, and what counts as a broken page."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tests.tools.browser import find

# Ours: loopback, by either name.
OURS = tuple(f"{scheme}://{host}" for scheme in ("http", "ws") for host in ("127.0.0.1", "localhost"))
# Streamlit looks for its own server below the page's path first, and at the root next.
PROBES = ("/_stcore/health", "/_stcore/host-config")
WIDTH, HEIGHT = 1280, 900


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find(), args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


class Visit:
    """One page in a fresh context, and everything wrong that happened on it."""

    def __init__(self, browser: Browser, *, scheme: str = "light", width: int = WIDTH) -> None:
        self.wrong: list[str] = []
        self._context = browser.new_context(
            viewport={"width": width, "height": HEIGHT},
            color_scheme="dark" if scheme == "dark" else "light",
            timezone_id="UTC",
        )
        self.page: Page = self._context.new_page()
        self.page.on("pageerror", lambda error: self.wrong.append(f"exception: {error}"))
        self.page.on("console", self._console)
        self.page.on("request", self._request)

    def open(self, url: str) -> Page:
        """Load a page and wait until nothing on it is being worked out any more."""
        self.page.goto(url)
        self.page.wait_for_selector("[data-testid=stMain] h2, [data-testid=stMain] h1", timeout=60_000)
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until the script has run and its skeletons are gone."""
        self.page.wait_for_function(
            "() => document.querySelector('[data-testid=stApp]')?.getAttribute('data-test-script-state') === 'notRunning'"
            " && !document.querySelector('[data-testid=stSkeleton]')",
            timeout=90_000,
        )
        self.page.wait_for_timeout(700)  # charts are drawn a frame or two after their data is there

    def whole(self) -> bytes:
        """A picture of the whole page."""
        tall = self.page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        width = (self.page.viewport_size or {"width": WIDTH})["width"]
        self.page.set_viewport_size({"width": width, "height": int(tall) + 10})
        self.page.wait_for_timeout(900)
        return self.page.screenshot()

    def close(self) -> list[str]:
        """What was wrong."""
        if self.page.locator("[data-testid=stException]").count():
            self.wrong.append(self.page.locator("[data-testid=stException]").first.inner_text())
        self._context.close()
        return self.wrong

    def _console(self, message: Any) -> None:
        if message.type == "error" and not message.location["url"].endswith(PROBES):
            self.wrong.append(f"console: {message.text} {message.location}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((*OURS, "data:", "blob:")):
            self.wrong.append(f"request to another host: {request.url}")


def painted_share(chart: Locator) -> float:
    """Share of a chart's width that has colour (neither ground, grid nor text) in it: 0 for an empty chart."""
    columns = _painted(chart).any(axis=0)
    # Axis labels and margins take up to a tenth on the left.
    return float(columns[len(columns) // 10 :].mean())


def painted_rows(chart: Locator) -> int:
    """How many separate stripes of colour a chart has from top to bottom: the bars of a waterfall."""
    rows = _painted(chart).any(axis=1)
    return int((rows[1:] & ~rows[:-1]).sum() + rows[0])


def _painted(chart: Locator) -> Any:
    picture = np.asarray(Image.open(io.BytesIO(chart.screenshot())).convert("RGB")).astype(int)
    return picture.max(axis=2) - picture.min(axis=2) > 60
