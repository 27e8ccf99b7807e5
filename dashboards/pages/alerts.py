"""Alerts: what fires now, what did, by which rules; and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import streamlit as st

from dashboards import address, states
from dashboards.alerting.act import may_act, show_note
from dashboards.alerting.answer import answer
from dashboards.alerting.draft import draft
from dashboards.alerting.history import history
from dashboards.alerting.now import now
from dashboards.alerting.rules import rules
from dashboards.alerting.sent import sent
from dashboards.alerting.silences import silences
from dashboards.filters import View
from dashboards.person import ask_author

SECTIONS: Final = {
    "now": "Now",
    "history": "History",
    "rules": "Rules",
    "draft": "Draft a rule",
    "silences": "Silences",
    "sent": "Sent",
}
# Of these, parts look at the store by themselves every few seconds; in the others somebody is writing.
LIVE: Final[dict[str, Callable[[View], None]]] = {"now": now, "history": history, "sent": sent}
STILL: Final[dict[str, Callable[[View], None]]] = {"rules": rules, "draft": draft, "silences": silences}


def page() -> None:
    """Draw the page."""
    view: View = st.session_state["view"]
    states.panel(view, answer)
    if "show" not in st.query_params:
        # Links of messages lead to the form of a silence, links of pages to a rule.
        asked = [
            name
            for key, name in (("silence", "silences"), ("rule", "history"), ("kpi", "draft"))
            if key in st.query_params
        ]
        address.write("show", *asked[:1])
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute", key="sections"):
        chosen = address.buttons(
            "Show",
            list(SECTIONS),
            name="show",
            default="now",
            said=lambda name: SECTIONS[name],
            label_visibility="collapsed",
        )
        if may_act():
            ask_author()
    show_note()
    if chosen in LIVE:
        states.panel(view, LIVE[chosen])
    else:
        with states.guard():
            STILL[chosen](view)


page()
