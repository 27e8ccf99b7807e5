"""Commands that send: `replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from monitor.cli import app


@app.command()
def replay(
    file: Annotated[
        Path,
        typer.Argument(
            help="Workload: CSV with TIMESTAMP,ContextTokens,GeneratedTokens, or vLLM benchmark JSON; also gzipped."
        ),
    ],
    endpoint: Annotated[str, typer.Option(help="OTLP receiver, `host:port` or a URL.")] = "http://127.0.0.1:4317",
    speed: Annotated[
        str,
        typer.Option(
            help="Factor over real time, such as 1 or 60, as live traffic; `max` back-fills history ending now."
        ),
    ] = "max",
    service: Annotated[str, typer.Option(help="service.name of the spans.")] = "replay",
    model: Annotated[str | None, typer.Option(help="Model name, where the file has none.", show_default=False)] = None,
    node: Annotated[list[str] | None, typer.Option(help="Serving node; may be repeated.", show_default=False)] = None,
    variant: Annotated[str, typer.Option(help="Model variant, such as fp16 or int4-awq.", show_default=False)] = "",
    protocol: Annotated[str, typer.Option(help="grpc, or http (port 4318).")] = "grpc",
    token: Annotated[str | None, typer.Option(envvar="REPLAY_TOKEN", help="Bearer token.", show_default=False)] = None,
    parents: Annotated[bool, typer.Option(help="Put an HTTP server span around each call.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of all that is made up.")] = 0,
) -> None:
    """Send a workload file as OTLP traffic.

    Latencies that the file does not have come from a stated serving model, and are marked as simulated.
    """
    from rich.console import Console
    from rich.progress import Progress

    from collectors.simulate.replay import parse_speed
    from collectors.simulate.replay import replay as send
    from collectors.simulate.workload import read_workload

    chosen: Literal["grpc", "http"] | str = protocol
    if chosen not in ("grpc", "http"):
        raise typer.BadParameter(f"`{protocol}` is no protocol; wanted grpc or http", param_hint="--protocol")
    factor = parse_speed(speed)
    workload = read_workload(file)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("sending spans", total=None)
        result = send(
            workload,
            endpoint=endpoint,
            speed=factor,
            service=service,
            model=model,
            nodes=node or None,
            variant=variant,
            protocol=chosen,
            headers={"authorization": f"Bearer {token}"} if token else None,
            with_parents=parents,
            seed=seed,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    print(
        f"sent {result.calls:,} calls in {result.sent:,} spans: {result.acknowledged:,} acknowledged,"
        f" {result.rejected:,} rejected, {result.unacknowledged:,} without an answer;"
        f" {result.retried:,} requests sent again; {result.seconds:.2f} s"
    )
    for reason, count in result.reasons.items():
        print(f"  {count:,} spans: {reason}")
    if result.acknowledged < result.sent:
        raise typer.Exit(1)
