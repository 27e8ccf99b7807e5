"""Draft a rule over a chart: where its threshold lies, when it would have fired, and how often to expect it.

The draft lives in the address, so that a copied link shows it to somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import streamlit as st
import yaml
from streamlit.delta_generator import DeltaGenerator

from dashboards import address, api, data
from dashboards.alerting import rulebook
from dashboards.alerting.act import may_act, note, signed
from dashboards.alerting.replayed import show_replays
from dashboards.filters import FILTERS, View
from dashboards.states import sentence
from dashboards.wording import DIMENSION_LABELS, dimension_label, escaped, help_text, label
from monitor.errors import MonitorError
from monitor.kpis import REGISTRY
from monitor.settings.alerts import CONDITIONS

WINDOWS: Final = ("1m", "5m", "10m", "15m", "30m", "1h", "6h", "1d")
HOLDS: Final = ("", "1m", "5m", "10m", "15m", "30m", "1h")
SEVERITIES: Final = {"page": "page: wake somebody", "ticket": "ticket: look today", "info": "info"}
WHENS: Final = {"above": "above", "below": "below", "other": "another condition"}
# Parts of a draft in the address, beside the filter bar's.
KEYS: Final = ("kpi", "split", "window", "when", "limit", "hold", "severity", "called", "more")
# Parts of a rule that have a field of their own; all others are under "More".
OWN: Final = ("name", "kpi", "by", "where", "window", "above", "below", "for", "severity", "receivers", "enabled")
EXAMPLES: Final = {"s": "500 ms", "1": "5 %"}
FIELDS: Final = {
    "kpi": "KPI",
    "by": "One alert for each",
    "where": "Filter",
    "window": "Over",
    "above": "Threshold",
    "below": "Threshold",
    "for": "For",
    "severity": "Severity",
    "name": "Name",
    "receivers": "Told",
}
# What the server says first is which rule and which key it means.
FRONT: Final = re.compile(r"^[Aa]lert rule `[^`]*`: (`[^`]*`: )?")
ERROR: Final = "draft-error"
BY_MAX: Final = 3


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """What the server says of a draft, and of which key."""

    key: str
    text: str


def draft(view: View) -> None:
    """Draw form, chart and what would have been."""
    wrong: Wrong | None = st.session_state.pop(ERROR, None)
    with st.container(border=True, key="draft-form"):
        rule, place = _form(view)
    if rule is None:
        return
    if not _complete(rule):
        st.caption("Set a threshold to see when the rule would have fired; the chart shows where it may lie.")
        show_replays(view, rule, [])
    else:
        try:
            replays = rulebook.replay({key: value for key, value in rule.items() if key != "receivers"}, view.window())
        except MonitorError as error:
            wrong = Wrong(key=getattr(error, "key", ""), text=sentence(error))
            replays = []
        show_replays(view, rule, replays)
    if wrong is not None and wrong.key not in ("name", "receivers"):
        with place:
            st.error(_words(wrong), icon=":material/error:")
    with st.container(border=True, key="draft-save"):
        _save(view, rule, wrong)


def edit(rule: Mapping[str, Any], origin: str) -> None:
    """Put a rule into the draft, and its filter into the filter bar."""
    parts = draft_of(rule)
    for key in KEYS:
        address.write(key, *parts.get(key, ()))
    where = rule.get("where", {})
    for key in FILTERS:
        address.write(key, *(str(value) for value in where.get(key, [])))
    if origin == "file":
        # The file's own name is taken.
        address.write("called")
    address.write("show", "draft")


def draft_of(rule: Mapping[str, Any]) -> dict[str, list[str]]:
    """A rule as the parts of a draft: name in the address -> values."""
    when = next((key for key in ("above", "below") if rule.get(key) is not None), "other")
    rest = {key: value for key, value in rule.items() if key not in OWN}
    # What the filter bar cannot say stays with the rule.
    beyond = {key: value for key, value in rule.get("where", {}).items() if key not in FILTERS}
    rest |= {"where": beyond} if beyond else {}
    parts = {
        "kpi": [str(rule["kpi"])] if rule.get("kpi") else [],
        "split": [str(each) for each in rule.get("by", [])],
        "window": [str(rule["window"])] if rule.get("window") else [],
        "when": [when] if when != "above" else [],
        "limit": [str(rule[when])] if when != "other" else [],
        "hold": [str(rule["for"])] if rule.get("for") else [],
        "severity": [str(rule["severity"])] if rule.get("severity") else [],
        "called": [str(rule["name"])],
        "more": [yaml.safe_dump(rest, sort_keys=False, allow_unicode=True).strip()] if rest else [],
    }
    return {key: values for key, values in parts.items() if values}


def _form(view: View) -> tuple[dict[str, Any] | None, DeltaGenerator]:
    """The fields; the rule that they make (None if they cannot be read), and where to say what is wrong with them."""
    kpis = sorted(
        {*REGISTRY, *data.described("objective"), *(str(each["kpi"]) for each in rulebook.evaluated())} - {""}
    )
    with st.container(horizontal=True, vertical_alignment="bottom", key="draft-what", gap="small"):
        kpi = address.menu(
            "KPI", ["", *kpis], name="kpi", default="latency.ttft.p95", said=_kpi_words, width=330, any=True
        )
        by = address.several(
            "One alert for each",
            [key for key in DIMENSION_LABELS if key not in ("feature", "metric", "cohort")],
            name="split",
            said=dimension_label,
            most=BY_MAX,
            placeholder="one for all",
            width=260,
        )
        window = address.menu("Over", WINDOWS, name="window", default="5m", said=str, width=100, any=True)
        when = address.buttons(
            "Fires when it is", list(WHENS), name="when", default="above", said=lambda each: WHENS[each]
        )
        limit = "" if when == "other" else address.text("Threshold", name="limit", placeholder=_example(kpi), width=120)
        hold = address.menu(
            "For", HOLDS, name="hold", default="", said=lambda each: each or "at once", width=110, any=True
        )
        severity = address.buttons("Severity", list(SEVERITIES), name="severity", default="ticket", said=str)
    place = st.container(key="draft-wrong")
    if help_text(kpi):
        st.caption(help_text(kpi).partition("\n")[0])
    _say_filter(view)
    with st.expander(
        "More: other conditions, recovery, labels, runbook", expanded=when == "other" or "more" in st.query_params
    ):
        more = address.text(
            "Other keys of the rule, as in monitor.yaml",
            name="more",
            lines=5,
            placeholder="recover: 400 ms\nmin_samples: 50\nconfident: true\nchange: {relative: 20 %}\nrunbook: https://…",
            said="All keys of `alerts` in docs/alerts.md; they count before the fields above.",
        )
    try:
        given = yaml.safe_load(more) if more.strip() else {}
        if not isinstance(given, dict):
            raise ValueError("it must be keys with values, one on each line")
    except (yaml.YAMLError, ValueError) as error:
        st.error(f"The other keys cannot be read: {' '.join(str(error).split())}")
        return None, place
    rule: dict[str, Any] = {"window": window, "severity": severity}
    rule |= {"kpi": kpi} if kpi else {}
    rule |= {"by": list(by)} if by else {}
    rule |= {"where": {key: list(values) for key, values in view.where}} if view.where else {}
    rule |= {when: limit.strip()} if limit.strip() else {}
    rule |= {"for": hold} if hold else {}
    if isinstance(given.get("where"), dict) and "where" in rule:
        given = given | {"where": {**rule["where"], **given["where"]}}
    rule |= given
    if "objective" in rule or "health" in rule or "always" in rule:
        # They have windows and KPIs of their own.
        rule.pop("window", None)
        rule.pop("kpi", None)
    return rule, place


def _complete(rule: Mapping[str, Any]) -> bool:
    return any(rule.get(key) not in (None, "", False) for key in CONDITIONS)


def _kpi_words(name: str) -> str:
    return f"{label(name)} · {name}" if name else "none"


def _example(kpi: str) -> str:
    return EXAMPLES.get(data.unit_of(kpi), "10") if kpi else ""


def _say_filter(view: View) -> None:
    if view.where:
        chips = [
            f"{dimension_label(key).lower()} {' or '.join(escaped(each) for each in values)}"
            for key, values in view.where
        ]
        st.caption(f"Only calls of {', '.join(chips)}: the filter of this page is the rule's.")
    else:
        st.caption("All calls; what you filter on this page becomes the filter of the rule.")


def _words(wrong: Wrong) -> str:
    """What is wrong, with the name of its field before it."""
    field = FIELDS.get(wrong.key, wrong.key)
    text = FRONT.sub("", wrong.text)
    return f"**{escaped(field)}:** {escaped(text)}" if field else escaped(text[:1].upper() + text[1:])


def _save(view: View, rule: Mapping[str, Any], wrong: Wrong | None) -> None:
    book = rulebook.rulebook()
    if not may_act():
        st.caption("Saving a rule is for operators; the link of this page shows the draft to one.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", key="draft-save-fields"):
        name = address.text("Name", name="called", placeholder="slow-first-token", width=210).strip()
        told = st.multiselect(
            "Told beside what routes say", book.receivers, key="draft-receivers", placeholder="by the routes", width=220
        )
        comment = st.text_input(
            "Why", key="draft-comment", max_chars=500, placeholder="goes into its history", width=220
        )
        known = {str(each["rule"]["name"]): each for each in book.rules}
        words = "Save" if name not in known else f"Save over {name}"
        pressed = st.button(words, key="draft-save-button", type="primary", icon=":material/save:")
    if wrong is not None and wrong.key in ("name", "receivers"):
        st.error(_words(wrong), icon=":material/error:")
    if name in known:
        _say_known(known[name])
    if pressed:
        _put(name, {**rule, **({"receivers": told} if told else {})}, comment)
    with st.expander("As it would stand in monitor.yaml"):
        whole = {"name": name or "name", **rule, **({"receivers": told} if told else {})}
        st.code(yaml.safe_dump([whole], sort_keys=False, allow_unicode=True, width=100), language="yaml")


def _say_known(given: Mapping[str, Any]) -> None:
    name = escaped(str(given["rule"]["name"]))
    if given["origin"] == "file":
        st.warning(f"monitor.yaml has a rule {name}, which counts. Change it there, or choose another name.")
    elif given["origin"] == "default":
        st.caption(f"{name} comes with Inference Monitor. Saving lays these keys over it; it can be brought back.")
    else:
        st.caption(f"Saving makes the next version of {name}; the one before is kept.")


def _put(name: str, rule: dict[str, Any], comment: str) -> None:
    author = signed()
    if author and not name:
        st.session_state[ERROR] = Wrong(key="name", text="Give the rule a name.")
    elif author:
        try:
            path = f"{rulebook.RULES_PATH}/{quote(name, safe='')}"
            api.send(path, {"rule": rule, "author": author, "comment": comment}, method="PUT")
        except MonitorError as error:
            st.session_state[ERROR] = Wrong(key=getattr(error, "key", ""), text=sentence(error))
            note("error", f"It was not saved: {escaped(str(error))}.")
        else:
            data.forget()
            rulebook.forget()
            note("success", f"{escaped(name)} is saved, and evaluated from the next quarter of a minute on.")
            for key in KEYS:
                address.write(key)
            address.write("rule", name)
            address.write("show", "rules")
    st.rerun(scope="app")
