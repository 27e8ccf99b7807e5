"""All commands; importing this registers them."""

from monitor.cli import admin, compare, gpu, read, run, send

__all__ = ["admin", "compare", "gpu", "read", "run", "send"]
