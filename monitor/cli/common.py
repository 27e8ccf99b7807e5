"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Data folder (default: ./monitor-data, or what the configuration says).", show_default=False
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration file (default: ./monitor.yaml if it is there).", show_default=False),
]
Host = Annotated[
    str | None,
    typer.Option(
        help="Address to listen on (default: 127.0.0.1). Any other demands collectors.tokens.", show_default=False
    ),
]
GrpcPort = Annotated[
    int | None, typer.Option(help="OTLP/gRPC port (default: 4317); 0 picks a free one.", show_default=False)
]
HttpPort = Annotated[
    int | None, typer.Option(help="OTLP/HTTP and API port (default: 4318); 0 picks a free one.", show_default=False)
]
ClickHousePort = Annotated[
    int | None,
    typer.Option(
        "--clickhouse-port",
        help="Read-only ClickHouse HTTP port (default: 8123); 0 picks a free one.",
        show_default=False,
    ),
]
DashboardPort = Annotated[
    int | None, typer.Option(help="Dashboard port (default: 8501); 0 picks a free one.", show_default=False)
]
NoDashboard = Annotated[bool, typer.Option("--no-dashboard", help="Do not start the dashboard.")]
