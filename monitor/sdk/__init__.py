"""What serving code imports, re-exported by `import monitor`. Needs opentelemetry-sdk and nothing else."""

from monitor.sdk.call import Call, inference
from monitor.sdk.judgements import engagement, evaluate, feedback, label
from monitor.sdk.lifecycle import Stats, flush, init, shutdown, stats

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
