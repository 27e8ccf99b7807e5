"""Commands for the person who runs it: `check`, `migrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from monitor.cli import app
from monitor.cli.common import Config, Data

if TYPE_CHECKING:
    from rich.progress import TaskID

    from monitor.settings import Settings
    from monitor.store.adopt import Progress as Step


@app.command()
def migrate(data: Data = None, config: Config = None) -> None:
    """Bring the store's schema up to date (`monitor up` does so too); refuses a newer schema.

    Where the store has spans from before, such as those of an OpenTelemetry Collector's clickhouse exporter, their
    history is carried into the facts. It may be stopped at any point, and goes on from there when it is run again.
    """
    from monitor.settings import load_settings
    from monitor.store.owner import Claim
    from monitor.store.prepare import prepare_store

    settings = load_settings(config, data)
    claim = Claim(settings.data) if settings.embedded else None
    try:
        for migration in prepare_store(settings):
            print(f"applied {migration.version:04d} {migration.name}")
        print("the schema is up to date")
        _carry_history_over(settings)
    finally:
        if claim is not None:
            claim.release()


def _carry_history_over(settings: Settings) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from monitor.store.prepare import back_fill_store

    rows: dict[str, int] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(step: Step) -> None:
            if step.view not in tasks:
                tasks[step.view] = bar.add_task(step.target, total=step.total)
            bar.update(tasks[step.view], completed=step.done, description=f"{step.target}: history of {step.chunk}")
            rows[step.target] = rows.get(step.target, 0) + step.rows

        back_fill_store(settings, on_progress=show)
    for target, count in rows.items():
        print(f"carried {count:,} rows of history into {target}")


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


@app.command("hash")
def hash_() -> None:
    """Ask for a password, and print the hash that `dashboard.password` takes instead of it."""
    from monitor.serve.login import password_hash

    print(password_hash(typer.prompt("password", hide_input=True, confirmation_prompt=True, err=True)))
