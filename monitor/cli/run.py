"""Commands that serve: `up`, `collect`, `work`, `dashboard`, `demo`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli import app
from monitor.cli.common import ClickHousePort, Config, DashboardPort, Data, GrpcPort, Host, HttpPort, NoDashboard


def _ready_line(addresses: Mapping[str, str]) -> str:
    return " ".join(["ready", *(f"{name}={address}" for name, address in addresses.items())])


@app.command()
def up(
    data: Data = None,
    config: Config = None,
    host: Host = None,
    grpc_port: GrpcPort = None,
    http_port: HttpPort = None,
    clickhouse_port: ClickHousePort = None,
    dashboard_port: DashboardPort = None,
    no_dashboard: NoDashboard = False,
) -> None:
    """Run everything on this machine: store, OTLP collectors, scheduled jobs, dashboard.

    When all is ready one line `ready` is printed with the addresses. Ctrl-C stops cleanly; nothing is lost.
    """
    from monitor.serve.up import run
    from monitor.settings import load_settings

    settings = load_settings(
        config, data, host=host, grpc_port=grpc_port, http_port=http_port, clickhouse_port=clickhouse_port,
        dashboard_port=dashboard_port,
    )  # fmt: skip
    run(settings, dashboard=not no_dashboard, on_ready=lambda addresses: print(_ready_line(addresses), flush=True))


@app.command()
def collect(
    data: Data = None,
    config: Config = None,
    host: Host = None,
    grpc_port: GrpcPort = None,
    http_port: HttpPort = None,
) -> None:
    """Run the OTLP collectors alone, in front of a ClickHouse server or cluster (`store.url`).

    Any number may run side by side, on one machine too: each needs ports and a data folder of its own, where what is
    not in ClickHouse yet waits. When all is ready one line `ready` is printed with the addresses.
    """
    from monitor.serve.collect import run_collect
    from monitor.settings import load_settings

    settings = load_settings(config, data, host=host, grpc_port=grpc_port, http_port=http_port)
    run_collect(settings, on_ready=lambda addresses: print(_ready_line(addresses), flush=True))


@app.command()
def work(data: Data = None, config: Config = None) -> None:
    """Run the scheduled jobs alone, against a ClickHouse server or cluster (`store.url`).

    Any number may run side by side, and beside `monitor up`: they share the jobs, and when one ends, the others take
    over. A line `ready` is printed with the name of this worker. Ctrl-C stops it within a few seconds.
    """
    from monitor.serve.work import run_work
    from monitor.settings import load_settings

    run_work(load_settings(config, data), on_ready=lambda addresses: print(_ready_line(addresses), flush=True))


@app.command()
def dashboard(
    data: Data = None,
    config: Config = None,
    store_url: Annotated[
        str | None,
        typer.Option(
            "--store-url",
            help="ClickHouse to read, http(s)://host:8123/database (default: store.url, or the service that has the data folder).",
            show_default=False,
        ),
    ] = None,
    api_url: Annotated[
        str | None,
        typer.Option(
            "--api-url",
            help="Collectors to send labels, silences and rules to, http(s)://host:4318.",
            show_default=False,
        ),
    ] = None,
    api_token: Annotated[
        str | None,
        typer.Option(
            "--api-token",
            help="Token for them. Others on this machine can see it: MONITOR_DASHBOARD__API_TOKEN is better.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on (default: 127.0.0.1). Any other demands a login.", show_default=False),
    ] = None,
    dashboard_port: DashboardPort = None,
) -> None:
    """Run the dashboard alone: over a ClickHouse server (`store.url`), or beside a running `monitor up`.

    Any number may run side by side. It only reads the store; what is labelled, silenced or saved on it goes to the
    collectors' API. When the page answers one line `ready` is printed with the addresses. Ctrl-C stops it.
    """
    from monitor.serve.dashboard_alone import run_dashboard
    from monitor.settings import load_settings

    given = {"store": {"url": store_url}, "dashboard": {"api_url": api_url, "api_token": api_token}}
    settings = load_settings(config, data, over=given, dashboard_port=dashboard_port)
    run_dashboard(
        settings,
        host=host or settings.collectors.host,
        on_ready=lambda addresses: print(_ready_line(addresses), flush=True),
    )


@app.command()
def demo(
    data: Annotated[
        Path, typer.Option("--data", help="Data folder of the demo; what an earlier demo left in it is removed.")
    ] = Path("demo-data"),
    config: Config = None,
    grpc_port: GrpcPort = None,
    http_port: HttpPort = None,
    clickhouse_port: ClickHousePort = None,
    dashboard_port: DashboardPort = None,
    no_dashboard: NoDashboard = False,
    days: Annotated[
        float, typer.Option("--days", min=0, max=60, help="Days of history before the hour of the trace.")
    ] = 14,
    quiet: Annotated[bool, typer.Option("--quiet", help="The same traffic without incidents.")] = False,
) -> None:
    """Run everything, filled with two weeks of history, an hour of a real workload, and live traffic after it.

    The arrivals and sizes are those of a production conversation service (Azure LLM inference trace 2023);
    latencies, nodes, users, texts, judgements and incidents are simulated, and marked so. Incidents come by, alerts
    tell of them, and what is printed says where to look. A file given by --config lies over the demo's own
    configuration, so receivers of yours get its alerts. Ctrl-C stops it.
    """
    import dataclasses
    from datetime import UTC, datetime

    from collectors.simulate.scenario import Scenario
    from monitor.serve.demo import run_demo
    from monitor.serve.demo_config import demo_values
    from monitor.settings import load_settings

    scenario = dataclasses.replace(Scenario.quiet() if quiet else Scenario(), days=days)
    settings = load_settings(
        config, data, under=demo_values(scenario, datetime.now(UTC)), grpc_port=grpc_port, http_port=http_port,
        clickhouse_port=clickhouse_port, dashboard_port=dashboard_port,
    )  # fmt: skip
    run_demo(
        settings, scenario=scenario, dashboard=not no_dashboard, say=lambda line: print(line, flush=True),
        ready_line=_ready_line,
    )  # fmt: skip
