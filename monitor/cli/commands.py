"""All commands; importing this registers them."""

from monitor.cli import admin, bias, compare, cost, drift, gpu, iterate, jobs, label, plan, read, run, send

__all__ = [
    "admin",
    "bias",
    "compare",
    "cost",
    "drift",
    "gpu",
    "iterate",
    "jobs",
    "label",
    "plan",
    "read",
    "run",
    "send",
]
