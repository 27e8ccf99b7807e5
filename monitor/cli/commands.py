"""All commands; importing this registers them."""

from monitor.cli import admin, compare, cost, gpu, jobs, label, plan, read, run, send

__all__ = ["admin", "compare", "cost", "gpu", "jobs", "label", "plan", "read", "run", "send"]
