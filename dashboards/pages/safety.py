"""Safety & fairness: what do filters and people object to, and is everybody treated alike?"""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboards import address, answers, charts, data, explore, facts, findings, states
from dashboards.answers import ATTENTION, UNKNOWN, Finding
from dashboards.charts import Bar
from dashboards.explore import Chart
from dashboards.filters import FILTERS, View
from dashboards.tables import kpi_table, records
from dashboards.theme import assigned
from dashboards.tiles import tiles
from dashboards.wording import count_text, digits, dimension_label, escaped, finite, group_text, value_text

HEADLINES: Final = (
    "safety.flagged_rate",
    "safety.blocked_rate",
    "safety.refusal_rate",
    "safety.pii_rate",
    "safety.user_reports",
)
SLICES: Final = ("category", *explore.SLICES)
CHARTS: Final = (
    Chart(title="Flagged and blocked", names=("safety.flagged_rate", "safety.blocked_rate"), slices=SLICES),
    Chart(title="Refused to answer", names=("safety.refusal_rate",)),
    Chart(title="Personal data found", names=("safety.pii_rate",)),
    Chart(title="Reported by users", names=("safety.user_reports",), slices=SLICES),
)
SPLITS: Final = ("model", "variant", "release", "service", "region", "node", "operation")
TABLE: Final = HEADLINES
CALLS_A_STEP: Final = 300
COHORT: Final = "cohort."
TIMES: Final = ("latency", "ttft")


def answer(view: View) -> None:
    """Whether something harmful, or something unfair, goes on."""
    window = view.window()
    flagged, blocked, *_, reports = data.both(HEADLINES, window, where=view.where)[0]
    found = answers.moved(view, HEADLINES[:4], among=HEADLINES, step_min_s=view.added_up_s())
    gaps = findings.bias_gaps()
    unfair = gaps[gaps["unfair"]]
    if len(unfair):
        names = ", ".join(dict.fromkeys(f"{_metric(row.metric)} by {row.cohort}" for row in records(unfair.head(3))))
        found.append(Finding(level=ATTENTION, words=f"{count_text(len(unfair), 'unfair gap')}: {escaped(names)}."))
    if reports.value:
        words = (
            f"{value_text(reports.value, 'call')} call{'s were' if reports.value > 1 else ' was'} reported by users."
        )
        found.append(Finding(level=ATTENTION, words=words))
    if flagged.value is None:
        words = "No call of this time was moderated, so nothing is known of what was harmful; docs/safety.md tells how to moderate."
        found.append(Finding(level=UNKNOWN, words=words))
    fine = (
        f"{value_text(flagged.value, '1')} of moderated calls were flagged, {value_text(blocked.value, '1')} blocked;"
        " no worse than before."
    )
    answers.say(found, fine=fine)


def headlines(view: View) -> None:
    tiles(view, HEADLINES, key="safety-headlines")


def lines(view: View) -> None:
    window = view.window()
    n = max(value.n for value in data.values(HEADLINES, window, where=view.where))
    if n:
        explore.draw(view, CHARTS, key="safety", calls=n, calls_wanted=CALLS_A_STEP, step_min_s=view.added_up_s())


def categories(view: View) -> None:
    """What was found, by category."""
    window = view.window()
    st.subheader("What was found", anchor=False)
    found = data.values(("safety.flagged_rate", "safety.blocked_rate"), window, by=("category",), where=view.where)
    known = [
        value for value in found if value.value and value.name == "safety.flagged_rate" and value.group.get("category")
    ]
    if not known:
        charts.nothing("No filter found anything in this time.", key="categories")
        return
    known.sort(key=lambda value: -(value.value or 0))
    colours = assigned().of("category", [value.group["category"] for value in known])
    charts.draw_bars(
        [
            Bar(group=group_text(value.group["category"]), value=value.value or 0.0, low=value.low, high=value.high, n=value.n)
            for value in known
        ],
        unit="1", title="Share of moderated calls", colours=colours, key="categories",
    )  # fmt: skip
    kpi_table(
        found, by=("category",), intervals=("safety.flagged_rate", "safety.blocked_rate"), n_of="safety.flagged_rate",
        n_help="Moderated calls", key="category-table", alt="Flagged and blocked calls by category",
    )  # fmt: skip


def groups(view: View, by: str) -> None:
    """The same rates by model, variant, or what callers are labelled with."""
    found = data.values(TABLE, view.window(), by=(by,), where=view.where)
    st.subheader(f"By {dimension_label(by).lower()}", anchor=False)
    if not any(value.n for value in found):
        charts.nothing("Nobody moderated, and nobody reported, a call of this time.", key="safety-groups")
        return
    whole = data.values(("safety.flagged_rate",), view.window(), where=view.where)[0]
    flagged = [value for value in found if value.name == "safety.flagged_rate"]
    explore.group_bars(flagged, by, key="safety-bars", view=view, window=view.window(), whole=whole)
    kpi_table(
        found, by=(by,), intervals=HEADLINES[:4], n_of="safety.flagged_rate", n_help="Moderated calls", key="safety-table",
        alt=f"Flagged, blocked, refused and reported calls of each {dimension_label(by).lower()}",
        link=(lambda group: f"traces?{view.query(**group)}") if by in FILTERS else None,
    )  # fmt: skip


def fairness(view: View) -> None:
    """Gaps between cohorts, as the job `bias` found them."""
    st.subheader("Fairness", anchor=False)
    gaps = findings.bias_gaps()
    if gaps.empty:
        charts.nothing(
            'No gap between cohorts was looked for yet. Calls need cohorts (`monitor.inference(..., cohorts={"language": "de"})`);'
            " the job `bias` then looks every hour, and `monitor bias` at any time.",
            key="fairness",
        )
        return
    # Gaps of latencies and scores have other units: they are in the table alone.
    shown = gaps[gaps["value"].notna() & pd.Series([_is_share(row) for row in records(gaps)], index=gaps.index)]
    if not shown.empty:
        names = [f"{_metric(row.metric)}, {row.gap.replace('_', ' ')} by {row.cohort}" for row in records(shown)]
        charts.draw_bars(
            [
                Bar(group=name, value=float(row.value), low=finite(row.low), high=finite(row.high), n=int(row.n), note=str(row.reason))
                for name, row in zip(names, records(shown), strict=True)
            ],
            unit="1", title="Gap between cohorts", colours=assigned().of("gap", names), key="gaps",
        )  # fmt: skip
    frame = pd.DataFrame(
        {
            "Metric": [_metric(name) for name in gaps["metric"]],
            "By": gaps["cohort"],
            "Gap": [text.replace("_", " ") for text in gaps["gap"]],
            "Value": [_gap_text(row, row.value) if row.value == row.value else "too few" for row in records(gaps)],
            "95 % interval": [
                f"{_gap_text(row, row.low)} to {_gap_text(row, row.high)}"
                if row.low == row.low and row.high == row.high
                else "none"
                for row in records(gaps)
            ],
            "Worst off": gaps["worst"],
            "Best off": gaps["best"],
            "Verdict": gaps["verdict"],
            "Why": gaps["reason"],
            "n": gaps["n"],
            "Model": gaps["model"],
            "Looked at": gaps["at"],
        }
    )
    st.dataframe(
        frame, hide_index=True, key="gap-table", height=min(12, len(frame) + 1) * 35 + 3, alt="Gaps between cohorts with verdicts",
        column_config={"Looked at": st.column_config.DatetimeColumn(format="D MMM HH:mm", timezone=view.zone.key)},
    )  # fmt: skip
    _examples(view, gaps)
    st.caption(
        "Latest look of each; whatever time is chosen. docs/bias.md says what each metric means and when it lies."
    )


def _is_share(row: Any) -> bool:
    """Whether a gap is a difference of shares, not of seconds or scores, and no ratio."""
    return row.gap != "ratio" and row.metric not in TIMES and not str(row.metric).startswith("score.")


def _gap_text(row: Any, value: float) -> str:
    if _is_share(row):
        return f"{100 * value:.2f} points"
    return f"{digits(value)} s" if row.metric in TIMES and row.gap != "ratio" else digits(value)


def _metric(name: str) -> str:
    return str(name).replace("_", " ")


def _examples(view: View, gaps: pd.DataFrame) -> None:
    """Traces of the groups that fare worst, for gaps with an alert."""
    links = [
        f"[{escaped(str(row.metric))}, {escaped(str(row.worst))}: {trace[:8]}](traces?{view.query(trace=trace)})"
        for row in records(gaps[gaps["unfair"]].head(5))
        for trace in list(row.traces)[:3]
    ]
    if links:
        st.markdown("Examples: " + " · ".join(links))


def _split_label(name: str) -> str:
    return f"{dimension_label(name)} (cohort)" if name.startswith(COHORT) else dimension_label(name)


def page() -> None:
    """Draw the page."""
    if not states.something_arrived():
        return
    view: View = st.session_state["view"]
    for part in (answer, headlines, lines, categories):
        states.panel(view, part)
    cohorts = [f"{COHORT}{key}" for key in facts.cohort_keys(view.window())]
    by = address.menu("Split by", [*SPLITS, *cohorts], name="by", default="model", said=_split_label, width=200)
    states.panel(view, lambda seen: groups(seen, by))
    states.panel(view, fairness)


page()
