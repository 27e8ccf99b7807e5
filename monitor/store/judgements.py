"""Judgements that our own jobs make, into `evaluations`, beside those that come by OTLP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from monitor.store.client import Client

_COLUMNS: Final = (
    "timestamp", "trace_id", "span_id", "service", "name", "score", "label", "source", "evaluator", "explanation",
)  # fmt: skip
BATCH: Final = 20_000


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One row of `evaluations`. The same again replaces itself: all that it is about is in the table's key."""

    timestamp: datetime | str
    trace_id: str
    span_id: str
    service: str = ""
    name: str
    score: float | None
    label: str = ""
    source: str
    evaluator: str
    explanation: str = ""


def write_judgements(client: Client, judgements: Sequence[Judgement]) -> int:
    """Write them; returns how many."""
    for first in range(0, len(judgements), BATCH):
        rows = [[getattr(each, name) for name in _COLUMNS] for each in judgements[first : first + BATCH]]
        client.insert("evaluations", rows, column_names=list(_COLUMNS))
    return len(judgements)
