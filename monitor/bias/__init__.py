"""Where the rows of a bias report come from: a file, or a window of the store; and how it is shown."""

from monitor.bias.benchmark import BbqScore, score_bbq
from monitor.bias.files import read_families
from monitor.bias.window import OUTCOMES, families_from_store

__all__ = ["OUTCOMES", "BbqScore", "families_from_store", "read_families", "score_bbq"]
