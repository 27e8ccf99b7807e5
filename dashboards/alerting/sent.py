"""What was sent to whom, what waits, and what did not get out."""

from __future__ import annotations

from typing import Final

import streamlit as st

from dashboards.alerting import standing
from dashboards.filters import View
from dashboards.wording import count_text

STATES: Final = {"pending": "waits", "failed": "given up", "retired": "the address is gone"}


def sent(view: View) -> None:
    """Draw it."""
    window = view.window()
    waiting, taken = standing.unsent(window), standing.sent(window)
    clock = {
        name: st.column_config.DatetimeColumn(format="D MMM HH:mm:ss", timezone=view.zone.key)
        for name in ("Sent", "Planned", "Next try")
    }
    if len(waiting):
        st.markdown(f"**{count_text(len(waiting), 'message')} did not get out**")
        frame = waiting.rename(
            columns={
                "planned_at": "Planned",
                "channel": "Channel",
                "subject": "Subject",
                "state": "State",
                "attempts": "Tries",
                "next_at": "Next try",
                "last_error": "Why",
            }
        )
        frame["State"] = [STATES.get(str(state), str(state)) for state in frame["State"]]
        frame.loc[frame["State"] != STATES["pending"], "Next try"] = None
        frame = frame[["Planned", "Channel", "State", "Why", "Subject", "Tries", "Next try"]]
        st.dataframe(
            frame,
            hide_index=True,
            key="outbox",
            column_config=clock,
            alt="Messages that wait or were given up",
            height=min(8, len(frame) + 1) * 35 + 3,
        )
    if taken.empty:
        st.caption(f"Nothing was sent in {view.range_words}." + ("" if len(waiting) else " Nothing waits either."))
        return
    st.markdown(f"**{count_text(len(taken), 'message')} sent**")
    frame = taken.rename(
        columns={
            "sent_at": "Sent",
            "channel": "Channel",
            "why": "Because",
            "subject": "Subject",
            "firing": "Firing",
            "resolved": "Ended",
            "attempt": "Try",
            "possibly_repeated": "Maybe twice",
        }
    )
    frame["Because"] = [str(why).replace("_", " ") for why in frame["Because"]]
    st.dataframe(
        frame,
        hide_index=True,
        key="sent",
        column_config=clock,
        alt="Messages that channels took, the newest first",
        height=min(12, len(frame) + 1) * 35 + 3,
    )
