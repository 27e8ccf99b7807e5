"""Command for GPU nodes: `gpu`. It needs the package and its extra `gpu`, no store and no configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import app

if TYPE_CHECKING:
    from collectors.gpu.run import Collector


@app.command()
def gpu(
    endpoint: Annotated[
        str, typer.Option(help="OTLP receiver that the readings go to, `host:port` or a URL.")
    ] = "http://127.0.0.1:4317",
    interval: Annotated[str, typer.Option(help="From one reading to the next, such as 1s or 500ms.")] = "1s",
    dcgm: Annotated[
        str,
        typer.Option(
            help="Address of a DCGM exporter to read as well, such as http://127.0.0.1:9400.", show_default=False
        ),
    ] = "",
    protocol: Annotated[
        str, typer.Option(help="grpc or http; without it http for port 4318, grpc else.", show_default=False)
    ] = "",
    token: Annotated[
        str, typer.Option(envvar="INGEST_TOKEN", help="Bearer token of the receiver.", show_default=False)
    ] = "",
    node: Annotated[
        str, typer.Option(help="Name of this node, if serving code calls it something else.", show_default=False)
    ] = "",
    once: Annotated[bool, typer.Option("--once", help="Read and send once, then end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="With --once: print the readings, send nothing.")] = False,
) -> None:
    """Read this node's GPUs (NVML, DCGM exporter) once a second and send the readings as OTLP metrics.

    A node without a GPU or a driver says so once and goes on. Ctrl-C stops it; what waits is sent first.
    """
    from collectors.gpu.run import Collector, Options, parse_interval, read_once, send_once, to_json

    if json and not once:
        raise typer.BadParameter("prints one reading; give --once with it", param_hint="--json")
    if protocol not in ("", "grpc", "http"):
        raise typer.BadParameter(f"`{protocol}` is no protocol; wanted grpc or http", param_hint="--protocol")
    options = Options(
        endpoint=endpoint, protocol=protocol, token=token, interval_s=parse_interval(interval), dcgm=dcgm, node=node
    )
    if json:
        print(to_json(read_once(options)))
    elif once:
        count = send_once(options)
        print(f"sent the readings of {count} device{'' if count == 1 else 's'}")
    else:
        _forever(Collector(options))


def _forever(collector: Collector) -> None:
    import signal
    import threading

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    sent = collector.run(stop)
    print(
        f"sent {sent.accepted:,} samples; {sent.dropped:,} dropped, {sent.refused:,} refused, {sent.waiting:,} not sent"
    )
