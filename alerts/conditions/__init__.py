"""What a rule can watch for, one module each; `Condition` is what all of them offer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from alerts.ask import Answers, Ask
from alerts.reading import Judged


class Condition(Protocol):
    """One kind of condition, with its parameters."""

    @property
    def words(self) -> str:
        """For people: `above 500 ms`."""

    @property
    def unit(self) -> str:
        """Unit of the values."""

    def asks(self, now: datetime, lateness_s: float) -> Sequence[Ask]:
        """What it needs to know."""

    def judge(self, now: datetime, lateness_s: float, answers: Answers) -> Judged:
        """What the answers say, group by group."""
