"""Inference Monitor: know how your language models do.

`import monitor` gives the SDK and nothing heavier than opentelemetry-sdk; wrappers are loaded when they are asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from monitor.sdk import (
    Call,
    Finding,
    Stats,
    Step,
    Verdict,
    amoderate,
    current_call,
    endpoint_filter,
    engagement,
    evaluate,
    feedback,
    flush,
    inference,
    init,
    label,
    moderate,
    pii_filter,
    rule_filter,
    shutdown,
    stats,
    toxicity_filter,
)

if TYPE_CHECKING:
    from monitor.sdk.asgi import ASGIMiddleware
    from monitor.sdk.openai import instrument_openai, uninstrument_openai

__all__ = [
    "ASGIMiddleware",
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
    "instrument_openai",
    "label",
    "moderate",
    "pii_filter",
    "rule_filter",
    "shutdown",
    "stats",
    "toxicity_filter",
    "uninstrument_openai",
]

_LAZY = {
    "ASGIMiddleware": "monitor.sdk.asgi",
    "instrument_openai": "monitor.sdk.openai",
    "uninstrument_openai": "monitor.sdk.openai",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
