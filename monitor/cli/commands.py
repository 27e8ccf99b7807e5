"""All commands; importing this registers them."""

from monitor.cli import admin, gpu, read, run, send

__all__ = ["admin", "gpu", "read", "run", "send"]
