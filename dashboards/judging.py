"""Below a trace: what is known of its calls, what was said of them, and forms to say more or to put it into a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import pandas as pd
import streamlit as st

from dashboards import api, store
from dashboards.filters import View
from dashboards.person import ask_author, author, person
from dashboards.states import sentence
from dashboards.trace_facts import Alert, Facts, trace_facts
from dashboards.waterfall import Row
from dashboards.wording import escaped, value_text
from monitor.errors import MonitorError
from monitor.iterate.messages import answer_message, plain, prompt_messages
from monitor.kpis import Window

YES_NO: Final = {"": "–", "yes": "Yes", "no": "No"}
NAMES: Final = ("correct", "helpful")


def judged_trace(view: View, trace_id: str, rows: Sequence[Row]) -> None:
    """Draw it all; nothing for a trace without a model call."""
    starts = [row.span.start_ns for row in rows]
    facts = trace_facts(store.store_url(), trace_id, min(starts), max(starts))
    if facts.calls.empty:
        return
    st.subheader("Model calls", anchor=False)
    _calls(facts)
    for alert in facts.alerts:
        link = f"alerts?{_around(view, alert).query(rule=alert.rule, show='history')}"
        st.markdown(
            f":orange[●] In the time and group of the alert [{escaped(alert.rule)}]({link}): {escaped(alert.condition)}"
        )
    _content(facts)
    said, say = st.columns([3, 2], gap="medium")
    with said:
        st.subheader("Judgements and feedback", anchor=False)
        _said(facts, view)
    with say:
        st.subheader("Say what you think", anchor=False)
        _forms(facts, trace_id)


def _around(view: View, alert: Alert) -> View:
    """From half an hour before the alert; its end is not known here, so the view reaches to the newest there is."""
    now = datetime.now(UTC)
    return view.during(Window(alert.began - timedelta(minutes=30), max(now, alert.began + timedelta(minutes=30))))


def _calls(facts: Facts) -> None:
    calls = facts.calls
    currencies = {str(each) for each in calls["currency"] if each}
    money = next(iter(currencies)) if len(currencies) == 1 else "money"
    cost = calls["cost"].astype("float64")
    tokens = [int(calls[name].fillna(0).sum()) for name in ("input_tokens", "output_tokens")]
    parts = [f"{tokens[0]:,} tokens in", f"{tokens[1]:,} out"]
    parts.append(f"{value_text(float(cost.sum()), money)}" if cost.notna().any() else "cost not known yet")
    parts.append(f"in {', '.join(f'`{name}`' for name in facts.datasets)}" if facts.datasets else "in no dataset")
    st.markdown(" · ".join(parts))
    frame = pd.DataFrame(
        {
            "Model": calls["model"],
            "Variant": calls["variant"],
            "Node": calls["node"],
            "Tokens in": calls["input_tokens"],
            "Of them cached": calls["cached_tokens"],
            "Tokens out": calls["output_tokens"],
            "TTFT, ms": calls["ttft_s"].astype("float64") * 1000,
            "Duration, s": calls["duration_s"].astype("float64"),
            f"Cost, {money}": cost,
            "Ended by": [
                error or reason for error, reason in zip(calls["error_type"], calls["finish_reason"], strict=True)
            ],
            "Span": calls["span_id"],
        }
    )
    number = st.column_config.NumberColumn
    st.dataframe(
        frame, hide_index=True, key="trace-calls", alt="Model calls of the trace", height=min(8, len(frame) + 1) * 35 + 3,
        column_config={"TTFT, ms": number(format="%.0f"), "Duration, s": number(format="%.3f"), f"Cost, {money}": number(format="%.3g")},
    )  # fmt: skip


def _content(facts: Facts) -> None:
    last = facts.calls.iloc[-1]
    messages = prompt_messages(str(last["prompt"] or ""))
    answer = answer_message(str(last["completion"] or ""))
    if not messages and answer is None:
        st.caption("Prompt and answer are not stored: content is not captured.")
        return
    with st.expander("Prompt and answer", expanded=True):
        for message in [*messages, *([answer] if answer else [])]:
            st.caption(str(message["role"]))
            # As text: what a model writes is no Markdown of ours, and may not load pictures from elsewhere.
            st.text(plain(message) or str(message.get("tool_calls", "")))


def _said(facts: Facts, view: View) -> None:
    if facts.judgements.empty and facts.feedback.empty:
        st.caption("Nobody has said anything of this trace yet.")
        return
    for name, frame in (("judgements", facts.judgements), ("feedback", facts.feedback)):
        if frame.empty:
            continue
        shown = frame.assign(at=pd.to_datetime(frame["at"], unit="ms", utc=True).dt.tz_convert(view.zone.key))
        shown.columns = pd.Index([str(column).replace("_", " ").capitalize() for column in shown.columns])
        st.dataframe(
            shown.rename(columns={"At": "When", "Span id": "Span"}), hide_index=True, key=f"trace-{name}",
            alt=f"{name.capitalize()} of the trace", height=min(8, len(shown) + 1) * 35 + 3,
            column_config={"When": st.column_config.DatetimeColumn(format="D MMM HH:mm:ss", timezone=view.zone.key)},
        )  # fmt: skip


def _forms(facts: Facts, trace_id: str) -> None:
    if not person().may_change:
        st.caption("You may look at everything; labelling is for operators.")
        return
    ask_author()
    spans = [str(each) for each in facts.calls["span_id"]]
    # The last call is what somebody judges who judges the trace.
    span = spans[-1]
    if len(spans) > 1:
        span = st.selectbox(
            "Which call", spans, index=len(spans) - 1, format_func=lambda each: each[:8], key="judged-span"
        )
    with st.form("label", border=True, clear_on_submit=True):
        left, right = st.columns(2)
        wanted = st.query_params.get("judge", "correct")
        name = left.text_input("What is judged", value=wanted, max_chars=100, help=f"Such as {', '.join(NAMES)}.")
        verdict = right.segmented_control("Verdict", list(YES_NO), format_func=lambda each: YES_NO[each], default="")
        left, right = st.columns(2)
        label = left.text_input("or a label", max_chars=200, help="Such as the right class.")
        score = right.number_input("or a score", value=None, step=0.1)
        comment = st.text_area("Comment", max_chars=2000, height=70)
        if st.form_submit_button("Label it", type="primary"):
            _label(trace_id, span, name, verdict or label.strip(), score, comment)
    with st.form("dataset", border=True):
        left, right = st.columns([2, 3])
        dataset = left.text_input("Dataset", max_chars=64, placeholder="hard-cases", key="dataset-name")
        note = right.text_input("Why", max_chars=2000)
        if st.form_submit_button("Add to the dataset"):
            add_to_dataset(dataset.strip(), [{"trace_id": trace_id, "span_id": span}], reason="manual", note=note)


def _label(trace_id: str, span: str, name: str, label: str, score: float | None, comment: str) -> None:
    if not label and score is None:
        st.warning("Choose a verdict, or give a label or a score.")
        return
    body: dict[str, Any] = {"trace_id": trace_id, "span_id": span, "name": name.strip() or "correct", "source": "human"}
    body |= {"label": label} if label else {}
    body |= {"score": score} if score is not None else {}
    body |= {"explanation": comment.strip()} if comment.strip() else {}
    body |= {"evaluator": author()} if author() else {}
    if change("/api/evaluations", body) is not None:
        change(
            "/api/reviews",
            {"items": [{"trace_id": trace_id, "span_id": span}], "name": body["name"], "author": author()},
        )
        st.success(
            f"Labelled `{body['name']}`. It is stored within about two seconds, and counts for the time of the call."
        )


def add_to_dataset(dataset: str, items: Sequence[Mapping[str, str]], *, reason: str, note: str = "") -> bool:
    """Add calls, and say what became of it."""
    if not dataset:
        st.warning("Name the dataset; it is made by its first call.")
        return False
    body = {"items": list(items), "reason": reason, "note": note.strip(), "author": author()}
    answer = change(f"/api/datasets/{quote(dataset, safe='')}/items", body)
    if answer is None:
        return False
    known = len(items) - int(answer["added"])
    st.success(f"Added {int(answer['added']):,} to `{dataset}`" + (f"; {known:,} were in it." if known else "."))
    trace_facts.clear()
    return True


def change(path: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Ask the API for a change; None, and said on the page, if it was not made. Viewers' wishes are not passed on."""
    if not person().may_change:
        st.error("Changing is for operators.")
        return None
    try:
        return api.send(path, body)
    except MonitorError as error:
        st.error(sentence(error))
        return None
