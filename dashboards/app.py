"""The dashboard's frame: navigation, filter bar, and what to say when there is nothing to show.

Run by `monitor up` through `monitor.serve.dashboard`.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboards import states
from dashboards.filters import filter_bar

# Icons of Streamlit's own set would be fetched from another host when they stand in a browser's tab.
ICON = Path(__file__).parent / "icon.svg"
VIEW = "view"

PAGES = [
    st.Page("pages/overview.py", title="Overview", default=True),
    st.Page("pages/latency.py", title="Latency", url_path="latency"),
    st.Page("pages/traces.py", title="Traces", url_path="traces"),
]


def main() -> None:
    """Draw the frame and the chosen page in it."""
    page = st.navigation(PAGES)
    st.set_page_config(page_title=f"{page.title} · Inference Monitor", page_icon=ICON, layout="wide")
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="title"):
        st.header(page.title, anchor=False)
        place = st.container(width="content", key="freshness")
    if not states.store_answers():
        return
    with place:
        st.fragment(run_every=5)(states.freshness)()
    with states.guard():
        # Pages take it from here: files cannot be handed arguments.
        st.session_state[VIEW] = filter_bar()
        page.run()


main()
