"""Is an answer a refusal? By rules, and by a small classifier where people have labelled enough."""

from monitor.stats.refusal.classifier import RefusalModel, Trained, train
from monitor.stats.refusal.rules import EVALUATOR, Refusal, find_refusal, find_refusals

__all__ = ["EVALUATOR", "Refusal", "RefusalModel", "Trained", "find_refusal", "find_refusals", "train"]
