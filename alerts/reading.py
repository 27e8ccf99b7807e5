"""What a rule made of one group at one evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from alerts.ask import Group


class Seen(StrEnum):
    """What was seen of an instance."""

    BREACH = "breach"
    BETWEEN = "between"  # no longer beyond the threshold, and not yet recovered
    CLEAR = "clear"
    TOO_FEW = "too_few"
    MISSING = "missing"
    NO_DATA = "no_data"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One group as seen; `detail` says in words what a number alone does not."""

    group: Group
    seen: Seen
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    threshold: float | None = None
    start: datetime | None = None
    end: datetime | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """All groups that were seen; `error` if the rule could not be judged, `note` if not all of it could.

    `complete`: what is not among them is well, rather than missing.
    """

    readings: Sequence[Reading] = ()
    error: str = ""
    note: str = ""
    complete: bool = False
