"""One service with the demo's hour in it, and one browser, for all tests of the pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from collectors.simulate.history import load_history
from tests.dashboards.browsing import chromium
from tests.tools.service import Service, running


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("dashboard") / "data", "dashboard") as started:
        load_history(endpoint=started.addresses["grpc"])
        started.wait_until_stored()
        yield started


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found
