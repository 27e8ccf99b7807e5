"""All commands; importing this registers them."""

from monitor.cli import admin, cost, gpu, read, run, send

__all__ = ["admin", "cost", "gpu", "read", "run", "send"]
