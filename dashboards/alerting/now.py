"""What fires now: one card for each alert, with what to do about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboards import address, findings, navigation, timerange
from dashboards.alerting import standing
from dashboards.alerting.act import act, may_act, signed
from dashboards.alerting.standing import Said, Silence
from dashboards.filters import FILTERS, View
from dashboards.tables import records
from dashboards.watch import about, concerns
from dashboards.wording import (
    age_text,
    dimension_label,
    escaped,
    finite,
    group_text,
    interval_text,
    label,
    moment_text,
    value_text,
)
from monitor.kpis import Window

CARDS_MAX: Final = 12
COLOURS: Final = {"page": "red", "critical": "red", "ticket": "orange", "info": "blue"}
SILENCE_FOR: Final = {"1h": "1 hour", "4h": "4 hours", "1d": "1 day"}
# Family of KPIs -> page; all others are on the first one.
PAGES: Final = {
    **{family: family for family in ("latency", "accuracy", "cost", "engagement", "safety", "drift", "fleet")},
    "bias": "safety",
}
BEFORE: Final = timedelta(minutes=30)
AFTER: Final = timedelta(minutes=10)


def now(view: View) -> None:
    """Draw what alarms, then what is pending."""
    rows = findings.alerts_now()
    mine = [row for row in records(rows) if concerns(about(row.grp, row.where), view.where)]
    firing = [row for row in mine if row.state != "pending"]
    firing.sort(key=lambda row: (row.severity not in ("page", "critical"), -row.since.timestamp()))
    if not firing:
        with st.container(border=True, key="no-alert"):
            st.markdown("Nothing fires. What fired in this time is under History; what is watched, under Rules.")
    known, acks, verdicts = standing.silences(), standing.marks("ack"), standing.marks("verdict")
    for row in firing[:CARDS_MAX]:
        episode = (str(row.fingerprint), row.active_at.to_pydatetime())
        with st.container(border=True, key=f"alert-{row.fingerprint}", gap="xsmall"):
            _card(view, row, known, acks.get(episode), verdicts.get(episode))
    if len(firing) > CARDS_MAX:
        st.markdown(f"**{len(firing) - CARDS_MAX} more**")
        _short(view, firing[CARDS_MAX:], key="more-alerts")
    pending = [row for row in mine if row.state == "pending"]
    if pending:
        st.subheader("Pending", anchor=False)
        st.caption("Beyond the threshold, but not for as long as the rule says. Nobody is told yet.")
        _short(view, pending, key="pending-alerts")
    if len(mine) < len(rows):
        st.caption(f"{len(rows) - len(mine)} more are about other calls than the filter lets through.")


def _card(view: View, row: Any, known: list[Silence], ack: Said | None, verdict: Said | None) -> None:
    clock = datetime.now(UTC)
    silence = standing.silence_of(row.labels, known, clock)
    badges = [f":{COLOURS.get(row.severity, 'gray')}-badge[{row.severity}]"]
    badges += [f":gray-badge[{row.state.replace('_', ' ')}]"] if row.state != "firing" else []
    badges += [f":green-badge[:material/person: {escaped(ack.author)} is on it]"] if ack else []
    badges += [f":violet-badge[silenced until {moment_text(silence.ends_at, view.zone, now=clock)}]"] if silence else []
    badges += (
        [f":gray-badge[{'right' if verdict.mark == 'true' else 'false alarm'}, says {escaped(verdict.author)}]"]
        if verdict
        else []
    )
    st.markdown(f"**{escaped(str(row.rule))}**  {' '.join(badges)}")
    st.markdown(escaped(str(row.summary)))
    st.caption(evidence(view, row, clock))
    with st.container(horizontal=True, vertical_alignment="center", key=f"card-links-{row.fingerprint}", gap="small"):
        for path, words, icon, query in _links(view, row, clock):
            navigation.link(path, label=words, icon=icon, query=query)
        st.button(
            "Its history",
            key=f"past-{row.fingerprint}",
            on_click=_show_history,
            args=(str(row.rule),),
            icon=":material/history:",
            type="tertiary",
        )
        if str(row.runbook).startswith(("https://", "http://")):
            st.link_button("Runbook", str(row.runbook), icon=":material/menu_book:", type="tertiary")
        if may_act():
            _actions(row, silence, ack)


def evidence(view: View, row: Any, clock: datetime) -> str:
    """Value with interval and n, against what, and since when; in Markdown."""
    began = row.fired_at if not pd.isna(row.fired_at) else row.since
    parts = [f"since {moment_text(began, view.zone, now=clock)} ({age_text((clock - began).total_seconds())})"]
    if row.kpi and finite(row.value) is not None:
        interval = interval_text(finite(row.low), finite(row.high), row.unit)
        shown = f"{escaped(_label(row.kpi))} **{value_text(row.value, row.unit)}**"
        parts.append(shown + (f" (95 %: {interval}; n = {row.n:,})" if interval else f" (n = {row.n:,})"))
    parts.append(f"fires {escaped(str(row.condition))}" if row.condition else "")
    parts += [f"{dimension_label(key).lower()} {escaped(group_text(value))}" for key, value in row.grp.items()]
    parts.append(escaped(str(row.reason)) if row.reason else "")
    parts.append(f"tells {', '.join(escaped(name) for name in row.receivers)}" if len(row.receivers) else "")
    return " · ".join(part for part in parts if part)


def _label(kpi: str) -> str:
    return label(kpi) if "." in kpi else kpi


def around(view: View, row: Any, clock: datetime) -> View:
    """The time of an alert and its calls, as a view."""
    began = row.active_at.to_pydatetime()
    ended = getattr(row, "end", None)
    end = clock if ended is None or pd.isna(ended) else min(clock, ended.to_pydatetime() + AFTER)
    calls = {key: tuple(values) for key, values in about(row.grp, row.where).items() if key in FILTERS}
    kept = {key: values for key, values in view.where if key not in calls}
    narrowed = replace(view, where=tuple({**kept, **calls}.items()))
    return narrowed.during(Window(began - BEFORE, max(end, began + BEFORE)))


def page_of(kpi: str) -> str:
    """Path of the page that a KPI is on."""
    return PAGES.get(kpi.partition(".")[0], "")


def _links(view: View, row: Any, clock: datetime) -> list[tuple[str, str, str, list[tuple[str, str]]]]:
    there = around(view, row, clock)
    found = []
    if row.kpi:
        moment = row.window_end if "window_end" in row._fields else row.start
        at = timerange.write_moment(moment.to_pydatetime() - timedelta(minutes=1))
        sliced = [*there.carried(), ("look", row.kpi), ("at", at)]
        found.append((page_of(row.kpi), "Which slices", ":material/pie_chart:", sliced))
        found.append(("traces", "Its calls", ":material/search:", there.carried()))
    return found


def _show_history(rule: str) -> None:
    address.write("rule", rule)
    address.write("show", "history")


def _actions(row: Any, silence: Silence | None, ack: Said | None) -> None:
    mark = str(row.fingerprint)
    if ack is None and st.button("Acknowledge", key=f"ack-{mark}", icon=":material/person:", type="tertiary"):
        name = signed()
        if name:
            body = {"fingerprint": mark, "author": name, "active_at": row.active_at.isoformat()}
            act("/api/alerts/ack", body, done=f"{escaped(name)} is on {escaped(str(row.rule))}.")
        st.rerun(scope="app")
    if silence is None:
        with st.popover("Silence", icon=":material/notifications_off:", type="tertiary", key=f"quiet-{mark}"):
            labels = {key: value for key, value in row.labels.items() if key != "severity"}
            st.caption("Nobody is told of: " + ", ".join(escaped(f"{key}={value}") for key, value in labels.items()))
            why = st.text_input("Why", key=f"why-{mark}", max_chars=500, placeholder="known, being repaired")
            with st.container(horizontal=True, key=f"for-{mark}"):
                chosen = [st.button(words, key=f"silence-{name}-{mark}") for name, words in SILENCE_FOR.items()]
            if any(chosen):
                _silence(labels, list(SILENCE_FOR)[chosen.index(True)], why or "silenced in the dashboard")
                st.rerun(scope="app")
    with st.popover("Right or not?", icon=":material/thumbs_up_down:", type="tertiary", key=f"judge-{mark}"):
        st.caption("What is marked makes the precision of its rule, under Rules.")
        with st.container(horizontal=True, key=f"verdict-{mark}"):
            right = st.button("It was right to fire", key=f"right-{mark}")
            wrong = st.button("False alarm", key=f"wrong-{mark}")
        if right or wrong:
            judge(row, right=right)
            st.rerun(scope="app")


def judge(row: Any, *, right: bool) -> None:
    """Mark an alert."""
    name = signed()
    if name:
        body = {
            "fingerprint": str(row.fingerprint),
            "mark": str(right).lower(),
            "author": name,
            "active_at": row.active_at.isoformat(),
        }
        words = "right to fire" if right else "a false alarm"
        act("/api/alerts/mark", body, done=f"{escaped(str(row.rule))} is marked as {words}.")


def _silence(labels: dict[str, str], length: str, why: str) -> None:
    name = signed()
    if name:
        matchers = [f"{key}={value}" for key, value in labels.items()]
        body = {"matchers": matchers, "duration": length, "created_by": name, "comment": why}
        act("/api/silences", body, done=f"Silenced for {SILENCE_FOR[length]}. End it sooner under Silences.")


def _short(view: View, rows: list[Any], *, key: str) -> None:
    frame = pd.DataFrame(
        {
            "Since": [row.since.tz_convert(view.zone.key) for row in rows],
            "Rule": [row.rule for row in rows],
            "Severity": [row.severity for row in rows],
            "Of": [", ".join(f"{name} {group_text(value)}" for name, value in row.grp.items()) for row in rows],
            "Value": [value_text(finite(row.value), row.unit) for row in rows],
            "Fires": [row.condition for row in rows],
            "n": [row.n for row in rows],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        key=key,
        height=min(10, len(frame) + 1) * 35 + 3,
        alt="Alerts in short",
        column_config={"Since": st.column_config.DatetimeColumn(format="D MMM HH:mm", timezone=view.zone.key)},
    )
