"""Command `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli import app
from monitor.cli.common import Config, Data


@app.command()
def report(
    since: Annotated[str, typer.Option(help="How far back, such as 24h, 7d, 30d.")] = "7d",
    out: Annotated[
        Path | None, typer.Option(help="File to write (default: reports/ in the data folder).", show_default=False)
    ] = None,
    mail: Annotated[
        bool, typer.Option("--mail", help="Mail it to `report.receivers` of the configuration as well.")
    ] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Write what happened as one HTML page, with charts and without anything from elsewhere."""
    from datetime import UTC, datetime

    from rich.console import Console

    from monitor.errors import MonitorError
    from monitor.serve import report as reports
    from monitor.settings import load_settings
    from monitor.store.client import explained, server_address
    from monitor.store.reader import open_existing

    settings = load_settings(config, data)
    to = reports.channels(settings, needed=True) if mail else []
    now = datetime.now(UTC)
    client = open_existing(settings)
    try:
        with explained(server_address(settings.store_url)), Console(stderr=True).status("reading and drawing"):
            made, page = reports.make(client, settings, since, now=now)
    finally:
        client.close()
    path = out or reports.folder(settings) / f"report-{now:%Y-%m-%dT%H%M}-{since}.html"
    reports.save(page, path)
    print(f"wrote {path}")
    if mail:
        wrong = reports.mail(made, page, to, now=now)
        if wrong:
            raise MonitorError(f"the report was not mailed: {'; '.join(wrong)}")
        print(f"mailed to {', '.join(name for name, _ in to)}")
