"""All rules: what each watches, how it does, where it was declared, how often it was right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import pandas as pd
import streamlit as st
import yaml

from dashboards import address, findings, store
from dashboards.alerting import rulebook, standing
from dashboards.alerting.act import act, may_act, signed
from dashboards.alerting.draft import edit
from dashboards.alerting.rulebook import ORIGINS, Rulebook
from dashboards.filters import View
from dashboards.states import sentence
from dashboards.tables import records
from dashboards.wording import escaped, moment_text
from monitor.errors import MonitorError

DAYS: Final = 30
WHENCE: Final = {
    "default": "comes with Inference Monitor",
    "file": "declared in monitor.yaml",
    "dashboard": "made in the dashboard",
}
SAID: Final = {"ok": "all right", "error": "cannot be evaluated", "waiting": "waits for data"}


def rules(view: View) -> None:
    """Draw the table, and one rule whole."""
    book = rulebook.rulebook()
    if book.trouble:
        st.warning(f"Which rules there are is not known: {escaped(book.trouble)}.")
        return
    names = [str(each["rule"]["name"]) for each in book.rules]
    right = _precision()
    frame = pd.DataFrame([_row(each, book, right) for each in book.rules])

    def picked() -> None:
        chosen = st.session_state["rules-table"]["selection"]["rows"]
        address.write("rule", *([names[chosen[0]]] if chosen and chosen[0] < len(names) else []))

    st.dataframe(
        frame,
        hide_index=True,
        key="rules-table",
        height=min(16, len(frame) + 1) * 35 + 3,
        on_select=picked,
        selection_mode="single-row",
        alt="All alert rules; selecting one shows it",
        column_config={
            "Right": st.column_config.TextColumn(
                help=f"How many were right to fire, of those that somebody marked, in the last {DAYS} days: the rule's precision"
            ),
            "Fired": st.column_config.NumberColumn(format="localized", help=f"Alerts in the last {DAYS} days"),
        },
    )
    name = address.menu(
        "Show the rule", ["", *names], name="rule", default="", said=lambda each: each or "–", width=300
    )
    if name:
        with st.container(border=True, key="one-rule"):
            _one(view, next(each for each in book.rules if each["rule"]["name"] == name), book)
    else:
        st.caption(
            "Select a row, or choose by name, to see a rule as it is written, to change it, or to switch it off."
        )


def _row(given: Mapping[str, Any], book: Rulebook, right: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    rule = given["rule"]
    mine = [each for each in book.evaluated if each["declared"] == rule["name"]]
    counts = [right[each["name"]] for each in mine if each["name"] in right]
    marked = sum(each["right"] + each["wrong"] for each in counts)
    return {
        "Rule": rule["name"],
        "State": _state(rule, mine, book),
        "Severity": " / ".join(dict.fromkeys(str(each["severity"]) for each in mine)) or rule.get("severity", "ticket"),
        "Declared": ORIGINS[given["origin"]],
        "Fired": sum(each["fired"] for each in counts),
        "Right": f"{sum(each['right'] for each in counts)} of {marked}" if marked else "",
        "Watches": _watches(rule, mine),
        "Fires": " / ".join(dict.fromkeys(str(each["condition"]) for each in mine)),
    }


def _state(rule: Mapping[str, Any], mine: list[Mapping[str, Any]], book: Rulebook) -> str:
    if not rule.get("enabled", True):
        return "off"
    wrong = [each for each in book.problems if each["rule"] == rule["name"]]
    if wrong:
        return SAID["waiting" if all(each.get("waiting") for each in wrong) else "error"]
    names = {each["name"] for each in mine}
    states = Counter(
        "pending" if row.state == "pending" else "firing" for row in records(findings.alerts_now()) if row.rule in names
    )
    if states:
        return ", ".join(f"{state} ({count})" for state, count in sorted(states.items()))
    known = {str(row.rule): str(row.health) for row in records(standing.health())}
    worst = next((known[name] for name in names if known.get(name, "ok") != "ok"), "ok" if names & set(known) else "")
    return SAID.get(worst, "not evaluated yet" if names else SAID["waiting"])


def _watches(rule: Mapping[str, Any], mine: list[Mapping[str, Any]]) -> str:
    kpis = list(dict.fromkeys(str(each["kpi"]) for each in mine if each["kpi"]))
    what = ", ".join(kpis[:2]) or str(rule.get("kpi") or rule.get("objective") or rule.get("health") or "–")
    by = mine[0]["by"] if mine else rule.get("by", [])
    return f"{what} by {', '.join(by)}" if by else what


def _precision() -> dict[str, dict[str, Any]]:
    try:
        return rulebook.precision(store.store_url(), DAYS)
    except MonitorError:
        return {}


def _one(view: View, given: Mapping[str, Any], book: Rulebook) -> None:
    rule, origin = given["rule"], given["origin"]
    name = str(rule["name"])
    st.markdown(f"**{escaped(name)}** · {WHENCE[origin]}" + _version_words(view, given))
    for problem in book.problems:
        if problem["rule"] == name:
            st.error(f"{problem['text']}.", icon=":material/error:")
    for row in records(standing.health()):
        if row.health != "ok" and any(each["name"] == row.rule and each["declared"] == name for each in book.evaluated):
            st.warning(escaped(f"{row.rule} {SAID.get(str(row.health), row.health)}: {row.reason}"))
    st.code(source(rule), language="yaml")
    if origin == "file":
        st.caption(
            "The configuration file counts: change the rule there (`monitor alerts check` looks it over), and restart."
            " To keep it quiet meanwhile, silence it."
        )
    with st.container(horizontal=True, key="rule-acts"):
        st.button(
            "Back-test" if origin == "file" or not may_act() else "Edit and back-test",
            key="edit-rule",
            on_click=edit,
            args=(rule, origin),
            icon=":material/edit:",
        )
        st.button("Its history", key="rule-history", on_click=_show, args=("history",), icon=":material/history:")
        if may_act() and origin != "file":
            _changes(given)
        if may_act():
            st.button(
                "Silence …", key="silence-rule", on_click=_silence, args=(name,), icon=":material/notifications_off:"
            )
    if origin == "dashboard":
        _versions(view, name)


def _changes(given: Mapping[str, Any]) -> None:
    rule = given["rule"]
    name, on = str(rule["name"]), rule.get("enabled", True)
    if st.button("Switch off" if on else "Switch on", key="switch-rule", icon=":material/power_settings_new:"):
        author = signed()
        if author:
            # Of a default, only that it is off is kept: what it says else stays with the release.
            kept = {} if given["origin"] == "default" else {key: value for key, value in rule.items() if key != "name"}
            body = {
                "rule": {**kept, "enabled": not on},
                "author": author,
                "comment": f"switched {'off' if on else 'on'}",
            }
            act(_path(name), body, method="PUT", done=f"{escaped(name)} is switched {'off' if on else 'on'}.")
        st.rerun(scope="app")
    if given["origin"] == "dashboard":
        words = "Back to the default" if given.get("default") else "Remove"
        with st.popover(f"{words} …", icon=":material/delete:", key="remove-rule"):
            st.caption(
                "Its versions are kept. What it fires ends with the next evaluation."
                + (" The rule that comes with Inference Monitor counts again." if given.get("default") else "")
            )
            if st.button(words, key="really-remove", type="primary"):
                author = signed()
                if author:
                    act(_path(name), {"author": author}, method="DELETE", done=f"{escaped(name)} is removed.")
                    address.write("rule")
                st.rerun(scope="app")


def source(rule: Mapping[str, Any]) -> str:
    """A rule as it would stand in monitor.yaml."""
    return str(yaml.safe_dump([dict(rule)], sort_keys=False, allow_unicode=True, width=100))


def _version_words(view: View, given: Mapping[str, Any]) -> str:
    if "version" not in given:
        return ""
    at = moment_text(datetime.fromisoformat(given["written_at"]), view.zone, now=datetime.now(view.zone))
    return f", version {given['version']} by {escaped(str(given['author']))}, {at}"


def _versions(view: View, name: str) -> None:
    try:
        found = rulebook.versions(store.store_url(), name)
    except MonitorError as error:
        st.caption(sentence(error))
        return
    with st.expander(f"Versions ({len(found)})"):
        for each in found:
            at = moment_text(datetime.fromisoformat(each["written_at"]), view.zone, now=datetime.now(view.zone))
            comment = f": {escaped(str(each['comment']))}" if each["comment"] else ""
            removed = " (removed)" if each["removed"] else ""
            st.markdown(f"Version {each['version']}{removed}, {escaped(str(each['author']))}, {at}{comment}")
            if not each["removed"]:
                st.code(source({"name": name, **each["rule"]}), language="yaml")


def _path(name: str) -> str:
    return f"{rulebook.RULES_PATH}/{quote(name, safe='')}"


def _show(section: str) -> None:
    address.write("show", section)


def _silence(name: str) -> None:
    address.write("silence", f"alertname={name}")
    address.write("show", "silences")
