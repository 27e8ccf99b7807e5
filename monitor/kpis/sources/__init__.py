"""Where KPIs are computed from: each source turns a question into one SELECT, with one row per group and time step."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from monitor.kpis.sources import cost
from monitor.kpis.sources.calls import CALLS
from monitor.kpis.sources.judged import JUDGED, SCORES
from monitor.kpis.sources.numbered import NUMBERED
from monitor.kpis.sources.question import Question, Source

SOURCES: Final[Mapping[str, Source]] = MappingProxyType(
    {source.name: source for source in (CALLS, NUMBERED, JUDGED, SCORES, *cost.SOURCES)}
)

__all__ = ["SOURCES", "Question", "Source"]
