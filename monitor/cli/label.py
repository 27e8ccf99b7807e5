"""`monitor label`: what people say of answers, from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli import app


@app.command()
def label(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV, JSON Lines (also gzipped) or Parquet with the columns trace_id or response_id, and label or score;"
            " span_id, name, source, evaluator, explanation, service and timestamp if they are known."
        ),
    ],
    endpoint: Annotated[str, typer.Option(help="OTLP receiver, `host:port` or a URL.")] = "http://127.0.0.1:4317",
    name: Annotated[str, typer.Option(help="What was judged, where the file has no column `name`.")] = "correct",
    source: Annotated[
        str, typer.Option(help="ground_truth, human, user or judge, where the file does not say.")
    ] = "human",
    evaluator: Annotated[str, typer.Option(help="Who judged, where the file does not say.", show_default=False)] = "",
    protocol: Annotated[str, typer.Option(help="grpc, or http (port 4318).")] = "grpc",
    token: Annotated[str | None, typer.Option(envvar="LABEL_TOKEN", help="Bearer token.", show_default=False)] = None,
) -> None:
    """Send labels from a file; they count for the window in which their calls began, however late they come.

    The whole file is checked before anything is sent. Sending it again changes no number: the newest label counts.
    """
    from rich.console import Console
    from rich.progress import Progress

    from collectors.labels import read_labels, send_labels
    from collectors.transport import open_transport

    if protocol not in ("grpc", "http"):
        raise typer.BadParameter(f"`{protocol}` is no protocol; wanted grpc or http", param_hint="--protocol")
    defaults = {"name": name, "source": source} | ({"evaluator": evaluator} if evaluator else {})
    labels = read_labels(file, defaults=defaults)
    headers = {"authorization": f"Bearer {token}"} if token else None
    transport = open_transport(endpoint, protocol, headers, signal="logs")
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("sending labels", total=len(labels))
            sent = send_labels(
                labels, transport, endpoint=endpoint, on_sent=lambda done: progress.update(task, completed=done)
            )
    finally:
        transport.close()
    print(f"sent {sent:,} labels: all acknowledged")
