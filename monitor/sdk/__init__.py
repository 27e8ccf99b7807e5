"""What serving code imports, re-exported by `import monitor`. Needs opentelemetry-sdk and nothing else."""

from monitor.sdk.call import Call, inference
from monitor.sdk.lifecycle import Stats, flush, init, shutdown, stats
from monitor.sdk.moderation import Verdict, amoderate, moderate
from monitor.sdk.moderation_filters import Finding, endpoint_filter, pii_filter, rule_filter, toxicity_filter

__all__ = [
    "Call",
    "Finding",
    "Stats",
    "Verdict",
    "amoderate",
    "endpoint_filter",
    "flush",
    "inference",
    "init",
    "moderate",
    "pii_filter",
    "rule_filter",
    "shutdown",
    "stats",
    "toxicity_filter",
]
