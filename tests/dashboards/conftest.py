"""Services and one browser for all tests of the pages: one with the demo's hour and every family's facts in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.dashboards import filled
from tests.dashboards.browsing import chromium
from tests.tools.service import NO_JOBS, Service, running


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("dashboard")
    config = folder / "monitor.yaml"
    config.write_text(filled.CONFIG, encoding="utf-8")
    with running(folder / "data", "dashboard", "--config", str(config), env=NO_JOBS) as started:
        filled.fill(started, config)
        yield started


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found
