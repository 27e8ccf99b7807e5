"""The group `monitor alerts`; its commands are where their subject is (`notify.py`, …)."""

from __future__ import annotations

import typer

from monitor.cli import app

alerts_app = typer.Typer(help="Alerts: silence them, and try the channels that tell of them.", no_args_is_help=True)
app.add_typer(alerts_app, name="alerts")
