"""Drift: is what comes in, and what goes out, still what it was; and if not, what of it matters?"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboards import answers, charts, findings, navigation, states
from dashboards.answers import ATTENTION, UNKNOWN, Finding
from dashboards.charts import Bar
from dashboards.explore import step_words
from dashboards.filters import View
from dashboards.tables import records
from dashboards.theme import ERROR, MUTED, assigned
from dashboards.watch import watched
from dashboards.wording import count_text, digits, escaped, finite, moment_text

# A domain classifier's effect is an area, of which one half is nothing.
CLASSIFIER: Final = "domain_classifier"
FEATURES_MAX: Final = 15
LINES_MAX: Final = 8
EXAMPLES_MAX: Final = 3
METHODS: Final = {
    "jensen_shannon": "Jensen–Shannon distance",
    "share_difference": "difference of shares",
    "chi_square": "chi-square distance",
    "total_variation": "total variation",
    "wasserstein": "Wasserstein distance",
    "psi": "population stability index",
    "ks": "Kolmogorov–Smirnov distance",
}


def looks_of(view: View) -> pd.DataFrame:
    """The latest looks that fit the filter on service and model; other filters are not drift's."""
    found = findings.drift_looks()
    for key, values in view.where:
        if key in ("service", "model"):
            found = found[found[key].isin(["", *values])]
    return found


def answer(view: View) -> None:
    """Which features drifted, since when."""
    looks = looks_of(view)
    now = datetime.now(UTC)
    if looks.empty:
        words = (
            "Nothing was compared yet: the job `drift` looks every hour, against the time before, once there are calls enough;"
            " `monitor drift` looks at any time."
        )
        answers.say([Finding(level=UNKNOWN, words=words)], fine="")
        return
    drifted = looks[looks["drifted"]]
    found = []
    if len(drifted):
        history = findings.drift_history(view.window())
        parts = []
        for row in records(drifted.head(3)):
            since = _since(history, row)
            parts.append(
                f"{escaped(str(row.feature))} ({escaped(str(row.method))} {digits(row.value)}"
                + (f", since {moment_text(since, view.zone, now=now)}" if since else "")
                + ")"
            )
        more = f" and {len(drifted) - 3} more" if len(drifted) > 3 else ""
        words = f"{count_text(len(drifted), 'feature')} drifted: {', '.join(parts)}{more}. The first matter most."
        found.append(Finding(level=ATTENTION, words=words))
    newest = moment_text(looks["at"].max().to_pydatetime(), view.zone, now=now)
    known = looks[looks["value"].notna()]
    if known.empty:
        words = f"At the latest look ({newest}) no feature could be compared: {escaped(str(looks['verdict'].iloc[0]))}."
        found.append(Finding(level=UNKNOWN, words=words))
    answers.say(
        found,
        fine=f"None of {count_text(known['feature'].nunique(), 'feature')} drifted at the latest look ({newest}).",
    )


def _since(history: pd.DataFrame, row: Any) -> datetime | None:
    mine = history[
        (history["feature"] == row.feature) & (history["method"] == row.method) & (history["model"] == row.model)
    ]
    if mine.empty or not bool(mine["drifted"].iloc[-1]):
        return None
    calm = mine.index[~mine["drifted"].astype(bool)]
    first = mine.loc[calm[-1] :].iloc[1] if len(calm) else mine.iloc[0]
    return pd.Timestamp(first["at"]).to_pydatetime()


def effects(view: View) -> None:
    """Effect of each feature with its interval, against its threshold."""
    looks = looks_of(view)
    if looks.empty:
        return
    for method, mine in looks.groupby("method", sort=False):
        shown = mine.head(FEATURES_MAX)
        known = shown[shown["value"].notna()]
        if known.empty:
            continue
        named = METHODS.get(str(method), str(method).replace("_", " "))
        st.markdown(f"**Effect by feature, {named}** (red: drifted; ordered by how much it matters)")
        names = [_name(row) for row in records(known)]
        charts.draw_bars(
            [
                Bar(
                    group=name, value=float(row.value), low=finite(row.low), high=finite(row.high), n=int(row.n_current),
                    note=str(row.verdict),
                )
                for name, row in zip(names, records(known), strict=True)
            ],
            unit="", title="Effect", key=f"effects-{method}",
            colours={name: ERROR if row.drifted else MUTED for name, row in zip(names, records(known), strict=True)},
            reference=("threshold", float(known["threshold"].iloc[0])) if known["threshold"].nunique() == 1 else None,
        )  # fmt: skip


def _name(row: Any) -> str:
    place = ", ".join(part for part in (row.service, row.model) if part)
    return f"{row.feature} ({place})" if place else str(row.feature)


def history(view: View) -> None:
    """The features that matter most, look by look."""
    window = view.window()
    looks, found = looks_of(view), findings.drift_history(window)
    if not looks["value"].notna().any():
        return
    st.markdown("**Effect over time**")
    kept = list(dict.fromkeys(zip(looks["feature"], looks["method"], looks["service"], looks["model"], strict=True)))[
        :LINES_MAX
    ]
    mine = found.loc[  # `found[[]]` would be no columns, not no rows
        [key in kept for key in zip(found["feature"], found["method"], found["service"], found["model"], strict=True)]
    ]
    if mine["at"].nunique() < 2:
        charts.nothing(
            "There are fewer than two looks in this time; choose a longer one to see how drift went.", key="history"
        )
        return
    frame = mine.assign(line=[_name(row) for row in records(mine)], time=mine["at"])
    colours = assigned().of("drift", list(dict.fromkeys(frame["line"])))
    step_s = float(frame["at"].drop_duplicates().diff().dt.total_seconds().median())
    charts.draw_lines(
        charts.Line(
            frame=frame[["time", "line", "value", "low", "high", "n"]], unit="", colours=colours, window=window, title="Effect",
            step_s=step_s, watched=watched(("drift.effect",), window, view.where),
        ),
        key="history",
        height=320,
    )  # fmt: skip
    st.caption(f"Looks about every {step_words(max(60, round(step_s / 60) * 60))}; bands are 95 % intervals.")


def table(view: View) -> None:
    """Every verdict with its reason."""
    looks = looks_of(view)
    if looks.empty:
        return
    st.subheader("Verdicts", anchor=False)
    frame = pd.DataFrame(
        {
            "Rank": looks["rank"],
            "Feature": looks["feature"],
            "Service": looks["service"],
            "Model": looks["model"],
            "Verdict": looks["verdict"],
            "Effect": [_digits(value) for value in looks["value"]],
            "95 % interval": [
                f"{_digits(low)} to {_digits(high)}" if low == low and high == high else "none"
                for low, high in zip(looks["low"], looks["high"], strict=True)
            ],
            "Threshold": looks["threshold"],
            "Method": looks["method"],
            "Moved": [", ".join(list(moved)[:5]) for moved in looks["moved"]],
            "n before": looks["n_reference"],
            "n now": looks["n_current"],
            "Note": looks["note"],
            "Looked at": looks["at"],
        }
    )
    st.dataframe(
        frame, hide_index=True, key="drift-table", height=min(14, len(frame) + 1) * 35 + 3,
        alt="Each feature's drift: verdict, effect, interval",
        column_config={"Looked at": st.column_config.DatetimeColumn(format="D MMM HH:mm", timezone=view.zone.key)},
    )  # fmt: skip
    st.caption(
        "Latest look at each, whatever time is chosen. Rank 1 matters most: drift that brings errors, latency or wrong answers."
    )


def examples(view: View) -> None:
    """Words that moved, and calls that show it."""
    looks = looks_of(view)
    drifted = looks[looks["drifted"]]
    if drifted.empty:
        return
    st.subheader("What it looks like", anchor=False)
    for row in records(drifted.head(5)):
        with st.container(border=True, key=f"example-{row.Index}"):
            st.markdown(f"**{escaped(_name(row))}**: {escaped(str(row.verdict))}")
            if len(row.moved):
                st.markdown(
                    "Moved most: " + ", ".join(f"`{str(word).replace('`', '')}`" for word in list(row.moved)[:12])
                )
            for words, traces in (("As now", row.current_traces), ("As before", row.reference_traces)):
                links = [
                    f"[{trace[:8]}](traces?{view.query(trace=str(trace))})" for trace in list(traces)[:EXAMPLES_MAX]
                ]
                if links:
                    st.markdown(f"{words}: {' · '.join(links)}")
            navigation.link("traces", label="Calls of this time", icon=":material/search:", query=view.carried())


def _digits(value: float) -> str:
    return "not known" if math.isnan(value) else digits(value)


def page() -> None:
    """Draw the page."""
    if not states.something_arrived():
        return
    view: View = st.session_state["view"]
    for part in (answer, effects, history, table, examples):
        states.panel(view, part)


page()
