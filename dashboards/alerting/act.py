"""Changes that the page asks the API for. What came of one stands at the top of the page until the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import streamlit as st

from dashboards import api, data
from dashboards.alerting import rulebook
from dashboards.person import author, person
from dashboards.states import sentence
from monitor.errors import MonitorError

NOTICE: Final = "alerts-notice"


def act(path: str, body: Mapping[str, Any] | None, *, done: str, method: str = "POST") -> bool:
    """Ask for a change; viewers' wishes are not passed on. Whether it was made."""
    if not person().may_change:
        note("error", "Changing is for operators.")
        return False
    try:
        api.send(path, body, method=method)
    except MonitorError as error:
        note("error", sentence(error))
        return False
    data.forget()
    rulebook.forget()
    note("success", done)
    return True


def note(kind: str, words: str) -> None:
    """Say this at the top of the page."""
    st.session_state[NOTICE] = (kind, words)


def show_note() -> None:
    """What the last change came to."""
    kind, words = st.session_state.get(NOTICE, ("", ""))
    if kind == "success":
        st.success(words, icon=":material/check:")
    elif kind:
        st.error(words, icon=":material/error:")


def may_act() -> bool:
    """Whether buttons may be drawn at all."""
    return person().may_change


def signed() -> str:
    """Who changes; said if nobody knows."""
    name = author()
    if not name:
        note("error", "Say who you are: fill in “Your name” at the top. It goes with what you change.")
    return name
