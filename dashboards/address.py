"""Choices that live in the page's address, under the names that the rest of the world knows: `by=node`, not `by=Node`.

The address is the one truth: before a widget is drawn it is set from there, and a change is written there first. So a
copied link, the back button and a link from another page all work alike. (Streamlit's own binding writes what a widget
shows instead of what it means, and forgets widgets in a popover that was never opened.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import streamlit as st


def write(name: str, *values: str) -> None:
    """Put values into the address; none takes the name out."""
    if values:
        st.query_params[name] = list(values)
    elif name in st.query_params:
        del st.query_params[name]


def put(key: str, value: object) -> None:
    """Give a widget its value before it is drawn; only if it has another, since the browser is told of each time."""
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value


def buttons(
    label: str,
    options: Sequence[str],
    *,
    name: str,
    default: str,
    said: Callable[[str], str],
    label_visibility: Literal["visible", "collapsed"] = "visible",
) -> str:
    """One of a few options, all of them to be seen."""
    key = _prepare(name, options, default)
    st.segmented_control(
        label,
        options,
        format_func=said,
        key=key,
        required=True,
        on_change=_keep,
        args=(name, key, default),
        label_visibility=label_visibility,
    )
    return str(st.session_state[key] or default)


def menu(
    label: str,
    options: Sequence[str],
    *,
    name: str,
    default: str,
    said: Callable[[str], str],
    width: int,
    any: bool = False,
) -> str:
    """One of many options; with `any`, also another that the address has."""
    if any and (given := st.query_params.get(name)):
        options = list(dict.fromkeys([*options, given]))
    key = _prepare(name, options, default)
    st.selectbox(label, options, format_func=said, key=key, on_change=_keep, args=(name, key, default), width=width)
    return str(st.session_state[key] if st.session_state[key] is not None else default)


def several(
    label: str,
    options: Sequence[str],
    *,
    name: str,
    said: Callable[[str], str],
    most: int,
    placeholder: str,
    width: int,
) -> tuple[str, ...]:
    """Some of many options, each under the same name in the address."""
    key = f"address-{name}"
    given = st.query_params.get_all(name)
    put(key, given)
    st.multiselect(
        label,
        list(dict.fromkeys([*options, *given])),
        format_func=said,
        key=key,
        on_change=_keep_several,
        args=(name, key),
        max_selections=max(most, len(given)),
        placeholder=placeholder,
        width=width,
    )
    return tuple(st.session_state[key])


def text(
    label: str, *, name: str, default: str = "", placeholder: str = "", said: str = "", width: int = 200, lines: int = 1
) -> str:
    """A text; of more than one line, in a box of that height."""
    key = f"address-{name}"
    put(key, st.query_params.get(name, default))
    more: dict[str, Any] = {
        "key": key,
        "placeholder": placeholder,
        "help": said or None,
        "on_change": _keep,
        "args": (name, key, default),
        "max_chars": 4000,
    }
    if lines > 1:
        return str(st.text_area(label, height=24 * lines + 20, **more))
    return str(st.text_input(label, width=width, **more))


def switch(label: str, *, name: str, default: bool, disabled: bool = False, said: str = "") -> bool:
    """On or off; `name=true` or `name=false` in the address."""
    key = f"address-{name}"
    given = st.query_params.get(name, "").lower()
    put(key, given == "true" if given in ("true", "false") else default)
    return st.toggle(
        label, key=key, on_change=_keep_switch, args=(name, key, default), disabled=disabled, help=said or None
    )


def _prepare(name: str, options: Sequence[str], default: str) -> str:
    key = f"address-{name}"
    given = st.query_params.get(name, default)
    put(key, given if given in options else default)
    return key


def _keep(name: str, key: str, default: str) -> None:
    chosen = st.session_state.get(key)
    write(name, *([chosen] if chosen is not None and chosen != default else []))


def _keep_several(name: str, key: str) -> None:
    write(name, *st.session_state.get(key, []))


def _keep_switch(name: str, key: str, default: bool) -> None:
    chosen = bool(st.session_state.get(key))
    write(name, *([str(chosen).lower()] if chosen != default else []))
