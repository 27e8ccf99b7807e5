"""What serving code imports, re-exported by `import monitor`. Needs opentelemetry-sdk and nothing else."""

from monitor.sdk.call import Call, current_call, inference
from monitor.sdk.judgements import engagement, evaluate, feedback, label
from monitor.sdk.lifecycle import Stats, flush, init, shutdown, stats
from monitor.sdk.moderation import Verdict, amoderate, moderate
from monitor.sdk.moderation_filters import Finding, endpoint_filter, pii_filter, rule_filter, toxicity_filter
from monitor.sdk.step import Step

__all__ = [
    "Call",
    "Finding",
    "Stats",
    "Step",
    "Verdict",
    "amoderate",
    "current_call",
    "endpoint_filter",
    "engagement",
    "evaluate",
    "feedback",
    "flush",
    "inference",
    "init",
    "label",
    "moderate",
    "pii_filter",
    "rule_filter",
    "shutdown",
    "stats",
    "toxicity_filter",
]
