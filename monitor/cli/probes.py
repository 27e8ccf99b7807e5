"""Commands about probes: `probes`, `probes run`, `probes bbq`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import app
from monitor.cli.common import Config, Data

if TYPE_CHECKING:
    from rich.table import Table

probes_app = typer.Typer(
    invoke_without_command=True,
    help="Show what probes found last, or send them now: prompts that differ only in the group they name.",
    no_args_is_help=False,
)
app.add_typer(probes_app, name="probes")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@probes_app.callback()
def probes(context: typer.Context, json: Json = False, data: Data = None, config: Config = None) -> None:
    """Show the newest run of probes: each group against its baseline, by score, with interval and verdict."""
    if context.invoked_subcommand is not None:
        if json or data is not None or config is not None:
            raise typer.BadParameter("give options after the subcommand: `monitor probes run --json`")
        return
    _show("paired", data, config, json=json)


@probes_app.command("run")
def run(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be sent, and send nothing.")] = False,
    json: Json = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Send the probes now, and show what they find; exit code 1 if they could not be sent.

    A `monitor up` that has the embedded store sends them; otherwise this process does.
    """
    from monitor.settings import load_settings

    settings = load_settings(config, data)
    if dry_run:
        from json import dumps

        from monitor.probes import plan_probes

        _, planned = plan_probes(settings.probes)
        if json:
            told = [{"set": p.set, "group": p.group, "pair": p.pair, "prompt": p.prompt} for p in planned]
            print(dumps(told, indent=2, ensure_ascii=False))
            return
        for probe in planned:
            print(f"{probe.set}={probe.group}\t{probe.pair}\t{probe.prompt}")
        where = settings.probes.endpoint or "nowhere: `probes.endpoint` is empty"
        typer.echo(f"{len(planned)} prompts, to {where}; nothing was sent", err=True)
        return
    _run("probes", settings)
    _show("paired", data, config, json=json)


@probes_app.command("bbq")
def bbq(json: Json = False, data: Data = None, config: Config = None) -> None:
    """Ask the questions of `probes.bbq` now, and show the scores; exit code 1 if they could not be asked."""
    from monitor.errors import BadInput
    from monitor.settings import load_settings

    settings = load_settings(config, data)
    if settings.probes.bbq is None:
        raise BadInput("no questions of BBQ are configured; name their file in `probes.bbq`")
    _run("bbq", settings)
    _show("bbq", data, config, json=json)


def _run(name: str, settings: Any) -> None:
    from monitor.errors import BadInput, MonitorError
    from monitor.serve.jobs import run_job

    if not settings.probes.endpoint:
        raise BadInput("no probes can be sent: `probes.endpoint` is empty; see docs/probes.md")
    # What fails is said below, once.
    logging.getLogger("monitor.jobs.runner").setLevel(logging.ERROR)
    result = run_job(settings, name)
    if result["state"] != "ok":
        raise MonitorError(result["error"] or f"the job {name} was {result['state']}; see `monitor jobs`")
    typer.echo(result["note"], err=True)


def _show(kind: str, data: Path | None, config: Path | None, *, json: bool) -> None:
    from json import dumps

    from monitor.errors import StoreError
    from monitor.probes import read_results
    from monitor.settings import load_settings
    from monitor.store.reader import open_existing

    client = open_existing(load_settings(config, data))
    try:
        if not client.command("EXISTS TABLE probe_results"):
            raise StoreError("the store has no results of probes, as its schema is older; run `monitor migrate`")
        rows = read_results(client, kind=kind)
    finally:
        client.close()
    if json:
        print(dumps([{**row, "run_at": row["run_at"].isoformat()} for row in rows], indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    if not rows:
        print("no probes were sent yet; `monitor probes run` sends them")
        return
    Console().print(_table(rows))


def _table(rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    first = rows[0]
    table = Table(
        box=None, pad_edge=False, header_style="bold", title_justify="left",
        title=f"{first['model']} at {first['endpoint']}, {first['run_at']:%Y-%m-%d %H:%M} UTC",
    )  # fmt: skip
    for header in ("cohort", "against", "metric"):
        table.add_column(header, no_wrap=True)
    for header in ("value", "95 % interval", "adjusted p", "n"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("verdict")
    for row in rows:
        low, high = row["low"], row["high"]
        table.add_row(
            row["cohort"], row["baseline"], row["metric"], _text(row["value"]),
            "–" if low is None else f"{_text(low)} … {_text(high)}", _text(row["p_adjusted"]), f"{row['n']:,}",
            row["verdict"], style="bold red" if row["verdict"] == "unequal" else "",
        )  # fmt: skip
    return table


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3g}"
