"""The dashboard's frame: navigation, filter bar, and what to say when there is nothing to show.

Run by `monitor up` through `monitor.serve.dashboard` and `dashboards/start/main.py`.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboards import navigation, states
from dashboards.filters import filter_bar
from dashboards.person import let_in, say_who

# Icons of Streamlit's own set would be fetched from another host when they stand in a browser's tab.
ICON = Path(__file__).parent / "icon.svg"
VIEW = "view"


def main() -> None:
    """Draw the frame and the chosen page in it."""
    pages = navigation.pages()
    page = st.navigation(pages, position="hidden")
    st.set_page_config(
        page_title=f"{page.title} · Inference Monitor", page_icon=ICON, layout="wide", initial_sidebar_state=210
    )
    if not let_in():
        return
    say_who()
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="title"):
        st.header(page.title, anchor=False)
        place = st.container(width="content", key="freshness")
    if not states.store_answers():
        navigation.sidebar(pages, [])
        return
    with place:
        st.fragment(run_every=5)(states.freshness)()
    with states.guard():
        # Pages take it from here: files cannot be handed arguments.
        view = st.session_state[VIEW] = filter_bar()
        navigation.sidebar(pages, view.carried())
        page.run()
