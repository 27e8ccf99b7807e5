"""All commands; importing this registers them."""

from monitor.cli import admin, bias, compare, cost, drift, gpu, jobs, label, plan, probes, read, review, run, send

__all__ = [
    "admin",
    "bias",
    "compare",
    "cost",
    "drift",
    "gpu",
    "jobs",
    "label",
    "plan",
    "probes",
    "read",
    "review",
    "run",
    "send",
]
