"""What a page shows when it has nothing to show: empty, nothing in range, store away. Each says what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

import streamlit as st

from dashboards import address, data, store, timerange
from dashboards.filters import RANGE, View
from dashboards.wording import age_text
from monitor.errors import MonitorError, Retryable

RETRY_S: Final = 5

_SNIPPET: Final = """import monitor

monitor.init(service="my-service", endpoint="http://localhost:4317")

with monitor.inference(model="my-model") as call:
    for token in call.stream(generate("Hello")):  # your own generator of tokens
        print(token, end="")
    call.finish(input_tokens=12, output_tokens=34, finish_reason="stop")
"""


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Say an error of the store in a sentence, where the panel would be."""
    try:
        yield
    except MonitorError as error:
        st.error(sentence(error), icon=":material/error:")


def panel(view: View, draw: Callable[[View], None]) -> None:
    """Draw a part of a page that looks at the store by itself every few seconds."""
    seen = [view]

    def guarded() -> None:
        # First with the page, as of the page's moment; from then on by itself.
        mine = seen.pop() if seen else view.anew()
        with guard():
            draw(mine)

    st.fragment(run_every=view.refresh_s)(guarded)()


def store_answers() -> bool:
    """Whether the store can be asked; if not, the reason is drawn, and the page comes back by itself."""
    trouble = _trouble()
    if trouble is None:
        return True
    with st.container(border=True, key="store-away"):
        st.subheader("The store does not answer")
        st.error(sentence(trouble), icon=":material/cloud_off:")
        if isinstance(trouble, Retryable):
            st.markdown(
                "Spans that arrive meanwhile are not lost: the collector keeps them until the store is back.\n\n"
                "- `monitor check` says what is wrong.\n"
                "- If the service was stopped, start it again with `monitor up`."
            )
        else:
            st.markdown("- `monitor check` says what is wrong.\n- `monitor migrate` brings the store up to date.")
        st.caption(f"This page looks again every {RETRY_S} seconds.")
    st.fragment(run_every=RETRY_S)(_look_again)()
    return False


def _look_again() -> None:
    if _trouble() is None:
        st.rerun(scope="app")


def _trouble() -> MonitorError | None:
    try:
        store.ping()
        data.arrivals()
    except MonitorError as error:
        return error
    return None


def something_arrived() -> bool:
    """Whether there is any call at all; if not, how to send the first one is drawn."""
    found = data.arrivals()
    if found.newest_call is not None:
        return True
    with st.container(border=True, key="empty-store"):
        if found.newest_span is None:
            st.subheader("Nothing has arrived yet")
            st.markdown("Send the first span in one of these ways; this page shows it as soon as it is there.")
        else:
            st.subheader("Spans have arrived, but none is a model call")
            st.markdown(
                "A model call is a span with `gen_ai.operation.name`, or of vLLM, SGLang, TGI, Triton, LiteLLM, OpenInference,"
                " OpenLLMetry, Langfuse, OpenLIT, Vercel AI, MLflow or pydantic-ai."
                " What has arrived is on the page Traces. To send a model call:"
            )
        first, second, third = st.tabs(["From Python", "From any OpenTelemetry program", "A recorded workload"])
        with first:
            st.code(_SNIPPET, language="python")
        with second:
            st.code("export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317", language="bash")
            st.markdown("vLLM: `vllm serve MODEL --otlp-traces-endpoint http://localhost:4317`")
        with third:
            st.code("monitor replay workload.csv", language="bash")
            st.markdown(
                "The file has the columns `TIMESTAMP,ContextTokens,GeneratedTokens`. `monitor demo` starts a store of its own"
                " with an hour of real arrivals in it."
            )
        st.caption("4317 is the usual port; `monitor up` prints the one that it uses.")
    st.fragment(run_every=RETRY_S)(_look_for_first)(found)
    return False


def _look_for_first(before: data.Arrivals) -> None:
    with contextlib.suppress(MonitorError):
        if data.arrivals() != before:
            st.rerun(scope="app")


def nothing_in_range(view: View) -> None:
    """Say that no call fits, and why that may be."""
    with st.container(border=True, key="nothing-in-range"):
        st.subheader("No call here")
        newest = data.arrivals().newest_call
        words = f"No call began in {view.range_words}" if view.custom is None else "No call began in this time"
        filtered = " that fits the filters" if view.where else ""
        ages = ""
        if newest is not None:
            age_s = (datetime.now(UTC) - newest).total_seconds()
            ages = f" The newest call of all began {age_text(age_s)} ago."
        st.markdown(f"{words}{filtered}.{ages}")
        fitting = _range_with(newest)
        if fitting and not view.where and fitting != view.range:
            st.button(f"Show {timerange.NAMES[fitting]}", on_click=_choose_range, args=(fitting,))
        elif view.where:
            st.caption("Clear the filters, or choose a longer time range.")


def _range_with(newest: datetime | None) -> str:
    if newest is None:
        return ""
    age = datetime.now(UTC) - newest
    return next((name for name, length in timerange.RANGES.items() if age < length), "")


def _choose_range(name: str) -> None:
    address.write(RANGE, name)


def freshness() -> None:
    """How old the newest call is: a page that stands still must not look like a quiet service."""
    with guard():
        found = data.arrivals()
        now = datetime.now(UTC)
        if found.newest_span is None:
            st.caption("No span yet")
            return
        span_s = (now - found.newest_span).total_seconds()
        colour = "green" if span_s < 60 else "orange" if span_s < 600 else "gray"
        st.caption(f":{colour}[●] Newest span began {age_text(span_s)} ago")


def sentence(error: MonitorError) -> str:
    """An error's message as a sentence."""
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
