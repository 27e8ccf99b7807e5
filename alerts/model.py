"""What evaluation and notification hand each other: one instance of one rule, as it stands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

Severity = Literal["page", "ticket", "info"]


class State(StrEnum):
    """Where an instance stands; see docs/alerts.md for what leads from one to another."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RECOVERING = "recovering"
    NO_DATA = "no_data"
    ERROR = "error"


# In these, people are told.
ALARMING = frozenset({State.FIRING, State.RECOVERING, State.NO_DATA, State.ERROR})


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One group of one rule at one evaluation.

    Parameters
    ----------
    rule : str
        Name of the rule.
    labels : mapping
        Identity: `alertname`, `severity`, the rule's own labels after templating, and the group's dimension values.
    group : mapping
        The dimension values alone: what to filter a page on.
    state : State
    active_at, fired_at, resolved_at : datetime, optional
        Since when the condition holds; since when it fires; when it ended (kept for 15 minutes, so that the word gets out).
    evaluated_at, window_start, window_end : datetime
        When it was looked at, and the time that the value is about.
    kpi, unit : str
        What was measured; empty for rules without a KPI.
    value, low, high : float, optional
        With its 95 % interval.
    n : int
    condition : str
        In words for people, such as `above 0.5 s for 5m`.
    threshold : float, optional
        What the value is held against, where it is one number.
    summary : str
        One sentence: what is wrong and where.
    reason : str
        Why `no_data` or `error`, or why it resolved (`missing_series`, …); else empty.
    severity, receivers, runbook, annotations
        As the rule has them; annotations after templating.
    where : mapping
        The rule's own filter, dimension -> values.
    """

    rule: str
    labels: Mapping[str, str]
    group: Mapping[str, str] = field(default_factory=dict)
    state: State
    active_at: datetime | None = None
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    evaluated_at: datetime
    window_start: datetime
    window_end: datetime
    kpi: str = ""
    unit: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    condition: str = ""
    threshold: float | None = None
    summary: str = ""
    reason: str = ""
    severity: Severity = "ticket"
    receivers: Sequence[str] = ()
    runbook: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """The same for the same labels, whatever their order: 16 hex digits."""
        return fingerprint(self.labels)

    @property
    def alarming(self) -> bool:
        return self.state in ALARMING


def fingerprint(labels: Mapping[str, str]) -> str:
    """Identity of an instance or a group of them."""
    text = json.dumps(sorted(labels.items()), ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
