"""Inference Monitor: know how your language models do.

`import monitor` gives the SDK and nothing heavier than opentelemetry-sdk; wrappers are loaded when they are asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from monitor.sdk import (
    Call,
    Stats,
    Step,
    current_call,
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

if TYPE_CHECKING:
    from monitor.sdk.asgi import ASGIMiddleware
    from monitor.sdk.openai import instrument_openai, uninstrument_openai

__all__ = [
    "ASGIMiddleware",
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
    "instrument_openai",
    "label",
    "shutdown",
    "stats",
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
