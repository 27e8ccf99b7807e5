"""Where KPIs are computed from: each source turns a question into one SELECT, with one row per group and time step."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from monitor.kpis.sources import cost
from monitor.kpis.sources.balanced import BALANCED, NODE_SUMS
from monitor.kpis.sources.calls import CALLS
from monitor.kpis.sources.engaged import ENGAGED
from monitor.kpis.sources.gpus import GPU_ENERGY, GPU_TIME
from monitor.kpis.sources.judged import JUDGED, JUDGED_TWICE, SCORES
from monitor.kpis.sources.looks import DRIFTS, GAPS
from monitor.kpis.sources.moderated import MODERATED, REFUSAL_CHECKED, REPORTED
from monitor.kpis.sources.numbered import NUMBERED
from monitor.kpis.sources.outcomes import GPU_HOURS, OUTCOMES, PRICED
from monitor.kpis.sources.probed import PROBES_BBQ, PROBES_PAIRED
from monitor.kpis.sources.question import Question, Source
from monitor.kpis.sources.sessions import SESSIONS
from monitor.kpis.sources.users import RETURNED_D1, RETURNED_D7, USERS

_ALL: Final = (
    CALLS,
    NUMBERED,
    JUDGED,
    JUDGED_TWICE,
    SCORES,
    *cost.SOURCES,
    OUTCOMES,
    PRICED,
    GPU_HOURS,
    MODERATED,
    REFUSAL_CHECKED,
    REPORTED,
    PROBES_PAIRED,
    PROBES_BBQ,
    ENGAGED,
    SESSIONS,
    USERS,
    RETURNED_D1,
    RETURNED_D7,
    GPU_TIME,
    GPU_ENERGY,
    BALANCED,
    DRIFTS,
    GAPS,
    NODE_SUMS,
)
SOURCES: Final[Mapping[str, Source]] = MappingProxyType({source.name: source for source in _ALL})

__all__ = ["SOURCES", "Question", "Source"]
