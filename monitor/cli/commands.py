"""All commands; importing this registers them."""

from monitor.cli import admin, gpu, label, read, run, send

__all__ = ["admin", "gpu", "label", "read", "run", "send"]
