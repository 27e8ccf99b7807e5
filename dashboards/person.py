"""Who looks, and what they may do: `viewer` sees everything, `operator` labels, silences and saves as well."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import streamlit as st

from dashboards.door import COOKIE, LOGOUT_PATH, Login, read_login, read_session, role_of

VIEWER, OPERATOR = "viewer", "operator"
PERSON: Final = "person"


@dataclass(frozen=True, kw_only=True)
class Person:
    """`name` is empty where no login tells it."""

    name: str
    role: str

    @property
    def may_change(self) -> bool:
        return self.role == OPERATOR


# Without a login, everybody who reaches the page is the operator of it.
ANYBODY: Final = Person(name="", role=OPERATOR)


def person() -> Person:
    """Who looks at this page; a session that is over may not change anything any more."""
    login = read_login()
    if login.kind == "none":
        return ANYBODY
    found = _by_password(login) if login.kind == "password" else _by_provider(login)
    return found or Person(name="", role=VIEWER)


def let_in() -> bool:
    """Whether the page may be drawn; if not, what to do about it is drawn."""
    login = read_login()
    if login.kind == "none":
        return True
    if login.kind == "password":
        if _by_password(login) is not None:
            return True
        # The connection outlives the session that it began with.
        st.warning("Your session is over.")
        st.html('<a href="/login" target="_self">Log in</a>')
        return False
    if not st.user.is_logged_in:
        with st.container(border=True, key="log-in", width=420):
            st.subheader("Inference Monitor", anchor=False)
            st.button("Log in", on_click=st.login, type="primary", key="log-in-button")
        return False
    if _by_provider(login) is None:
        email = str(st.user.get("email") or "no address")
        st.error(f"{email} is logged in, and is neither an operator nor a viewer here. Ask whoever runs this monitor.")
        st.button("Log out", on_click=st.logout)
        return False
    return True


def say_who() -> None:
    """Who is logged in, and the way out, at the foot of the sidebar."""
    login = read_login()
    if login.kind == "none":
        return
    who = person()
    with st.sidebar:
        st.caption(f"{who.name or 'Logged in'} · {who.role}")
        if login.kind == "password":
            # A link button would open another tab.
            st.html(f'<a href="{LOGOUT_PATH}" target="_self">Log out</a>')
        else:
            st.button("Log out", on_click=st.logout, type="tertiary", key="log-out")


def author() -> str:
    """The name that goes with what is changed: that of the login, or what was typed last."""
    return person().name or str(st.session_state.get("author", "")).strip()


def ask_author() -> None:
    """A field for the name, where no login tells it."""
    if not person().name:
        st.text_input("Your name", key="author", placeholder="goes with what you say", max_chars=100, width=220)


def _by_password(login: Login) -> Person | None:
    role = read_session(login, str(st.context.cookies.get(COOKIE, "")), now=time.time())
    return None if role is None else Person(name="", role=role)


def _by_provider(login: Login) -> Person | None:
    if not st.user.is_logged_in or st.user.get("email_verified") is False:
        return None
    email = str(st.user.get("email") or "")
    role = role_of(login, email)
    return None if role is None else Person(name=email, role=role)
