"""What fired in the chosen time: when, how long, and whether that was right."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboards import address, charts, findings, navigation
from dashboards.alerting import standing
from dashboards.alerting.act import may_act
from dashboards.alerting.now import around, judge, page_of
from dashboards.charts import Spell
from dashboards.filters import View
from dashboards.tables import records
from dashboards.watch import about, concerns
from dashboards.wording import age_text, count_text, escaped, finite, group_text, moment_text, value_text

MARKS: Final = {"true": "right", "false": "false alarm"}


def history(view: View) -> None:
    """Timeline by rule, and a table of it."""
    window, clock = view.window(), datetime.now(UTC)
    found = [row for row in records(findings.firing(window)) if concerns(about(row.grp, row.where), view.where)]
    rules = sorted({str(row.rule) for row in found} | set(st.query_params.get_all("rule")))
    rule = address.menu("Rule", ["", *rules], name="rule", default="", said=lambda name: name or "all", width=300)
    rows = [row for row in found if rule in ("", row.rule)]
    if rows:
        seconds = sum((_end(row, clock) - row.start).total_seconds() for row in rows)
        st.markdown(
            f"{count_text(len(rows), 'alert', 'alerts')} of {count_text(len({row.rule for row in rows}), 'rule')} in"
            f" {view.range_words}, {age_text(seconds)} in all."
        )
    charts.draw_spells(
        [
            Spell(
                rule=str(row.rule),
                of=_of(row),
                severity=str(row.severity),
                start=row.start.to_pydatetime(),
                end=_end(row, clock),
                goes_on=pd.isna(row.end),
            )
            for row in rows
        ],
        window,
        key="timeline",
    )
    if rows:
        _table(view, rows[::-1], clock)
    if len(found) >= findings.SPELLS_MAX:
        st.caption(f"Shown are the newest {findings.SPELLS_MAX:,}.")


def _table(view: View, rows: list[Any], clock: datetime) -> None:
    verdicts, acks = standing.marks("verdict"), standing.marks("ack")
    episodes = [(str(row.fingerprint), row.active_at.to_pydatetime()) for row in rows]
    frame = pd.DataFrame(
        {
            "Began": [row.start.tz_convert(view.zone.key) for row in rows],
            "Lasted": [
                age_text((_end(row, clock) - row.start).total_seconds()) + (" …" if pd.isna(row.end) else "")
                for row in rows
            ],
            "Rule": [row.rule for row in rows],
            "Of": [_of(row) for row in rows],
            "Severity": [row.severity for row in rows],
            "Value": [value_text(finite(row.value), row.unit) for row in rows],
            "Fires": [row.condition for row in rows],
            "Taken by": [acks[each].author if each in acks else "" for each in episodes],
            "Marked": [MARKS.get(verdicts[each].mark, "") if each in verdicts else "" for each in episodes],
        }
    )
    picked = st.dataframe(
        frame,
        hide_index=True,
        key="history-table",
        height=min(12, len(frame) + 1) * 35 + 3,
        alt="Alerts of this time, the newest first; selecting one shows it",
        on_select="rerun",
        selection_mode="single-row",
        column_config={"Began": st.column_config.DatetimeColumn(format="D MMM HH:mm:ss", timezone=view.zone.key)},
    )
    chosen = [at for at in picked["selection"]["rows"] if at < len(rows)]
    if not chosen:
        st.caption("Select a row for its words, its calls, and to say whether it was right.")
        return
    row = rows[chosen[0]]
    with st.container(border=True, key="one-alert", gap="xsmall"):
        started = moment_text(row.start, view.zone, now=clock)
        st.markdown(f"**{escaped(str(row.rule))}**, {started}: {escaped(str(row.summary))}")
        there = around(view, row, clock)
        with st.container(horizontal=True, vertical_alignment="center", key="one-alert-acts"):
            if row.kpi:
                navigation.link(
                    page_of(row.kpi), label="Over time", icon=":material/show_chart:", query=there.carried()
                )
                navigation.link("traces", label="Its calls", icon=":material/search:", query=there.carried())
            if may_act():
                right = st.button("It was right to fire", key="history-right", type="tertiary")
                wrong = st.button("False alarm", key="history-wrong", type="tertiary")
                if right or wrong:
                    judge(row, right=right)
                    st.rerun(scope="app")


def _end(row: Any, clock: datetime) -> datetime:
    return clock if pd.isna(row.end) else row.end.to_pydatetime()


def _of(row: Any) -> str:
    return ", ".join(f"{name} {group_text(value)}" for name, value in row.grp.items())
