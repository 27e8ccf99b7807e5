"""What serving code imports, re-exported by `import monitor`. Needs opentelemetry-sdk and nothing else."""

from monitor.sdk.call import Call, inference
from monitor.sdk.lifecycle import Stats, flush, init, shutdown, stats

__all__ = ["Call", "Stats", "flush", "inference", "init", "shutdown", "stats"]
