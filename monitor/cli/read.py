"""Commands that read: `query`, `kpi`."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from monitor.cli import app
from monitor.cli.common import Config, Data


class Format(StrEnum):
    PRETTY = "Pretty"
    CSV = "CSV"
    JSON = "JSON"
    JSON_EACH_ROW = "JSONEachRow"


_ENGINE_FORMATS = {Format.PRETTY: "PrettyCompactMonoBlock", Format.CSV: "CSVWithNames"}


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One reading statement; `-` reads it from standard input.")],
    format: Annotated[Format, typer.Option("--format", help="How the rows are written.")] = Format.PRETTY,
    data: Data = None,
    config: Config = None,
) -> None:
    """Run read-only SQL, while the service runs and when it does not."""
    from monitor.serve.query import run_query
    from monitor.settings import load_settings

    text = sys.stdin.read() if sql == "-" else sql
    answer = run_query(load_settings(config, data), text, _ENGINE_FORMATS.get(format, format.value))
    sys.stdout.buffer.write(answer)
    sys.stdout.flush()


@app.command()
def kpi(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="KPIs, such as latency.ttft.p95 or the family traffic; none: all.", show_default=False),
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Split by a dimension; may be repeated.", show_default=False)
    ] = None,
    since: Annotated[str, typer.Option(help="How far back, such as 15m, 1h, 7d.")] = "1h",
    where: Annotated[
        list[str] | None, typer.Option(help="Only where k=v, or k=a,b; may be repeated.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    intervals: Annotated[bool, typer.Option(help="Compute 95 % intervals.")] = True,
    data: Data = None,
    config: Config = None,
) -> None:
    """Print KPI values with unit, 95 % interval and sample size."""
    from monitor.kpis import Window, evaluate, parse_where
    from monitor.kpis.registry import refuse_impossible
    from monitor.kpis.render import to_json, to_table
    from monitor.settings import load_settings
    from monitor.store.reader import open_existing

    refuse_impossible(names or ())
    window = Window.last(since)
    client = open_existing(load_settings(config, data))
    try:
        values = evaluate(
            client, names or (), window=window, by=tuple(by or ()), where=parse_where(where or ()), intervals=intervals
        )
    finally:
        client.close()
    if json:
        print(to_json(values))
    else:
        from rich.console import Console

        Console().print(to_table(values))
