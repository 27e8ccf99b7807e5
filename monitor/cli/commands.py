"""All commands; importing this registers them."""

from monitor.cli import admin, cost, gpu, jobs, label, plan, read, run, send

__all__ = ["admin", "cost", "gpu", "jobs", "label", "plan", "read", "run", "send"]
