"""All commands; importing this registers them."""

from monitor.cli import (
    admin,
    alerts,
    bias,
    compare,
    cost,
    drift,
    gpu,
    iterate,
    jobs,
    label,
    notify,
    plan,
    read,
    report,
    run,
    send,
)

__all__ = [
    "admin",
    "alerts",
    "bias",
    "compare",
    "cost",
    "drift",
    "gpu",
    "iterate",
    "jobs",
    "label",
    "notify",
    "plan",
    "read",
    "report",
    "run",
    "send",
]
