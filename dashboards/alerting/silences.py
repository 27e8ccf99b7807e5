"""Silences: which hold, which will, and a form for one more."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

import streamlit as st

from dashboards import address, findings
from dashboards.alerting import standing
from dashboards.alerting.act import act, may_act, note, signed
from dashboards.alerting.standing import Silence
from dashboards.filters import View
from dashboards.tables import records
from dashboards.wording import age_text, count_text, escaped, moment_text
from monitor.settings.matchers import all_hold, parse_matchers

STATUS: Final = {"active": ":violet-badge[holds]", "pending": ":blue-badge[will hold]", "expired": ":gray-badge[over]"}
# The form, what links have put into it, and whether it is to be emptied.
FORM, GIVEN, CLEAR = "silence-matchers", "silence-given", "silence-clear"
LENGTHS: Final = {"1h": "1 hour", "4h": "4 hours", "1d": "1 day", "3d": "3 days", "7d": "7 days"}


def silences(view: View) -> None:
    """Draw the form, then the list."""
    if may_act():
        with st.container(border=True, key="new-silence"):
            _form()
    now = datetime.now(UTC)
    known = sorted(standing.silences(), key=lambda each: (each.status(now) == "expired", each.ends_at))
    if not known:
        st.caption("No silence holds, and none ended in the last week.")
    for each in known[:50]:
        with st.container(border=True, key=f"silence-{each.id}", gap="xsmall"):
            _one(view, each, now)


def _form() -> None:
    st.markdown("**Silence alerts**")
    given = st.query_params.get_all("silence")
    if st.session_state.pop(CLEAR, False):
        st.session_state[FORM] = ""
    elif given and (FORM not in st.session_state or st.session_state.get(GIVEN) != given):
        address.put(FORM, "\n".join(given))
    st.session_state[GIVEN] = given
    text = st.text_area(
        "Whose labels meet all of these",
        key=FORM,
        height=90,
        placeholder="alertname=error-rate\nnode=~gpu-.*",
        help="One on each line: `label=value`, `!=`, `=~` (regular expression over the whole value) or `!~`."
        " Labels are `alertname`, `severity`, those of the rule, and its groups' dimensions.",
    )
    matchers = [each.strip() for each in re.split(r"[\n,]", text) if each.strip()]
    _say_effect(matchers)
    with st.container(horizontal=True, vertical_alignment="bottom", key="silence-more"):
        length = st.selectbox(
            "For", list(LENGTHS), format_func=lambda each: LENGTHS[each], key="silence-for", width=120
        )
        why = st.text_input("Why", key="silence-why", max_chars=500, placeholder="disk swap", width=300)
        if st.button("Silence", key="silence-make", type="primary"):
            _make(matchers, length, why)


def _say_effect(matchers: list[str]) -> None:
    try:
        parsed = parse_matchers(matchers)
    except ValueError as error:
        st.error(str(error))
        return
    if parsed:
        meets = sum(all_hold(parsed, row.labels) for row in records(findings.alerts_now()) if row.state != "pending")
        st.caption(f"Of what fires now, this keeps {count_text(meets, 'alert')} quiet.")


def _make(matchers: list[str], length: str, why: str) -> None:
    author = signed()
    if author and not why.strip():
        note("error", "Say why: others will ask.")
    elif author:
        body = {"matchers": matchers, "duration": length, "created_by": author, "comment": why}
        if act("/api/silences", body, done=f"Silenced for {LENGTHS[length]}."):
            address.write("silence")
            st.session_state[CLEAR] = True
    st.rerun(scope="app")


def _one(view: View, each: Silence, now: datetime) -> None:
    status = each.status(now)
    start, end = (moment_text(moment, view.zone, now=now) for moment in (each.starts_at, each.ends_at))
    left = f", {age_text((each.ends_at - now).total_seconds())} left" if status == "active" else ""
    st.markdown(f"{STATUS[status]} {' · '.join(f'`{matcher}`' for matcher in each.matchers)}")
    st.caption(f"{start} – {end}{left} · {escaped(each.created_by)}: {escaped(each.comment)}")
    if status == "expired" or not may_act():
        return
    if st.button("End now", key=f"end-{each.id}", icon=":material/notifications_active:", type="tertiary"):
        act(f"/api/silences/{each.id}", {}, method="DELETE", done="The silence is over.")
        st.rerun(scope="app")
