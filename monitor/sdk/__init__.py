"""What serving code imports, re-exported by `import monitor`. Needs opentelemetry-sdk and nothing else."""

from monitor.sdk.call import Call, current_call, inference
from monitor.sdk.lifecycle import Stats, flush, init, shutdown, stats
from monitor.sdk.step import Step

__all__ = ["Call", "Stats", "Step", "current_call", "flush", "inference", "init", "shutdown", "stats"]
