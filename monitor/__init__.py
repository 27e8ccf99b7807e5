"""Inference Monitor: know how your language models do.

`import monitor` gives the SDK and nothing heavier than opentelemetry-sdk.
"""

from monitor.sdk import (
    Call,
    Finding,
    Stats,
    Verdict,
    amoderate,
    endpoint_filter,
    flush,
    inference,
    init,
    moderate,
    pii_filter,
    rule_filter,
    shutdown,
    stats,
    toxicity_filter,
)

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
