"""All commands; importing this registers them."""

from monitor.cli import admin, gpu, jobs, label, plan, read, run, send

__all__ = ["admin", "gpu", "jobs", "label", "plan", "read", "run", "send"]
