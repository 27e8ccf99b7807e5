"""Command `review`: which calls to label next."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from monitor.cli import app
from monitor.cli.common import Config, Data


class Kind(StrEnum):
    INTERVAL = "interval"
    REFUSAL = "refusal"
    DISAGREEMENT = "disagreement"
    UNSURE = "unsure"


@app.command()
def review(
    limit: Annotated[int, typer.Option(help="Calls at most.")] = 20,
    since: Annotated[str, typer.Option(help="How far back, such as 24h or 7d.")] = "24h",
    kind: Annotated[
        list[Kind] | None, typer.Option(help="Only these reasons; may be repeated.", show_default=False)
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Only where k=v, or k=a,b; may be repeated.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """List the calls that are worth most to label next, with the reason, and the name to send the label as.

    Labels go in by `monitor label`; docs/safety.md says how the queue is made.
    """
    from json import dumps

    from monitor.kpis import Window, parse_where
    from monitor.kpis.review import KINDS, review_queue
    from monitor.settings import load_settings
    from monitor.store.reader import open_existing

    client = open_existing(load_settings(config, data))
    try:
        kinds = [each.value for each in kind or ()] or KINDS
        queue = review_queue(
            client, window=Window.last(since), limit=limit, kinds=kinds, where=parse_where(where or ())
        )
    finally:
        client.close()
    if json:
        print(dumps([call.as_json() for call in queue], indent=2, ensure_ascii=False))
        return
    if not queue:
        print("nothing to label in this window: there is no call that a label would say something new of")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("trace", "span", "began (UTC)", "send as", "why"):
        table.add_column(header, no_wrap=header != "why")
    table.add_column("answer", overflow="ellipsis", no_wrap=True, max_width=60)
    for call in queue:
        answer = " ".join(call.completion.split())
        table.add_row(call.trace_id, call.span_id, f"{call.timestamp:%m-%d %H:%M:%S}", call.send_as, call.why, answer)
    Console().print(table)
