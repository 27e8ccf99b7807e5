"""What becomes of what was seen: calls worth putting aside, calls worth a label, and files to tune and to evaluate with."""

from monitor.iterate.candidates import Candidate, find_candidates
from monitor.iterate.export import Exported, export

__all__ = ["Candidate", "Exported", "export", "find_candidates"]
