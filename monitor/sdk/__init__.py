"""What serving code imports, re-exported by `import monitor`. Needs opentelemetry-sdk and nothing else."""

from monitor.sdk.call import Call, current_call, inference
from monitor.sdk.judgements import engagement, evaluate, feedback, label
from monitor.sdk.lifecycle import Stats, flush, init, shutdown, stats
from monitor.sdk.step import Step

__all__ = [
    "Call",
    "Stats",
    "Step",
    "current_call",
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
