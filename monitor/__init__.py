"""Inference Monitor: know how your language models do.

`import monitor` gives the SDK and nothing heavier than opentelemetry-sdk.
"""

from monitor.sdk import Call, Stats, flush, inference, init, shutdown, stats

__all__ = ["Call", "Stats", "flush", "inference", "init", "shutdown", "stats"]
