"""All commands; importing this registers them."""

from monitor.cli import admin, drift, gpu, jobs, label, plan, read, run, send

__all__ = ["admin", "drift", "gpu", "jobs", "label", "plan", "read", "run", "send"]
