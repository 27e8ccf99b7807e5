"""The dashboard's frame: navigation, filter bar, and what to say when there is nothing to show.

Run by `monitor up` through `monitor.serve.dashboard` and `dashboards/start/main.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from dashboards import states
from dashboards.filters import filter_bar

# Icons of Streamlit's own set would be fetched from another host when they stand in a browser's tab.
ICON = Path(__file__).parent / "icon.svg"
VIEW = "view"
PAGES = Path(__file__).parent / "pages"


def main() -> None:
    """Draw the frame and the chosen page in it."""
    pages = [
        st.Page(PAGES / "overview.py", title="Overview", default=True),
        st.Page(PAGES / "latency.py", title="Latency", url_path="latency"),
        st.Page(PAGES / "traces.py", title="Traces", url_path="traces"),
    ]
    page = st.navigation(pages, position="hidden")
    st.set_page_config(
        page_title=f"{page.title} · Inference Monitor", page_icon=ICON, layout="wide", initial_sidebar_state=210
    )
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="title"):
        st.header(page.title, anchor=False)
        place = st.container(width="content", key="freshness")
    if not states.store_answers():
        _links(pages, [])
        return
    with place:
        st.fragment(run_every=5)(states.freshness)()
    with states.guard():
        # Pages take it from here: files cannot be handed arguments.
        view = st.session_state[VIEW] = filter_bar()
        _links(pages, view.carried())
        page.run()


def _links(pages: Sequence[StreamlitPage], view: Sequence[tuple[str, str]]) -> None:
    """The navigation. Streamlit's own empties the address on the way; these links take the view along."""
    with st.sidebar:
        for page in pages:
            st.page_link(page, label=page.title, width="stretch", query_params=view)
