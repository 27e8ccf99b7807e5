"""`monitor compare`: one variant against another, with a verdict."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli import app
from monitor.cli.common import Config, Data


@app.command()
def compare(
    dimension: Annotated[str, typer.Argument(help="What tells the two apart: variant, release, arm, node, …")],
    a: Annotated[str, typer.Argument(help="The accepted one, such as fp16.")],
    b: Annotated[str, typer.Argument(help="The candidate, such as fp8.")],
    since: Annotated[str, typer.Option(help="How far back, such as 1h, 7d.")] = "7d",
    margin: Annotated[
        float, typer.Option(help="Loss in the share of right answers that is accepted; 0.02 is 2 points.")
    ] = 0.02,
    latency: Annotated[str, typer.Option(help="Which latency: e2e, ttft, tpot, queue, prefill, decode.")] = "e2e",
    where: Annotated[
        list[str] | None, typer.Option(help="Only where k=v, or k=a,b; may be repeated.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Compare two variants: not worse in quality, faster, cheaper; each with a 95 % interval."""
    from monitor.kpis import Window, parse_where
    from monitor.kpis.compare import compare as compared
    from monitor.kpis.compare_render import to_footer, to_json, to_table
    from monitor.settings import load_settings
    from monitor.store.reader import open_existing

    window, conditions = Window.last(since), parse_where(where or ())
    client = open_existing(load_settings(config, data))
    try:
        found = compared(client, window, dimension, a, b, margin=margin, latency=latency, where=conditions)
    finally:
        client.close()
    if json:
        print(to_json(found))
        return
    from rich.console import Console

    console = Console()
    console.print(f"{b} against {a}: {found.found.verdict}", highlight=False)
    console.print(to_table(found))
    console.print(to_footer(found), style="dim", highlight=False)
