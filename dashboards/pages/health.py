"""Health: does the monitor itself see everything, in time, and for how long is there room?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pandas as pd
import streamlit as st

from dashboards import answers, charts, data, explore, facts, operation, states
from dashboards.answers import ATTENTION, BAD, UNKNOWN, Finding
from dashboards.charts import Bar
from dashboards.explore import Chart
from dashboards.filters import View
from dashboards.operation import size_text
from dashboards.tables import records
from dashboards.theme import PALETTE
from dashboards.tiles import tile
from dashboards.wording import age_text, count_text, escaped, finite, value_text

COMPLETE: Final = Chart(
    title="Completeness", names=("traffic.completeness",), slices=("service", "environment", "region")
)
COMPLETE_MIN: Final = 0.999
LAG_MAX_S: Final = 60.0
DAYS_LEFT_MIN: Final = 14
JOBS_DAYS: Final = 7
# Waiting: of the log before the store; what is here is on disk, and safe.
WAITING: Final = ("spans_waiting", "log_records_waiting", "data_points_waiting")
_COUNTERS: Final = {
    "spans": "Spans",
    "log_records": "Log records",
    "data_points": "Metric data points",
}


def answer(view: View) -> None:
    """Whether what the other pages say can be trusted."""
    found = []
    complete = data.values(("traffic.completeness",), view.window(), where=view.where)[0]
    if complete.value is not None and complete.value < COMPLETE_MIN:
        words = (
            f"{value_text(1 - complete.value, '1')} of the calls reported by our SDK did not arrive: numbers miss them."
        )
        found.append(Finding(level=ATTENTION, words=words))
    lag = operation.ingest_lag(view.window(), view.where)
    if lag.p95_s is not None and lag.p95_s > LAG_MAX_S:
        words = (
            f"Calls come late: 5 % of the last hour's took {age_text(lag.p95_s)} or more from their end into the store."
        )
        found.append(Finding(level=ATTENTION, words=words))
    found += _jobs_found()
    left = days_left()
    if left is not None and left < DAYS_LEFT_MIN:
        words = f"At the present growth the disk is full in about {count_text(int(left), 'day')}; shorten `retention` or add room."
        found.append(Finding(level=BAD if left < 3 else ATTENTION, words=words))
    numbers = operation.collector_numbers()
    if numbers is not None:
        rejected = sum(sum(values.values()) for name, values in numbers.items() if name.endswith("_rejected_total"))
        if rejected:
            words = f"{rejected:,.0f} items could never be stored since the collector started; below is why."
            found.append(Finding(level=ATTENTION, words=words))
    answers.say(found, fine="Everything arrives in time, jobs run, and there is room.")


def _jobs_found() -> list[Finding]:
    runs = facts.job_runs(JOBS_DAYS)
    if runs.empty:
        words = "No scheduled job ran in the last days: rollups, costs and alerts stand still. Run `monitor up`, or `monitor work`."
        return [Finding(level=UNKNOWN, words=words)]
    newest = runs.drop_duplicates("job")
    failed = newest[newest["state"] == "failed"]
    return [
        Finding(level=BAD, words=f"The last run of job {escaped(str(row.job))} failed: {escaped(str(row.error))[:300]}")
        for row in records(failed)
    ]


def days_left() -> float | None:
    """Days until the disk is full, if the store grows as it did; None where that is not known."""
    free, grown = operation.free_bytes(), operation.growth(operation.daily_bytes())
    return free / grown if free is not None and grown else None


def arrival(view: View) -> None:
    """Completeness and lag."""
    st.subheader("Arrival", anchor=False)
    lag, found = operation.ingest_lag(view.window(), view.where), data.arrivals()
    now = datetime.now(UTC)
    with st.grid("auto", min_column_width=165, gap="small", key="arrival"):
        tile(data.values(("traffic.completeness",), view.window(), where=view.where)[0])
        for name, seconds in (("Lag, median", lag.p50_s), ("Lag, p95", lag.p95_s)):
            with st.container(border=True, height="stretch", gap="xsmall"):
                st.metric(
                    name,
                    "—" if seconds is None else _lag_text(seconds),
                    help="From a call's end to its row in the store.",
                )
                st.caption(
                    f"n = {lag.n:,}, calls of the last hour" if lag.n else "no call in the last hour of this time"
                )
        with st.container(border=True, height="stretch", gap="xsmall"):
            newest = found.newest_span
            st.metric("Newest span", "—" if newest is None else f"{age_text((now - newest).total_seconds())} ago")
            st.caption("begin of the newest span of all")


def _lag_text(seconds: float) -> str:
    return value_text(max(seconds, 0.0), "s") if seconds < 120 else age_text(seconds)


def lines(view: View) -> None:
    window = view.window()
    complete = data.values(("traffic.completeness",), window, where=view.where)[0]
    if complete.n:
        explore.draw(view, [COMPLETE], key="health", calls=complete.n, step_min_s=view.added_up_s())
    else:
        st.caption("Completeness is known of calls that our SDK numbers; there are none in this time.")


def collector(view: View) -> None:
    """What the collector beside this dashboard says of itself."""
    st.subheader("Collector", anchor=False)
    numbers = operation.collector_numbers()
    if numbers is None:
        st.caption(
            "The collector's own numbers cannot be read from here; every collector answers at `/metrics` and `/readyz` of its HTTP port."
        )
        return
    rows = []
    for front, name in _COUNTERS.items():
        got = {
            what: sum(numbers.get(f"{front}_{what}", {}).values())
            for what in ("received_total", "stored_total", "waiting", "recovered_total")
        }
        rows.append(
            {
                "Of": name,
                "Received": got["received_total"],
                "Stored": got["stored_total"],
                "Waiting in the log": got["waiting"],
                "Recovered at start": got["recovered_total"],
                "Rejected": _by_reason(numbers.get(f"{front}_rejected_total", {})),
                "Repaired": _by_reason(numbers.get(f"{front}_repaired_total", {})),
            }
        )
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="collector", alt="The collector's counters since it started")
    waiting = numbers.get("wal_bytes", {}) or numbers.get("waiting_bytes", {})
    size = f" {size_text(sum(waiting.values()))} wait in the write-ahead log." if waiting else ""
    st.caption(f"Since the collector started.{size} What waits is on disk, and survives a crash.")


def _by_reason(values: dict[str, float]) -> str:
    return ", ".join(f"{value:,.0f} {labels}" for labels, value in values.items() if value) or "none"


def jobs(view: View) -> None:
    """How scheduled work does."""
    st.subheader("Jobs", anchor=False)
    runs = facts.job_runs(JOBS_DAYS)
    if runs.empty:
        charts.nothing("No job ran in the last 7 days.", key="jobs")
        return
    ended = runs[runs["state"] != "running"]
    newest = runs.drop_duplicates("job")
    failures = ended[ended["state"] == "failed"].groupby("job").size()
    counts = ended.groupby("job").size()
    typical = ended.groupby("job")["duration_s"].median()
    frame = pd.DataFrame(
        {
            "Job": newest["job"],
            "State": newest["state"],
            "Began": newest["started_at"],
            "Took": [value_text(finite(value), "s") for value in newest["duration_s"]],
            "Usually": [value_text(finite(typical.get(job)), "s") for job in newest["job"]],
            "Rows": newest["rows"],
            "Runs, 7 days": [int(counts.get(job, 0)) for job in newest["job"]],
            "Failed, 7 days": [int(failures.get(job, 0)) for job in newest["job"]],
            "Said": [error or note for error, note in zip(newest["error"], newest["note"], strict=True)],
        }
    )
    st.dataframe(
        frame, hide_index=True, key="jobs", height=min(14, len(frame) + 1) * 35 + 3, alt="The newest run of each job",
        column_config={"Began": st.column_config.DatetimeColumn(format="D MMM HH:mm:ss", timezone=view.zone.key)},
    )  # fmt: skip
    errors = ended[ended["state"] == "failed"].head(20)
    if len(errors):
        with st.expander(f"{count_text(int(failures.sum()), 'failed run')} in the last 7 days"):
            st.dataframe(
                errors[["started_at", "job", "error", "worker"]].rename(
                    columns={"started_at": "Began", "job": "Job", "error": "Error", "worker": "Worker"}
                ),
                hide_index=True, key="failed-jobs", alt="Failed runs, the newest first",
                column_config={"Began": st.column_config.DatetimeColumn(format="D MMM HH:mm:ss", timezone=view.zone.key)},
            )  # fmt: skip


def room(view: View) -> None:
    """Size of the store, what grows, and until when there is room."""
    st.subheader("Store", anchor=False)
    sizes, free, grown = operation.table_sizes(), operation.free_bytes(), operation.growth(operation.daily_bytes())
    total = float(sizes["bytes"].sum())
    version, name = operation.schema_version()
    words = [f"**{size_text(total)}** in {count_text(len(sizes), 'table')}"]
    if grown:
        words.append(
            f"about {size_text(grown)} a day, so {size_text(total + 30 * grown)} in 30 days if nothing is removed"
        )
    if free is not None:
        words.append(f"{size_text(free)} free")
    left = days_left()
    if left is not None:
        words.append("room for more than 10 years" if left > 3650 else f"room for about {count_text(int(left), 'day')}")
    st.markdown("; ".join(words) + ".")
    st.caption(
        f"Schema version {version} ({name}); ClickHouse {operation.server_version()}."
        + ("" if grown else " Growth is known after a whole day.")
    )
    shown = sizes[sizes["bytes"] > 0].head(10)
    charts.draw_bars(
        [Bar(group=str(row.table), value=row.bytes / 1e6, n=int(row.rows)) for row in records(shown)],
        unit="MB", title="On disk", colours=dict.fromkeys(shown["table"], PALETTE[0]), key="sizes",
    )  # fmt: skip
    moment = st.column_config.DatetimeColumn(format="D MMM YYYY HH:mm", timezone=view.zone.key)
    frame = pd.DataFrame(
        {
            "Table": sizes["table"],
            "Rows": sizes["rows"],
            "On disk, MB": (sizes["bytes"] / 1e6).round(3),
            "Bytes a row": (sizes["bytes"] / sizes["rows"].where(sizes["rows"] > 0)).round(1),
            "Oldest": sizes["oldest"],
            "Newest": sizes["newest"],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        key="tables",
        height=min(12, len(frame) + 1) * 35 + 3,
        alt="Rows and size of each table",
        column_config={"Oldest": moment, "Newest": moment},
    )


def page() -> None:
    """Draw the page."""
    view: View = st.session_state["view"]
    for part in (answer, arrival, lines, collector, jobs, room):
        states.panel(view, part)


page()
