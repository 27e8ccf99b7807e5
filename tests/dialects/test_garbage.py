"""Whatever a span holds, it is stored, and no number that is none becomes a fact."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.store.client import Client
from monitor.store.dialects import DOCUMENTS, FIELDS, FIRST_TOKEN_EVENTS, LEAF_OPERATIONS, NEVER_LEAF, inferences_view
from tests.dialects.building import Value, request, span
from tests.dialects.reading import inferences, store

NAMES: Final = sorted({name for names in FIELDS.values() for name in names if "/" not in name} | set(DOCUMENTS))
PARTS: Final = sorted({name.split("/")[-1] for names in FIELDS.values() for name in names if "/" in name})
NUMBERS: Final = (
    "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "ttft_s", "queue_s", "prefill_s",
    "decode_s", "duration_s", "tpot_s", "largest_gap_s", "sample_weight", "cost_usd",
)  # fmt: skip
NASTY: Final[tuple[Value, ...]] = (
    "", " ", "0", "-0", "-1", "1e400", "-1e400", "NaN", "nan", "inf", "-inf", "Infinity", "0x10", "1_000", "١٢", "1,5", "9" * 400,
    "18446744073709551616", "1e18", "1e12", "999999999999", "true", "True", "null", "None", '"', '""', '"unclosed', '"\\ud800"', '"12"',
    "[]", "[", "[1", "{}", "{", '{"', '{"input": NaN}', '{"input": -5, "total": 1e999}', '{"input": "x", "output": []}',
    '{"prompt_tokens_details": [1]}', '{"prompt_tokens_details": {"cached_tokens": {}}}', '{"input_tokens": 1e30}',
    '{"total_cost": -1}', "[" * 2000, '{"a":' * 2000, "ns", "1s", "-1s", "1.s", ".5ms", "1e3s", "9" * 400 + "ns", "1µs", "1us", "1h",
    "\x00", "'", "\\", "\\'", "%", "💥", "ÿ" * 3000, "1970-01-01T00:00:00Z", '"9999-12-31T23:59:59.999999Z"', '"0000-00-00T00:00:00Z"',
    '"2026-13-45"', "2262-04-12T00:00:00Z", '"2300-01-01T00:00:00Z"', "1e-320", "llm_request", "chat",
    True, False, 0, -1, 2**63 - 1, -(2**63), math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, -0.0, [], ["", ""], ["stop", "'"],
)  # fmt: skip
CALL: Final[dict[str, Value]] = {"gen_ai.operation.name": "chat"}


def check(client: Client, calls_at_least: int) -> None:
    rows = inferences(client)
    assert len(rows) >= calls_at_least
    for row in rows:
        for name in NUMBERS:
            value = row[name]
            assert value is None or (math.isfinite(value) and 0 <= value <= 2e12), (name, value)
        assert row["output_tokens"] is None or row["output_tokens"] <= 2 * 10**12
        assert len(row["finish_reason"]) <= 64


def test_each_name_with_each_value(store_client: Client, backend_url: str, tmp_path: Path) -> None:
    spans = [
        span("chat", {**CALL, name: value}, id=f"{name} {place}") for name in NAMES for place, value in enumerate(NASTY)
    ]
    store(store_client, backend_url, [request(*spans)], tmp_path)
    # All but those whose own name decides whether it is a call.
    check(store_client, len(NASTY) * (len(NAMES) - 3))


def test_all_names_with_one_value(store_client: Client, backend_url: str, tmp_path: Path) -> None:
    names = (
        "chat",
        "llm_request",
        " Req ab12cd34",
        "litellm_request",
        "generate_stream",
        "ai.streamText.doStream",
        *NEVER_LEAF,
    )
    scopes = (
        "",
        "vllm.tracing.otel",
        "sglang server",
        "logfire.openai",
        "gen_ai",
        "pydantic-ai",
        "monitor.sdk",
        "",
        "",
    )
    bodies = [
        request(
            *(span(name, dict.fromkeys(NAMES, value), id=f"{name} {place}") for place, value in enumerate(NASTY)),
            scope=scope,
            resource=dict.fromkeys(NAMES, "x"),
        )
        for name, scope in zip(names, scopes, strict=True)
    ]
    store(store_client, backend_url, bodies, tmp_path)
    check(store_client, 2)


def test_events_at_any_time(store_client: Client, backend_url: str, tmp_path: Path) -> None:
    spans = []
    for name in (*FIRST_TOKEN_EVENTS, "QUEUE_START", "COMPUTE_START", "exception"):
        for at in (0, 1, 2**63 - 1, 2**63, 2**64 - 1):
            one = span("chat", {**CALL, "triton.model_name": "m"}, id=f"{name} {at}", failed=True)
            one.events.add(name=name, time_unix_nano=at)
            one.events.add(name="QUEUE_START", time_unix_nano=2**63 - 1)
            spans.append(one)
    store(store_client, backend_url, [request(*spans)], tmp_path)
    check(store_client, len(spans))


VALUES: Final = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=40),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.lists(st.text(max_size=5), max_size=3),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(PARTS) | st.text(max_size=5), inner, max_size=4),
        max_leaves=12,
    ).map(json.dumps),
)  # fmt: skip
SPANS: Final = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=20),
        st.sampled_from(["chat", *LEAF_OPERATIONS]),
        st.sampled_from(["", "llm_request", "generate", " Req ab12cd34", "x.doStream"]),
    ),
    min_size=20,
    max_size=60,
)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(spans=SPANS)
def test_random_spans(
    store_client: Client, backend_url: str, tmp_path: Path, spans: list[tuple[dict[str, Value], str, str]]
) -> None:
    run = str(random.random())
    made = [
        span(name or "chat", {"gen_ai.operation.name": operation, **attributes}, id=f"{run} {place}")
        for place, (attributes, operation, name) in enumerate(spans)
    ]
    store(store_client, backend_url, [request(*made)], tmp_path)
    check(store_client, 0)


@pytest.mark.parametrize("count", [1, 200])
def test_many_attributes_of_one_field(store_client: Client, backend_url: str, tmp_path: Path, count: int) -> None:
    attributes = {**CALL, **{name: "7" for name in FIELDS["input_tokens"] if "/" not in name}}
    store(store_client, backend_url, [request(*(span("chat", attributes, id=str(n)) for n in range(count)))], tmp_path)
    assert {row["input_tokens"] for row in inferences(store_client)} == {7}


def test_long_texts_are_not_copied_for_each_attribute(store_client: Client, backend_url: str, tmp_path: Path) -> None:
    text = "word " * 12_000
    attributes = {
        **CALL,
        **dict.fromkeys([name for name in NAMES if name != "gen_ai.operation.name"][:40], "x"),
        "gen_ai.input.messages": text,
    }
    store(store_client, backend_url, [request(*(span("chat", attributes, id=str(n)) for n in range(400)))], tmp_path)
    # 24 MB of texts; a copy for each attribute would be 1 GB.
    limits = {"max_memory_usage": 150_000_000, "max_threads": 1}
    query = f"SELECT sum(length(prompt)), max(dialect) FROM ({inferences_view()})"
    assert store_client.query(query, settings=limits).result_rows[0][0] == 400 * len(text)
