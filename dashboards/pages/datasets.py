"""Datasets: which calls are put aside, which are worth it, which to label next, and how to take them out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import pandas as pd
import streamlit as st

from dashboards import address, states, store
from dashboards.filters import View
from dashboards.judging import add_to_dataset, change
from dashboards.memory import remembered
from dashboards.person import ask_author, author, person
from dashboards.wording import moment_text
from monitor.errors import MonitorError
from monitor.iterate.candidates import Candidate, Wanted, find_candidates
from monitor.kpis import Window
from monitor.kpis.coverage import newest_calls
from monitor.store.datasets import Dataset, Item, items_of, list_datasets

SOURCES: Final = {
    "review": "Review queue",
    "rating": "Bad ratings",
    "score": "Low scores",
    "alert": "Behind an alert",
    "drift": "Typical of a drift",
}
ORDERS: Final = {
    "estimate": "that the estimate of accuracy gains most from",
    "disagree": "where people and judge contradict each other",
    "uncertain": "of which the judge is least certain",
}
ORDER_HELP: Final = {
    "estimate": "Chosen by chance within each hour, more from hours in which a label lowers the variance more; see docs/iterate.md.",
    "disagree": "They show mistakes, of the judge too, and are no fair sample: label them as something else than `correct`.",
    "uncertain": "They show hard cases, and are no fair sample: label them as something else than `correct`.",
}
KPIS: Final = ("latency.ttft.p95", "latency.e2e.p95", "latency.tpot.p95", "traffic.error_rate", "cost.per_request")
FEATURES: Final = ("output_tokens", "input_tokens", "e2e", "ttft", "finish_reason", "model", "variant", "release")
LIMIT: Final = 50
# The judgements of all calls of a long time are many; what is looked through are the newest of its calls.
LOOKED_THROUGH: Final = 20_000
NEWEST: Final = ("review", "rating", "score")


@remembered(ttl_s=5, entries_max=10)
def _datasets(url: str) -> list[Dataset]:
    with store.reading() as client:
        return list_datasets(client)


@remembered(ttl_s=5, entries_max=20)
def _items(url: str, name: str) -> list[Item]:
    with store.reading() as client:
        return items_of(client, name)


@remembered(ttl_s=30, entries_max=50, words="Looking for calls …")
def _found(url: str, source: str, window: Window, where: Any, wanted: Wanted) -> list[Candidate]:
    with store.reading() as client:
        return find_candidates(client, source, window, where=dict(where), wanted=wanted, limit=LIMIT)


@remembered(ttl_s=60, entries_max=50)
def _looked_through(url: str, window: Window, where: Any) -> Window:
    with store.reading() as client:
        return newest_calls(client, window, dict(where), calls=LOOKED_THROUGH)


def datasets(view: View) -> None:
    """All datasets, and the calls of the chosen one."""
    known = _datasets(store.store_url())
    if not known:
        with st.container(border=True, key="no-dataset"):
            st.subheader("No dataset yet", anchor=False)
            st.markdown(
                "A dataset is a named set of calls: the ones that went wrong, to try the next release on, or the good ones, to"
                " tune a model with. Add calls below, from a trace's page, or with `monitor dataset add NAME --from rating`."
            )
        return
    frame = pd.DataFrame(
        {
            "Dataset": [each.name for each in known],
            "Calls": [each.items for each in known],
            "From": [", ".join(each.reasons) for each in known],
            "By": [", ".join(each.authors) for each in known],
            "Last added": [each.last.astimezone(view.zone) for each in known],
        }
    )
    st.dataframe(
        frame, hide_index=True, key="datasets-table", alt="All datasets", height=min(9, len(frame) + 1) * 35 + 3,
        column_config={"Last added": st.column_config.DatetimeColumn(format="D MMM HH:mm", timezone=view.zone.key)},
    )  # fmt: skip
    names = ["", *frame["Dataset"]]
    name = address.menu(
        "Show the calls of", names, name="dataset", default="", said=lambda each: each or "–", width=260
    )
    if name:
        _one(view, name)


def _one(view: View, name: str) -> None:
    items = _items(store.store_url(), name)
    frame = pd.DataFrame(
        {
            "Call began": [each.called_at.astimezone(view.zone) for each in items],
            "Trace": [_link(view, each.trace_id, each.span_id) for each in items],
            "Reason": [each.reason for each in items],
            "Why": [each.note for each in items],
            "By": [each.author for each in items],
        }
    )
    picked = _table(frame, view, key="items", alt=f"Calls of the dataset {name}")
    st.code(
        f"monitor export {name}.jsonl --dataset {name} --as chat   # or --as eval, --as raw; .parquet", language="bash"
    )
    if person().may_change and picked:
        chosen = [{"trace_id": items[at].trace_id, "span_id": items[at].span_id} for at in picked]
        if st.button(f"Remove {len(chosen)} from `{name}`", key="remove-items"):
            answer = change(f"/api/datasets/{quote(name, safe='')}/remove", {"items": chosen})
            if answer is not None:
                _items.clear()
                _datasets.clear()
                st.rerun()


def candidates(view: View) -> None:
    """Calls worth a look, and what to do with them."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="candidate-choices"):
        source = address.buttons(
            "Calls", list(SOURCES), name="source", default="review", said=lambda each: SOURCES[each]
        )
        wanted = _wanted(source)
    window = view.window()
    if source in NEWEST:
        window = _looked_through(store.store_url(), window, view.where)
    found = _found(store.store_url(), source, window, view.where, wanted)
    if source == "review":
        st.caption(ORDER_HELP[wanted.order])
    if window != view.window():
        since = moment_text(window.start, view.zone, now=datetime.now(UTC))
        st.caption(
            f"Of the calls since {since}, which are {LOOKED_THROUGH:,} and more; choose a time to look through others."
        )
    if not found:
        with st.container(border=True, key="no-candidates"):
            st.markdown(f"Nothing of the kind in {view.range_words}. Take a longer time, or loosen the filters.")
        return
    frame = pd.DataFrame(
        {
            "Call began": [each.called_at.astimezone(view.zone) for each in found],
            "Trace": [_link(view, each.trace_id, each.span_id, wanted) for each in found],
            "Why": [each.why for each in found],
            "Model": [each.model for each in found],
            "Service": [each.service for each in found],
        }
    )
    picked = _table(frame, view, key=f"candidates-{source}", alt=f"Calls: {SOURCES[source]}")
    if not person().may_change:
        st.caption("Choosing calls for a dataset is for operators.")
        return
    chosen = [found[at] for at in picked] or list(found)
    _act(source, wanted, chosen, all_of_them=not picked)


def _act(source: str, wanted: Wanted, chosen: list[Candidate], *, all_of_them: bool) -> None:
    ids = [{"trace_id": each.trace_id, "span_id": each.span_id} for each in chosen]
    with st.container(horizontal=True, vertical_alignment="bottom", key="candidate-acts"):
        ask_author()
        dataset = st.text_input("Dataset", key="candidate-dataset", max_chars=64, placeholder="hard-cases", width=200)
        many = f"all {len(chosen)}" if all_of_them else f"{len(chosen)} chosen"
        add = st.button(f"Add {many}", key="add-candidates", type="primary")
        skip = source == "review" and not all_of_them and st.button(f"Skip {len(chosen)} chosen", key="skip-candidates")
    if add and add_to_dataset(dataset.strip(), ids, reason=source, note=SOURCES[source]):
        _datasets.clear()
        _items.clear()
    if skip:
        body = {"items": ids, "name": wanted.name, "state": "skipped", "author": author()}
        if change("/api/reviews", body) is not None:
            _found.clear()
            st.rerun()


def _wanted(source: str) -> Wanted:
    """What each source needs to know, from widgets that live in the address."""
    if source == "alert":
        kpi = address.menu("Rule's KPI", KPIS, name="kpi", default=KPIS[0], said=str, width=220)
        return Wanted(kpi=kpi)
    if source == "drift":
        return Wanted(
            feature=address.menu("Feature", FEATURES, name="feature", default=FEATURES[0], said=str, width=200)
        )
    if source == "review":
        order = address.menu(
            "Calls", list(ORDERS), name="order", default="estimate", said=lambda each: ORDERS[each], width=360
        )
        return Wanted(order=order)
    if source == "score":
        name = st.text_input("Score", key="judged", bind="query-params", value="correct", width=150)
        below = st.number_input("Below", key="below", bind="query-params", value=0.5, step=0.1, width=120)
        return Wanted(name=name.strip() or "correct", below=float(below))
    return Wanted()


def _table(frame: pd.DataFrame, view: View, *, key: str, alt: str) -> list[int]:
    picked = st.dataframe(
        frame,
        hide_index=True,
        key=key,
        alt=alt,
        height=min(12, len(frame) + 1) * 35 + 3,
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            "Call began": st.column_config.DatetimeColumn(format="D MMM HH:mm:ss", timezone=view.zone.key),
            "Trace": st.column_config.LinkColumn(display_text=r"trace=([0-9a-f]{8})", width="small"),
        },
    )
    return [at for at in picked["selection"]["rows"] if at < len(frame)]


def _link(view: View, trace_id: str, span_id: str, wanted: Wanted | None = None) -> str:
    # A label that is no fair sample gets a name of its own.
    judge = {} if wanted is None else {"judge": wanted.name if wanted.order == "estimate" else "reviewed"}
    return f"traces?{view.query(trace=trace_id, span=span_id, **judge)}"


def page() -> None:
    """Draw the page."""
    view: View = st.session_state["view"]
    if not states.something_arrived():
        return
    datasets(view)
    st.subheader("Calls worth a look", anchor=False)
    try:
        candidates(view)
    except MonitorError as error:
        st.warning(states.sentence(error))


page()
