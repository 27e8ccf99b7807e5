"""Commands about scheduled jobs: `jobs`, `jobs run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from monitor.cli import app
from monitor.cli.common import Config, Data

if TYPE_CHECKING:
    from rich.table import Table

    from monitor.jobs.status import Status

# In narrower terminals what jobs do is left out; it is in docs/jobs.md.
_WIDE: Final = 130

jobs_app = typer.Typer(
    invoke_without_command=True,
    help="List the scheduled jobs and their last runs, or run one now.",
    no_args_is_help=False,
)
app.add_typer(jobs_app, name="jobs")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@jobs_app.callback()
def jobs(context: typer.Context, json: Json = False, data: Data = None, config: Config = None) -> None:
    """List the scheduled jobs: how often each runs, its last run, its state, when it is due next."""
    if context.invoked_subcommand is not None:
        if json or data is not None or config is not None:
            raise typer.BadParameter("give options after the subcommand: `monitor jobs run NAME --json`")
        return
    from datetime import UTC, datetime
    from json import dumps

    from monitor.jobs.plan import plan
    from monitor.jobs.status import job_statuses
    from monitor.serve.all_jobs import ALL_JOBS
    from monitor.settings import load_settings
    from monitor.store.client import explained, server_address
    from monitor.store.reader import open_existing

    settings = load_settings(config, data)
    planned = plan(settings, ALL_JOBS)
    client = open_existing(settings)
    try:
        with explained(server_address(settings.store_url)):
            _refuse_old_schema(bool(client.command("EXISTS TABLE job_runs")))
            statuses = job_statuses(client, planned, now=datetime.now(UTC))
    finally:
        client.close()
    if json:
        print(dumps([status.as_json() for status in statuses], indent=2))
        return
    from rich.console import Console

    console = Console()
    console.print(_table(statuses, meanings=console.width >= _WIDE))
    for status in statuses:
        if status.run is not None and status.run.error:
            print(f"{status.planned.job.name}: {status.run.error}")


@jobs_app.command("run")
def run(
    name: Annotated[str, typer.Argument(help="The job, as in `monitor jobs`.")],
    json: Json = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Run one job now, due or not; exit code 1 if it fails.

    A `monitor up` that has the embedded store is asked to; otherwise the job runs in this process.
    """
    from json import dumps

    from monitor.serve.jobs import run_job
    from monitor.settings import load_settings

    result = run_job(load_settings(config, data), name)
    if json:
        print(dumps(result, indent=2))
    else:
        took = f"{result['state']} in {result['duration_s']:.2f} s, {result['rows']:,} rows"
        print("; ".join(part for part in (f"{name}: {took}", result["note"], result["error"]) if part))
    if result["state"] != "ok":
        raise typer.Exit(1)


def _refuse_old_schema(there: bool) -> None:
    from monitor.errors import StoreError

    if not there:
        raise StoreError("the store has no account of jobs yet, as its schema is older; run `monitor migrate`")


def _table(statuses: list[Status], *, meanings: bool) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for heading in ("job", "every", "last run (UTC)", "took", "rows", "state", "due (UTC)"):
        table.add_column(
            heading, justify="right" if heading in ("took", "rows") else "left", no_wrap=heading != "state"
        )
    if meanings:
        table.add_column("what it does")
    for status in statuses:
        run = status.run
        cells = [
            status.planned.job.name,
            _length(status.planned.every_s),
            f"{run.started_at:%m-%d %H:%M:%S}" if run is not None else "-",
            f"{run.duration_s:.2f} s" if run is not None and run.duration_s is not None else "-",
            f"{run.rows:,}" if run is not None else "-",
            status.state,
            f"{status.due_at:%m-%d %H:%M:%S}" if status.due_at is not None else "-",
        ]
        table.add_row(*cells, *([status.planned.job.meaning] if meanings else []))
    return table


def _length(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
