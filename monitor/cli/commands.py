"""All commands; importing this registers them."""

from monitor.cli import admin, gpu, plan, read, run, send

__all__ = ["admin", "gpu", "plan", "read", "run", "send"]
