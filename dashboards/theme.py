"""Colours: the same one for the same thing on every page, readable on light and on dark ground."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

import streamlit as st

# Middle lightness, so that each has enough contrast against white and against near-black; neighbours differ in
# lightness too, for those who see few colours.
PALETTE: Final = ("#3D85D8", "#E08214", "#1E9E77", "#A463D2", "#B8960C", "#DB5C96", "#4AA3B8", "#96704F")
ERROR: Final = "#D9483B"
MUTED: Final = "#8A919C"
# Changes from outside, and times in which a rule fired.
CHANGE: Final = MUTED
FIRING: Final = ERROR

STATISTICS: Final = {
    "p50": PALETTE[0],
    "p90": PALETTE[2],
    "p95": PALETTE[1],
    "p99": PALETTE[3],
    "mean": PALETTE[6],
}
KPI_COLOURS: Final = {
    "traffic.request_rate": PALETTE[0],
    "traffic.error_rate": ERROR,
    "traffic.token_rate": PALETTE[2],
    "accuracy.estimated": PALETTE[2],
    "accuracy.correct": PALETTE[0],
    "accuracy.judged": PALETTE[4],
    "accuracy.expected": PALETTE[3],
    "accuracy.judge_agreement": PALETTE[1],
    "accuracy.calibration_error": PALETTE[5],
    "cost.total": PALETTE[4],
    "cost.per_request": PALETTE[1],
    "cost.per_million_tokens": PALETTE[3],
    "cost.idle_share": PALETTE[7],
    "safety.flagged_rate": PALETTE[1],
    "safety.blocked_rate": ERROR,
    "safety.refusal_rate": PALETTE[0],
    "safety.pii_rate": PALETTE[3],
    "engagement.active_users": PALETTE[0],
    "engagement.new_users": PALETTE[6],
    "engagement.sessions": PALETTE[2],
    "engagement.thumbs_up": PALETTE[6],
    "engagement.thumbs_up_corrected": PALETTE[2],
    "engagement.feedback_rate": PALETTE[0],
    "engagement.regenerate_rate": PALETTE[1],
    "engagement.copy_rate": PALETTE[2],
    "engagement.abandon_rate": ERROR,
    "fleet.gpu_utilization": PALETTE[0],
    "fleet.gpu_memory": PALETTE[3],
    "fleet.power": PALETTE[1],
    "fleet.energy_per_token": PALETTE[4],
    "fleet.imbalance": PALETTE[5],
}


def colour_of(name: str) -> str:
    """A KPI's colour: the same on every page."""
    statistic = name.rpartition(".")[2]
    return KPI_COLOURS.get(name) or STATISTICS.get(statistic) or PALETTE[sum(map(ord, name)) % len(PALETTE)]


class Assigned:
    """Colours by dimension value, given in the order in which values are first seen and kept while the server runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, dict[str, int]] = {}

    def of(self, dimension: str, values: Iterable[str]) -> dict[str, str]:
        """Value -> colour; more values than colours begin again, so charts draw no more lines than there are."""
        with self._lock:
            seen = self._seen.setdefault(dimension, {})
            return {value: PALETTE[seen.setdefault(value, len(seen)) % len(PALETTE)] for value in values}


@st.cache_resource(show_spinner=False)
def assigned() -> Assigned:
    """The one assignment of this server, shared by pages and sessions."""
    return Assigned()
