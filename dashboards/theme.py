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
}


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
