"""Probes: prompts that we send to a model ourselves, to see whether it treats groups alike."""

from monitor.probes.results import read_results
from monitor.probes.run import Run, plan_probes, run_probes

__all__ = ["Run", "plan_probes", "read_results", "run_probes"]
