"""Engagement: do people come, stay, come back, and say that it helps?"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pandas as pd
import streamlit as st

from dashboards import answers, charts, data, explore, facts, states
from dashboards.answers import GOOD, UNKNOWN, Finding
from dashboards.charts import Bar
from dashboards.explore import Chart
from dashboards.filters import View
from dashboards.tables import kpi_table
from dashboards.theme import KPI_COLOURS
from dashboards.tiles import say_compared, tiles
from dashboards.wording import label, value_text
from monitor.kpis import Window

USERS: Final = (
    "engagement.active_users",
    "engagement.new_users",
    "engagement.sessions",
    "engagement.turns_per_session",
    "engagement.session_minutes",
    "engagement.return_rate_d1",
    "engagement.return_rate_d7",
)
FEEDBACK: Final = (
    "engagement.feedback_rate",
    "engagement.thumbs_up",
    "engagement.thumbs_up_corrected",
    "engagement.regenerate_rate",
    "engagement.copy_rate",
    "engagement.abandon_rate",
)
WATCHED: Final = (
    "engagement.thumbs_up_corrected",
    "engagement.regenerate_rate",
    "engagement.abandon_rate",
    "engagement.copy_rate",
)
CHARTS: Final = (
    Chart(title="Active users", names=("engagement.active_users",)),
    Chart(title="Thumbs up", names=("engagement.thumbs_up",)),
    Chart(title="What people do with answers", names=("engagement.regenerate_rate", "engagement.copy_rate")),
    Chart(title="Sessions that were abandoned", names=("engagement.abandon_rate",)),
)
TABLE: Final = (
    "engagement.active_users",
    "engagement.thumbs_up",
    "engagement.regenerate_rate",
    "engagement.copy_rate",
    "engagement.feedback_rate",
)
TABLE_BY: Final = ("service", "model", "variant")
COHORT_DAYS: Final = 14
CALLS_A_STEP: Final = 200


def answer(view: View) -> None:
    """Whether people are content."""
    window = view.window()
    feedback = {value.name: value for value in data.both(FEEDBACK, window, where=view.where, also=USERS)[0]}
    active = data.values(USERS, window, where=view.where)[0]
    if not active.value:
        words = "No call names its user, so nobody can be counted: give `user_id` and `session_id` with each call."
        answers.say([Finding(level=UNKNOWN, words=words)], fine="")
        return
    found = answers.moved(
        view,
        WATCHED,
        among=FEEDBACK,
        step_min_s=view.added_up_s(),
        places=("service", "model", "variant", "release"),
    )
    words = f"{value_text(active.value, 'user')} users were active in {view.range_words}"
    up = feedback["engagement.thumbs_up_corrected"]
    if up.value is not None:
        raw = feedback["engagement.thumbs_up"]
        words += f"; {value_text(up.value, '1')} would give thumbs up ({value_text(raw.value, '1')} of those who answered did)"
    else:
        words += "; nobody gave thumbs"
    found.append(Finding(level=GOOD, words=f"{words}."))
    answers.say(found, fine="")


def users(view: View) -> None:
    now = tiles(view, USERS, key="engagement-users")
    say_compared(now[0], data.both(USERS[:1], view.window(), where=view.where)[1][0])


def feedback(view: View) -> None:
    """What people say and do; the corrected figure beside the raw one."""
    st.subheader("Feedback", anchor=False)
    found = {value.name: value for value in tiles(view, FEEDBACK, key="engagement-feedback", width=190)}
    pair = [found[f"engagement.{name}"] for name in ("thumbs_up", "thumbs_up_corrected")]
    bars = [
        Bar(group=label(each.name), value=each.value, low=each.low, high=each.high, n=each.n)
        for each in pair
        if each.value is not None
    ]
    if not bars:
        charts.nothing(
            "Nobody gave thumbs in this time. Send them with `monitor.feedback(...)` or to `/api/feedback`.",
            key="thumbs",
        )
        return
    colours = {label(each.name): KPI_COLOURS[each.name] for each in pair}
    charts.draw_bars(bars, unit="1", title="Thumbs up", colours=colours, key="thumbs")
    st.caption(
        "People answer more often when something is remarkable. The corrected share is what all callers would have said, as far as"
        " service, model, errors, duration and length tell who answers; docs/engagement.md says how."
    )


def lines(view: View) -> None:
    window = view.window()
    calls = data.values(("traffic.requests",), window, where=view.where)[0].n
    if calls:
        explore.draw(
            view,
            CHARTS,
            key="engagement",
            calls=calls,
            calls_wanted=CALLS_A_STEP,
            step_min_s=view.added_up_s(),
        )


def cohorts(view: View) -> None:
    """Who came back, by the day of the first visit."""
    st.subheader("Who came back", anchor=False)
    window = view.window()
    reach = Window(min(window.start, window.end - timedelta(days=COHORT_DAYS + 1)), window.end)
    found = facts.cohorts(reach, COHORT_DAYS, view.where)
    known = found.dropna(subset=["share"])
    if known.empty or not (known["day"] >= 1).any():
        charts.nothing(
            "No day of return is over yet: a cohort is the users of one day (UTC), and its first return is known at the end of the next.",
            key="cohorts",
        )
        return
    charts.draw_cohorts(found[found["day"] <= known["day"].max()], key="cohorts")
    st.caption(
        f"The last {COHORT_DAYS + 1} days at least, whatever time is chosen. Rows are first days with their users, columns days after;"
        " a user's first day is the first that the store remembers."
    )
    with st.expander("As a table"):
        frame = pd.DataFrame(
            {
                "First day (UTC)": [f"{day:%Y-%m-%d}" for day in known["cohort"]],
                "Users": known["size"],
                "Day": known["day"],
                "Came back": known["users"],
                "Share": [value_text(share, "1") for share in known["share"]],
                "Low": [value_text(low, "1") for low in known["low"]],
                "High": [value_text(high, "1") for high in known["high"]],
            }
        )
        st.dataframe(frame, hide_index=True, key="cohort-table", alt="Users of each cohort who came back, by day")


def table(view: View) -> None:
    found = data.values(TABLE, view.window(), by=TABLE_BY, where=view.where)
    if not any(value.n for value in found):
        return
    st.subheader("By service, model and variant", anchor=False)
    kpi_table(
        found, by=TABLE_BY, intervals=("engagement.thumbs_up", "engagement.regenerate_rate"), n_of="engagement.thumbs_up",
        n_help="Calls with thumbs", key="engagement-table", alt="Users and feedback of each service, model and variant",
        link=lambda group: f"traces?{view.query(**group)}",
    )  # fmt: skip


def page() -> None:
    """Draw the page."""
    if not states.something_arrived():
        return
    view: View = st.session_state["view"]
    for part in (answer, users, feedback, lines, cohorts, table):
        states.panel(view, part)


page()
