"""All commands; importing this registers them."""

from monitor.cli import (
    admin,
    alerts,
    bias,
    compare,
    cost,
    drift,
    gpu,
    jobs,
    label,
    notify,
    plan,
    probes,
    read,
    review,
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
    "jobs",
    "label",
    "notify",
    "plan",
    "probes",
    "read",
    "review",
    "run",
    "send",
]
