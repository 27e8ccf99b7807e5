"""All commands; importing this registers them."""

from monitor.cli import admin, read, run, send

__all__ = ["admin", "read", "run", "send"]
