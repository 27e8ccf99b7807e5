"""All pages, by what one does with them: the one place that a new page is written into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import streamlit as st
from streamlit.navigation.page import StreamlitPage

_FOLDER: Final = Path(__file__).parent / "pages"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A page: the file in `pages`, its title, and the path that links rely on (empty: the front page)."""

    file: str
    title: str
    path: str
    group: str


KNOWN: Final = "pages"
WATCH, IMPROVE, OPERATE = "Watch", "Improve", "Operate"

# In the order of the sidebar; entries of a group stand together.
ENTRIES: Final = (
    Entry(file="overview.py", title="Overview", path="", group=WATCH),
    Entry(file="latency.py", title="Latency", path="latency", group=WATCH),
    Entry(file="accuracy.py", title="Accuracy", path="accuracy", group=WATCH),
    Entry(file="cost.py", title="Cost", path="cost", group=WATCH),
    Entry(file="engagement.py", title="Engagement", path="engagement", group=WATCH),
    Entry(file="safety.py", title="Safety & fairness", path="safety", group=WATCH),
    Entry(file="drift.py", title="Drift", path="drift", group=WATCH),
    Entry(file="alerts.py", title="Alerts", path="alerts", group=WATCH),
    Entry(file="compare.py", title="Compare", path="compare", group=IMPROVE),
    Entry(file="plan.py", title="Plan", path="plan", group=IMPROVE),
    Entry(file="traces.py", title="Traces", path="traces", group=IMPROVE),
    Entry(file="datasets.py", title="Datasets", path="datasets", group=IMPROVE),
    Entry(file="fleet.py", title="Fleet", path="fleet", group=OPERATE),
    Entry(file="health.py", title="Health", path="health", group=OPERATE),
)


def pages() -> list[StreamlitPage]:
    """What Streamlit is to know of, in the order of `ENTRIES`."""
    return [
        st.Page(_FOLDER / entry.file, title=entry.title, url_path=entry.path or None, default=not entry.path)
        for entry in ENTRIES
    ]


def link(path: str, *, label: str, query: Sequence[tuple[str, str]], icon: str = "") -> None:
    """A link to another page that takes the view along; `path` as in `ENTRIES`."""
    page = st.session_state[KNOWN][path]
    st.page_link(page, label=label, icon=icon or None, query_params=list(query))


def sidebar(known: Sequence[StreamlitPage], view: Sequence[tuple[str, str]]) -> None:
    """The navigation. Streamlit's own empties the address on the way; these links take the view along."""
    # For links in pages, which know paths alone.
    st.session_state[KNOWN] = {entry.path: page for entry, page in zip(ENTRIES, known, strict=True)}
    with st.sidebar:
        for group, members in groupby(zip(ENTRIES, known, strict=True), key=lambda pair: pair[0].group):
            st.caption(group)
            for entry, page in members:
                st.page_link(page, label=entry.title, width="stretch", query_params=view)
