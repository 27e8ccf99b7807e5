"""Services and one browser for all tests of the pages: one with the demo's hour and every family's facts in it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.dashboards import filled
from tests.dashboards.browsing import chromium
from tests.tools.service import NO_JOBS, Service, running


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Each worker has its own, on a copy of a data folder that the first of them filled."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "dashboards-filled"
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            _fill(tmp_path_factory.mktemp("filling"), shared)
    folder = tmp_path_factory.mktemp("dashboard")
    shutil.copytree(shared, folder, symlinks=True, dirs_exist_ok=True)
    with running(folder / "data", "dashboard", "--config", str(folder / "monitor.yaml"), env=NO_JOBS) as started:
        yield started


def _fill(folder: Path, target: Path) -> None:
    config = folder / "monitor.yaml"
    config.write_text(filled.CONFIG, encoding="utf-8")
    with running(folder / "data", "--config", str(config), env=NO_JOBS) as started:
        filled.fill(started, config)
    folder.rename(target)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found
