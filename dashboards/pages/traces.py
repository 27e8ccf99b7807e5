"""Traces: find a call, and see what happened in it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboards import address, charts, data, states, store, traces_query
from dashboards.filters import View
from dashboards.judging import judged_trace
from dashboards.memory import remembered
from dashboards.theme import assigned
from dashboards.traces_query import COUNT_MAX, PAGE_ROWS, Search
from dashboards.waterfall import Row, Span, lay_out, most_telling, notes
from dashboards.wording import age_text, scale_of, value_text

_ID: Final = re.compile(r"[0-9a-f]{32}")
KINDS: Final = {traces_query.CALLS: "Model calls", traces_query.ROOTS: "Whole traces"}
ORDERS: Final = {traces_query.NEWEST: "newest first", traces_query.SLOWEST: "slowest first"}


@remembered(ttl_s=10, entries_max=100)
def _count(url: str, search: Search) -> int:
    with store.reading() as client:
        return traces_query.count(client, search)


@remembered(ttl_s=10, entries_max=100)
def _find(url: str, search: Search, page: int) -> pd.DataFrame:
    with store.reading() as client:
        return traces_query.find(client, search, page=page)


@remembered(ttl_s=10, entries_max=20)
def _trace(url: str, trace_id: str) -> tuple[traces_query.Trace, dict[str, float]]:
    with store.reading() as client:
        found = traces_query.trace(client, trace_id)
        return found, traces_query.first_tokens(client, trace_id, found.spans)


def search_form(view: View) -> Search:
    """What to look for, beside the filter bar."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="search"):
        kind = address.buttons(
            "Rows", list(KINDS), name="kind", default=traces_query.CALLS, said=lambda name: KINDS[name]
        )
        text = st.text_input("Text in a span's name", key="text", bind="query-params", width=190)
        user = st.text_input("User", key="user", bind="query-params", width=130)
        session = st.text_input("Session", key="session", bind="query-params", width=130)
        min_s = st.number_input(
            "At least, s", min_value=0.0, value=0.0, step=0.5, key="min", bind="query-params", width=125
        )
        order = address.menu(
            "Order", list(ORDERS), name="order", default=traces_query.NEWEST, said=lambda name: ORDERS[name], width=150
        )
        errors = st.toggle("Errors only", key="errors", bind="query-params")
    window = view.window()
    return Search(
        kind=kind,
        start_ns=window.start_ns,
        end_ns=window.end_ns,
        where=view.where,
        min_s=float(min_s or 0),
        errors=errors,
        user=user.strip(),
        session=session.strip(),
        text=text.strip(),
        order=order,
    )


def results(view: View, search: Search) -> None:
    """One page of what is found."""
    url = store.store_url()
    total = _count(url, search)
    if total == 0:
        with st.container(border=True, key="nothing-found"):
            st.subheader("Nothing found")
            what = "model call" if search.kind == traces_query.CALLS else "trace"
            st.markdown(
                f"No {what} in this time fits the search and the filters. Loosen one of them, or take a longer time."
            )
        return
    pages = -(-min(total, COUNT_MAX) // PAGE_ROWS)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        what = "model calls" if search.kind == traces_query.CALLS else "traces"
        st.caption(
            f"{'more than ' + format(COUNT_MAX, ',') if total > COUNT_MAX else format(total, ',')} {what}, {PAGE_ROWS} a page"
        )
        page = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1
    found = _find(url, search, min(page, pages))
    frame = (_call_rows if search.kind == traces_query.CALLS else _root_rows)(found, view)
    picked = st.dataframe(
        frame,
        hide_index=True,
        height=min(16, len(frame) + 1) * 35 + 3,
        column_config={
            "Start": st.column_config.DatetimeColumn(format="D MMM HH:mm:ss.SSS", timezone=view.zone.key),
            "Trace": st.column_config.LinkColumn(display_text=r"trace=([0-9a-f]{8})", width="small"),
            "Duration, s": st.column_config.NumberColumn(format="%.3f"),
            "TTFT, ms": st.column_config.NumberColumn(format="%.0f"),
        },
        on_select="rerun",
        selection_mode="single-row",
        key="found",
        alt=f"Found {what}, {ORDERS[search.order]}",
    )
    chosen = picked["selection"]["rows"]
    if chosen and chosen[0] < len(found):
        st.button(
            f"Open trace {found['trace_id'].iloc[chosen[0]][:8]}",
            on_click=_open,
            args=(str(found["trace_id"].iloc[chosen[0]]),),
            type="primary",
            key="open-trace",
        )
    else:
        st.caption("A link in the column Trace opens the trace in a new tab; selecting a row opens it here.")


def _open(trace_id: str) -> None:
    st.session_state["trace"] = trace_id


def _call_rows(found: pd.DataFrame, view: View) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Start": _times(found["start_ns"], view),
            "Trace": _links(found["trace_id"], view),
            "Service": found["service"],
            "Model": found["model"],
            "Node": found["node"],
            "Duration, s": found["duration_s"],
            "TTFT, ms": found["ttft_s"].astype("float64") * 1000,
            "Tokens in": found["input_tokens"],
            "Tokens out": found["output_tokens"],
            "Ended by": [
                error or ("cancelled" if cancelled else reason)
                for error, cancelled, reason in zip(
                    found["error_type"], found["cancelled"], found["finish_reason"], strict=True
                )
            ],
            "User": found["user_id"],
            "Session": found["session_id"],
            "Reported by": found["role"],
        }
    )


def _root_rows(found: pd.DataFrame, view: View) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Start": _times(found["start_ns"], view),
            "Trace": _links(found["trace_id"], view),
            "Service": found["service"],
            "First span": found["name"],
            "Duration, s": found["duration_s"],
            "First span failed": found["failed"].astype(bool),
        }
    )


def _times(ns: pd.Series[Any], view: View) -> pd.Series[Any]:
    return pd.to_datetime(ns, unit="ns", utc=True).dt.tz_convert(view.zone.key)


def _links(trace_ids: pd.Series[Any], view: View) -> list[str]:
    return [f"traces?{view.query(trace=trace_id)}" for trace_id in trace_ids]


def one_trace(view: View, trace_id: str) -> None:
    """The waterfall and the spans of one trace."""
    trace, first_s = _trace(store.store_url(), trace_id)
    with st.container(horizontal=True, vertical_alignment="center", key="trace-choices"):
        st.button("Back to the search", on_click=_open, args=("",), icon=":material/arrow_back:")
        moved = address.switch("Correct clocks", name="clocks", default=True, said=CLOCK_HELP)
    if not trace.spans:
        with st.container(border=True, key="no-trace"):
            st.subheader("No such trace")
            st.markdown(
                f"The store has no span of trace `{trace_id}`. It may have been removed by retention, not have been sampled,"
                " or not have arrived yet: spans come when they end."
            )
        return
    spans = trace.spans
    rows = lay_out(spans, correct_clocks=moved)
    _about(rows, trace, view)
    ids = [row.span.span_id for row in rows]
    names = {row.span.span_id: f"{'  ' * min(row.depth, 8)}{row.span.name} ({row.span.span_id[:6]})" for row in rows}
    if st.session_state.get("span") not in (None, *ids):
        st.session_state["span"] = None
    wanted = st.session_state.get("span") or st.query_params.get("span") or ""
    drawn = most_telling(rows, frozenset(first_s), wanted=wanted)
    frame, unit = _bars(drawn, first_s, wanted)
    services = sorted({row.span.service for row in rows})
    clicked = charts.draw_waterfall(
        frame, colours={service or "(no service)": colour for service, colour in assigned().of("service", services).items()},
        unit=unit, key=f"waterfall-{trace_id}",
    )  # fmt: skip
    _say(rows, drawn, trace)
    if clicked and clicked != st.session_state.get("clicked") and clicked in ids:
        st.session_state["clicked"] = clicked
        st.session_state["span"] = clicked
        st.rerun()
    chosen = st.selectbox(
        "Span", ids, index=None, format_func=lambda span_id: names[span_id], key="span", placeholder="Choose a span, or click its bar",
    )  # fmt: skip
    shown = next((row for row in rows if row.span.span_id == chosen), None) or _first_shown(rows, first_s)
    _details(shown, first_s, rows[0].start_ns)
    judged_trace(view, trace_id, rows)
    with st.expander(f"All {len(rows):,} spans as a table"):
        _span_table(rows, view)


CLOCK_HELP: Final = "Clocks of two machines differ. A child from another machine that seems to begin before its parent is moved into it."


def _first_shown(rows: list[Row], first_s: dict[str, float]) -> Row:
    """The span that tells most: a failed model call, or else a failure (the innermost), a model call, the first span."""
    calls = [row for row in rows if row.span.span_id in first_s]
    failed = sorted((row for row in rows if row.span.failed), key=lambda row: -row.depth)
    return next(iter([*(row for row in calls if row.span.failed), *failed, *calls]), rows[0])


def _about(rows: list[Row], trace: traces_query.Trace, view: View) -> None:
    start_ns, end_ns = min(row.start_ns for row in rows), max(row.end_ns for row in rows)
    started = datetime.fromtimestamp(start_ns / 1e9, UTC)
    failed = sum(row.span.failed for row in rows)
    age_s = (datetime.now(UTC) - started).total_seconds()
    services = len({row.span.service for row in rows})
    st.subheader(rows[0].span.name, anchor=False)
    parts = [
        f"{started.astimezone(view.zone):%-d %b %Y %H:%M:%S} {view.zone.key} ({age_text(age_s)} ago)",
        value_text((end_ns - start_ns) / 1e9, "s"),
        f"{trace.total:,} span{'s' if trace.total > 1 else ''}",
        f"{services} service{'s' if services > 1 else ''}",
    ]
    if failed:
        parts.append(f":red[{failed} failed]")
    st.markdown(" · ".join(parts))


def _say(rows: list[Row], drawn: list[Row], trace: traces_query.Trace) -> None:
    words = list(notes(rows))
    if len(drawn) < len(rows):
        words.append(
            f"{len(drawn)} of {trace.total:,} spans are drawn: failures, model calls and the longest, with their ancestors."
        )
    if len(rows) < trace.total:
        words.append(f"The first {len(rows):,} of {trace.total:,} spans were read.")
    legend = "The yellow mark is the first token; ✕ is a failure."
    st.caption(" ".join([legend, *words]))


def _bars(drawn: list[Row], first_s: dict[str, float], wanted: str) -> tuple[pd.DataFrame, Any]:
    start_ns = min(row.start_ns for row in drawn)
    unit = scale_of("s", [(max(row.end_ns for row in drawn) - start_ns) / 1e9])
    records = []
    for place, row in enumerate(drawn):
        span = row.span
        begin = (row.start_ns - start_ns) / 1e9
        first = first_s.get(span.span_id)
        mark = "⚠ " if row.orphan else ""
        # Vega strips white space at both ends; a space without width is none to it.
        indent = "\u200b" + "\u00a0" * 4 * min(row.depth, 12)
        records.append(
            {
                "place": place,
                "span_id": span.span_id,
                "label": f"{indent}{mark}{span.name}",
                "name": span.name,
                "service": span.service or "(no service)",
                "from": begin * unit.factor,
                "to": (begin + span.duration_ns / 1e9) * unit.factor,
                "first_token": None if first is None else (begin + first) * unit.factor,
                "failed": span.failed,
                "selected": span.span_id == wanted,
                "none_selected": not wanted,
                "took": value_text(span.duration_ns / 1e9, "s"),
                "started": value_text(begin, "s"),
                "first": value_text(first, "s"),
                "state": "failed" if span.failed else "parent missing" if row.orphan else "",
            }
        )
    return pd.DataFrame.from_records(records).astype({"first_token": "float64"}), unit


def _details(row: Row, first_s: dict[str, float], start_ns: int) -> None:
    span = row.span
    st.markdown(f"**{_code(span.name)}** of {_code(span.service or 'no service')}, span `{span.span_id}`")
    if span.failed:
        st.error(span.message or "The span failed, and says no more.", icon=":material/error:")
    frame = pd.DataFrame(_attributes(span, row, first_s, start_ns), columns=["Of", "Name", "Value"])
    height = min(14, len(frame) + 1) * 35 + 3
    st.dataframe(
        frame,
        hide_index=True,
        key="attributes",
        alt=f"Attributes of the span {span.name}",
        height=height,
        column_config={"Of": st.column_config.TextColumn(width="small")},
    )


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`"


def _attributes(span: Span, row: Row, first_s: dict[str, float], start_ns: int) -> list[tuple[str, str, str]]:
    facts = [
        ("span", "starts at", value_text((row.start_ns - start_ns) / 1e9, "s")),
        ("span", "takes", value_text(span.duration_ns / 1e9, "s")),
    ]
    if span.span_id in first_s:
        facts.append(("span", "first token after", value_text(first_s[span.span_id], "s")))
    if row.shift_ns:
        facts.append(("span", "moved by", f"{row.shift_ns / 1e6:+,.3f} ms"))
    facts += [("span", "kind", span.kind), ("span", "parent", span.parent_id or "none")]
    facts += [("span", "scope", span.scope)] if span.scope else []
    facts += [("attribute", key, value) for key, value in sorted(span.attributes.items())]
    for moment, name, attributes in span.events:
        at = f"at {value_text((moment + row.shift_ns - start_ns) / 1e9, 's')}"
        more = "; ".join(f"{key} = {value}" for key, value in sorted(attributes.items()))
        facts.append(("event", name, f"{at}{'; ' + more if more else ''}"))
    facts += [("link", trace_id, span_id) for trace_id, span_id in span.links]
    facts += [("resource", key, value) for key, value in sorted(span.resource.items())]
    return facts


def _span_table(rows: list[Row], view: View) -> None:
    start_ns = min(row.start_ns for row in rows)
    frame = pd.DataFrame(
        {
            "Span": [row.span.name for row in rows],
            "Depth": [row.depth for row in rows],
            "Service": [row.span.service for row in rows],
            "Kind": [row.span.kind for row in rows],
            "Starts at, ms": [(row.start_ns - start_ns) / 1e6 for row in rows],
            "Takes, ms": [row.span.duration_ns / 1e6 for row in rows],
            "Failed": [row.span.failed for row in rows],
            "Id": [row.span.span_id for row in rows],
            "Parent": [row.span.parent_id for row in rows],
        }
    )
    number = st.column_config.NumberColumn(format="%.3f")
    st.dataframe(
        frame, hide_index=True, key="spans", alt="All spans of the trace",
        column_config={"Starts at, ms": number, "Takes, ms": number},
    )  # fmt: skip


def page() -> None:
    """Draw the page."""
    view: View = st.session_state["view"]
    arrived = data.arrivals()
    if arrived.newest_span is None and not states.something_arrived():
        return
    given = st.text_input(
        "Trace id", key="trace", bind="query-params", placeholder="32 hexadecimal digits: opens the trace", width=420
    )
    trace_id = given.strip().lower().replace("-", "")
    if trace_id and not _ID.fullmatch(trace_id):
        st.warning(f"`{given[:80].replace('`', '')}` is no trace id: that has 32 hexadecimal digits.")
        return
    if trace_id:
        one_trace(view, trace_id)
        return
    search = search_form(view)
    states.panel(view, lambda seen: results(seen, _moved(search, seen)))


def _moved(search: Search, view: View) -> Search:
    """The search over the time as of now."""
    window = view.window()
    return Search(**{**search.__dict__, "start_ns": window.start_ns, "end_ns": window.end_ns})


page()
