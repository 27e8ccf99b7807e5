"""Who looks, and what they may do: `viewer` sees everything, `operator` labels, silences and saves as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import streamlit as st

VIEWER, OPERATOR = "viewer", "operator"
PERSON: Final = "person"


@dataclass(frozen=True, kw_only=True)
class Person:
    """`name` is empty where nobody logs in."""

    name: str
    role: str

    @property
    def may_change(self) -> bool:
        return self.role == OPERATOR


# Without a login, everybody who reaches the page is the operator of it.
ANYBODY: Final = Person(name="", role=OPERATOR)


def person() -> Person:
    """Who looks at this page."""
    found = st.session_state.get(PERSON, ANYBODY)
    assert isinstance(found, Person)
    return found


def author() -> str:
    """The name that goes with what is changed: that of the login, or what was typed last."""
    return person().name or str(st.session_state.get("author", "")).strip()


def ask_author() -> None:
    """A field for the name, where no login tells it."""
    if not person().name:
        st.text_input("Your name", key="author", placeholder="goes with what you say", max_chars=100, width=220)
