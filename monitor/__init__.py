"""Inference Monitor: know how your language models do.

`import monitor` gives the SDK and nothing heavier than opentelemetry-sdk.
"""

from monitor.sdk import (
    Call,
    Stats,
    engagement,
    evaluate,
    feedback,
    flush,
    inference,
    init,
    label,
    shutdown,
    stats,
)

__all__ = [
    "Call",
    "Stats",
    "engagement",
    "evaluate",
    "feedback",
    "flush",
    "inference",
    "init",
    "label",
    "shutdown",
    "stats",
]
