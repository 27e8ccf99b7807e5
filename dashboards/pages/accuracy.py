"""Accuracy: how many answers are right, how sure is that, and can the judge be trusted?"""

from __future__ import annotations

from typing import Final

import streamlit as st

from dashboards import answers, charts, data, explore, states, timerange
from dashboards.answers import ATTENTION, GOOD, UNKNOWN, Finding
from dashboards.charts import Bar
from dashboards.explore import Chart
from dashboards.filters import View
from dashboards.tables import kpi_table
from dashboards.theme import KPI_COLOURS
from dashboards.tiles import tiles
from dashboards.wording import interval_text, label, value_text
from monitor.kpis import KpiValue

TRUTH: Final = (
    "accuracy.estimated",
    "accuracy.correct",
    "accuracy.judged",
    "accuracy.expected",
    "accuracy.labels_needed",
)
WAYS: Final = TRUTH[:4]
JUDGE: Final = (
    "accuracy.judge_agreement",
    "accuracy.judge_agreement_change",
    "accuracy.judge_kappa",
    "accuracy.calibration_error",
)
CLASSES: Final = ("accuracy.precision", "accuracy.recall", "accuracy.f1")
CHARTS: Final = (
    Chart(title="Right answers", names=("accuracy.estimated", "accuracy.correct")),
    Chart(title="The judge agrees with people", names=("accuracy.judge_agreement",)),
)
TABLE: Final = ("accuracy.estimated", "accuracy.correct", "accuracy.judge_agreement")
TABLE_BY: Final = ("model", "variant")
LABELS_A_STEP: Final = 20


def answer(view: View) -> None:
    """How many are right, and what that rests on."""
    window = view.window()
    estimated, correct, _judged, _expected, needed = data.both(TRUTH, window, where=view.where, also=JUDGE)[0]
    agreement, change, _kappa, calibration = data.values(JUDGE, window, where=view.where)
    found = answers.moved(
        view,
        ("accuracy.estimated", "accuracy.correct"),
        among=TRUTH,
        step_min_s=view.added_up_s(finest_s=timerange.MINUTE_S),
    )[:1]
    best = estimated if estimated.value is not None else correct
    if best.value is None:
        words = (
            "Nobody has said which answers are right in this time. Label some (`monitor label FILE`, or on the page Traces)"
            " and let a judge send evaluations named `correct`."
        )
        found.append(Finding(level=UNKNOWN, words=words))
    else:
        between = interval_text(best.low, best.high, "1")
        more = f"; {value_text(needed.value, 'label')} more labels would bring that to ±1 point" if needed.value else ""
        words = (
            f"{value_text(best.value, '1')} of the answers are right{f' (95 %: {between})' if between else ''}{more}."
        )
        found.append(Finding(level=GOOD, words=words))
    if change.high is not None and change.high < 0:
        words = (
            f"The judge drifted: it agrees with people {value_text(agreement.value, '1')} of the time,"
            f" {100 * (change.value or 0):+.1f} points against the time before. Trust labels until it is looked at."
        )
        found.append(Finding(level=ATTENTION, words=words))
    if calibration.low is not None and calibration.low > 0.05:
        words = f"The model's own confidence is off by {value_text(calibration.value, '1')} on average."
        found.append(Finding(level=ATTENTION, words=words))
    answers.say(found, fine="")


def truth(view: View) -> None:
    tiles(view, TRUTH, key="accuracy-truth", width=200)


def ways(view: View) -> None:
    """Ways of knowing the same, side by side."""
    found = data.values(WAYS, view.window(), where=view.where)
    st.subheader("Ways of knowing", anchor=False)
    bars = [
        Bar(group=label(each.name), value=each.value, low=each.low, high=each.high, n=each.n)
        for each in found
        if each.value is not None
    ]
    if not bars:
        charts.nothing("Neither people nor a judge said which answers are right.", key="ways")
        return
    colours = {label(name): KPI_COLOURS[name] for name in WAYS}
    charts.draw_bars(bars, unit="1", title="Right answers", colours=colours, key="ways")
    st.caption(
        "The estimate takes many verdicts of the judge and corrects them by the few labels: as unbiased as labels, with a shorter"
        " interval. The judge alone is as wrong as the judge. Details: docs/statistics.md."
    )
    _say_missing(found)


def _say_missing(values: list[KpiValue]) -> None:
    missing = [f"{label(value.name)}: {value.note}" for value in values if value.value is None and value.note]
    if missing:
        st.caption("; ".join(missing) + ".")


def judge(view: View) -> None:
    """Whether the judge, and the model's own confidence, can be trusted."""
    st.subheader("The judge, and the model's confidence", anchor=False)
    tiles(view, JUDGE, key="accuracy-judge", width=200, compared=False)


def lines(view: View) -> None:
    window = view.window()
    n = max(value.n for value in data.values(TRUTH[:2], window, where=view.where))
    if n:
        explore.draw(
            view,
            CHARTS,
            key="accuracy",
            calls=n,
            calls_wanted=LABELS_A_STEP,
            step_min_s=view.added_up_s(finest_s=timerange.MINUTE_S),
        )


def scores(view: View) -> None:
    """Mean scores of each name, and of classes where there are any."""
    names = tuple(name for name in data.described("accuracy.score") if "<" not in name)
    found = [value for value in data.values(names, view.window(), where=view.where) if value.n] if names else []
    classes = [value for value in data.values(CLASSES, view.window(), where=view.where) if value.value is not None]
    if not found and not classes:
        return
    st.subheader("Scores", anchor=False)
    if found:
        tiles(view, [value.name for value in found], key="scores", helps=data.described("accuracy.score"), width=200)
    if classes:
        tiles(view, [value.name for value in classes], key="classes", width=200)


def table(view: View) -> None:
    found = data.values(TABLE, view.window(), by=TABLE_BY, where=view.where)
    if not any(value.n for value in found):
        return
    st.subheader("By model and variant", anchor=False)
    kpi_table(
        found, by=TABLE_BY, intervals=TABLE, n_of="accuracy.correct", key="accuracy-table", n_help="Labelled calls",
        alt="Right answers and the judge's agreement of each model and variant",
        link=lambda group: f"traces?{view.query(**group)}",
    )  # fmt: skip


def page() -> None:
    """Draw the page."""
    if not states.something_arrived():
        return
    view: View = st.session_state["view"]
    for part in (answer, truth, ways, judge, lines, scores, table):
        states.panel(view, part)


page()
