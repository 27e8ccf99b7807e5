"""Commands for the person who runs it: `check`, `migrate`."""

from __future__ import annotations

import typer

from monitor.cli import app
from monitor.cli.common import Config, Data


@app.command()
def migrate(data: Data = None, config: Config = None) -> None:
    """Bring the store's schema up to date (`monitor up` does so too); refuses a newer schema."""
    from monitor.settings import load_settings
    from monitor.store.owner import Claim
    from monitor.store.prepare import prepare_store

    settings = load_settings(config, data)
    claim = Claim(settings.data) if settings.embedded else None
    try:
        applied = prepare_store(settings)
    finally:
        if claim is not None:
            claim.release()
    for migration in applied:
        print(f"applied {migration.version:04d} {migration.name}")
    print("the schema is up to date")


@app.command()
def check(data: Data = None, config: Config = None) -> None:
    """Say what is wrong with configuration, store, schema, clock, disk, ports and ingest; exit code 1 if anything is."""
    from monitor.serve.check import run_checks

    failed = 0
    for result in run_checks(config, data):
        mark = {"ok": "ok  ", "warning": "warn", "failed": "FAIL"}[result.state]
        print(f"{mark}  {result.name:<14} {result.text}")
        failed += result.state == "failed"
    if failed:
        raise typer.Exit(1)
